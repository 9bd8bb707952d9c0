// LineReader.swift - a file line by line, in blocks, so that its length does not matter.

import Glibc

/// Lines of a file, or of standard input, without their line feeds.
final class LineReader {
    private let descriptor: Int32
    /// For messages.
    private let name: String
    private var block: [UInt8] = []
    private var offset = 0
    private var isAtEnd = false
    /// Bytes of the lines that were given out, and of the file.
    private(set) var bytesRead = 0
    let byteCount: Int

    convenience init(_ path: String) throws(Failure) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(path: path) }
        self.init(descriptor, name: path)
    }

    static func standardInput() -> LineReader { LineReader(STDIN_FILENO, name: "standard input") }

    /// Whether a line has nothing to read: JSON's blanks, and the carriage return of lines that end as on Windows.
    static func isBlank(_ line: some Sequence<UInt8>) -> Bool { line.allSatisfy(" \t\r".utf8.contains) }

    private init(_ descriptor: Int32, name: String) {
        self.descriptor = descriptor
        self.name = name
        var status = stat()
        byteCount = fstat(descriptor, &status) == 0 ? Int(status.st_size) : 0
    }

    deinit { if descriptor != STDIN_FILENO { close(descriptor) } }

    /// The next line; nil at the end, or where Ctrl-C (Interrupt) came before the whole line.
    func next() throws(Failure) -> [UInt8]? {
        var line: [UInt8] = []
        while true {
            if let end = block[offset...].firstIndex(of: UInt8(ascii: "\n")) {
                line += block[offset..<end]
                offset = end + 1
                bytesRead += line.count + 1
                return line
            }
            line += block[offset...]
            offset = 0
            guard try fill() else {
                if Interrupt.wasRequested { return nil }
                bytesRead += line.count
                return line.isEmpty ? nil : line
            }
        }
    }

    private func fill() throws(Failure) -> Bool {
        block = []
        guard !isAtEnd else { return false }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            // A pipe may have nothing for a long time. A signal ends this wait, but not one in read(2).
            var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            repeat {
                if Interrupt.wasRequested { return false }
            } while poll(&request, 1, -1) < 0 && errno == EINTR
            let count = read(descriptor, &bytes, bytes.count)
            if count > 0 {
                block = Array(bytes[..<count])
                return true
            }
            if count < 0 && errno == EINTR { continue }
            guard count == 0 else { throw Failure(path: name) }
            isAtEnd = true
            return false
        }
    }
}
