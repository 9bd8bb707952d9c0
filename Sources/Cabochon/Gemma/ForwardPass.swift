// ForwardPass.swift - Gemma 2 and Gemma 3, from tokens to the residual stream and the logits.
//
// Reads like the papers (Gemma 2: arXiv 2408.00118; Gemma 3: arXiv 2503.19786):
//
//     x = embedding[token] * sqrt(hiddenSize)
//     x = x + postAttentionNorm(attention(attentionNorm(x)))      for each layer
//     x = x + postFeedForwardNorm(mlp(feedForwardNorm(x)))
//     logits = softcap(head · outputNorm(x))
//
// Each line is one or two ops of the backend. Where a visitor stands between two steps that an op
// would fuse, the steps are taken one by one, with the same bits.

import CCabochonBackend

struct ForwardPass {
    /// Rows that go through the layers at once: enough for matrix products at full speed, few
    /// enough that activations stay in cache. Longer prompts go in chunks.
    static let chunkSize = 512

    /// Rows whose final residual stream somebody reads.
    enum FinalRows {
        case all
        /// Ascending. The others only leave their keys and values, so that the last layer ends for them
        /// where these are made.
        case some([Int])
        /// None, nor any keys and values that no visitor needs: the last layers may be left out.
        case none
    }

    let configuration: GemmaConfiguration
    let weights: GemmaWeights
    let embeddingScale: Float
    let kernels: Kernels
    let workspace: Workspace

    /// Runs the batch through the layers. The caches then hold the new positions, uncommitted, and the
    /// workspace the final residual stream of the rows asked for, one after another.
    ///
    /// - Parameters:
    ///   - batch: at most `chunkSize` rows.
    ///   - firstRow: rows of this call's earlier batches, for visitors.
    func run(
        _ batch: Batch, visitors: SiteVisitors, firstRow: Int, finalRows: FinalRows, cancellation: Cancellation
    ) throws(CabochonError) {
        kernels.execution.pool.enter()
        defer { kernels.execution.pool.leave() }
        try embed(batch)
        fillRotary(batch)
        var layerCount = configuration.layerCount
        var wanted: [Int]?
        switch finalRows {
        case .all: break
        case .some(let rows): wanted = rows
        case .none: layerCount = min(layerCount, visitors.lastLayer + 1)
        }
        var segments = batch.sequences.map { sequence in
            cabochon_segment(
                first_row: 0, row_count: UInt64(sequence.rowCount), first_position: UInt64(sequence.firstPosition),
                keys: nil, values: nil, head_stride: UInt64(sequence.cache.headStride))
        }
        var row: UInt64 = 0
        for index in segments.indices {
            segments[index].first_row = row
            row += segments[index].row_count
        }
        for layer in 0..<layerCount {
            try cancellation.check()
            try kernels.binding.prepare(through: layer, run: kernels.execution.run)
            for index in segments.indices {
                segments[index].keys = batch.sequences[index].cache.keys(layer: layer)
                segments[index].values = batch.sequences[index].cache.values(layer: layer)
            }
            var place = Layer(pass: self, index: layer, batch: batch, firstRow: firstRow, visitors: visitors)
            // Who stands in the last layer sees all rows.
            let isCut = layer == layerCount - 1 && visitors.lastLayer < layer
            try place.attend(
                segments, kvType: batch.sequences.first?.cache.type ?? .f16, onlyRows: isCut ? wanted : nil)
            try place.feedForward()
            if isCut { wanted = nil }
        }
        if let wanted { workspace.keepRows(wanted, of: workspace.residual, width: configuration.hiddenSize) }
    }

    private func fillRotary(_ batch: Batch) {
        var row = 0
        for sequence in batch.sequences {
            workspace.fullRotary.fill(
                configuration.fullRotary, headSize: configuration.headSize, firstRow: row,
                rowCount: sequence.rowCount, firstPosition: sequence.firstPosition)
            workspace.slidingRotary.fill(
                configuration.slidingRotary, headSize: configuration.headSize, firstRow: row,
                rowCount: sequence.rowCount, firstPosition: sequence.firstPosition)
            row += sequence.rowCount
        }
    }
}
