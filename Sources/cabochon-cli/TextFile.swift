// TextFile.swift - whole UTF-8 files, read and written in one go.

import Cabochon
import Glibc

enum TextFile {
    /// The file's text; nil where it cannot be read or is not UTF-8.
    static func read(_ path: String) -> String? {
        guard let bytes = readBytes(path) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    /// The file's bytes; nil, with errno set, where it cannot be read.
    static func readBytes(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return Terminal.readAll(from: descriptor)
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

    /// Where what is at `path` is no file to replace: what its bytes go to.
    private static func stream(at path: String) throws(Failure) -> (descriptor: Int32, isOpenedHere: Bool)? {
        var there = stat()
        guard stat(path, &there) == 0 else { return nil }
        for descriptor in [STDOUT_FILENO, STDERR_FILENO] {
            var own = stat()
            if fstat(descriptor, &own) == 0 && own.st_dev == there.st_dev && own.st_ino == there.st_ino {
                return (descriptor, false)
            }
        }
        guard [S_IFIFO, S_IFCHR].contains(there.st_mode & S_IFMT) else { return nil }
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(path: path) }
        return (descriptor, true)
    }
}
