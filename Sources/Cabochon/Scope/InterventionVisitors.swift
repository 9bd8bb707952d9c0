// InterventionVisitors.swift - interventions as readers and edits on the sites of a forward pass.
//
// The forward pass knows none of this: it shows each site's rows to whoever stands there. At one
// site the order is: activations of edited features and conditions are read, reconstructions are
// spliced in, edits are made in the order given, watchers look. So every edit sees the features of
// the unedited row, as SAELens's error term does, and costs one or two rows of the dictionary.

final class InterventionVisitors {
    private(set) var visitors = SiteVisitors()
    /// One for each watched dictionary, in order.
    let watchers: [Watcher]
    private let answer = AnswerStart()

    /// The first position that `Steer.Positions.answer` means.
    func beginAnswer(at position: Int) { answer.position = position }

    /// - Throws: `.invalidArgument` where something does not fit the model.
    init(_ interventions: Interventions, model: Model) throws(CabochonError) {
        for sae in interventions.splice + interventions.watch { try sae.checkFits(model) }
        var watchers: [Watcher] = []
        for sae in interventions.watch { watchers.append(try Watcher(sae, model: model)) }
        self.watchers = watchers
        var edits: [(steer: Steer, activation: FeatureReader?, condition: FeatureReader?)] = []
        for steer in interventions.steer {
            try steer.check(fits: model)
            var activation: FeatureReader?
            if steer.mode.readsFeature {
                activation = try FeatureReader(steer.sae, feature: steer.feature, model: model)
                stand(at: steer.sae.site, activation)
            }
            var condition: FeatureReader?
            if let wanted = steer.condition {
                condition = try FeatureReader(wanted.sae, feature: wanted.feature, model: model)
                stand(at: wanted.sae.site, condition)
            }
            edits.append((steer, activation, condition))
        }
        for sae in interventions.splice {
            let splice = try Splice(sae, model: model)
            visitors.add(at: sae.site) { rows throws(CabochonError) in try splice.read(rows) }
            visitors.add(at: sae.outputSite) { rows throws(CabochonError) in try splice.write(rows) }
        }
        for edit in edits {
            let scale = edit.steer.sae.outputFactor(in: model)
            visitors.add(at: edit.steer.sae.outputSite) { [answer] rows in
                Self.apply(
                    edit.steer, activation: edit.activation, condition: edit.condition, scale: scale,
                    answerStart: answer.position, to: rows)
            }
        }
        for watcher in watchers {
            visitors.add(at: watcher.sae.site) { rows throws(CabochonError) in try watcher.read(rows) }
        }
    }

    /// Hands over what the watchers have seen since the last call.
    func report(_ onFeatures: (WatchedFeatures) -> Void) throws(CabochonError) {
        for (index, watcher) in watchers.enumerated() {
            let (features, positions) = try watcher.take()
            if !positions.isEmpty {
                onFeatures(WatchedFeatures(watchIndex: index, positions: positions, features: features))
            }
        }
    }

    private func stand(at site: Site, _ reader: FeatureReader?) {
        guard let reader else { return }
        visitors.add(at: site) { rows throws(CabochonError) in try reader.read(rows) }
    }

    private static func apply(
        _ steer: Steer, activation: FeatureReader?, condition: FeatureReader?, scale: Float, answerStart: Int,
        to rows: SiteRows
    ) {
        let decoder = steer.sae.decoder
        for token in 0..<rows.tokens {
            if let condition, let wanted = steer.condition, !(condition.values[token] > wanted.threshold) { continue }
            switch steer.positions {
            case .all: break
            case .answer: guard rows.batch.position(ofRow: token) >= answerStart else { continue }
            case .only(let positions): guard positions.contains(rows.batch.position(ofRow: token)) else { continue }
            }
            let row = rows.values + token * rows.stride
            let feature = activation?.values[token] ?? 0
            let change: Float
            switch steer.mode {
            case .add: change = steer.strength
            case .set: change = steer.strength - feature
            case .scale: change = steer.strength * feature - feature
            case .ablate: change = -feature
            case .orthogonal, .cap:
                let (product, square) = decoder.products(steer.feature, with: row)
                guard square > 0 else { continue }
                // Along v = direction * length: the projection's length is product / length.
                let length = square.squareRoot()
                let along = product / length
                let wanted = steer.mode == .orthogonal ? steer.strength * along : min(along, steer.strength * scale)
                if wanted != along { decoder.add(steer.feature, scale: (wanted - along) / length, to: row) }
                continue
            }
            if change != 0 { decoder.add(steer.feature, scale: change * scale, to: row) }
        }
    }
}

/// Where the answer begins; the visitors are made before it is known.
private final class AnswerStart {
    var position = Int.max
}

extension Steer.Mode {
    fileprivate var readsFeature: Bool { self == .set || self == .scale || self == .ablate }
}

extension SparseAutoencoder {
    /// What the model's activations at the site are multiplied by before they are encoded.
    func inputFactor(in model: Model) -> Float { readsEmbedding ? 1 / model.embeddingFactor : 1 }
    /// What a reconstruction is multiplied by to be the model's.
    func outputFactor(in model: Model) -> Float { readsEmbedding ? model.embeddingFactor : 1 }
}

/// The activation of one feature for each row of the batch under way.
private final class FeatureReader {
    private let sae: SparseAutoencoder
    private let feature: Int
    private let factor: Float
    private let buffer: Buffer<Float>  // [chunkSize]
    var values: UnsafeMutablePointer<Float> { buffer.pointer }

    init(_ sae: SparseAutoencoder, feature: Int, model: Model) throws(CabochonError) {
        self.sae = sae
        self.feature = feature
        factor = sae.inputFactor(in: model)
        buffer = try Buffer(count: ForwardPass.chunkSize, for: "a feature's activations")
    }

    func read(_ rows: SiteRows) throws(CabochonError) {
        try sae.read(feature: feature, rows.input, factor: factor, into: values)
    }
}

/// Puts a reconstruction in the place of what it reconstructs.
private final class Splice {
    private let sae: SparseAutoencoder
    private let bos: Int32
    private let pool: ThreadPool
    private let inputFactor, outputFactor: Float
    private var features: Features?
    private let scratch: EncodeScratch
    private let input: Buffer<Float>?  // [chunkSize, inputSize], for the skip connection

    init(_ sae: SparseAutoencoder, model: Model) throws(CabochonError) {
        self.sae = sae
        bos = model.tokenizer.vocabulary.special.bos
        pool = model.engine.pool
        inputFactor = sae.inputFactor(in: model)
        outputFactor = sae.outputFactor(in: model)
        scratch = try EncodeScratch()
        input =
            sae.skip == nil ? nil : try Buffer(count: ForwardPass.chunkSize * sae.inputSize, for: "a splice's input")
    }

    func read(_ rows: SiteRows) throws(CabochonError) {
        let builder = try FeaturesBuilder(width: sae.width)
        try sae.encode(rows.input, factor: inputFactor, on: pool, with: scratch, into: builder) { _ in false }
        features = try builder.finish()
        guard let input else { return }
        for token in 0..<rows.tokens {
            let (source, target) = (rows.values + token * rows.stride, input.pointer + token * sae.inputSize)
            for i in 0..<sae.inputSize { target[i] = inputFactor == 1 ? source[i] : source[i] * inputFactor }
        }
    }

    func write(_ rows: SiteRows) throws(CabochonError) {
        guard let features else { return }
        let isReplaced = { (token: Int) in rows.batch.tokens[token] != self.bos }
        try sae.decode(
            features, input: input.map { UnsafePointer($0.pointer) }, into: rows.values, stride: rows.stride, on: pool,
            included: isReplaced)
        guard outputFactor != 1 else { return }
        for token in 0..<rows.tokens where isReplaced(token) {
            for i in 0..<rows.width { rows.values[token * rows.stride + i] *= outputFactor }
        }
    }
}

/// Collects the features of every row that passes.
final class Watcher {
    let sae: SparseAutoencoder
    private let factor: Float
    private let pool: ThreadPool
    private let excluded: Set<Int32>
    private let scratch: EncodeScratch
    private var builder: FeaturesBuilder
    /// The positions of the rows since the last `take`.
    private var positions: [Int] = []

    init(_ sae: SparseAutoencoder, model: Model) throws(CabochonError) {
        self.sae = sae
        factor = sae.inputFactor(in: model)
        pool = model.engine.pool
        excluded = model.tokensWithoutFeatures
        scratch = try EncodeScratch()
        builder = try FeaturesBuilder(width: sae.width)
    }

    func read(_ rows: SiteRows) throws(CabochonError) {
        try sae.encode(rows.input, factor: factor, on: pool, with: scratch, into: builder) {
            excluded.contains(rows.batch.tokens[$0])
        }
        for row in 0..<rows.tokens { positions.append(rows.batch.position(ofRow: row)) }
    }

    /// What has come by since the last call, and the positions of its rows.
    func take() throws(CabochonError) -> (features: Features, positions: [Int]) {
        let taken = (features: try builder.finish(), positions: positions)
        builder = try FeaturesBuilder(width: sae.width)
        positions = []
        return taken
    }
}

extension SiteRows {
    fileprivate var input: InputRows { InputRows(values: UnsafePointer(values), count: tokens, stride: stride) }
}

extension Model {
    /// Beginning and end of a text, and padding: no dictionary was trained on them.
    var tokensWithoutFeatures: Set<Int32> {
        let special = tokenizer.vocabulary.special
        return Set([special.bos, special.eos, special.padding].compactMap { $0 })
    }
}
