// KeyReader.swift - turns the bytes of a terminal into keys.
//
// A key is one character (its UTF-8 bytes collected), one control code, or one escape sequence.
// Pasted text arrives between two marks (bracketed paste) and is handed over whole, so that the
// line breaks in it do not send it off piece by piece.

import Glibc

enum Key: Equatable {
    case text(String)
    case paste(String)
    case enter, backspace, delete, tab, escape
    case left, right, up, down, home, end, wordLeft, wordRight
    case control(Character)
    case endOfInput
}

struct KeyReader {
    private var pending: [UInt8] = []

    /// The next key; waits for it.
    mutating func next() -> Key {
        while true {
            guard let byte = nextByte() else { return .endOfInput }
            switch byte {
            case 13, 10: return .enter
            case 8, 127: return .backspace
            case 9: return .tab
            case 27:
                if let key = escapeSequence() { return key }
            case 0..<32: return .control(Character(Unicode.Scalar(byte | 0x60)))
            default:
                if let text = character(from: byte) { return .text(text) }
            }
        }
    }

    /// Waits at most `milliseconds` for a byte; nil: as long as it takes. Nil back: no more bytes.
    private mutating func nextByte(within milliseconds: Int32? = nil) -> UInt8? {
        if pending.isEmpty {
            var request = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
            if let milliseconds, poll(&request, 1, milliseconds) <= 0 { return nil }
            var block = [UInt8](repeating: 0, count: 4096)
            var count = read(STDIN_FILENO, &block, block.count)
            while count < 0 && errno == EINTR { count = read(STDIN_FILENO, &block, block.count) }
            guard count > 0 else { return nil }
            pending = Array(block[..<count])
        }
        return pending.removeFirst()
    }

    /// Collects the bytes of one UTF-8 character; nil for bytes that are none.
    private mutating func character(from first: UInt8) -> String? {
        let length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        var bytes = [first]
        while bytes.count < length {
            guard let byte = nextByte() else { return nil }
            bytes.append(byte)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// What follows ESC. A lone Escape key sends nothing more, hence the short wait.
    private mutating func escapeSequence() -> Key? {
        guard let introducer = nextByte(within: 50) else { return .escape }
        switch introducer {
        case UInt8(ascii: "b"): return .wordLeft
        case UInt8(ascii: "f"): return .wordRight
        case UInt8(ascii: "["), UInt8(ascii: "O"): break
        default: return nil
        }
        var parameters = ""
        while let byte = nextByte(within: 50) {
            if (0x40...0x7E).contains(byte) { return key(parameters, Character(Unicode.Scalar(byte))) }
            parameters.unicodeScalars.append(Unicode.Scalar(byte))
        }
        return nil
    }

    private mutating func key(_ parameters: String, _ final: Character) -> Key? {
        // ";5" is Ctrl and ";3" is Alt held with an arrow.
        let jumps = parameters.hasSuffix(";5") || parameters.hasSuffix(";3")
        switch (final, parameters) {
        case ("A", _): return .up
        case ("B", _): return .down
        case ("C", _): return jumps ? .wordRight : .right
        case ("D", _): return jumps ? .wordLeft : .left
        case ("H", _), ("~", "1"), ("~", "7"): return .home
        case ("F", _), ("~", "4"), ("~", "8"): return .end
        case ("~", "3"): return .delete
        case ("~", "200"): return pastedText().map { .paste($0) }
        default: return nil
        }
    }

    /// Everything up to the mark that ends a paste; nil for bytes that are no text.
    private mutating func pastedText() -> String? {
        let mark = Array("\u{1B}[201~".utf8)
        var bytes: [UInt8] = []
        while !bytes.suffix(mark.count).elementsEqual(mark), let byte = nextByte() { bytes.append(byte) }
        if bytes.suffix(mark.count).elementsEqual(mark) { bytes.removeLast(mark.count) }
        // Terminals send a carriage return for each line break.
        return String(validating: bytes.map { $0 == 13 ? 10 : $0 }, as: UTF8.self)
    }
}
