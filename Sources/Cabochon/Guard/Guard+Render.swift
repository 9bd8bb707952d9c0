// Guard+Render.swift - content to tokens, and what to do with content that does not fit.

/// Content with one policy, as the model reads it.
struct GuardRendering {
    let tokens: [Int32]
    let isShortened: Bool
}

extension Guard {
    /// The tokens of a prompt or response, which fit the context.
    ///
    /// - Throws: `.contextExceeded` with both numbers where they do not.
    func fitted(_ content: some GuardContent, _ policy: Policy) throws(CabochonError) -> GuardRendering {
        try content.withText { (prompt, response) throws(CabochonError) in try fitted(prompt, response, policy) }
    }

    private func fitted(
        _ prompt: UnsafeRawBufferPointer, _ response: UnsafeRawBufferPointer?, _ policy: Policy
    ) throws(CabochonError) -> GuardRendering {
        let limit = model.contextLength
        let whole = try tokens(prompt, response, policy, atMost: limit)
        if let tokens = whole.tokens { return GuardRendering(tokens: tokens, isShortened: false) }
        let content = response == nil ? "the prompt" : "the prompt and its response"
        guard options.shortensContent else {
            throw CabochonError(
                .contextExceeded,
                "\(whole.count) tokens of policy \"\(policy.name)\" and \(content) do not fit the context of \(limit)")
        }
        /// The tokens with so many characters of each text, if they fit.
        func shortened(to characters: Int) throws(CabochonError) -> (tokens: [Int32]?, count: Int) {
            try ShortenedText.withBytes(of: prompt, characters) { (prompt) throws(CabochonError) in
                guard let response else { return try tokens(prompt, nil, policy, atMost: limit) }
                return try ShortenedText.withBytes(of: response, characters) { (response) throws(CabochonError) in
                    try tokens(prompt, response, policy, atMost: limit)
                }
            }
        }
        let nothing = try shortened(to: 0)
        guard var best = nothing.tokens else {
            throw CabochonError(
                .contextExceeded,
                "\(nothing.count) tokens of policy \"\(policy.name)\" without any content do not fit the context of "
                    + "\(limit)")
        }
        // The most characters that fit; how many tokens they make, only trying tells.
        var fits = 0
        var tooLong = max(ShortenedText.characters(in: prompt), response.map(ShortenedText.characters(in:)) ?? 0)
        while fits + 1 < tooLong {
            let middle = (fits + tooLong) / 2
            if let tokens = try shortened(to: middle).tokens {
                fits = middle
                best = tokens
            } else {
                tooLong = middle
            }
        }
        return GuardRendering(tokens: best, isShortened: true)
    }

    /// How many tokens the filled-in template has, and if they are at most `limit`, those.
    private func tokens(
        _ prompt: UnsafeRawBufferPointer, _ response: UnsafeRawBufferPointer?, _ policy: Policy, atMost limit: Int
    ) throws(CabochonError) -> (tokens: [Int32]?, count: Int) {
        var encoder = try TemplateEncoder(model.tokenizer)
        try options.template.forEachPart(prompt: prompt, response: response, policy: policy) {
            (text, isContent) throws(CabochonError) in
            try encoder.append(text, isContent: isContent)
        }
        return try encoder.withIDs { ($0.count <= limit ? Array($0) : nil, $0.count) }
    }

    /// The text that the tokens stand for, as a template would print it; to be read, not to be encoded.
    public func renderText(
        prompt: String, response: String? = nil, policy: Policy
    ) throws(CabochonError) -> String {
        var text: [UInt8] = []
        try GuardRow(prompt: prompt, response: response).withText { (prompt, response) throws(CabochonError) in
            try options.template.forEachPart(prompt: prompt, response: response, policy: policy) { part, _ in
                text += part
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

/// A text without its middle: the first and the last half of so many characters.
private enum ShortenedText {
    static func characters(in text: UnsafeRawBufferPointer) -> Int { text.count(where: isFirstByte) }

    /// Hands over a text with at most `limit` of its characters.
    static func withBytes<Result>(
        of text: UnsafeRawBufferPointer, _ limit: Int,
        _ body: (UnsafeRawBufferPointer) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        let count = characters(in: text)
        guard count > limit else { return try body(text) }
        var shortened = CheckedArray<UInt8>()
        try shortened.append(contentsOf: part(of: text, 0..<(limit + 1) / 2), "a shortened text")
        try shortened.append(contentsOf: bytes(" … "), "a shortened text")
        try shortened.append(contentsOf: part(of: text, count - limit / 2..<count), "a shortened text")
        return try body(UnsafeRawBufferPointer(shortened.elements))
    }

    private static func part(of text: UnsafeRawBufferPointer, _ characters: Range<Int>) -> UnsafeRawBufferPointer {
        var seen = 0
        var start = text.count
        var end = text.count
        for (offset, byte) in text.enumerated() where isFirstByte(byte) {
            if seen == characters.lowerBound { start = offset }
            if seen == characters.upperBound {
                end = offset
                break
            }
            seen += 1
        }
        return UnsafeRawBufferPointer(rebasing: text[min(start, end)..<end])
    }

    private static func isFirstByte(_ byte: UInt8) -> Bool { byte & 0xC0 != 0x80 }
}
