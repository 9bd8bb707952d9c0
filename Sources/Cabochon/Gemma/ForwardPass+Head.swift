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
        guard let screen = maker.screen(of: weights.head, kernels) else {
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
        let logits = try Buffer<Float>(count: selection.rows.count, for: "logits of some tokens")
        try multiply(selection.rows, &args, into: logits.pointer)
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

    /// Logits of some tokens only, from the head's rows as the file holds them: where a backend
    /// computes from packed weights only, the scalar one takes the product.
    ///
    /// - Parameters:
    ///   - tokens: each below the vocabulary size.
    ///   - output: [rows, tokens.count]
    func head(
        of tokens: [Int32], residual: UnsafePointer<Float>, rows: Int, into output: UnsafeMutablePointer<Float>
    ) throws(CabochonError) {
        kernels.execution.pool.enter()
        defer { kernels.execution.pool.leave() }
        var args = headArguments(residual: residual, rows: rows)
        try multiply(tokens, &args, into: output)
        try softcap(output, count: rows * tokens.count)
    }

    /// Products with some rows of the head, as the file holds them.
    private func multiply(
        _ ids: [Int32], _ args: inout cabochon_linear_args, into output: UnsafeMutablePointer<Float>
    ) throws(CabochonError) {
        try ids.withUnsafeBufferPointer { (buffer) throws(CabochonError) in
            let gathered = try EmbeddingRows(buffer, of: weights.head, pool: kernels.execution.pool)
            try gathered.withRecord { (record) throws(CabochonError) in
                try kernels.linear(&args, [(record, output, ids.count)])
            }
        }
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
