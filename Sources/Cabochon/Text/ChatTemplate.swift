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

    /// The text of a conversation, starting with `bos`.
    ///
    /// - Parameters:
    ///   - messages: at least one.
    ///   - addGenerationPrompt: whether the model's next turn is opened at the end.
    ///   - bos: the text of the bos piece.
    /// - Throws: `.invalidArgument` for no messages, or what the policy refuses, naming the message.
    public func render(
        _ messages: [ChatMessage], addGenerationPrompt: Bool = true, bos: String = "<bos>"
    ) throws(CabochonError) -> String {
        let parts = Self.parts(try turns(of: messages), addGenerationPrompt)
        return bos + parts.map(\.text).joined()
    }

    /// The tokens of a conversation, starting with bos.
    ///
    /// Only the template's own text becomes control tokens. Messages are text, whatever they spell;
    /// user-defined pieces, such as line feeds, are found in both.
    ///
    /// - Parameters:
    ///   - messages: at least one.
    ///   - addGenerationPrompt: whether the model's next turn is opened at the end.
    /// - Throws: `.invalidArgument` as ``render(_:addGenerationPrompt:bos:)``; `.unsupported` for a
    ///   vocabulary without the markers of a turn; what `encode` throws.
    public func encode(
        _ messages: [ChatMessage], addGenerationPrompt: Bool = true, with tokenizer: Tokenizer
    ) throws(CabochonError) -> [Int32] {
        let parts = Self.parts(try turns(of: messages), addGenerationPrompt)
        return [tokenizer.vocabulary.special.bos] + (try Self.encode(parts, with: tokenizer))
    }

    /// The tokens to append to a context that ends with the model's answer, to go on with `messages`
    /// and open the model's next turn.
    ///
    /// - Parameters:
    ///   - messages: what follows the answer, at least one.
    ///   - turnIsClosed: whether the answer's `<end_of_turn>` is in the context. The line feed after
    ///     it, which the model never writes, comes from here.
    /// - Throws: as ``encode(_:addGenerationPrompt:with:)``.
    public func encodeContinuation(
        _ messages: [ChatMessage], turnIsClosed: Bool, with tokenizer: Tokenizer
    ) throws(CabochonError) -> [Int32] {
        let closing = Part(text: turnIsClosed ? "\n" : "<end_of_turn>\n", isContent: false)
        return try Self.encode([closing] + Self.parts(try turns(of: messages), true), with: tokenizer)
    }

    /// The messages as turns that alternate, trimmed: what the policy makes of a conversation.
    ///
    /// - Throws: `.invalidArgument` for no messages, or what the policy refuses, naming the message.
    public func turns(of messages: [ChatMessage]) throws(CabochonError) -> [ChatMessage] {
        guard !messages.isEmpty else { throw CabochonError(.invalidArgument, "a conversation without messages") }
        switch policy {
        case .merge: return merged(messages)
        case .strict:
            for (position, message) in messages.enumerated() {
                let expected = position % 2 == 0 ? ChatRole.user : .assistant
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
            return messages.map { ChatMessage(role: $0.role, content: Self.trim($0.content)) }
        }
    }

    private func merged(_ messages: [ChatMessage]) -> [ChatMessage] {
        var turns: [ChatMessage] = []
        for message in messages {
            let role: ChatRole = message.role == .system ? .user : message.role
            let content = Self.trim(message.content)
            if let last = turns.last, last.role == role {
                let parts = [last.content, content].filter { !$0.isEmpty }
                turns[turns.count - 1].content = parts.joined(separator: "\n\n")
            } else {
                turns.append(ChatMessage(role: role, content: content))
            }
        }
        return turns
    }

    /// A stretch of text: the template's, or a message's.
    private struct Part {
        let text: String
        let isContent: Bool
    }

    private static func parts(_ turns: [ChatMessage], _ addGenerationPrompt: Bool) -> [Part] {
        var parts: [Part] = []
        for turn in turns {
            parts.append(Part(text: "<start_of_turn>\(turn.role.templateName)\n", isContent: false))
            parts.append(Part(text: turn.content, isContent: true))
            parts.append(Part(text: "<end_of_turn>\n", isContent: false))
        }
        if addGenerationPrompt { parts.append(Part(text: "<start_of_turn>model\n", isContent: false)) }
        return parts
    }

    private static func encode(_ parts: [Part], with tokenizer: Tokenizer) throws(CabochonError) -> [Int32] {
        let vocabulary = tokenizer.vocabulary
        for marker in ["<start_of_turn>", "<end_of_turn>"] {
            guard let id = vocabulary.id(of: marker), vocabulary.kind(of: id) == .control else {
                throw CabochonError(.unsupported, "\(vocabulary.name): no control piece \(marker), which chats need")
            }
        }
        var ids: [Int32] = []
        for part in parts {
            ids += try tokenizer.encode(part.text, addBOS: false, parseSpecial: !part.isContent)
        }
        return ids
    }

    /// Without the white space at both ends, as the template's `trim`, which is Python's `str.strip`.
    static func trim(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard let first = scalars.firstIndex(where: { !isWhitespace($0) }),
            let last = scalars.lastIndex(where: { !isWhitespace($0) })
        else { return "" }
        return String(scalars[first...last])
    }

    private static func isWhitespace(_ scalar: Unicode.Scalar) -> Bool {
        // Python counts the four information separators, Unicode's property does not.
        (0x1C...0x1F).contains(scalar.value) || scalar.properties.isWhitespace
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
