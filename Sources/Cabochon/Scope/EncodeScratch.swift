// EncodeScratch.swift - the memory of one encode, kept for the next: a token's encode takes about a
// millisecond, and a hundred allocations would show in it.

import CCabochonBackend

/// Grows to the largest batch. One call's at a time, and one dictionary's.
final class EncodeScratch: @unchecked Sendable {
    private(set) var input: Buffer<Float>  // [tokens, columns]
    private(set) var counts: Buffer<UInt32>  // [blocks, tokens]
    private(set) var indices: Buffer<UInt32>  // [threads, block * tokens]
    private(set) var values: Buffer<Float>
    private(set) var rows: Buffer<Float>  // [threads, 4, columns]
    /// Nil where the backend makes no use of screens.
    private(set) var screened: ScreenedInput?
    /// One for each block of features.
    private(set) var lists: [BlockList] = []
    private var tokens = 0
    private var threads = 0

    init() throws(CabochonError) {
        input = try Buffer(count: 0, for: "an encode")
        counts = try Buffer(count: 0, for: "an encode")
        indices = try Buffer(count: 0, for: "an encode")
        values = try Buffer(count: 0, for: "an encode")
        rows = try Buffer(count: 0, for: "an encode")
    }

    /// Readies it for a batch.
    func makeRoom(for tokens: Int, of sae: SparseAutoencoder, threads: Int) throws(CabochonError) {
        for list in lists { list.forget() }
        guard tokens > self.tokens || threads > self.threads else { return }
        let (tokens, threads) = (max(tokens, self.tokens), max(threads, self.threads))
        let table = sae.encodeTable
        let blocks = (table.count + table.block - 1) / table.block
        let room = table.block * tokens
        input = try Buffer(count: tokens * sae.encoder.stride, for: "the input of features")
        counts = try Buffer(count: blocks * tokens, for: "counts of features")
        indices = try Buffer(count: threads * room, for: "features of a block")
        values = try Buffer(count: threads * room, for: "features of a block")
        rows = try Buffer(count: threads * 4 * sae.encoder.stride, for: "rows of an encoder")
        if table.screen != nil { screened = try ScreenedInput(tokens: tokens, columns: sae.encoder.stride) }
        lists = (0..<blocks).map { _ in BlockList() }
        self.tokens = tokens
        self.threads = threads
    }
}

/// What one block of features found, token after token. Each is filled by one task and read after all.
final class BlockList: @unchecked Sendable {
    private(set) var failure: CabochonError?
    private var indices = CheckedArray<UInt32>()
    private var values = CheckedArray<Float>()
    private var read = 0

    var count: Int { indices.count }

    func forget() {
        indices.removeLast(indices.count)
        values.removeLast(values.count)
        failure = nil
        read = 0
    }

    func append(_ args: cabochon_sparse_encode_args, of table: EncodeTable, firstRow: Int) {
        do throws(CabochonError) {
            for token in 0..<Int(args.tokens) {
                let row = token * Int(args.features)
                for index in 0..<Int(args.counts[token]) {
                    let number = firstRow + Int(args.indices[row + index])
                    try indices.append(
                        table.features?[number] ?? UInt32(truncatingIfNeeded: number), "features of a block")
                    try values.append(args.values[row + index], "features of a block")
                }
            }
        } catch { failure = error }
    }

    func moveRow(of count: Int, to builder: FeaturesBuilder) throws(CabochonError) {
        for index in read..<min(read + count, indices.count) {
            try builder.append(indices.elements[index], values.elements[index])
        }
        read += count
    }
}
