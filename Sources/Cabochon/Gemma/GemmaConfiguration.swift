// GemmaConfiguration.swift - the hyper-parameters of a Gemma 2 or Gemma 3 text model.
//
// Values that files leave out have the families' defaults; each is named with its source. Files
// fill this in (GemmaConfiguration+GGUF.swift, +HuggingFace.swift); `validate` bounds every number
// before anything is allocated by it.

/// A rotary embedding: theta(position, i) = position / factor * base^(-2i / headSize).
public struct RotaryEmbedding: Hashable, Sendable {
    public var base: Float
    /// Linear position scaling; 8 in the full-attention layers of Gemma 3 4B and larger.
    public var factor: Float = 1
}

public struct GemmaConfiguration: Sendable {
    public enum Family: String, Sendable {
        case gemma2, gemma3
    }

    public var family: Family
    public var vocabularySize = 0
    public var hiddenSize = 0
    public var layerCount = 0
    public var feedForwardSize = 0
    public var headCount = 0
    public var kvHeadCount = 0
    public var headSize = 0
    /// Positions the model was trained for.
    public var contextLength = 8192
    /// Context lengths that models and sessions may have.
    public static let contextLengths = 1...1 << 24
    public var normEpsilon: Float = 1e-6
    /// Multiplies q·k: query_pre_attn_scalar to the power of -1/2.
    public var queryScale: Float = 0
    /// Positions a sliding layer sees, its own included; 0: every layer is full.
    public var slidingWindow = 0
    /// For each layer, whether it attends through the window.
    public var slides: [Bool] = []
    /// The bound on attention scores; 0: none (Gemma 3).
    public var attentionSoftcap: Float = 0
    /// The bound on logits; 0: none (Gemma 3).
    public var finalSoftcap: Float = 0
    /// Whether the output head is a matrix of its own and not the embedding.
    public var hasOwnHead = false
    public var fullRotary = RotaryEmbedding(base: 10_000)
    public var slidingRotary = RotaryEmbedding(base: 10_000)

    /// "gemma2" or "gemma3"; empty for a tokenizer without a model.
    public var architecture: String { layerCount == 0 ? "" : family.rawValue }
    /// Whether queries and keys are normed before rotation.
    public var hasQueryKeyNorm: Bool { family == .gemma3 }
    var querySize: Int { headCount * headSize }
    var kvSize: Int { kvHeadCount * headSize }

    init(family: Family) {
        self.family = family
        if family == .gemma2 {
            // Early GGUFs lack these three; the values are those of all three Gemma 2 sizes.
            attentionSoftcap = 50
            finalSoftcap = 30
            slidingWindow = 4096
        } else {
            fullRotary.base = 1_000_000
        }
    }

    /// Layers that slide when the file names no pattern: of Gemma 2 every other one, beginning with
    /// the first; of Gemma 3 five of six, the sixth being full.
    mutating func setPattern(_ pattern: Int?, source: String) throws(CabochonError) {
        let period = pattern ?? (family == .gemma2 ? 2 : 6)
        guard period >= 1 else {
            throw CabochonError(.invalidFile, "\(source): sliding_window_pattern is \(period), not at least 1")
        }
        slides = (0..<layerCount).map { slidingWindow > 0 && ($0 + 1) % period != 0 }
    }

    /// The query scale where a file does not give query_pre_attn_scalar (no GGUF does): one over the
    /// root of the head size, but of hidden size per head in the two 27B models, which are known by
    /// their layers (46 and 62).
    mutating func setDefaultQueryScale() {
        let isLargest = (family == .gemma2 && layerCount == 46) || (family == .gemma3 && layerCount == 62)
        let scalar = isLargest ? Float(hiddenSize) / Float(max(headCount, 1)) : Float(headSize)
        queryScale = 1 / scalar.squareRoot()
    }

    /// Bounds every number, so that products of them cannot overflow and loops cannot run away.
    func validate(source: String) throws(CabochonError) {
        func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(CabochonError) {
            guard range.contains(value) else {
                throw CabochonError(
                    .invalidFile, "\(source): \(name) is \(value), not in \(range.lowerBound)...\(range.upperBound)")
            }
        }
        try check("vocabulary size", vocabularySize, 1...1 << 22)
        try check("hidden size", hiddenSize, 1...1 << 17)
        try check("layer count", layerCount, 1...512)
        try check("feed-forward size", feedForwardSize, 1...1 << 19)
        try check("head count", headCount, 1...1024)
        try check("KV head count", kvHeadCount, 1...headCount)
        try check("head size", headSize, 2...1024)
        try check("context length", contextLength, Self.contextLengths)
        try check("sliding window", slidingWindow, 0...1 << 24)
        guard headCount.isMultiple(of: kvHeadCount), headSize.isMultiple(of: 2) else {
            throw CabochonError(
                .invalidFile,
                "\(source): \(headCount) heads of size \(headSize) cannot share \(kvHeadCount) KV heads")
        }
        let numbers: [(String, Float)] = [
            ("norm epsilon", normEpsilon), ("query scale", queryScale), ("rotary base", fullRotary.base),
            ("sliding rotary base", slidingRotary.base), ("rotary factor", fullRotary.factor),
            ("sliding rotary factor", slidingRotary.factor),
        ]
        for (name, value) in numbers where !(value.isFinite && value > 0) {
            throw CabochonError(.invalidFile, "\(source): \(name) is \(value), not a positive number")
        }
        for (name, value) in [("attention softcap", attentionSoftcap), ("final softcap", finalSoftcap)]
        where !(value.isFinite && value >= 0) {
            throw CabochonError(.invalidFile, "\(source): \(name) is \(value), not zero or a positive number")
        }
    }

    /// Files of Gemma 3 may name a bound on attention scores, too; neither transformers nor llama.cpp applies it.
    mutating func limitSoftcap() {
        if family == .gemma3 { attentionSoftcap = 0 }
    }
}
