// Chat.swift - `cabochon chat`: a conversation at the terminal, or line by line from a pipe.

import ArgumentParser
import Cabochon
import Glibc

struct ChatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Talk with a model.",
        discussion: """
            Example: cabochon chat --model gemma.gguf --system 'Answer in one sentence.'

            \(ChatCommandLine.summary)

            Lines are kept in cabochon/history of the user's state folder (XDG_STATE_HOME, else ~/.local/state). \
            Where standard input is no terminal, each line is one turn. Ctrl-C in an answer then ends it all, with status 1. With --json each answer is one object on \
            a line: role, content, tokens, finish_reason, features with --watch (positions count from the turn's first \
            token), seed, model, backend, threads, timings.
            """)

    @OptionGroup var model: ModelOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var sampling: SamplingOptions
    @OptionGroup var context: ContextOptions
    @OptionGroup var dictionaries: InterventionOptions

    @Option(
        parsing: .unconditional, help: ArgumentHelp("A system message for the first turn.", valueName: "text"))
    var system: String?

    func run() throws {
        let model = try model.load(common) { context.apply(to: &$0) }
        var options = sampling.generationOptions
        options.interventions = try dictionaries.interventions(for: model)
        var conversation = try Conversation(model: model, system: system)
        var lines = ChatLines()
        if lines.isInteractive {
            Terminal.note("\(model.path) on \(model.backend). /help lists the commands, Ctrl-D leaves.")
        }
        while true {
            switch try lines.next() {
            case .endOfInput: return
            case .interrupted: Terminal.note("Ctrl-D or /quit leaves; /help lists the commands.")
            case .line(let line):
                guard let command = ChatCommandLine(line) else { continue }
                if case .quit = command { return }
                do {
                    try obey(command, &conversation, options)
                    // At a terminal Ctrl-C is about the answer; in a pipe it is about all that is to come, also where
                    // it came too late for the answer.
                    if Interrupt.wasRequested && !lines.isInteractive { throw ExitCode.failure }
                } catch let failure as Failure where lines.isInteractive {
                    // The conversation stands as before the line; a person can go on from there.
                    Terminal.note("cabochon: \(failure.message)")
                }
            }
        }
    }

    private func obey(
        _ command: ChatCommandLine, _ conversation: inout Conversation, _ options: GenerationOptions
    ) throws(Failure) {
        switch command {
        case .message(let text): try answer(text, &conversation, options)
        case .reset:
            try conversation.reset()
            Terminal.note("The conversation is empty.")
        case .system(let text?):
            conversation.system = text
            Terminal.note("The system message goes with your next message.")
        case .system(nil): Terminal.note(conversation.system ?? "There is no system message.")
        case .save(let path):
            try conversation.save(to: path)
            Terminal.note("Saved \(conversation.messages.count) messages to \(path).")
        case .load(let path):
            try conversation.load(from: path)
            Terminal.note("Loaded \(conversation.messages.count) messages from \(path).")
        case .help: Terminal.note(ChatCommandLine.summary)
        case .mistaken(let words): throw Failure(words)
        case .quit: break
        }
    }

    private func answer(
        _ text: String, _ conversation: inout Conversation, _ options: GenerationOptions
    ) throws(Failure) {
        let streams = !common.json
        let answer = try conversation.answer(to: text, options: options) { (piece) throws(Failure) in
            if streams { try Terminal.print(piece) }
        }
        if common.json {
            let message: KeyValuePairs<String, JSONValue> = [
                "role": .string("assistant"), "content": .string(answer.text),
            ]
            try Terminal.print(answer.json(model: conversation.model, including: message).text + "\n")
        } else if !answer.text.hasSuffix("\n") {
            try Terminal.print("\n")
        }
        if streams { try Terminal.print(answer.featureTables) }
        if answer.end == .cancelled && answer.result == nil {
            Terminal.note("Stopped before the first word; your message is not part of the conversation.")
        }
        Terminal.note(answer.summary(model: conversation.model))
    }
}
