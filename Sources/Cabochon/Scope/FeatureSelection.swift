// FeatureSelection.swift - some features of a dictionary, with the encoder rows that they are read by.
//
// Who follows sixteen features of 16,384 reads sixteen rows for a token. They are copied, so that
// they stand together: in a mapped encoder each would hold the pages around it in memory.

/// Immutable; any thread.
final class FeatureSelection: Sendable {
    /// Ascending.
    let features: Buffer<UInt32>  // [count]
    let rows: Buffer<Float>  // [count, stride]
    let bias: Buffer<Float>  // [count]
    let threshold: Buffer<Float>  // [count]

    /// - Parameter features: ascending, each below the dictionary's width.
    fileprivate init(_ features: [UInt32], of sae: SparseAutoencoder) throws(CabochonError) {
        let stride = sae.encoder.stride
        self.features = try Buffer(count: features.count, for: "selected features")
        rows = try Buffer(
            count: try Checked.multiply(features.count, stride, "selected features"), for: "selected features")
        bias = try Buffer(count: features.count, for: "selected features")
        threshold = try Buffer(count: features.count, for: "selected features")
        for (index, number) in features.enumerated() {
            let feature = Int(number)
            self.features.pointer[index] = number
            (rows.pointer + index * stride).update(from: sae.encoder.rows + feature * stride, count: stride)
            bias.pointer[index] = sae.encoderBias.pointer[feature]
            threshold.pointer[index] = sae.threshold.pointer[feature]
            sae.encoder.forget(feature..<feature + 1)
        }
    }
}

extension SparseAutoencoder {
    /// This dictionary, of which only some features are encoded: an encode reads their rows of the encoder
    /// and no others, and gives the same bits for them. The other features never fire for it; `width` and
    /// the features' numbers stay. Decoding, directions and steering are the whole dictionary's.
    ///
    /// - Parameter features: in any order; of a dictionary that is such a selection already, again of all.
    /// - Throws: `.invalidArgument` for no features, one out of range or one that comes twice; `.outOfMemory`.
    public func only(_ features: [Int]) throws(CabochonError) -> SparseAutoencoder {
        guard !features.isEmpty else { throw CabochonError(.invalidArgument, "a selection of no features of \(path)") }
        for feature in features { try check(feature: feature) }
        let ascending = features.sorted()
        for (feature, next) in zip(ascending, ascending.dropFirst()) where feature == next {
            throw CabochonError(.invalidArgument, "feature \(feature) of \(path) is selected twice")
        }
        return SparseAutoencoder(
            self, selection: try FeatureSelection(ascending.map { UInt32(truncatingIfNeeded: $0) }, of: self))
    }
}
