// Conversation.swift - messages, and a session that has read them.
//
// The session only ever reads what is new. `transcript` is the whole conversation as token ids: what
// was rendered and what the model said, token by token, never re-encoded from text, because a text
// may have other tokens than those it was made of. A turn appends to it, and the session is fed the part
// beyond what it holds.

import Cabochon

struct Conversation {
    let model: Model
    /// Goes with the next user message, as Gemma has no system turns.
    var system: String? {
        didSet { systemIsPending = system != nil }
    }
    private(set) var messages: [ChatMessage] = []
    private let template = ChatTemplate()
    /// Has read all of the transcript, or nothing of it yet.
    private let session: Session
    /// Ends with the last answer, its turn still open.
    private var transcript: [Int32] = []
    private var systemIsPending: Bool

    init(model: Model, system: String?) throws(Failure) {
        self.model = model
        self.system = system
        systemIsPending = system != nil
        session = try orFail { () throws(CabochonError) in try model.makeSession() }
    }

    /// Forgets all messages. The system message stays, and goes with the next one.
    mutating func reset() throws(Failure) {
        try orFail { () throws(CabochonError) in try session.truncate(to: 0) }
        messages = []
        transcript = []
        systemIsPending = system != nil
    }

    /// Adds `text` as the user's message and the model's answer to it.
    ///
    /// Where that fails, or Ctrl-C comes before the first token, the conversation is as before.
    mutating func answer(
        to text: String, options: GenerationOptions, onText: (String) throws(Failure) -> Void
    ) throws(Failure) -> Answer {
        var turn: [ChatMessage] = []
        if systemIsPending, let system { turn.append(ChatMessage(role: .system, content: system)) }
        turn.append(ChatMessage(role: .user, content: text))
        let rendered = try render(turn)
        let prompt = Array(rendered.dropFirst(session.length))
        let held = session.length
        let answer: Answer
        do {
            answer = try Answer(after: prompt, in: session, options: options, onText: onText)
        } catch {
            // The library takes back a call that failed, but not one whose text could not be written.
            try orFail { () throws(CabochonError) in try session.truncate(to: min(held, session.length)) }
            throw error
        }
        guard let result = answer.result else { return answer }
        transcript = rendered + result.tokens
        messages += turn + [ChatMessage(role: .assistant, content: answer.text)]
        systemIsPending = false
        return answer
    }

    /// The transcript with `turn` after it, up to where the model is to speak.
    private func render(_ turn: [ChatMessage]) throws(Failure) -> [Int32] {
        try orFail { () throws(CabochonError) in
            transcript.isEmpty
                ? try template.encode(turn, with: model.tokenizer)
                : transcript + (try template.encodeContinuation(turn, turnIsClosed: false, with: model.tokenizer))
        }
    }

    /// Writes the messages as a JSON array of objects with role and content.
    func save(to path: String) throws(Failure) {
        let lines = messages.map { message in
            "  " + JSONValue.object(["role": .string(message.role.rawValue), "content": .string(message.content)]).text
        }
        let text = "[\n" + lines.joined(separator: ",\n") + "\n]\n"
        try TextFile.write(text, to: path)
    }

    /// Replaces the conversation by a saved one; its messages are read before the next answer.
    mutating func load(from path: String) throws(Failure) {
        let text = try TextFile.readDocument(path)
        let document = try orFail { () throws(CabochonError) in try JSON.parse(text, name: path) }
        guard let entries = document.array else { throw Failure("\(path): not an array of messages") }
        var loaded: [ChatMessage] = []
        for (index, entry) in entries.enumerated() {
            guard let role = entry["role"]?.string.flatMap({ ChatRole(name: $0) }),
                let content = entry["content"]?.string
            else { throw Failure("\(path): message \(index) needs a role (system, user or assistant) and content") }
            loaded.append(ChatMessage(role: role, content: content))
        }
        guard loaded.isEmpty || loaded.last?.role == .assistant else {
            throw Failure("\(path): a saved conversation ends with an answer (role assistant)")
        }
        let rendered = try orFail { () throws(CabochonError) in
            loaded.isEmpty ? [] : try template.encode(loaded, addGenerationPrompt: false, with: model.tokenizer)
        }
        try reset()
        messages = loaded
        // Messages never become control tokens: the last of these is the template's own.
        let end = model.tokenizer.vocabulary.id(of: "<end_of_turn>").flatMap { rendered.lastIndex(of: $0) }
        transcript = Array(rendered[..<(end ?? 0)])
        systemIsPending = system != nil && loaded.isEmpty
    }
}
