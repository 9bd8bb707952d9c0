// SparseAutoencoder.swift - one dictionary of features: encoder, thresholds, decoder.
//
// What is computed, for an input x (JumpReLU; arXiv 2407.14435 and, for Gemma Scope, 2408.05147):
//
//     pre = x · encoder + encoderBias
//     feature i = pre[i] where pre[i] > threshold[i], else 0
//     reconstruction = features · decoder + decoderBias (+ x · skip)
//
// The files' encoder is [input, width], so that one feature is a column. It is laid out anew, one
// row per feature, aligned and padded: single features are read that way, and blocks of them in
// parallel. The decoder's rows are features already, and stay in the mapped file.

/// A sparse autoencoder or transcoder. Immutable; safe on any thread.
public final class SparseAutoencoder: Sendable {
    public enum Kind: String, Sendable {
        /// Reconstructs what it reads.
        case autoencoder
        /// Reads an MLP's input and gives its output.
        case transcoder
    }

    /// Where a dictionary's encoder is kept, one row per feature: 4 bytes for each of its numbers, and one
    /// for its screen; in files also the decoder, 4 bytes a number, where the dictionary's own file has it
    /// deflated or not as float32 rows. Files serve later loads of the same dictionary, which inflate nothing
    /// large; they may be deleted at any time.
    public enum Storage: Sendable {
        /// Below 32 MB in memory; others in files of `$XDG_CACHE_HOME/cabochon/encoders` or
        /// `~/.cache/cabochon/encoders`, or in memory where no file can be made there.
        case cache
        /// In files of this folder, which is made if need be.
        case folder(String)
        /// In memory.
        case memory
    }

    public struct Options: Sendable {
        /// Where it stands: a place of `Site`, TransformerLens's name of one, or Gemma Scope's: res,
        /// att, mlp, transcoder, embedding. Nil takes what the path or config.json says.
        public var site: String?
        /// The layer; nil takes what the path or config.json says.
        public var layer: Int?
        /// The backend that encodes, as in `Model.Options`; all give the same bits.
        public var backend: String?
        /// Where the encoder stands that is laid out anew.
        public var storage = Storage.cache

        public init() {}
    }

    public let path: String
    public let engine: Engine
    public let kind: Kind
    /// What it reads.
    public let site: Site
    /// What it reconstructs; the same as `site` for an autoencoder.
    public let outputSite: Site
    /// Whether it reads token embeddings before they are multiplied by sqrt(hiddenSize).
    public let readsEmbedding: Bool
    /// Features.
    public let width: Int
    public let inputSize: Int
    public let outputSize: Int
    /// Active features per token in training, where the path says so.
    public let averageL0: Int?

    let backend: Backend
    let encoder: Encoder
    let encoderBias: Buffer<Float>  // [width]
    let threshold: Buffer<Float>  // [width]
    let decoder: DecoderRows
    let decoderBias: Buffer<Float>  // [outputSize]
    /// Gemma Scope 2's affine skip connection, [inputSize, outputSize]; applied as x · skip.
    let skip: Buffer<Float>?
    /// The features that are encoded; nil: all.
    let selection: FeatureSelection?

    /// Loads a params.npz of Gemma Scope, or the params.safetensors of Gemma Scope 2 with the
    /// config.json beside it.
    ///
    /// - Parameters:
    ///   - path: the file, or the folder that holds it.
    ///   - engine: its threads encode.
    /// - Throws: `.io`, `.invalidFile` naming the array and the shapes that do not fit, `.unsupported`
    ///   for another kind of dictionary, `.invalidArgument` where site or layer are neither given nor
    ///   in the path, `.io` also where no file can be made in `Storage.folder`, `.backend`, `.outOfMemory`.
    public init(path: String, engine: Engine, options: Options = Options()) throws(CabochonError) {
        // It would be the root folder.
        if case .folder("") = options.storage {
            throw CabochonError(.invalidArgument, "the cache folder's name is empty")
        }
        let parameters = try ScopeParameters(path: path)
        var location = parameters.location
        if let name = options.site {
            (location.place, location.readsEmbedding) = try ScopeLocation.place(named: name, path: parameters.path)
        }
        if let layer = options.layer { location.layer = layer }
        if location.readsEmbedding {
            guard (options.layer ?? 0) == 0 else {
                throw CabochonError(
                    .invalidArgument,
                    "\(parameters.path): a dictionary of embeddings stands before layer 0, not \(options.layer ?? 0)")
            }
            location.layer = 0
        }
        guard let place = location.place else {
            throw CabochonError(
                .invalidArgument,
                "\(parameters.path): the path does not say at which site this stands (as gemma-scope-2b-pt-res does): give site"
            )
        }
        guard let layer = location.layer, (0..<1 << 20).contains(layer) else {
            throw CabochonError(
                .invalidArgument,
                "\(parameters.path): the path does not say in which layer this stands (as layer_12 does): give layer")
        }
        self.path = parameters.path
        self.engine = engine
        backend = try engine.registry.backend(named: options.backend)
        site = Site(layer: layer, place: place)
        readsEmbedding = location.readsEmbedding
        averageL0 = location.averageL0
        kind = place == .mlpIn || place == .mlpInNormalized ? .transcoder : .autoencoder
        outputSite = kind == .transcoder ? Site(layer: layer, place: .mlpOut) : site
        width = parameters.width
        inputSize = parameters.inputSize
        outputSize = parameters.outputSize
        guard kind == .transcoder || inputSize == outputSize else {
            throw CabochonError(
                .invalidFile,
                "\(parameters.path): reads \(inputSize) numbers and writes \(outputSize), so it is no autoencoder of \(site.name)"
            )
        }
        encoderBias = try parameters.encoderBias.tensor().floats(for: "encoder biases")
        threshold = try parameters.threshold.tensor().floats(for: "thresholds")
        decoderBias = try parameters.decoderBias.tensor().floats(for: "decoder biases")
        skip = try parameters.skip?.tensor().floats(for: "the skip connection")
        encoder = try parameters.layOut(
            bias: encoderBias, threshold: threshold, center: kind == .autoencoder ? decoderBias : nil,
            hasScreen: backend.usesScreens, storage: options.storage, pool: engine.pool)
        decoder = try DecoderRows(parameters.decoder, laidOut: encoder, width: width, size: outputSize)
        selection = nil
        try checkNumbers()
    }

    /// The same dictionary, sharing all its memory.
    init(_ other: SparseAutoencoder, selection: FeatureSelection) {
        path = other.path
        engine = other.engine
        kind = other.kind
        site = other.site
        outputSite = other.outputSite
        readsEmbedding = other.readsEmbedding
        width = other.width
        inputSize = other.inputSize
        outputSize = other.outputSize
        averageL0 = other.averageL0
        backend = other.backend
        encoder = other.encoder
        encoderBias = other.encoderBias
        threshold = other.threshold
        decoder = other.decoder
        decoderBias = other.decoderBias
        skip = other.skip
        self.selection = selection
    }

    private func checkNumbers() throws(CabochonError) {
        for feature in 0..<width where threshold.pointer[feature].isNaN || encoderBias.pointer[feature].isNaN {
            throw CabochonError(.invalidFile, "\(path): the threshold or bias of feature \(feature) is not a number")
        }
    }

    /// Refuses a model whose activations are none that this was trained on.
    ///
    /// - Throws: `.invalidArgument` with both sizes.
    public func checkFits(_ model: Model) throws(CabochonError) {
        let c = model.configuration
        guard site.layer < c.layerCount else {
            throw CabochonError(
                .invalidArgument, "\(path) stands in layer \(site.layer); \(model.path) has \(c.layerCount) layers")
        }
        for (site, size, does) in [(site, inputSize, "reads"), (outputSite, outputSize, "writes")] {
            let width = site.width(in: c)
            guard size == width else {
                throw CabochonError(
                    .invalidArgument,
                    "\(path) \(does) \(size) numbers at \(site.name), where \(model.path) has \(width)")
            }
        }
    }

    func check(feature: Int) throws(CabochonError) {
        guard (0..<width).contains(feature) else {
            throw CabochonError(.invalidArgument, "feature \(feature) of \(path), which has \(width)")
        }
    }
}

extension ThreadPool {
    /// Calls `body(index, worker)` once for each index below `count`, on all threads.
    func forEach(_ count: Int, _ body: (_ index: Int, _ worker: Int) -> Void) {
        withoutActuallyEscaping(body) { body in
            var body = body
            withUnsafeMutablePointer(to: &body) { pointer in
                run(
                    count: count,
                    body: { context, index, worker in
                        context?.assumingMemoryBound(to: ((Int, Int) -> Void).self).pointee(index, worker)
                    }, context: pointer)
            }
        }
    }
}
