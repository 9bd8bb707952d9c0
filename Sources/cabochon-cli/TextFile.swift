// TextFile.swift - whole UTF-8 texts, read and written in one go.

import Cabochon
import Glibc

enum TextFile {
    static func read(_ path: String) throws(Failure) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(path: path) }
        defer { close(descriptor) }
        return try read(from: descriptor, name: path)
    }

    /// The same without the byte order mark that some editors put in front, which is no part of what the file says.
    static func readDocument(_ path: String) throws(Failure) -> String {
        var text = try read(path)
        if text.unicodeScalars.first == "\u{FEFF}" { text.unicodeScalars.removeFirst() }
        return text
    }

    /// Standard input to its end.
    static func readStandardInput() throws(Failure) -> String {
        try read(from: STDIN_FILENO, name: "standard input")
    }

    private static func read(from descriptor: Int32, name: String) throws(Failure) -> String {
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &block, block.count)
            if count == 0 { break }
            guard count > 0 else {
                if errno == EINTR { continue }
                throw Failure(path: name)
            }
            bytes.append(contentsOf: block[..<count])
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw Failure("\(name): not UTF-8 text") }
        return text
    }

    /// Gives the file this text. What is there stays whole until all of the new text is on the disk (OpenFile); a pipe,
    /// a terminal or another device gets the text as it would from any program, and so does the command's own output,
    /// whatever name it goes by.
    static func write(_ text: String, to path: String, mode: UInt32 = 0o666) throws(Failure) {
        if let stream = try stream(at: path) {
            defer { if stream.isOpenedHere { close(stream.descriptor) } }
            guard Terminal.write(text, to: stream.descriptor) else { throw Failure(path: path) }
            return
        }
        try orFail { () throws(CabochonError) in
            let file = try OpenFile(replacing: path, mode: mode)
            try Array(text.utf8).withUnsafeBufferPointer { (bytes) throws(CabochonError) in
                try file.write(UnsafeRawBufferPointer(bytes), at: 0)
            }
            try file.publish()
        }
    }

    /// Where what is at `path` is no file to replace, or to go on from: what its bytes go to.
    static func stream(at path: String) throws(Failure) -> (descriptor: Int32, isOpenedHere: Bool)? {
        var there = stat()
        guard stat(path, &there) == 0 else { return nil }
        for descriptor in [STDOUT_FILENO, STDERR_FILENO] {
            var own = stat()
            // One that was closed stands for /dev/null since, and cannot be written.
            guard fcntl(descriptor, F_GETFL) & O_ACCMODE != O_RDONLY, fstat(descriptor, &own) == 0 else { continue }
            if own.st_dev == there.st_dev && own.st_ino == there.st_ino { return (descriptor, false) }
        }
        guard ![S_IFREG, S_IFDIR].contains(there.st_mode & S_IFMT) else { return nil }
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(path: path) }
        return (descriptor, true)
    }
}
