// Workspace.swift - the activations of one forward pass, one buffer per name of the paper.
//
// Kept by whoever runs forward passes (a session, a call) and made for the most rows it has seen,
// so decoding allocates nothing.

final class Workspace {
    let rows: Int
    let residual: Buffer<Float>  // [rows, hiddenSize], the residual stream
    let normalized: Buffer<Float>  // [rows, hiddenSize]
    let queries: Buffer<Float>  // [rows, headCount * headSize]
    let keys: Buffer<Float>  // [rows, kvHeadCount * headSize]
    let values: Buffer<Float>  // [rows, kvHeadCount * headSize]
    let attended: Buffer<Float>  // [rows, headCount * headSize]
    let branch: Buffer<Float>  // [rows, hiddenSize], what a block adds to the residual stream
    let gated: Buffer<Float>  // [rows, feedForwardSize]
    let fullRotary: RotaryTable
    let slidingRotary: RotaryTable
    private let angles: Buffer<Float>  // four tables of [rows, headSize / 2]

    init(rows: Int, configuration c: GemmaConfiguration) throws(CabochonError) {
        self.rows = rows
        // Rows are at most ForwardPass.chunkSize, and every width has been bounded by validate().
        residual = try Buffer(count: rows * c.hiddenSize, for: "the residual stream")
        normalized = try Buffer(count: rows * c.hiddenSize, for: "normed activations")
        queries = try Buffer(count: rows * c.querySize, for: "queries")
        keys = try Buffer(count: rows * c.kvSize, for: "keys")
        values = try Buffer(count: rows * c.kvSize, for: "values")
        attended = try Buffer(count: rows * c.querySize, for: "attention outputs")
        branch = try Buffer(count: rows * c.hiddenSize, for: "block outputs")
        gated = try Buffer(count: rows * c.feedForwardSize, for: "feed-forward activations")
        let table = rows * c.headSize / 2
        angles = try Buffer(count: 4 * table, for: "rotary tables")
        fullRotary = RotaryTable(cosines: angles.pointer, sines: angles.pointer + table)
        slidingRotary = RotaryTable(cosines: angles.pointer + 2 * table, sines: angles.pointer + 3 * table)
    }

    /// Moves some rows, in ascending order, to the front of a buffer of [rows, width].
    func keepRows(_ kept: [Int], of buffer: Buffer<Float>, width: Int) {
        for (place, row) in kept.enumerated() where place != row {
            (buffer.pointer + place * width).update(from: buffer.pointer + row * width, count: width)
        }
    }
}
