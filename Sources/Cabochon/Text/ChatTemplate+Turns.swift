// ChatTemplate+Turns.swift - a conversation as stretches of text, in bytes that the caller holds.
//
// Messages may be as long as memory allows. So they are not copied into strings, which end the process where memory is
// refused: a message stands where it is, and only messages that become one turn are joined, in memory that may fail.

extension ChatTemplate {
    /// Hands over the turns that the policy makes of a conversation: they alternate, and are trimmed.
    ///
    /// - Parameter body: gets one turn after the other; its content lives for the call.
    /// - Throws: `.invalidArgument` for no messages, or what the policy refuses, naming the message, in both cases
    ///   before the first turn; `.outOfMemory`; what `body` throws.
    public func forEachTurn(
        of messages: some Collection<BorrowedChatMessage>,
        _ body: (BorrowedChatMessage) throws(CabochonError) -> Void
    ) throws(CabochonError) {
        guard !messages.isEmpty else { throw CabochonError(.invalidArgument, "a conversation without messages") }
        if policy == .strict { try checkAlternation(of: messages) }
        var index = messages.startIndex
        while index != messages.endIndex {
            let first = messages[index]
            let role = Self.turnRole(first.role)
            index = messages.index(after: index)
            guard index != messages.endIndex, Self.turnRole(messages[index].role) == role else {
                try body(BorrowedChatMessage(role: role, content: Self.trimmed(first.content)))
                continue
            }
            var joined = CheckedArray<UInt8>()
            try joined.append(contentsOf: Self.trimmed(first.content), "a turn")
            while index != messages.endIndex, Self.turnRole(messages[index].role) == role {
                let content = Self.trimmed(messages[index].content)
                if joined.count > 0, !content.isEmpty { try joined.append(contentsOf: bytes("\n\n"), "a turn") }
                try joined.append(contentsOf: content, "a turn")
                index = messages.index(after: index)
            }
            try body(BorrowedChatMessage(role: role, content: UnsafeRawBufferPointer(joined.elements)))
        }
    }

    /// Hands over a conversation's text: the template's own, and what messages say.
    func forEachPart(
        of messages: some Collection<BorrowedChatMessage>, addGenerationPrompt: Bool,
        _ body: (_ text: UnsafeRawBufferPointer, _ isContent: Bool) throws(CabochonError) -> Void
    ) throws(CabochonError) {
        try forEachTurn(of: messages) { (turn) throws(CabochonError) in
            try body(turn.role == .assistant ? Self.modelTurn : bytes("<start_of_turn>user\n"), false)
            try body(turn.content, true)
            try body(bytes("<end_of_turn>\n"), false)
        }
        if addGenerationPrompt { try body(Self.modelTurn, false) }
    }

    private static var modelTurn: UnsafeRawBufferPointer { bytes("<start_of_turn>model\n") }

    /// A system message counts as the user's, where it is not refused.
    private static func turnRole(_ role: ChatRole) -> ChatRole { role == .system ? .user : role }

    private func checkAlternation(of messages: some Collection<BorrowedChatMessage>) throws(CabochonError) {
        for (position, message) in messages.enumerated() {
            let expected = position.isMultiple(of: 2) ? ChatRole.user : .assistant
            guard message.role != .system else {
                throw CabochonError(
                    .invalidArgument, "message \(position) is the system's, which Gemma's template does not know")
            }
            guard message.role == expected else {
                throw CabochonError(
                    .invalidArgument,
                    "message \(position) is the \(message.role)'s, not the \(expected)'s: roles must alternate")
            }
        }
    }

    /// Without the white space at both ends, as the template's `trim`, which is Python's `str.strip`.
    private static func trimmed(_ text: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var start = 0
        while start < text.count, case .character(let length) = UTF8Sequence(in: text, at: start),
            isWhitespace(scalar(text, start..<start + length))
        {
            start += length
        }
        var end = text.count
        while end > start {
            var first = end - 1
            while first > start, text[first] & 0xC0 == 0x80 { first -= 1 }
            guard isWhitespace(scalar(text, first..<end)) else { break }
            end = first
        }
        return UnsafeRawBufferPointer(rebasing: text[start..<end])
    }

    /// The value of one well-formed character.
    private static func scalar(_ text: UnsafeRawBufferPointer, _ range: Range<Int>) -> Unicode.Scalar? {
        let lead = UInt32(text[range.lowerBound])
        var value = range.count == 1 ? lead : lead & (0x7F &>> UInt32(range.count))
        for index in range.dropFirst() { value = value &<< 6 | UInt32(text[index] & 0x3F) }
        return Unicode.Scalar(value)
    }

    private static func isWhitespace(_ scalar: Unicode.Scalar?) -> Bool {
        // Python counts the four information separators, Unicode's property does not.
        guard let scalar else { return false }
        return (0x1C...0x1F).contains(scalar.value) || scalar.properties.isWhitespace
    }
}
