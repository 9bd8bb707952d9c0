// ForwardPass+Embedding.swift - scattered rows of the embedding: those of a batch's tokens, and those of the head
// that few logits need.
//
// They are copied out of the file: a mapping would keep up to two megabytes for each, so that a prompt's worth
// of rows brings the whole matrix back, beside the copy that the backend has packed.

import CCabochonBackend
import Synchronization

extension ForwardPass {
    /// Rows as the file holds them, in a matrix of their own.
    struct EmbeddingRows {
        private let bytes: Buffer<UInt8>
        private var record: cabochon_weight

        /// - Parameter ids: each below the vocabulary size.
        init(
            _ ids: UnsafeBufferPointer<Int32>, of embedding: StoredTensor, pool: ThreadPool
        ) throws(CabochonError) {
            let bytesPerRow = embedding.bytesPerRow
            let bytes = try Buffer<UInt8>(count: ids.count * bytesPerRow, for: "rows of the embedding")
            let failure = Mutex<CabochonError?>(nil)
            let rowsPerIndex = 32
            pool.forEach((ids.count + rowsPerIndex - 1) / rowsPerIndex) { index, _ in
                for place in index * rowsPerIndex..<min((index + 1) * rowsPerIndex, ids.count) {
                    do throws(CabochonError) {
                        try embedding.copyRow(Int(ids[place]), into: bytes.pointer + place * bytesPerRow)
                    } catch {
                        failure.withLock { $0 = error }
                    }
                }
            }
            if let failure = failure.withLock({ $0 }) { throw failure }
            self.bytes = bytes
            record = WeightBinding.record(of: embedding)
            record.data = UnsafeRawPointer(bytes.pointer)
            record.rows = UInt64(ids.count)
        }

        /// Hands the matrix to `body`, which may not keep it.
        func withRecord(
            _ body: (UnsafePointer<cabochon_weight>) throws(CabochonError) -> Void
        ) throws(CabochonError) {
            defer { withExtendedLifetime(bytes) {} }
            try withUnsafePointer(to: record, body)
        }
    }

    /// The residual stream before the first layer.
    func embed(_ batch: Batch) throws(CabochonError) {
        let rows = try EmbeddingRows(batch.tokens, of: weights.embedding, pool: kernels.execution.pool)
        let ids = (0..<batch.tokens.count).map { Int32($0) }
        try rows.withRecord { (record) throws(CabochonError) in
            var args = cabochon_embed_args()
            args.embedding = record
            args.tokens = UInt64(ids.count)
            args.scale = embeddingScale
            args.output = workspace.residual.pointer
            args.output_stride = UInt64(configuration.hiddenSize)
            try ids.withUnsafeBufferPointer { (ids) throws(CabochonError) in
                args.ids = ids.baseAddress
                try kernels.embed(&args)
            }
        }
    }
}
