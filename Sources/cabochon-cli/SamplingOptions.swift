// SamplingOptions.swift - how the next token is chosen and when to stop; shared by generate and chat.

import ArgumentParser
import Cabochon

struct SamplingOptions: ParsableArguments {
    @Option(parsing: .unconditional, help: ArgumentHelp("The most tokens of one answer.", valueName: "count"))
    var maxTokens = 256

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("0 takes the likeliest token each time; 1 samples as trained.", valueName: "t"))
    var temperature: Float = 1

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Sample among the k likeliest tokens; 0: among all.", valueName: "k"))
    var topK = 0

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Sample among the likeliest that together have this probability.", valueName: "p"))
    var topP: Float = 1

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Leave out tokens less likely than this share of the likeliest.", valueName: "p"))
    var minP: Float = 0

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Above 1, makes the last 64 tokens, the prompt's too, less likely to come again.", valueName: "factor"))
    var repetitionPenalty: Float = 1

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Taken from the logit of every token that the answer has so far.", valueName: "amount"))
    var presencePenalty: Float = 0

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Taken from a token's logit for each time that the answer has it so far.", valueName: "amount"))
    var frequencyPenalty: Float = 0

    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "Added to the logit of one token; may be given several times. -inf bans it.", valueName: "id:bias"))
    var logitBias: [TokenBias] = []

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Same seed, same text. Without it one is drawn, and reported.", valueName: "number"))
    var seed: UInt64?

    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("Stop before this text; may be given several times.", valueName: "text"))
    var stop: [String] = []

    @Flag(help: "Go on past the tokens that end an answer.")
    var ignoreEos = false

    func validate() throws {
        func check(_ name: String, _ isLegal: Bool, _ range: String) throws {
            if !isLegal { throw ValidationError("--\(name) is \(range).") }
        }
        try check("max-tokens", maxTokens >= 1, "at least 1")
        try check("temperature", temperature >= 0 && temperature.isFinite, "0 or a positive number")
        try check("top-k", topK >= 0, "0 or a positive number")
        try check("top-p", topP > 0 && topP <= 1, "above 0 and at most 1")
        try check("min-p", minP >= 0 && minP <= 1, "at least 0 and at most 1")
        try check("repetition-penalty", repetitionPenalty > 0 && repetitionPenalty.isFinite, "a positive number")
        try check("presence-penalty", presencePenalty.isFinite, "a number")
        try check("frequency-penalty", frequencyPenalty.isFinite, "a number")
        try check("stop", !stop.contains(""), "not empty")
        try check("seed", seed ?? 0 <= UInt64(Int64.max), "at most \(Int64.max)")
    }

    var generationOptions: GenerationOptions {
        var options = GenerationOptions()
        options.maxTokens = maxTokens
        options.temperature = temperature
        options.topK = topK
        options.topP = topP
        options.minP = minP
        options.repetitionPenalty = repetitionPenalty
        options.presencePenalty = presencePenalty
        options.frequencyPenalty = frequencyPenalty
        options.logitBias = logitBias.map { ($0.token, $0.bias) }
        // Drawn here, to be short enough to type again, and an integer to every reader of JSON.
        options.seed = seed ?? UInt64.random(in: 0...UInt64(UInt32.max))
        options.stopStrings = stop
        options.ignoresEndOfSequence = ignoreEos
        return options
    }
}

/// `ID:BIAS` on the command line.
struct TokenBias: ExpressibleByArgument {
    let token: Int32
    let bias: Float

    init?(argument: String) {
        let parts = argument.split(separator: ":", maxSplits: 1)
        guard parts.count == 2, let token = Int32(parts[0]), token >= 0, let bias = Float(parts[1]), !bias.isNaN else {
            return nil
        }
        self.token = token
        self.bias = bias
    }
}

/// How many positions a conversation may hold, and in what numbers they are kept.
struct ContextOptions: ParsableArguments {
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Positions of the context. Without it: the model's own.", valueName: "tokens"))
    var context: Int?

    @Option(help: CacheType.help)
    var kvType = CacheType(.f16)

    func validate() throws {
        let lengths = GemmaConfiguration.contextLengths
        if let context, !lengths.contains(context) {
            throw ValidationError("--context is \(context); it is from \(lengths.lowerBound) to \(lengths.upperBound).")
        }
    }

    func apply(to options: inout Model.Options) {
        options.contextLength = context ?? 0
        options.kvType = kvType.type
    }
}

/// A KVType by its name. Not KVType itself, for ArgumentParser shows an enumeration's raw values, which are the library's.
struct CacheType: ExpressibleByArgument, CustomStringConvertible {
    static let help = ArgumentHelp(
        "Numbers of the KV cache: f16, f32, or q8_0, which is half of f16.", valueName: "type")
    static let allValueStrings = KVType.allCases.map { "\($0)" }

    let type: KVType

    init(_ type: KVType) { self.type = type }

    init?(argument: String) {
        guard let type = KVType.allCases.first(where: { "\($0)" == argument }) else { return nil }
        self.type = type
    }

    var description: String { "\(type)" }
}
