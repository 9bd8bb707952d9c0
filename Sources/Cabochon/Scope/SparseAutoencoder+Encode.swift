// SparseAutoencoder+Encode.swift - which features fire, without a dense row ever being written.
//
// Blocks of features go over the engine's threads; each block appends what fires for each token to
// a list of its own, and the lists are joined in order of the features. A feature's value depends
// on its own row and the input alone, so neither threads nor batches show in the result.

import CCabochonBackend

/// Floats of a batch, rows `stride` apart.
struct InputRows {
    let values: UnsafePointer<Float>
    let count: Int
    let stride: Int
}

/// The rows that an encode goes over: all of the encoder's, or a selection.
struct EncodeTable: @unchecked Sendable {
    let rows, bias, threshold: UnsafePointer<Float>
    let count: Int
    /// The feature of each row; nil: its number.
    let features: UnsafePointer<UInt32>?
    let screen: FeatureScreen?
    /// Rows that are read together.
    let block: Int
}

/// The rows of one block, for a backend that asks for them one by one.
private struct EncoderRows {
    unowned(unsafe) let encoder: Encoder
    let firstRow: Int

    static let read:
        @convention(c) (UnsafeMutableRawPointer?, UInt64, UnsafeMutablePointer<Float>?) ->
            UnsafePointer<Float>? = { context, feature, buffer in
                guard let rows = context?.assumingMemoryBound(to: EncoderRows.self), let buffer else { return nil }
                return rows.pointee.encoder.readRow(
                    rows.pointee.firstRow + Int(truncatingIfNeeded: feature), into: buffer)
            }
}

extension SparseAutoencoder {
    /// Features of one block: enough for a task to be worth its start, few enough that a block's encoder
    /// stays in cache while the tokens pass.
    private static let featureBlock = 128
    /// Rows of a selection have no screen in front of them: a task for fewer.
    private static let selectedBlock = 16
    /// Up to so many tokens the codes' way through memory is all that counts.
    static let fewTokens = 4
    /// Of a few tokens without a screen: each call gives back pages around its rows, which others may be reading.
    private static let blocksForgottenTogether = 32

    var encodeTable: EncodeTable {
        if let selection {
            EncodeTable(
                rows: UnsafePointer(selection.rows.pointer), bias: UnsafePointer(selection.bias.pointer),
                threshold: UnsafePointer(selection.threshold.pointer), count: selection.features.count,
                features: UnsafePointer(selection.features.pointer), screen: nil, block: Self.selectedBlock)
        } else {
            EncodeTable(
                rows: encoder.rows, bias: UnsafePointer(encoderBias.pointer),
                threshold: UnsafePointer(threshold.pointer), count: width, features: nil,
                screen: backend.usesScreens ? encoder.screen : nil, block: Self.featureBlock)
        }
    }

    /// The features of some rows of activations. Any thread.
    ///
    /// - Parameter input: [rows, inputSize], row-major, at the site and in the scale that `site` says.
    /// - Throws: `.invalidArgument` if that is not whole rows, `.outOfMemory`.
    public func encode(_ input: UnsafeBufferPointer<Float>) throws(CabochonError) -> Features {
        guard input.count.isMultiple(of: inputSize) else {
            throw CabochonError(.invalidArgument, "\(input.count) floats are no rows of \(inputSize)")
        }
        let builder = try FeaturesBuilder(width: width)
        if let base = input.baseAddress, !input.isEmpty {
            let rows = input.count / inputSize
            let scratch = try EncodeScratch()
            engine.pool.enter()
            defer { engine.pool.leave() }
            for first in stride(from: 0, to: rows, by: ForwardPass.chunkSize) {
                try encode(
                    InputRows(
                        values: base + first * inputSize, count: min(rows - first, ForwardPass.chunkSize),
                        stride: inputSize),
                    on: engine.pool, with: scratch, into: builder
                ) { _ in false }
            }
        }
        return try builder.finish()
    }

    /// Appends the features of a batch.
    ///
    /// - Parameters:
    ///   - factor: multiplies the input: embedding dictionaries read it in another scale.
    ///   - pool: the threads; inside a forward pass the model's own, which are awake.
    ///   - scratch: this dictionary's alone, and one call's at a time.
    ///   - excluded: whether a row is to be marked.
    func encode(
        _ rows: InputRows, factor: Float = 1, on pool: ThreadPool, with scratch: EncodeScratch,
        into builder: FeaturesBuilder, excluded: (Int) -> Bool
    ) throws(CabochonError) {
        let columns = encoder.stride
        let tokens = rows.count
        try scratch.makeRoom(for: tokens, of: self, threads: pool.threadCount)
        for token in 0..<tokens {
            let source = rows.values + token * rows.stride
            let target = scratch.input.pointer + token * columns
            for i in 0..<inputSize { target[i] = factor == 1 ? source[i] : source[i] * factor }
        }
        let table = encodeTable
        if let screen = table.screen {
            scratch.screened?.quantize(scratch.input.pointer, tokens: tokens, screen: screen, pool: pool)
        }
        let room = table.block * tokens
        // Of a few tokens the screen leaves a row here and there.
        let readsRows = tokens <= Self.fewTokens && table.screen != nil && encoder.forgetsRows
        pool.forEach(scratch.lists.count) { [self] block, worker in
            let firstRow = block * table.block
            let count = min(table.block, table.count - firstRow)
            var args = cabochon_sparse_encode_args()
            args.input = UnsafePointer(scratch.input.pointer)
            args.tokens = UInt64(tokens)
            args.columns = UInt64(columns)
            args.rows = table.rows + firstRow * columns
            args.bias = table.bias + firstRow
            args.threshold = table.threshold + firstRow
            args.features = UInt64(count)
            args.indices = scratch.indices.pointer + worker * room
            args.values = scratch.values.pointer + worker * room
            args.counts = scratch.counts.pointer + block * tokens
            if let screen = table.screen, let screened = scratch.screened {
                args.use(screen, screened, firstFeature: firstRow, columns: columns)
            }
            if readsRows {
                var rows = EncoderRows(encoder: encoder, firstRow: firstRow)
                withUnsafeMutablePointer(to: &rows) {
                    args.row_context = UnsafeMutableRawPointer($0)
                    args.read_row = EncoderRows.read
                    args.row_buffers = scratch.rows.pointer + worker * 4 * columns
                    encodeBlock(&args)
                }
            } else {
                encodeBlock(&args)
            }
            scratch.lists[block].append(args, of: table, firstRow: firstRow)
            guard selection == nil, !readsRows else { return }
            let forgotten = tokens > Self.fewTokens ? 1 : Self.blocksForgottenTogether
            if (block + 1).isMultiple(of: forgotten) || block == scratch.lists.count - 1 {
                encoder.forget(block / forgotten * forgotten * table.block..<firstRow + count)
            }
        }
        if let failure = scratch.lists.lazy.compactMap(\.failure).first { throw failure }
        try builder.reserve(scratch.lists.reduce(0) { $0 + $1.count })
        for token in 0..<tokens {
            for (block, list) in scratch.lists.enumerated() {
                let count = Int(scratch.counts.pointer[block * tokens + token])
                if count > 0 { try list.moveRow(of: count, to: builder) }
            }
            try builder.endRow(excluded: excluded(token))
        }
    }

    /// The backend's op, or where it has none the scalar one.
    private func encodeBlock(_ args: inout cabochon_sparse_encode_args) {
        args.struct_size = MemoryLayout<cabochon_sparse_encode_args>.size
        if let encode = backend.ops.sparse_encode, encode(backend.instance, &args) == CABOCHON_OP_DONE { return }
        let scalar = engine.registry.scalar
        _ = scalar.ops.sparse_encode?(scalar.instance, &args)
    }

    /// One feature for each row: its activation, 0 where it does not fire. The same bits as `encode`.
    ///
    /// - Parameter output: [rows]
    func read(feature: Int, _ rows: InputRows, factor: Float = 1, into output: UnsafeMutablePointer<Float>)
        throws(CabochonError)
    {
        let columns = encoder.stride
        let input = try Buffer<Float>(count: columns, for: "the input of a feature")
        for token in 0..<rows.count {
            let source = rows.values + token * rows.stride
            for i in 0..<inputSize { input.pointer[i] = factor == 1 ? source[i] : source[i] * factor }
            var index: UInt32 = 0
            var count: UInt32 = 0
            var args = cabochon_sparse_encode_args()
            args.input = UnsafePointer(input.pointer)
            args.tokens = 1
            args.columns = UInt64(columns)
            args.rows = encoder.rows + feature * columns
            args.bias = UnsafePointer(encoderBias.pointer + feature)
            args.threshold = UnsafePointer(threshold.pointer + feature)
            args.features = 1
            args.values = output + token
            output[token] = 0
            withUnsafeMutablePointer(to: &index) { index in
                withUnsafeMutablePointer(to: &count) { count in
                    args.indices = index
                    args.counts = count
                    encodeBlock(&args)
                }
            }
        }
    }
}

extension cabochon_sparse_encode_args {
    fileprivate mutating func use(_ screen: FeatureScreen, _ input: ScreenedInput, firstFeature: Int, columns: Int) {
        codes = screen.codes + firstFeature * columns
        scale = screen.scale + firstFeature
        error = screen.error + firstFeature
        norm = screen.norm + firstFeature
        bar = screen.bar + firstFeature
        high = UnsafePointer(input.high.pointer)
        low = UnsafePointer(input.low.pointer)
        high_sum = UnsafePointer(input.highSum.pointer)
        low_sum = UnsafePointer(input.lowSum.pointer)
        input_scale = UnsafePointer(input.scale.pointer)
        input_norm = UnsafePointer(input.norm.pointer)
        input_error = UnsafePointer(input.error.pointer)
        planes = UInt64(input.planes)
        numbers = UnsafePointer(input.numbers.pointer)
    }
}
