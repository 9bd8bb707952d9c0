// ChatTemplate.swift - conversations as Gemma was trained to read them.
//
// The template of Gemma's chat models (chat_template in google/gemma-2-2b-it's
// tokenizer_config.json), byte for byte, without the template language it is written in: files that
// hold programs are a way into the host. Text of the template and text of the messages stay apart
// until they are tokens, so that a message cannot end its own turn.

/// What to do with conversations that Gemma's template refuses.
public enum ChatPolicy: Sendable {
    /// A system message counts as the user's, and neighbours of one role become one message, joined
    /// by a blank line; so a system message goes in front of the user's that follows it. Empty
    /// messages leave no blank line. The first message may be the assistant's.
    case merge
    /// Refuse them: system messages, and roles that do not alternate from user on.
    case strict
}

/// Renders conversations for Gemma's chat models.
public struct ChatTemplate: Sendable {
    public var policy: ChatPolicy

    public init(policy: ChatPolicy = .merge) { self.policy = policy }

    /// Hands the text of a conversation to `body`, for which it lives.
    ///
    /// - Parameters:
    ///   - messages: at least one.
    ///   - addGenerationPrompt: whether the model's next turn is opened at the end.
    ///   - bos: the text of the bos piece, with which it starts.
    /// - Throws: `.invalidArgument` for no messages, or what the policy refuses, naming the message; `.outOfMemory`;
    ///   what `body` throws.
    public func withText<Result>(
        of messages: some Collection<BorrowedChatMessage>, addGenerationPrompt: Bool, bos: String,
        _ body: (UnsafeRawBufferPointer) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        var text = CheckedArray<UInt8>()
        for byte in bos.utf8 { try text.append(byte, "a conversation") }
        try forEachPart(of: messages, addGenerationPrompt: addGenerationPrompt) { (part, _) throws(CabochonError) in
            try text.append(contentsOf: part, "a conversation")
        }
        return try body(UnsafeRawBufferPointer(text.elements))
    }

    /// Hands the tokens of a conversation, starting with bos, to `body`, for which they live.
    ///
    /// Only the template's own text becomes control tokens. Messages are text, whatever they spell;
    /// user-defined pieces, such as line feeds, are found in both.
    ///
    /// - Parameters:
    ///   - messages: at least one.
    ///   - addGenerationPrompt: whether the model's next turn is opened at the end.
    /// - Throws: as ``withText(of:addGenerationPrompt:bos:_:)``; `.unsupported` for a vocabulary without the markers
    ///   of a turn; what `encode` throws.
    public func withIDs<Result>(
        of messages: some Collection<BorrowedChatMessage>, addGenerationPrompt: Bool, with tokenizer: Tokenizer,
        _ body: (UnsafeBufferPointer<Int32>) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        var ids = CheckedArray<Int32>()
        try ids.append(tokenizer.vocabulary.special.bos, "token ids")
        try append(messages, addGenerationPrompt, with: tokenizer, to: &ids)
        return try body(UnsafeBufferPointer(ids.elements))
    }

    /// Hands the tokens to append to a context that ends with the model's answer, to go on with `messages`
    /// and open the model's next turn, to `body`, for which they live.
    ///
    /// - Parameters:
    ///   - messages: what follows the answer, at least one.
    ///   - turnIsClosed: whether the answer's `<end_of_turn>` is in the context. The line feed after
    ///     it, which the model never writes, comes from here.
    /// - Throws: as ``withIDs(of:addGenerationPrompt:with:_:)``.
    public func withContinuationIDs<Result>(
        of messages: some Collection<BorrowedChatMessage>, turnIsClosed: Bool, with tokenizer: Tokenizer,
        _ body: (UnsafeBufferPointer<Int32>) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        var ids = CheckedArray<Int32>()
        let closing = bytes(turnIsClosed ? "\n" : "<end_of_turn>\n")
        try tokenizer.append(idsOf: closing, parseSpecial: true, to: &ids)
        try append(messages, true, with: tokenizer, to: &ids)
        return try body(UnsafeBufferPointer(ids.elements))
    }

    private func append(
        _ messages: some Collection<BorrowedChatMessage>, _ addGenerationPrompt: Bool, with tokenizer: Tokenizer,
        to ids: inout CheckedArray<Int32>
    ) throws(CabochonError) {
        let vocabulary = tokenizer.vocabulary
        for marker in ["<start_of_turn>", "<end_of_turn>"] {
            guard let id = vocabulary.id(of: marker), vocabulary.kind(of: id) == .control else {
                throw CabochonError(.unsupported, "\(vocabulary.name): no control piece \(marker), which chats need")
            }
        }
        try forEachPart(of: messages, addGenerationPrompt: addGenerationPrompt) {
            (part, isContent) throws(CabochonError) in
            try tokenizer.append(idsOf: part, parseSpecial: !isContent, to: &ids)
        }
    }
}

/// The same of strings.
extension ChatTemplate {
    /// The text of a conversation; see ``withText(of:addGenerationPrompt:bos:_:)``.
    public func render(
        _ messages: [ChatMessage], addGenerationPrompt: Bool = true, bos: String = "<bos>"
    ) throws(CabochonError) -> String {
        try borrow(messages) { (messages) throws(CabochonError) in
            try withText(of: messages, addGenerationPrompt: addGenerationPrompt, bos: bos) {
                String(decoding: $0, as: UTF8.self)
            }
        }
    }

    /// The tokens of a conversation; see ``withIDs(of:addGenerationPrompt:with:_:)``.
    public func encode(
        _ messages: [ChatMessage], addGenerationPrompt: Bool = true, with tokenizer: Tokenizer
    ) throws(CabochonError) -> [Int32] {
        try borrow(messages) { (messages) throws(CabochonError) in
            try withIDs(of: messages, addGenerationPrompt: addGenerationPrompt, with: tokenizer) { Array($0) }
        }
    }

    /// The tokens to go on with; see ``withContinuationIDs(of:turnIsClosed:with:_:)``.
    public func encodeContinuation(
        _ messages: [ChatMessage], turnIsClosed: Bool, with tokenizer: Tokenizer
    ) throws(CabochonError) -> [Int32] {
        try borrow(messages) { (messages) throws(CabochonError) in
            try withContinuationIDs(of: messages, turnIsClosed: turnIsClosed, with: tokenizer) { Array($0) }
        }
    }

    /// The turns that the policy makes of a conversation; see ``forEachTurn(of:_:)``.
    public func turns(of messages: [ChatMessage]) throws(CabochonError) -> [ChatMessage] {
        var turns: [ChatMessage] = []
        try borrow(messages) { (messages) throws(CabochonError) in
            try forEachTurn(of: messages) { (turn) throws(CabochonError) in
                turns.append(ChatMessage(role: turn.role, content: String(decoding: turn.content, as: UTF8.self)))
            }
        }
        return turns
    }

    private func borrow<Result>(
        _ messages: [ChatMessage], _ body: ([BorrowedChatMessage]) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        let text = messages.reduce(into: ContiguousArray<UInt8>()) { $0 += $1.content.utf8 }
        return try text.withUnsafeBufferPointer { (text) throws(CabochonError) in
            var end = 0
            let borrowed = messages.map { message in
                let start = end
                end += message.content.utf8.count
                return BorrowedChatMessage(
                    role: message.role,
                    content: UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: text[start..<end])))
            }
            return try body(borrowed)
        }
    }
}

extension Vocabulary {
    /// The ids after which a model has finished: eos, and the end of a turn if it is a control piece.
    public var endIDs: [Int32] {
        guard let id = id(of: "<end_of_turn>"), kind(of: id) == .control, id != special.eos else {
            return [special.eos]
        }
        return [special.eos, id]
    }
}
