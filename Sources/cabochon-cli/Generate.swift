// Generate.swift - `cabochon generate`: one prompt in, one text out.

import ArgumentParser
import Cabochon
import Glibc

struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Continue a prompt, or answer it with --chat.",
        discussion: """
            Example: cabochon generate --model gemma.gguf --prompt 'Once upon a time'
            Example: cabochon generate --model gemma.gguf --prompt 'Once upon a time' \\
                --watch gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82:12,400

            The prompt comes from --prompt, from --prompt-file, or else from standard input; of the last two a \
            final line break is left out. The text streams to standard output, timings go to standard error. \
            With --json one object comes at the end: text, tokens, finish_reason (eos, stop, length, context \
            or cancelled), logprobs if asked for, features with --watch (of each dictionary sae, site, and results in \
            the shape of `cabochon encode`), seed, model, backend, threads, timings. Ctrl-C stops; what \
            there is by then stands, and the exit status is 1.
            """)

    @OptionGroup var model: ModelOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var sampling: SamplingOptions
    @OptionGroup var context: ContextOptions
    @OptionGroup var dictionaries: InterventionOptions

    @Option(
        name: .shortAndLong, parsing: .unconditional, help: ArgumentHelp("The prompt.", valueName: "text"))
    var prompt: String?

    @Option(help: ArgumentHelp("A UTF-8 file that holds the prompt.", valueName: "path"))
    var promptFile: String?

    @Flag(help: "The prompt is a user's turn of a chat, and the text the model's answer.")
    var chat = false

    @Option(
        parsing: .unconditional, help: ArgumentHelp("A system message before the turn; with --chat.", valueName: "text")
    )
    var system: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Give each token's log-probability and this many of the likeliest, at most 20; with --json.",
            valueName: "count"))
    var logprobs: Int?

    func validate() throws {
        if prompt != nil && promptFile != nil { throw ValidationError("Give --prompt or --prompt-file, not both.") }
        if system != nil && !chat { throw ValidationError("--system needs --chat.") }
        if let logprobs, !(0...20).contains(logprobs) { throw ValidationError("--logprobs is from 0 to 20.") }
        if logprobs != nil && !common.json { throw ValidationError("--logprobs needs --json.") }
    }

    func run() throws {
        let prompt = try TextArgument(text: prompt, file: promptFile).read()
        let model = try model.load(common) { context.apply(to: &$0) }
        let tokens = try orFail { () throws(CabochonError) in try encode(prompt, for: model) }
        let session = try orFail { () throws(CabochonError) in try model.makeSession() }
        var options = sampling.generationOptions
        options.logprobCount = logprobs
        options.interventions = try dictionaries.interventions(for: model)
        let answer = try Answer(after: tokens, in: session, options: options) { (text) throws(Failure) in
            if !common.json { try Terminal.print(text) }
        }
        if common.json {
            try Terminal.print(answer.json(model: model, including: ["text": .string(answer.text)]).text + "\n")
        } else if !answer.text.hasSuffix("\n") {
            try Terminal.print("\n")
        }
        if !common.json { try Terminal.print(answer.featureTables) }
        Terminal.note(answer.summary(model: model))
        if answer.end == .cancelled { throw ExitCode.failure }
    }

    private func encode(_ prompt: String, for model: Model) throws(CabochonError) -> [Int32] {
        guard chat else { return try model.tokenizer.encode(prompt, addBOS: true) }
        var messages = [ChatMessage(role: .user, content: prompt)]
        if let system { messages.insert(ChatMessage(role: .system, content: system), at: 0) }
        return try ChatTemplate().encode(messages, with: model.tokenizer)
    }
}
