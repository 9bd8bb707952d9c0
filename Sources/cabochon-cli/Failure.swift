// Failure.swift - what ends a command with status 1: the library's errors and the command's own.

import Cabochon
import Glibc

struct Failure: Error {
    let message: String

    init(_ message: String) { self.message = message }

    /// What went wrong with a file, in the system's words.
    init(path: String, reason: Int32 = errno) { message = "\(path): \(String(cString: strerror(reason)))" }

    /// That standard output could not be written, by errno. Where its reader has gone there is nobody to tell, and
    /// no message.
    static var standardOutput: Failure { errno == EPIPE ? Failure("") : Failure(path: "standard output") }
}

/// Runs `body`, with the library's errors as failures.
func orFail<Result>(_ body: () throws(CabochonError) -> Result) throws(Failure) -> Result {
    do {
        return try body()
    } catch {
        throw Failure(error.message)
    }
}
