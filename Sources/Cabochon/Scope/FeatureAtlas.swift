// FeatureAtlas.swift - what each feature of a dictionary is about, gathered in one pass over texts.
//
// Per feature only running numbers and a handful of examples are kept; the texts' tokens are kept
// too, four bytes each, because an example is shown with its neighbours.

import Glibc

public final class FeatureAtlas {
    /// One place where a feature fired.
    public struct Example: Sendable {
        public let activation: Float
        /// The piece of text, and the token in it.
        public let piece: Int
        public let position: Int
    }

    /// What is known of one feature.
    public struct Entry: Sendable {
        public fileprivate(set) var count = 0
        public fileprivate(set) var maximum: Float = 0
        /// How often the activation lay in each of `histogramBins` parts: the first reaches from the threshold
        /// to its square root of two times, each further one as far in proportion, and the last one is open.
        public fileprivate(set) var histogram = [Int](repeating: 0, count: FeatureAtlas.histogramBins)
        /// Strongest first, one of each piece at most.
        public fileprivate(set) var examples: [Example] = []
    }

    public static let histogramBins = 24
    public let model: Model
    public let sae: SparseAutoencoder
    public let exampleCount: Int
    /// Only features that fired.
    public private(set) var entries: [Int: Entry] = [:]
    /// The texts as they were read, each with the token that begins a text.
    public private(set) var pieces: [[Int32]] = []
    /// Tokens that dictionaries are trained on, and active features over all of them.
    public private(set) var tokens = 0
    public private(set) var active = 0

    /// - Parameter exampleCount: examples kept for each feature.
    public init(model: Model, sae: SparseAutoencoder, exampleCount: Int = 6) throws(CabochonError) {
        try sae.checkFits(model)
        self.model = model
        self.sae = sae
        self.exampleCount = exampleCount
    }

    /// Reads one piece of text, at most the model's context.
    public func add(_ piece: [Int32], cancellation: Cancellation = Cancellation()) throws(CabochonError) {
        let features = try piece.withUnsafeBufferPointer { (buffer) throws(CabochonError) in
            try model.features(of: buffer, [sae], cancellation: cancellation)
        }[0]
        let number = pieces.count
        pieces.append(piece)
        for row in 0..<features.rowCount where features.excluded[row] == 0 {
            tokens += 1
            active += features.offsets[row + 1] - features.offsets[row]
            for index in features.offsets[row]..<features.offsets[row + 1] {
                let feature = Int(features.indices[index])
                note(
                    features.values[index], of: feature,
                    Example(activation: features.values[index], piece: number, position: row))
            }
        }
    }

    private func note(_ value: Float, of feature: Int, _ example: Example) {
        let threshold = sae.threshold.pointer[feature]
        let ratio = threshold > 0 ? 2 * log2(value / threshold) : .infinity
        let bin = Int(max(0, min(ratio, Float(Self.histogramBins - 1))))
        let kept = exampleCount
        func update(_ entry: inout Entry) {
            entry.count += 1
            entry.maximum = max(entry.maximum, value)
            entry.histogram[bin] += 1
            if entry.examples.count >= kept, let last = entry.examples.last, last.activation >= value { return }
            if let same = entry.examples.firstIndex(where: { $0.piece == example.piece }) {
                guard entry.examples[same].activation < value else { return }
                entry.examples.remove(at: same)
            }
            let place = entry.examples.firstIndex { $0.activation < value } ?? entry.examples.count
            entry.examples.insert(example, at: place)
            if entry.examples.count > kept { entry.examples.removeLast() }
        }
        update(&entries[feature, default: Entry()])
    }

    /// The tokens that each feature's direction makes likelier and less likely when it is added to the final
    /// residual stream alone: the direction through the final norm and the unembedding.
    ///
    /// - Returns: for each feature `count` tokens of both kinds, the most extreme first; none for a dictionary
    ///   that writes elsewhere, be its rows as long as the stream's.
    public func promotedTokens(
        of features: [Int], count: Int = 8
    ) throws(CabochonError) -> [(promoted: [Int32], suppressed: [Int32])] {
        guard sae.outputSite.place.isInResidualStream else { return features.map { _ in ([], []) } }
        let (width, slice) = (model.configuration.vocabularySize, 16)
        let rows = try Buffer<Float>(count: slice * sae.outputSize, for: "directions")
        let logits = try Buffer<Float>(count: slice * width, for: "logits of directions")
        let pass = try model.forwardPass(
            execution: Execution(pool: model.engine.pool),
            workspace: try Workspace(rows: 1, configuration: model.configuration))
        var result: [(promoted: [Int32], suppressed: [Int32])] = []
        for first in stride(from: 0, to: features.count, by: slice) {
            let some = features[first..<min(features.count, first + slice)]
            for (row, feature) in some.enumerated() {
                try sae.check(feature: feature)
                sae.decoder.copy(feature, into: rows.pointer + row * sae.outputSize)
            }
            sae.decoder.forget(0..<sae.width)
            try pass.head(residual: UnsafePointer(rows.pointer), rows: some.count, into: logits.pointer)
            for row in 0..<some.count {
                let values = UnsafeBufferPointer(start: logits.pointer + row * width, count: width)
                result.append((extremes(values, count, largest: true), extremes(values, count, largest: false)))
            }
        }
        return result
    }

    private func extremes(_ values: UnsafeBufferPointer<Float>, _ count: Int, largest: Bool) -> [Int32] {
        var best: [(value: Float, token: Int32)] = []
        for (token, raw) in values.enumerated() {
            let value = largest ? raw : -raw
            if best.count == count, let last = best.last, last.value >= value { continue }
            let place = best.firstIndex { $0.value < value } ?? best.count
            best.insert((value, Int32(truncatingIfNeeded: token)), at: place)
            if best.count > count { best.removeLast() }
        }
        return best.map(\.token)
    }

    /// For each feature the others whose decoder rows point most in its direction, with the cosine.
    public func neighbours(of features: [Int], count: Int = 5) throws(CabochonError) -> [[(
        feature: Int, cosine: Float
    )]] {
        for feature in features { try sae.check(feature: feature) }
        let size = sae.outputSize
        let directions = try Buffer<Float>(count: features.count * size, for: "directions")
        for (row, feature) in features.enumerated() {
            let target = directions.pointer + row * size
            sae.decoder.copy(feature, into: target)
            sae.decoder.forget(feature..<feature + 1)
            var square: Float = 0
            for i in 0..<size { square += target[i] * target[i] }
            if square > 0 { for i in 0..<size { target[i] /= square.squareRoot() } }
        }
        let found = try Buffer<Float>(count: features.count * count, for: "neighbours")
        let indices = try Buffer<Int32>(count: features.count * count, for: "neighbours")
        model.engine.pool.forEach(features.count) { row, _ in
            var best: [(cosine: Float, row: Int)] = []
            for other in 0..<features.count where other != row {
                let value = cosine(directions.pointer + row * size, directions.pointer + other * size, size)
                if best.count == count, let last = best.last, last.cosine >= value { continue }
                let place = best.firstIndex { $0.cosine < value } ?? best.count
                best.insert((value, other), at: place)
                if best.count > count { best.removeLast() }
            }
            for (place, one) in best.enumerated() {
                found.pointer[row * count + place] = one.cosine
                indices.pointer[row * count + place] = Int32(truncatingIfNeeded: one.row + 1)
            }
        }
        return features.indices.map { row in
            (0..<count).compactMap { place in
                let other = Int(indices.pointer[row * count + place])
                return other == 0 ? nil : (feature: features[other - 1], cosine: found.pointer[row * count + place])
            }
        }
    }
}

private func cosine(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
    var sums = SIMD16<Float>.zero
    let whole = count & ~15
    for i in stride(from: 0, to: whole, by: 16) {
        sums +=
            UnsafeRawPointer(a + i).loadUnaligned(as: SIMD16<Float>.self)
            * UnsafeRawPointer(b + i).loadUnaligned(as: SIMD16<Float>.self)
    }
    var sum = sums.sum()
    for i in whole..<count { sum += a[i] * b[i] }
    return sum
}
