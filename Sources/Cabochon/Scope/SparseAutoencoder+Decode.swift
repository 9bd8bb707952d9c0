// SparseAutoencoder+Decode.swift - from features back to activations.

extension SparseAutoencoder {
    /// The reconstruction: features · decoder + decoderBias, and with a skip connection + input · skip.
    /// Reads the decoder rows of features that fire, and no others. Any thread.
    ///
    /// - Parameters:
    ///   - features: of this dictionary's width.
    ///   - input: [rows, inputSize], what the features were made of; needed by a skip connection alone.
    ///   - output: [rows, outputSize]
    /// - Throws: `.invalidArgument` for features of another width or a missing input, `.bufferTooSmall`.
    public func decode(
        _ features: Features, input: UnsafeBufferPointer<Float>? = nil, into output: UnsafeMutableBufferPointer<Float>
    ) throws(CabochonError) {
        guard features.width == width else {
            throw CabochonError(
                .invalidArgument, "features of a dictionary of \(features.width), but \(path) has \(width)")
        }
        let needed = try Checked.multiply(features.rowCount, outputSize, "reconstructions")
        guard output.count >= needed else {
            throw CabochonError(
                .bufferTooSmall,
                "reconstructions of \(features.rowCount) tokens need \(needed) floats, not \(output.count)")
        }
        guard let base = output.baseAddress, features.rowCount > 0 else { return }
        if skip != nil {
            guard let input, input.count == features.rowCount * inputSize else {
                throw CabochonError(
                    .invalidArgument,
                    "\(path) has a skip connection: decoding needs its input, \(features.rowCount) rows of \(inputSize)"
                )
            }
        }
        engine.pool.enter()
        defer { engine.pool.leave() }
        try decode(features, input: input?.baseAddress, into: base, stride: outputSize, on: engine.pool) { _ in true }
    }

    /// Reconstructions of a batch, each in a fixed order: features ascending, then the bias, then the skip
    /// connection. Blocks of the decoder go by one after the other, and all rows read theirs of it.
    ///
    /// - Parameters:
    ///   - input: [rows, inputSize], for the skip connection.
    ///   - output: rows, `stride` apart.
    ///   - pool: the threads; inside a forward pass the model's own, which are awake.
    ///   - included: whether a row is reconstructed; the others' output stays as it is.
    func decode(
        _ features: Features, input: UnsafePointer<Float>?, into output: UnsafeMutablePointer<Float>, stride: Int,
        on pool: ThreadPool, included: (Int) -> Bool
    ) throws(CabochonError) {
        // Where each row's next feature is.
        let next = try Buffer<Int>(count: features.rowCount, for: "a reconstruction")
        var rows: [Int] = []
        for row in 0..<features.rowCount where included(row) {
            rows.append(row)
            next.pointer[row] = features.offsets[row]
            (output + row * stride).update(repeating: 0, count: outputSize)
        }
        let included = rows
        for first in Swift.stride(from: 0, to: width, by: decoder.block) {
            let end = min(width, first + decoder.block)
            pool.forEach(included.count) { [self] index, _ in
                let row = included[index]
                var index = next.pointer[row]
                while index < features.offsets[row + 1], features.indices[index] < end {
                    decoder.add(
                        Int(features.indices[index]), scale: features.values[index], to: output + row * stride)
                    index += 1
                }
                next.pointer[row] = index
            }
            decoder.forget(first..<end)
        }
        pool.forEach(included.count) { [self] index, _ in
            let row = included[index]
            finish(output + row * stride, input: input.map { UnsafePointer($0 + row * inputSize) })
        }
    }

    /// The bias and the skip connection.
    private func finish(_ output: UnsafeMutablePointer<Float>, input: UnsafePointer<Float>?) {
        for i in 0..<outputSize { output[i] += decoderBias.pointer[i] }
        guard let skip, let input else { return }
        for column in 0..<inputSize {
            let weights = skip.pointer + column * outputSize
            for i in 0..<outputSize { output[i] += input[column] * weights[i] }
        }
    }

    /// One feature's decoder row: the direction it writes.
    ///
    /// - Parameter output: [outputSize]
    public func copyDirection(of feature: Int, into output: UnsafeMutableBufferPointer<Float>) throws(CabochonError) {
        try check(feature: feature)
        guard output.count >= outputSize, let base = output.baseAddress else {
            throw CabochonError(.bufferTooSmall, "a direction needs \(outputSize) floats, not \(output.count)")
        }
        decoder.copy(feature, into: base)
    }
}
