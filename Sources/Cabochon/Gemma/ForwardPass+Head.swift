// ForwardPass+Head.swift - from the final residual stream to logits: all of them, some tokens', or the largest.

import CCabochonBackend
import Glibc

extension ForwardPass {
    /// Logits of `rows` rows of the final residual stream.
    ///
    /// - Parameters:
    ///   - residual: [rows, hiddenSize]
    ///   - output: [rows, vocabularySize]
    func head(
        residual: UnsafePointer<Float>, rows: Int, into output: UnsafeMutablePointer<Float>
    ) throws(CabochonError) {
        kernels.execution.pool.enter()
        defer { kernels.execution.pool.leave() }
        let c = configuration
        try kernels.binding.prepare(through: c.layerCount, run: kernels.execution.run)
        var args = headArguments(residual: residual, rows: rows)
        var piece = output
        var products: [Kernels.Product] = []
        for weight in kernels.binding.weights(c.layerCount) {
            products.append((weight, piece, c.vocabularySize))
            piece += Int(weight.pointee.rows)
        }
        try kernels.linear(&args, products)
        try softcap(output, count: rows * c.vocabularySize)
    }

    /// The `count` largest logits of one row, and those equal to the last of them. Others may be there, too;
    /// those that are not are -infinity. Each is what `head(residual:rows:into:)` gives.
    ///
    /// - Parameters:
    ///   - residual: [hiddenSize]
    ///   - output: [vocabularySize]
    func head(
        largest count: Int, residual: UnsafePointer<Float>, into output: UnsafeMutablePointer<Float>
    ) throws(CabochonError) {
        let maker = kernels.binding.headScreen
        guard let screen = maker.screen(of: weights.embedding, kernels) else {
            return try head(residual: residual, rows: 1, into: output)
        }
        let isServed = try find(count, residual, by: screen, into: output)
        maker.note(isServed: isServed)
        if !isServed { try head(residual: residual, rows: 1, into: output) }
    }

    /// - Returns: false where the screen leaves too many rows, or softcap takes logits so close together that
    ///   another row might be among the largest: `output` is then of no use.
    private func find(
        _ count: Int, _ residual: UnsafePointer<Float>, by screen: HeadScreen,
        into output: UnsafeMutablePointer<Float>
    ) throws(CabochonError) -> Bool {
        kernels.execution.pool.enter()
        defer { kernels.execution.pool.leave() }
        let c = configuration
        var norm = cabochon_norm_args()
        norm.input = residual
        norm.input_stride = UInt64(c.hiddenSize)
        norm.tokens = 1
        norm.width = UInt64(c.hiddenSize)
        norm.gain = UnsafePointer(weights.outputNorm.pointer)
        norm.epsilon = c.normEpsilon
        norm.output = workspace.normalized.pointer
        norm.output_stride = UInt64(c.hiddenSize)
        try kernels.norm(&norm)
        var args = cabochon_linear_args()
        args.input = UnsafePointer(workspace.normalized.pointer)
        args.input_stride = UInt64(c.hiddenSize)
        args.tokens = 1
        var products: [Kernels.Product] = []
        var piece = output
        for (index, weight) in screen.pieces.enumerated() {
            products.append((weight, piece, c.vocabularySize))
            piece += Int(weight.pointee.rows)
            guard products.count == 4 || index == screen.pieces.count - 1 else { continue }
            try kernels.linear(&args, products)
            products = []
        }
        let length = ScreenedLength(workspace.normalized.pointer, columns: c.hiddenSize)
        let pool = kernels.execution.pool
        // A gathered row costs about as much as reading four.
        guard
            let selection = try screen.select(
                count, of: output, length, limit: max(256, 4 * count, c.vocabularySize / 32), pool: pool)
        else { return false }
        let logits = try fullProducts(of: selection.rows, &args)
        try softcap(logits.pointer, count: logits.count)
        output.update(repeating: -.infinity, count: c.vocabularySize)
        for (place, row) in selection.rows.enumerated() { output[Int(row)] = logits.pointer[place] }
        guard c.finalSoftcap > 0 else { return true }
        // Far beyond the cap, unequal products have equal logits, of which the first is the largest.
        let numbers = logits.elements.filter { !$0.isNaN }.sorted(by: >)
        guard numbers.count >= count else { return false }
        let cap = Double(c.finalSoftcap)
        return Double(numbers[count - 1]) > cap * tanh(Double(selection.rest) / cap) + cap * 0x1p-20
    }

    /// Full products of some rows of the head, as the file holds them.
    private func fullProducts(
        of rows: [Int32], _ args: inout cabochon_linear_args
    ) throws(CabochonError) -> Buffer<Float> {
        let bytesPerRow = weights.embedding.bytesPerRow
        let gathered = try Buffer<UInt8>(count: rows.count * bytesPerRow, for: "rows of the head")
        let output = try Buffer<Float>(count: rows.count, for: "logits of some tokens")
        var record = WeightBinding.record(of: StoredTensor(weights.embedding, rows: 0..<rows.count))
        record.data = UnsafeRawPointer(gathered.pointer)
        kernels.execution.pool.forEach((rows.count + 31) / 32) { index, _ in
            for place in index * 32..<min(index * 32 + 32, rows.count) {
                let source = weights.embedding.bytes[
                    Int(rows[place]) * bytesPerRow..<(Int(rows[place]) + 1) * bytesPerRow]
                UnsafeMutableRawBufferPointer(start: gathered.pointer + place * bytesPerRow, count: bytesPerRow)
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: source))
            }
        }
        var failure: CabochonError?
        withUnsafePointer(to: &record) { record in
            do throws(CabochonError) { try kernels.linear(&args, [(record, output.pointer, rows.count)]) } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return output
    }

    /// Logits of some tokens only, from the embedding's rows as the file holds them: where a backend
    /// computes from packed weights only, the scalar one takes the product.
    ///
    /// - Parameters:
    ///   - tokens: 1 to 4, each below the vocabulary size.
    ///   - output: [rows, tokens.count]
    func head(
        of tokens: [Int32], residual: UnsafePointer<Float>, rows: Int, into output: UnsafeMutablePointer<Float>
    ) throws(CabochonError) {
        let records = tokens.map {
            WeightBinding.record(of: StoredTensor(weights.embedding, rows: Int($0)..<Int($0) + 1))
        }
        var args = headArguments(residual: residual, rows: rows)
        var failure: CabochonError?
        records.withUnsafeBufferPointer { records in
            guard let first = records.baseAddress else { return }
            let products = records.indices.map { (weight: first + $0, output: output + $0, stride: records.count) }
            do throws(CabochonError) { try kernels.linear(&args, products) } catch { failure = error }
        }
        if let failure { throw failure }
        try softcap(output, count: rows * tokens.count)
    }

    private func headArguments(residual: UnsafePointer<Float>, rows: Int) -> cabochon_linear_args {
        var args = cabochon_linear_args()
        args.input = residual
        args.input_stride = UInt64(configuration.hiddenSize)
        args.tokens = UInt64(rows)
        args.norm_gain = UnsafePointer(weights.outputNorm.pointer)
        args.norm_epsilon = configuration.normEpsilon
        return args
    }

    private func softcap(_ logits: UnsafeMutablePointer<Float>, count: Int) throws(CabochonError) {
        guard configuration.finalSoftcap > 0 else { return }
        var softcap = cabochon_softcap_args()
        softcap.values = logits
        softcap.count = UInt64(count)
        softcap.cap = configuration.finalSoftcap
        try kernels.softcap(&softcap)
    }
}
