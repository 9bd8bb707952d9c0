// Features.swift - the features that fire for each token, as compressed sparse rows.
//
// Of 16,384 features about a hundred fire for a token, so the dense form is a hundred times larger
// than what it says. It is never made here: encoders append to these rows.

/// Sparse rows: row t holds the features `offsets[t] ..< offsets[t + 1]`, by ascending index.
/// Immutable; safe on any thread.
public final class Features: Sendable {
    /// Tokens.
    public let rowCount: Int
    /// Features that could fire.
    public let width: Int
    private let offsetBuffer: Buffer<Int>  // [rowCount + 1]
    private let indexBuffer: Buffer<UInt32>
    private let valueBuffer: Buffer<Float>
    private let excludedBuffer: Buffer<UInt8>  // [rowCount]

    /// [rowCount + 1], from 0. Valid as long as this object.
    public var offsets: UnsafeBufferPointer<Int> { UnsafeBufferPointer(offsetBuffer.elements) }
    /// The features' numbers. Valid as long as this object.
    public var indices: UnsafeBufferPointer<UInt32> { UnsafeBufferPointer(indexBuffer.elements) }
    /// Their activations. Valid as long as this object.
    public var values: UnsafeBufferPointer<Float> { UnsafeBufferPointer(valueBuffer.elements) }
    /// For each row, 1 where the token is one that dictionaries are not trained on (beginning and end of
    /// a text, padding): its features mean nothing. Valid as long as this object.
    public var excluded: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(excludedBuffer.elements) }

    init(
        width: Int, offsets: Buffer<Int>, indices: Buffer<UInt32>, values: Buffer<Float>, excluded: Buffer<UInt8>
    ) {
        rowCount = offsets.count - 1
        self.width = width
        offsetBuffer = offsets
        indexBuffer = indices
        valueBuffer = values
        excludedBuffer = excluded
    }

    /// Takes over rows that somebody else made.
    ///
    /// - Parameters:
    ///   - offsets: from 0, ascending; one more than there are rows.
    ///   - indices: ascending in each row, below `width`; as many as the last offset says.
    ///   - values: one for each index.
    /// - Throws: `.invalidArgument` where one of these does not hold.
    public convenience init(
        width: Int, offsets: UnsafeBufferPointer<Int>, indices: UnsafeBufferPointer<UInt32>,
        values: UnsafeBufferPointer<Float>
    ) throws(CabochonError) {
        guard offsets.first == 0, offsets.last == indices.count, values.count == indices.count else {
            throw CabochonError(
                .invalidArgument,
                "offsets of \(indices.count) indices and \(values.count) values begin with 0 and end with their number")
        }
        for (row, next) in zip(offsets, offsets.dropFirst()).enumerated() {
            guard next.0 <= next.1, next.1 <= indices.count else {
                throw CabochonError(.invalidArgument, "the offsets of row \(row) descend")
            }
            var previous = -1
            for index in indices[next.0..<next.1] {
                guard Int(index) < width else {
                    throw CabochonError(.invalidArgument, "row \(row): feature \(index) of \(width)")
                }
                guard Int(index) > previous else {
                    throw CabochonError(
                        .invalidArgument, "row \(row): feature \(index) after feature \(previous), not ascending")
                }
                previous = Int(index)
            }
        }
        let ownOffsets = try Buffer<Int>(count: offsets.count, for: "features")
        let ownIndices = try Buffer<UInt32>(count: indices.count, for: "features")
        let ownValues = try Buffer<Float>(count: values.count, for: "features")
        _ = ownOffsets.elements.update(fromContentsOf: offsets)
        _ = ownIndices.elements.update(fromContentsOf: indices)
        _ = ownValues.elements.update(fromContentsOf: values)
        self.init(
            width: width, offsets: ownOffsets, indices: ownIndices, values: ownValues,
            excluded: try Buffer(count: offsets.count - 1, for: "features"))
    }
}

/// Rows in the making, appended batch after batch.
final class FeaturesBuilder {
    let width: Int
    private(set) var rowCount = 0
    private var offsets = CheckedArray<Int>()
    private var indices = CheckedArray<UInt32>()
    private var values = CheckedArray<Float>()
    private var excluded = CheckedArray<UInt8>()

    init(width: Int) throws(CabochonError) {
        self.width = width
        try offsets.append(0, "features")
    }

    /// Adds to the row under way.
    func append(_ feature: UInt32, _ value: Float) throws(CabochonError) {
        try indices.append(feature, "features")
        try values.append(value, "features")
    }

    /// Makes room for that many features more.
    func reserve(_ count: Int) throws(CabochonError) {
        let total = try Checked.add(indices.count, count, "features")
        guard total > indices.capacity else { return }
        try indices.reserve(max(total, indices.count * 2), "features")
        try values.reserve(max(total, values.count * 2), "features")
    }

    func endRow(excluded isExcluded: Bool) throws(CabochonError) {
        try offsets.append(indices.count, "features")
        try excluded.append(isExcluded ? 1 : 0, "features")
        rowCount += 1
    }

    /// The rows so far.
    func finish() throws(CabochonError) -> Features {
        Features(
            width: width, offsets: try Self.buffer(of: offsets), indices: try Self.buffer(of: indices),
            values: try Self.buffer(of: values), excluded: try Self.buffer(of: excluded))
    }

    private static func buffer<Element>(of array: borrowing CheckedArray<Element>) throws(CabochonError) -> Buffer<
        Element
    > {
        let buffer = try Buffer<Element>(count: array.count, for: "features")
        _ = buffer.elements.update(fromContentsOf: array.elements)
        return buffer
    }
}
