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
        String(decoding: try decode(ids, control: control), as: UTF8.self)
    }

    /// Hands the text of a sequence of ids to `body`, for which it lives: `decodeText` for callers' amounts, whose
    /// memory may be refused.
    ///
    /// - Throws: `.invalidArgument` naming an id that the vocabulary does not have; `.outOfMemory`.
    public func withText<Result>(
        of ids: UnsafeBufferPointer<Int32>, _ body: (UnsafeRawBufferPointer) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        var bytes = CheckedArray<UInt8>()
        var piece: [UInt8] = []
        for id in ids {
            piece.removeAll(keepingCapacity: true)
            try append(id, to: &piece)
            try Self.append(piece[...], to: &bytes)
        }
        let whole = UnsafeRawBufferPointer(bytes.elements)
        guard var bad = UTF8Sequence.firstInvalidOffset(in: whole) else { return try body(whole) }
        var text = CheckedArray<UInt8>()
        var start = 0
        while true {
            try text.append(contentsOf: UnsafeRawBufferPointer(rebasing: whole[start..<bad]), "a text")
            // A sequence has at most three continuation bytes: what a fourth belongs to begins with it.
            var end = bad + 1
            while end < min(bad + 4, whole.count), whole[end] & 0xC0 == 0x80 { end += 1 }
            try Self.append(Array(String(decoding: whole[bad..<end], as: UTF8.self).utf8)[...], to: &text)
            start = end
            let rest = UnsafeRawBufferPointer(rebasing: whole[start...])
            guard let next = UTF8Sequence.firstInvalidOffset(in: rest) else {
                try text.append(contentsOf: rest, "a text")
                return try body(UnsafeRawBufferPointer(text.elements))
            }
            bad = start + next
        }
    }

    private static func append(_ piece: ArraySlice<UInt8>, to bytes: inout CheckedArray<UInt8>) throws(CabochonError) {
        for byte in piece { try bytes.append(byte, "a text") }
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
