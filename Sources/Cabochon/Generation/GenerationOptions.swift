// GenerationOptions.swift - what a caller may ask of an answer.

public struct GenerationOptions: Sendable {
    /// The most tokens of the answer.
    public var maxTokens = 256
    /// Divides the logits before softmax; 0 takes the most probable token each time.
    public var temperature: Float = 1
    /// Keeps the k most probable tokens; 0 keeps all.
    public var topK = 0
    /// Keeps the fewest most probable tokens that together have this probability (Holtzman et al.
    /// 2019); 1 keeps all.
    public var topP: Float = 1
    /// Keeps tokens at least this share as probable as the most probable one; 0 keeps all.
    public var minP: Float = 0
    /// Divides positive and multiplies negative logits of tokens that have occurred (Keskar et al.
    /// 2019); 1 for none.
    public var repetitionPenalty: Float = 1
    /// Taken from the logit of each token that has occurred in the answer.
    public var presencePenalty: Float = 0
    /// Taken from a token's logit once for each time it has occurred in the answer.
    public var frequencyPenalty: Float = 0
    /// Tokens that the repetition penalty looks back on, the prompt's included; 0: all.
    public var penaltyWindow = 64
    /// Added to the logits of single tokens before anything else.
    public var logitBias: [(token: Int32, bias: Float)] = []
    /// The same seed gives the same answer; nil draws one, which the result tells.
    public var seed: UInt64?
    /// The answer ends before the first of these, wherever token boundaries lie.
    public var stopStrings: [String] = []
    /// Goes on past `<eos>` and `<end_of_turn>`.
    public var ignoresEndOfSequence = false
    /// Who guesses tokens ahead; the answer is the same without, on backends with the same bits.
    public var assistance: Assistance?
    /// For each token, this many most probable tokens with their log-probabilities, 0...20; nil: none
    /// are computed, not even the chosen token's.
    public var logprobCount: Int?
    /// Features that are steered, spliced in or watched on the way.
    public var interventions = Interventions()

    public init() {}

    /// Whether bias or penalties change logits before one is chosen by.
    var adjustsLogits: Bool {
        !logitBias.isEmpty || repetitionPenalty != 1 || presencePenalty != 0 || frequencyPenalty != 0
    }

    /// Among how many of the largest logits those are that draws look at, where they pass over `undrawn` others; nil:
    /// among more than are worth searching for, or not as they are.
    func largestLogitCount(passingOver undrawn: Int) -> Int? {
        guard !adjustsLogits, logprobCount == nil else { return nil }
        let count = temperature == 0 ? 1 : topK
        return count > 0 && count <= 128 - undrawn ? count + undrawn : nil
    }

    func validate(vocabularySize: Int) throws(CabochonError) {
        func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(CabochonError) {
            guard holds else { throw CabochonError(.invalidArgument, message()) }
        }
        try check(maxTokens >= 0, "max tokens \(maxTokens) is negative")
        try check(temperature.isFinite && temperature >= 0, "temperature \(temperature) is not zero or positive")
        try check(topK >= 0, "top-k \(topK) is negative")
        try check(topP > 0 && topP <= 1, "top-p \(topP) is not in (0, 1]")
        try check(minP >= 0 && minP <= 1, "min-p \(minP) is not in [0, 1]")
        try check(
            repetitionPenalty.isFinite && repetitionPenalty > 0,
            "repetition penalty \(repetitionPenalty) is not positive")
        try check(presencePenalty.isFinite, "presence penalty \(presencePenalty) is not a finite number")
        try check(frequencyPenalty.isFinite, "frequency penalty \(frequencyPenalty) is not a finite number")
        try check(penaltyWindow >= 0, "penalty window \(penaltyWindow) is negative")
        for (token, bias) in logitBias {
            try check(
                token >= 0 && token < vocabularySize,
                "logit bias for token \(token), outside the vocabulary of \(vocabularySize)")
            // There is no probability beside an infinite logit.
            try check(bias < .infinity, "logit bias \(bias) of token \(token) is not a finite number, nor -infinity")
        }
        try check(stopStrings.allSatisfy { !$0.isEmpty }, "a stop string is empty")
        try check(
            interventions.watch.isEmpty || assistance == nil,
            "watched features do not go with guesses, which may be taken back")
        if let logprobCount { try check((0...20).contains(logprobCount), "\(logprobCount) logprobs: from 0 to 20") }
    }
}

/// Why an answer ended.
public enum FinishReason: Int32, Sendable {
    /// The model ended it with `<eos>` or `<end_of_turn>`.
    case endOfSequence = 1
    case stopString = 2
    case maxTokens = 3
    /// The caller's callback said so.
    case stopped = 4
    /// The session's context is full.
    case contextFull = 5
    /// A guard's check stopped it.
    case contentFilter = 6

    /// "eos", "stop", "length", "callback", "context" or "content_filter".
    public var name: String {
        switch self {
        case .endOfSequence: "eos"
        case .stopString: "stop"
        case .maxTokens: "length"
        case .stopped: "callback"
        case .contextFull: "context"
        case .contentFilter: "content_filter"
        }
    }
}

public struct TokenLogprob: Sendable {
    public let token: Int32
    /// Natural logarithm of the probability after logit bias and penalties, before temperature.
    public let logprob: Float
}

/// One token of an answer, as it is made.
public struct GeneratedToken: Sendable {
    public let id: Int32
    /// Whole characters that this token completes; may be empty; never a part of a stop string.
    public let text: String
    /// The token's own bytes, exactly.
    public let bytes: [UInt8]
    /// Nil unless `logprobCount` was set.
    public let logprob: Float?
    public let alternatives: [TokenLogprob]
}

public struct Timings: Sendable {
    public var promptTokens = 0
    public var promptSeconds = 0.0
    /// Tokens of the answer, and the time from the first of them to the end. With a guard, all that were
    /// made, handed on or not.
    public var decodeTokens = 0
    public var decodeSeconds = 0.0
    /// Of an assisted answer: tokens guessed, and those of them that held.
    public var guessedTokens = 0
    public var acceptedTokens = 0
}

public struct GenerationResult: Sendable {
    /// The answer's tokens; a token that ended it is not among them.
    public let tokens: [Int32]
    public let text: String
    public let finishReason: FinishReason
    /// The chosen tokens' log-probabilities and alternatives; empty unless asked for.
    public let logprobs: [(chosen: TokenLogprob, alternatives: [TokenLogprob])]
    public let timings: Timings
    /// The seed that gives this answer again.
    public let seed: UInt64
    /// The token that ended the answer, if one did.
    public let stopToken: Int32?
    /// The stop string that ended the answer, if one did.
    public let stopString: String?
}
