// Errors.swift - the one error type of the engine.
//
// Every failure is a value of this type until CabochonABI turns it into a status, so that bad
// input can never take the host down. The raw values are the C ABI's status codes.

/// What went wrong, in a form that a program can switch on.
public enum ErrorCode: Int32, Sendable {
    /// An argument is outside its documented range.
    case invalidArgument = -1
    /// An allocation was refused.
    case outOfMemory = -2
    /// A file could not be opened, read or written.
    case io = -3
    /// A file's bytes break the rules of its format.
    case invalidFile = -4
    /// Well-formed, but of a kind that Cabochon does not run.
    case unsupported = -5
    /// More tokens than the context holds.
    case contextExceeded = -6
    /// Cancelled by the caller; the session stands as before the call.
    case cancelled = -7
    /// A compute backend is missing, unfit for this machine, or failed.
    case backend = -8
    /// The caller's buffer is too small; the needed size has been written.
    case bufferTooSmall = -9
    /// A handle that is null, freed or of another kind.
    case invalidHandle = -10
    /// Text that is not UTF-8.
    case invalidUTF8 = -11
    /// An option that this version of the library does not know.
    case unsupportedOption = -12
    /// An engine of the process that this one was forked from. Only the C ABI looks for it.
    case forked = -13
    /// A defect of Cabochon's own.
    case `internal` = -14
}

/// A failure with a message that names what and where: the file, the key, the offset, both numbers.
public struct CabochonError: Error, CustomStringConvertible, Sendable {
    public let code: ErrorCode
    public let message: String

    public init(_ code: ErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
