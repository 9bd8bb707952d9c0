// ForwardPass+Layer.swift - one transformer layer: attention, then the gated MLP, each between
// two norms and added to the residual stream.

import CCabochonBackend

extension ForwardPass {
    struct Layer {
        let pass: ForwardPass
        let index: Int
        let batch: Batch
        let firstRow: Int
        let visitors: SiteVisitors
        /// Rows that are worked on: the batch's, or the first of them if the others have been dropped.
        private var tokens: Int

        init(pass: ForwardPass, index: Int, batch: Batch, firstRow: Int, visitors: SiteVisitors) {
            self.pass = pass
            self.index = index
            self.batch = batch
            self.firstRow = firstRow
            self.visitors = visitors
            tokens = batch.tokens.count
        }

        private var c: GemmaConfiguration { pass.configuration }
        private var layer: GemmaLayer { pass.weights.layers[index] }
        private var work: Workspace { pass.workspace }
        /// The order of GemmaLayer.matrices.
        private enum Matrix: Int { case query, key, value, attentionOutput, gate, up, down }

        private func weight(_ matrix: Matrix) -> UnsafePointer<cabochon_weight> {
            pass.kernels.binding.weight(index, matrix.rawValue)
        }

        private func visit(_ place: Site.Place, _ buffer: Buffer<Float>, width: Int? = nil) throws(CabochonError) {
            let width = width ?? c.hiddenSize
            try visitors.visit(
                place, index,
                SiteRows(
                    values: buffer.pointer, tokens: tokens, width: width, stride: width, firstRow: firstRow,
                    batch: batch))
        }

        /// - Parameter onlyRows: ascending; once all keys and values are made, the others are dropped and
        ///   these are rows 0, 1, ... of the residual stream. Nil keeps all.
        mutating func attend(
            _ segments: [cabochon_segment], kvType: KVType, onlyRows: [Int]?
        ) throws(CabochonError) {
            try visit(.residPre, work.residual)

            var projection = cabochon_linear_args()
            projection.input = UnsafePointer(work.residual.pointer)
            projection.input_stride = UInt64(c.hiddenSize)
            projection.tokens = UInt64(tokens)
            projection.norm_gain = UnsafePointer(layer.attentionNorm.pointer)
            projection.norm_epsilon = c.normEpsilon
            try pass.kernels.linear(
                &projection,
                [
                    (weight(.query), work.queries.pointer, c.querySize),
                    (weight(.key), work.keys.pointer, c.kvSize),
                    (weight(.value), work.values.pointer, c.kvSize),
                ])

            try rotate(segments, kvType: kvType)
            if let onlyRows {
                guard !onlyRows.isEmpty else { return tokens = 0 }
                try attention(keep(onlyRows, of: segments), kvType: kvType)
            } else {
                try attention(segments, kvType: kvType)
            }
            try visit(.attnZ, work.attended, width: c.querySize)

            try project(work.attended, width: c.querySize, by: .attentionOutput)
            try visit(.attnOutRaw, work.branch)
            try addBranch(gain: layer.postAttentionNorm, place: .attnOut)
            try visit(.residMid, work.residual)
        }

        /// Drops all other rows, and returns a segment for each of these.
        private mutating func keep(_ rows: [Int], of segments: [cabochon_segment]) -> [cabochon_segment] {
            work.keepRows(rows, of: work.queries, width: c.querySize)
            work.keepRows(rows, of: work.residual, width: c.hiddenSize)
            tokens = rows.count
            var kept: [cabochon_segment] = []
            var rest = segments[...]
            for row in rows.map(UInt64.init) {
                while let segment = rest.first, segment.first_row + segment.row_count <= row { rest.removeFirst() }
                guard var segment = rest.first else { break }
                segment.first_position += row - segment.first_row
                segment.first_row = UInt64(kept.count)
                segment.row_count = 1
                kept.append(segment)
            }
            return kept
        }

        private func rotate(_ segments: [cabochon_segment], kvType: KVType) throws(CabochonError) {
            let table = c.slides[index] ? work.slidingRotary : work.fullRotary
            var args = cabochon_rotate_args()
            args.queries = work.queries.pointer
            args.keys = UnsafePointer(work.keys.pointer)
            args.values = UnsafePointer(work.values.pointer)
            args.query_stride = UInt64(c.querySize)
            args.key_stride = UInt64(c.kvSize)
            args.value_stride = UInt64(c.kvSize)
            args.query_gain = layer.queryNorm.map { UnsafePointer($0.pointer) }
            args.key_gain = layer.keyNorm.map { UnsafePointer($0.pointer) }
            args.epsilon = c.normEpsilon
            args.query_scale = c.queryScale
            args.cosines = UnsafePointer(table.cosines)
            args.sines = UnsafePointer(table.sines)
            args.tokens = UInt64(tokens)
            args.heads = UInt32(c.headCount)
            args.kv_heads = UInt32(c.kvHeadCount)
            args.head_size = UInt32(c.headSize)
            args.kv_type = kvType.rawValue
            try pass.kernels.rotate(&args, segments)
        }

        private func attention(_ segments: [cabochon_segment], kvType: KVType) throws(CabochonError) {
            var args = cabochon_attention_args()
            args.queries = UnsafePointer(work.queries.pointer)
            args.query_stride = UInt64(c.querySize)
            args.tokens = UInt64(tokens)
            args.heads = UInt32(c.headCount)
            args.kv_heads = UInt32(c.kvHeadCount)
            args.head_size = UInt32(c.headSize)
            args.kv_type = kvType.rawValue
            args.window = c.slides[index] ? UInt64(c.slidingWindow) : 0
            args.softcap = c.attentionSoftcap
            args.output = work.attended.pointer
            args.output_stride = UInt64(c.querySize)
            try pass.kernels.attention(&args, segments)
        }

        func feedForward() throws(CabochonError) {
            guard tokens > 0 else { return }
            var args = cabochon_gated_linear_args()
            args.input = UnsafePointer(work.residual.pointer)
            args.input_stride = UInt64(c.hiddenSize)
            args.tokens = UInt64(tokens)
            if visitors.stand(at: .mlpInNormalized, index) || visitors.stand(at: .mlpIn, index) {
                try normalizeInSteps()
                args.input = UnsafePointer(work.normalized.pointer)
            } else {
                args.norm_gain = UnsafePointer(layer.feedForwardNorm.pointer)
                args.norm_epsilon = c.normEpsilon
            }
            args.gate = weight(.gate)
            args.up = weight(.up)
            args.output = work.gated.pointer
            args.output_stride = UInt64(c.feedForwardSize)
            try pass.kernels.gatedLinear(&args)

            try project(work.gated, width: c.feedForwardSize, by: .down)
            try visit(.mlpOutRaw, work.branch)
            try addBranch(gain: layer.postFeedForwardNorm, place: .mlpOut)
            try visit(.residPost, work.residual)
        }

        /// The norm before the MLP with both of its sites, in `normalized`.
        private func normalizeInSteps() throws(CabochonError) {
            var args = norm(of: work.residual, gain: nil)
            args.output = work.normalized.pointer
            args.output_stride = UInt64(c.hiddenSize)
            try pass.kernels.norm(&args)
            try visit(.mlpInNormalized, work.normalized)
            for token in 0..<tokens {
                let row = work.normalized.pointer + token * c.hiddenSize  // [hiddenSize]
                for i in 0..<c.hiddenSize { row[i] *= layer.feedForwardNorm.pointer[i] }
            }
            try visit(.mlpIn, work.normalized)
        }

        /// branch = matrix · input
        private func project(_ input: Buffer<Float>, width: Int, by matrix: Matrix) throws(CabochonError) {
            var args = cabochon_linear_args()
            args.input = UnsafePointer(input.pointer)
            args.input_stride = UInt64(width)
            args.tokens = UInt64(tokens)
            try pass.kernels.linear(&args, [(weight(matrix), work.branch.pointer, c.hiddenSize)])
        }

        /// residual += norm(branch), in one step where nobody stands at `place`.
        private func addBranch(gain: Buffer<Float>, place: Site.Place) throws(CabochonError) {
            var args = norm(of: work.branch, gain: gain)
            guard visitors.stand(at: place, index) else {
                args.residual = work.residual.pointer
                args.residual_stride = UInt64(c.hiddenSize)
                return try pass.kernels.norm(&args)
            }
            args.output = work.normalized.pointer
            args.output_stride = UInt64(c.hiddenSize)
            try pass.kernels.norm(&args)
            try visit(place, work.normalized)
            for i in 0..<tokens * c.hiddenSize { work.residual.pointer[i] += work.normalized.pointer[i] }
        }

        private func norm(of input: Buffer<Float>, gain: Buffer<Float>?) -> cabochon_norm_args {
            var args = cabochon_norm_args()
            args.input = UnsafePointer(input.pointer)
            args.input_stride = UInt64(c.hiddenSize)
            args.tokens = UInt64(tokens)
            args.width = UInt64(c.hiddenSize)
            args.gain = gain.map { UnsafePointer($0.pointer) }
            args.epsilon = c.normEpsilon
            return args
        }
    }
}
