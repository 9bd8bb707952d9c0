// ChatMessage.swift - one message of a conversation.

/// Who wrote a message.
public enum ChatRole: String, Sendable {
    case system
    case user
    /// The model.
    case assistant

    /// The role called `name`; "model", as Gemma's template writes it, is the assistant.
    public init?(name: String) {
        switch name {
        case "system": self = .system
        case "user": self = .user
        case "assistant", "model": self = .assistant
        default: return nil
        }
    }
}

/// A message whose text is the caller's: valid UTF-8, borrowed.
public struct BorrowedChatMessage {
    public var role: ChatRole
    public var content: UnsafeRawBufferPointer

    public init(role: ChatRole, content: UnsafeRawBufferPointer) {
        self.role = role
        self.content = content
    }
}

/// One message of a conversation.
public struct ChatMessage: Sendable, Equatable {
    public var role: ChatRole
    public var content: String

    public init(role: ChatRole, content: String) {
        self.role = role
        self.content = content
    }
}
