// TemplateEncoder.swift - a filled-in template to ids, as if it were one text.
//
// Template and content must stay apart, so that content cannot spell a control token, and must be
// merged together, so that "Question: " and "hello" become "▁hello" and not "▁", "hello". So only
// control pieces in the template's own text cut the whole; what lies between two of them is encoded
// as one text, in which control pieces count for nothing. Content may be as long as memory allows.

struct TemplateEncoder: ~Copyable {
    private let tokenizer: Tokenizer
    /// What has come since the last control piece.
    private var run = CheckedArray<UInt8>()
    /// bos, and what the template spells.
    private var ids = CheckedArray<Int32>()

    init(_ tokenizer: Tokenizer) throws(CabochonError) {
        self.tokenizer = tokenizer
        try ids.append(vocabulary.special.bos, "token ids")
    }

    private var vocabulary: Vocabulary { tokenizer.vocabulary }

    /// Goes on with a stretch of the filled-in template: its own text, or what was filled in.
    ///
    /// - Parameter text: UTF-8.
    /// - Throws: as `Tokenizer.append(idsOf:parseSpecial:to:)`; `.unsupported` where the template spells
    ///   `<start_of_turn>` or `<end_of_turn>` and the vocabulary has no such control piece.
    mutating func append(_ text: UnsafeRawBufferPointer, isContent: Bool) throws(CabochonError) {
        guard !isContent else { return try run.append(contentsOf: text, "a filled-in template") }
        try checkTurnPieces(in: text)
        var offset = 0
        while offset < text.count {
            if let match = controlPiece(in: text, at: offset) {
                try flush()
                try ids.append(match.id, "token ids")
                offset += match.length
            } else {
                try run.append(text[offset], "a filled-in template")
                offset += 1
            }
        }
    }

    /// Hands the ids, bos first, to `body`, for which they live.
    mutating func withIDs<Result>(
        _ body: (UnsafeBufferPointer<Int32>) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        try flush()
        let all = UnsafeBufferPointer(ids.elements)
        // A template may begin with bos itself.
        let isTwice = all.count > 1 && all[1] == vocabulary.special.bos
        return try body(isTwice ? UnsafeBufferPointer(rebasing: all.dropFirst()) : all)
    }

    private mutating func flush() throws(CabochonError) {
        try tokenizer.append(idsOf: UnsafeRawBufferPointer(run.elements), parseSpecial: false, to: &ids)
        run.removeLast(run.count)
    }

    private func controlPiece(in text: UnsafeRawBufferPointer, at offset: Int) -> (id: Int32, length: Int)? {
        let matcher = vocabulary.userDefinedAndControl
        guard matcher.mayStart(text[offset]), let match = matcher.longestMatch(in: text, at: offset),
            vocabulary.index.kind(match.id) == .control
        else { return nil }
        return match
    }

    /// Where a vocabulary has a turn's marker as ordinary text, users could write it too.
    private func checkTurnPieces(in text: UnsafeRawBufferPointer) throws(CabochonError) {
        for marker in ["<start_of_turn>", "<end_of_turn>"]
        where text.indices.contains(where: { text[$0...].starts(with: marker.utf8) }) {
            guard let id = vocabulary.id(of: marker), vocabulary.kind(of: id) == .control else {
                throw CabochonError(
                    .unsupported, "\(vocabulary.name): no control piece \(marker), which the template has")
            }
        }
    }
}
