// Tokenizer+Decode.swift - ids to text.
//
// Without a dummy prefix each id's bytes are the same wherever it stands, so whole texts and
// streams decode alike, one id at a time.

/// What control pieces become in text.
public enum ControlText: Sendable {
    /// As SentencePiece has it: bos, eos and padding vanish, all others appear as written.
    case written
    /// All vanish.
    case omitted
}

extension Tokenizer {
    /// The bytes of a sequence of ids.
    ///
    /// Byte pieces give their byte, so the result of arbitrary ids need not be UTF-8; the unknown
    /// piece gives " ⁇ ".
    ///
    /// - Throws: `.invalidArgument` naming an id that the vocabulary does not have.
    public func decode(
        _ ids: some Sequence<Int32>, control: ControlText = .written
    ) throws(CabochonError) -> [UInt8] {
        var bytes: [UInt8] = []
        for id in ids { try append(id, control: control, to: &bytes) }
        return bytes
    }

    /// The text of a sequence of ids, U+FFFD for bytes that make no character.
    ///
    /// - Throws: `.invalidArgument` naming an id that the vocabulary does not have.
    public func decodeText(
        _ ids: some Sequence<Int32>, control: ControlText = .written
    ) throws(CabochonError) -> String {
        try Array(ids).withUnsafeBufferPointer { (ids) throws(CabochonError) in
            try withText(of: ids, control: control) { String(decoding: $0, as: UTF8.self) }
        }
    }

    /// Hands the text of a sequence of ids, U+FFFD for bytes that make no character, to `body`, for which it lives.
    /// The memory for it may be refused, however long it is.
    ///
    /// - Throws: `.invalidArgument` naming an id that the vocabulary does not have; `.outOfMemory`; what `body` throws.
    public func withText<Result>(
        of ids: UnsafeBufferPointer<Int32>, control: ControlText = .written,
        _ body: (UnsafeRawBufferPointer) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        var bytes = CheckedArray<UInt8>()
        var piece: [UInt8] = []
        for id in ids {
            piece.removeAll(keepingCapacity: true)
            try append(id, control: control, to: &piece)
            for byte in piece { try bytes.append(byte, "a text") }
        }
        let given = UnsafeRawBufferPointer(bytes.elements)
        if UTF8Sequence.firstInvalidOffset(in: given) == nil { return try body(given) }
        var text = CheckedArray<UInt8>()
        var offset = 0
        while offset < given.count {
            switch UTF8Sequence(in: given, at: offset) {
            case .character(let length):
                for byte in given[offset..<offset + length] { try text.append(byte, "a text") }
                offset += length
            case .malformed(let length), .truncated(let length):
                for byte in "\u{FFFD}".utf8 { try text.append(byte, "a text") }
                offset += length
            }
        }
        return try body(UnsafeRawBufferPointer(text.elements))
    }

    /// Appends the bytes of one id, the form for streams; see ``UTF8Stream``.
    ///
    /// - Throws: `.invalidArgument` if the vocabulary does not have `id`.
    public func append(
        _ id: Int32, control: ControlText = .written, to bytes: inout [UInt8]
    ) throws(CabochonError) {
        guard vocabulary.contains(id) else {
            throw CabochonError(
                .invalidArgument, "the token id \(id) is not one of the vocabulary's \(vocabulary.count)")
        }
        let piece = vocabulary.index.bytes(id)
        let special = vocabulary.special
        if id == special.unknown {
            bytes.append(contentsOf: " \u{2047} ".utf8)
            return
        }
        switch vocabulary.index.kind(id) {
        case .byte:
            if let byte = Vocabulary.byteValue(piece) { bytes.append(byte) }
        case .control:
            let isSilent = control == .omitted || id == special.bos || id == special.eos || id == special.padding
            if !isSilent { bytes.append(contentsOf: piece) }
        case .unknown:
            bytes.append(contentsOf: " \u{2047} ".utf8)
        case .normal, .userDefined, .unused:
            bytes.append(contentsOf: piece)
        }
    }
}
