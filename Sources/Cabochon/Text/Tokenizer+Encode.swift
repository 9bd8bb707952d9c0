// Tokenizer+Encode.swift - text to ids.
//
// One walk over the text cuts out the pieces that are taken whole and hands what lies between to
// the merger, in stretches that no merge can cross.

extension Tokenizer {
    /// Hands the token ids of UTF-8 text to `body`, for which they live.
    ///
    /// - Parameters:
    ///   - text: UTF-8, at most 2^31 - 1 bytes; borrowed for the call.
    ///   - addBOS: whether the bos id goes first.
    ///   - parseSpecial: whether control pieces in the text, such as `<start_of_turn>`, become
    ///     their ids. Leave it false for what users wrote. User-defined pieces always count.
    ///   - body: gets the ids, as SentencePiece gives them.
    /// - Throws: `.invalidUTF8` with the offset of the first bad byte; `.invalidArgument` for more
    ///   than 2^31 - 1 bytes; `.outOfMemory`.
    public func withIDs<Result>(
        of text: UnsafeRawBufferPointer, addBOS: Bool, parseSpecial: Bool = false,
        _ body: (UnsafeBufferPointer<Int32>) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        var ids = CheckedArray<Int32>()
        if addBOS { try ids.append(vocabulary.special.bos, "token ids") }
        try append(idsOf: text, parseSpecial: parseSpecial, to: &ids)
        return try body(UnsafeBufferPointer(ids.elements))
    }

    /// Appends the token ids of UTF-8 text.
    ///
    /// - Throws: as `withIDs`, with `ids` as they were or longer.
    func append(
        idsOf text: UnsafeRawBufferPointer, parseSpecial: Bool, to ids: inout CheckedArray<Int32>
    ) throws(CabochonError) {
        guard text.count <= Int(Int32.max) else {
            throw CabochonError(.invalidArgument, "a text of \(text.count) bytes, more than \(Int32.max)")
        }
        if let offset = UTF8Sequence.firstInvalidOffset(in: text) {
            throw CabochonError(.invalidUTF8, "the text is not UTF-8 at byte \(offset) of \(text.count)")
        }
        if text.isEmpty { return }
        let unescaped = try Buffer<UInt8>(count: text.count, for: "a text")
        let bytes = UnsafeMutableRawBufferPointer(unescaped.elements)
        bytes.copyMemory(from: text)
        let length = SpaceEscape.unescape(bytes)
        try encode(unescaped: UnsafeRawBufferPointer(rebasing: bytes[..<length]), parseSpecial, into: &ids)
    }

    /// The token ids of UTF-8 text, as an array.
    ///
    /// - Throws: as `withIDs`.
    public func encode(
        _ text: UnsafeRawBufferPointer, addBOS: Bool, parseSpecial: Bool = false
    ) throws(CabochonError) -> [Int32] {
        try withIDs(of: text, addBOS: addBOS, parseSpecial: parseSpecial) { Array($0) }
    }

    /// The token ids of a string; see the form for bytes.
    ///
    /// - Throws: `.invalidArgument` for more than 2^31 - 1 bytes; `.outOfMemory`.
    public func encode(
        _ text: String, addBOS: Bool, parseSpecial: Bool = false
    ) throws(CabochonError) -> [Int32] {
        try text.withBytes { (text) throws(CabochonError) in
            try encode(text, addBOS: addBOS, parseSpecial: parseSpecial)
        }
    }

    /// Appends the ids of valid UTF-8 in which every "▁" is a space by now.
    private func encode(
        unescaped text: UnsafeRawBufferPointer, _ parseSpecial: Bool, into ids: inout CheckedArray<Int32>
    ) throws(CabochonError) {
        let matcher = parseSpecial ? vocabulary.userDefinedAndControl : vocabulary.userDefined
        var merger = PairMerger(vocabulary: vocabulary, text: text)
        var start = 0
        var offset = 0
        while offset < text.count {
            let byte = text[offset]
            if matcher.mayStart(byte), let match = matcher.longestMatch(in: text, at: offset) {
                try merger.appendIDs(of: start..<offset, to: &ids)
                try merger.append(match.id, to: &ids)
                offset += match.length
                start = offset
                continue
            }
            let isContinuation = byte & 0xC0 == 0x80
            if offset > start, !isContinuation, !vocabulary.adjacency.mayMerge(text[offset - 1], byte) {
                try merger.appendIDs(of: start..<offset, to: &ids)
                start = offset
            }
            offset += 1
        }
        try merger.appendIDs(of: start..<text.count, to: &ids)
    }
}
