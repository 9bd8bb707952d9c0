// UTF8Sequence.swift - one character of UTF-8, well formed or not.
//
// JSON, the tokenizer and the streaming decoder all need the same judgement on hostile bytes
// (The Unicode Standard 16.0, table 3-7), so it stands here once.

/// What stands at one position of a byte sequence that should be UTF-8.
package enum UTF8Sequence: Equatable {
    /// A well-formed character of this many bytes, 1 to 4.
    case character(length: Int)
    /// Bytes that no well-formed character starts with: the length of the maximal subpart, 1 to 3,
    /// which a decoder replaces with one U+FFFD.
    case malformed(length: Int)
    /// The bytes end inside what may still become a character; this many are there, 1 to 3.
    case truncated(length: Int)

    /// Judges the bytes from `offset`, which must be inside `bytes`.
    @inline(__always)
    init(in bytes: UnsafeRawBufferPointer, at offset: Int) {
        let lead = bytes[offset]
        if lead < 0x80 {
            self = .character(length: 1)
            return
        }
        // The second byte's range excludes overlong forms, surrogates and values past U+10FFFF.
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch lead {
        case 0xC2...0xDF: length = 2
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: length = 3
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: length = 4
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        default:
            self = .malformed(length: 1)
            return
        }
        var index = 1
        while index < length {
            guard offset + index < bytes.count else {
                self = .truncated(length: index)
                return
            }
            let allowed = index == 1 ? second : 0x80...0xBF
            guard allowed.contains(bytes[offset + index]) else {
                self = .malformed(length: index)
                return
            }
            index += 1
        }
        self = .character(length: length)
    }

    /// The offset of the first byte that is not part of a well-formed character, or nil.
    package static func firstInvalidOffset(in bytes: UnsafeRawBufferPointer) -> Int? {
        var offset = 0
        while offset < bytes.count {
            guard case .character(let length) = UTF8Sequence(in: bytes, at: offset) else { return offset }
            offset += length
        }
        return nil
    }
}
