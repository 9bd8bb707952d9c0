// Model.swift - one loaded Gemma, and what can be asked of it without a conversation.
//
// Immutable but for the backend, which is swapped as a whole: a forward pass takes the binding of
// the moment and keeps it to its end, so sessions on other threads never see half a swap.

import Synchronization

public final class Model: Sendable {
    public struct Options: Sendable {
        /// A backend's name, "simd" for the best SIMD one, or the absolute path of a plugin. Nil takes
        /// CABOCHON_BACKEND's, or else the best this machine can run.
        public var backend: String?
        /// The element type of sessions' KV caches.
        public var kvType: KVType = .f16
        /// Positions a session holds unless it asks for fewer; 0: as many as the model was trained for.
        public var contextLength = 0
        /// Only the tokenizer and the hyper-parameters: no weight is looked at. The path may then also be
        /// a tokenizer.model, a tokenizer.json, or a folder with one of them; hyper-parameters are 0.
        public var vocabularyOnly = false
        /// Weights are read into memory of the process's own, not mapped: safe from a file that shrinks,
        /// and all of it resident.
        public var copiesFiles = false
        /// How sqrt(hiddenSize), which multiplies the embedding, is rounded.
        public var embeddingScale: EmbeddingScale = .automatic

        public init() {}
    }

    /// The file or folder, as it was given.
    public let path: String
    public let engine: Engine
    public let options: Options
    public let configuration: GemmaConfiguration
    public let tokenizer: Tokenizer
    /// Tokens that end an answer: `<eos>` and `<end_of_turn>`, by id.
    public let stopTokens: [Int32]
    /// Positions a session holds unless it asks otherwise.
    public let contextLength: Int
    /// Nanoseconds that loading took.
    public let loadNanoseconds: UInt64

    let source: ModelSource
    let weights: GemmaWeights?
    private let binding: Mutex<WeightBinding?>

    /// Loads a GGUF file (the first shard of a split one), or a folder in Hugging Face's layout.
    ///
    /// - Throws: `.io`, `.invalidFile` or `.unsupported` naming the file and what in it, `.unsupported` also
    ///   for a KV type whose blocks the model's heads don't fill; `.backend` for a backend that is not
    ///   there; `.invalidArgument` for a context length out of range.
    public init(path: String, engine: Engine, options: Options = Options()) throws(CabochonError) {
        let start = monotonicNanoseconds()
        let source = try ModelSource(
            path: path, vocabularyOnly: options.vocabularyOnly, copiesFiles: options.copiesFiles)
        let longest = GemmaConfiguration.contextLengths.upperBound
        guard (0...longest).contains(options.contextLength) else {
            throw CabochonError(.invalidArgument, "context length \(options.contextLength) is not in 0...\(longest)")
        }
        self.path = path
        self.engine = engine
        self.options = options
        self.source = source
        tokenizer = try source.makeTokenizer()
        var configuration = source.configuration
        if configuration.vocabularySize == 0 { configuration.vocabularySize = tokenizer.vocabulary.count }
        self.configuration = configuration
        contextLength = options.contextLength == 0 ? configuration.contextLength : options.contextLength
        stopTokens = try source.stopTokens(of: tokenizer)
        if options.vocabularyOnly {
            weights = nil
            binding = Mutex(nil)
        } else {
            guard configuration.headSize.isMultiple(of: options.kvType.blockSize) else {
                throw CabochonError(
                    .unsupported,
                    "\(path): heads of \(configuration.headSize) elements are not whole blocks of "
                        + "\(options.kvType.blockSize), as a KV cache of \(options.kvType) needs")
            }
            let weights = try source.makeWeights()
            self.weights = weights
            let backend = try engine.registry.backend(named: options.backend)
            binding = Mutex(try Self.bind(weights, to: backend, engine: engine, path: path))
        }
        loadNanoseconds = monotonicNanoseconds() - start
        engine.write(
            .info, "\(path): \(configuration.architecture), \(configuration.layerCount) layers, backend \(backend)")
    }

    private static func bind(
        _ weights: GemmaWeights, to backend: Backend, engine: Engine, path: String
    ) throws(CabochonError) -> WeightBinding {
        try WeightBinding(
            groups: weights.layers.map(\.matrices) + [weights.headPieces], backend: backend,
            scalar: engine.registry.scalar,
            headScreen: HeadScreenMaker(headShare: weights.headShare) { engine.write(.info, "\(path): \($0)") })
    }

    /// The name of the backend that computes; empty for a model that was loaded for its vocabulary only.
    public var backend: String { binding.withLock { $0?.backend.name ?? "" } }

    /// Swaps the backend, all sessions included, without reloading or losing KV. Forward passes under
    /// way end on the old one. Any thread.
    ///
    /// - Parameter name: as in `Options.backend`.
    /// - Throws: `.backend` naming those there are; the old backend then stays.
    public func useBackend(_ name: String) throws(CabochonError) {
        guard let weights else { throw withoutWeights() }
        let backend = try engine.registry.backend(named: name)
        if binding.withLock({ $0?.backend === backend }) { return }
        let next = try Self.bind(weights, to: backend, engine: engine, path: path)
        binding.withLock { $0 = next }
        engine.write(.info, "\(path): backend \(backend.name)")
    }

    func currentBinding() throws(CabochonError) -> WeightBinding {
        guard let binding = binding.withLock({ $0 }) else { throw withoutWeights() }
        return binding
    }

    func withoutWeights() -> CabochonError {
        CabochonError(.invalidArgument, "\(path): loaded for its vocabulary only, so nothing can be computed")
    }

    /// There is nothing to choose by where the largest logit is no finite number.
    func logitsNotFinite(_ which: String) -> CabochonError {
        CabochonError(
            .unsupported,
            "\(path): the logits \(which) are not finite: weights, or what is added on the way, are not or grow beyond")
    }

    /// sqrt(hiddenSize) as it multiplies token embeddings.
    var embeddingFactor: Float {
        source.embeddingScale(options.embeddingScale, weightType: weights?.embedding.type ?? .f32)
    }

    /// A forward pass on the backend of the moment.
    func forwardPass(execution: Execution, workspace: Workspace) throws(CabochonError) -> ForwardPass {
        guard let weights else { throw withoutWeights() }
        return ForwardPass(
            configuration: configuration, weights: weights, embeddingScale: embeddingFactor,
            kernels: Kernels(binding: try currentBinding(), execution: execution), workspace: workspace)
    }

    func check(_ tokens: UnsafeBufferPointer<Int32>) throws(CabochonError) {
        for (position, token) in tokens.enumerated() where token < 0 || token >= configuration.vocabularySize {
            throw CabochonError(
                .invalidArgument,
                "token \(token) at position \(position) is outside the vocabulary of \(configuration.vocabularySize)")
        }
    }

    /// A new, empty session.
    ///
    /// - Parameter contextLength: positions it can hold; 0 for the model's `contextLength`.
    public func makeSession(contextLength: Int = 0) throws(CabochonError) -> Session {
        try Session(model: self, contextLength: contextLength == 0 ? self.contextLength : contextLength)
    }
}

/// How sqrt(hiddenSize) is rounded before it multiplies the embedding. Google's own code and
/// transformers on bf16 weights round it to bf16; transformers on float32 weights and llama.cpp
/// do not. The two differ by 0.2 % in Gemma 2 9B and 27B, and not at all in 2B.
public enum EmbeddingScale: UInt32, Sendable {
    /// bf16, but float32 where the file holds the embedding in float32.
    case automatic = 0
    case bf16 = 1
    case f32 = 2
}
