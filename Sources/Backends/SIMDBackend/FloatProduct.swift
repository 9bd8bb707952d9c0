// Products with F32, F16 and BF16 weights, read row by row as the file has them.
//
// They are widened to float32 in registers; where the processor multiplies pairs of bfloat16 itself
// (BrainFloatPairs), a BF16 weight is taken as it is and the activations are rounded to bfloat16 once
// per op. A lane of an accumulator sums every columnsPerStep-th column (or pair of columns); the lanes
// are added at the end in one tree. Few rows and few tokens share each loaded vector; how many does not
// change the order.
import CCabochonBackend
import SIMDIntrinsics

/// How a weight and its activations are loaded and multiplied.
protocol ProductFormat {
    associatedtype Operand
    /// Bytes of an element of the weight, and of the activations.
    static var bytes: Int { get }
    static var inputBytes: Int { get }
    static var columnsPerStep: Int { get }
    static func load(_ source: UnsafeRawPointer) -> Operand
    static func load(_ source: UnsafeRawPointer, first count: Int) -> Operand
    static func loadInput(_ source: UnsafeRawPointer) -> Operand
    static func loadInput(_ source: UnsafeRawPointer, first count: Int) -> Operand
    static func addProduct(_ weight: Operand, _ input: Operand, to sum: FloatVector) -> FloatVector
}

/// Elements that become float32 when they are loaded.
protocol FloatFormat: ProductFormat where Operand == FloatVector {}

extension FloatFormat {
    @inline(__always) static var inputBytes: Int { 4 }
    @inline(__always) static var columnsPerStep: Int { lanes }
    @inline(__always) static func loadInput(_ source: UnsafeRawPointer) -> FloatVector { loadFloats(source) }
    @inline(__always) static func loadInput(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
        loadFloats(source, first: count)
    }
    @inline(__always)
    static func addProduct(_ weight: FloatVector, _ input: FloatVector, to sum: FloatVector) -> FloatVector {
        multiplyAdd(weight, input, sum)
    }
}

enum FormatF32: FloatFormat {
    @inline(__always) static var bytes: Int { 4 }
    @inline(__always) static func load(_ source: UnsafeRawPointer) -> FloatVector { loadFloats(source) }
    @inline(__always) static func load(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
        loadFloats(source, first: count)
    }
}

enum FormatF16: FloatFormat {
    @inline(__always) static var bytes: Int { 2 }
    @inline(__always) static func load(_ source: UnsafeRawPointer) -> FloatVector { loadHalves(source) }
    @inline(__always) static func load(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
        loadHalves(source, first: count)
    }
}

enum FormatBF16: FloatFormat {
    @inline(__always) static var bytes: Int { 2 }
    @inline(__always) static func load(_ source: UnsafeRawPointer) -> FloatVector { loadBrainFloats(source) }
    @inline(__always) static func load(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
        loadBrainFloats(source, first: count)
    }
}

/// Some rows of a float weight and some tokens of activations.
struct FloatProduct {
    var data: UnsafeRawPointer
    var rowBytes: Int
    var columns: Int
    var input: UnsafeRawPointer
    var inputStride: Int  // bytes
    var output: UnsafeMutablePointer<Float>
    var outputStride: Int

    /// - Parameter pairs: the input is bfloat16, and BF16 weights are taken in pairs.
    func run(type: UInt32, pairs: Bool, rows: Int, tokens: Int) {
        switch type {
        case WeightType.f32: run(FormatF32.self, rows, tokens)
        case WeightType.f16: run(FormatF16.self, rows, tokens)
        default:
            if pairs { run(BrainFloatPairs.self, rows, tokens) } else { run(FormatBF16.self, rows, tokens) }
        }
    }

    private func run<Format: ProductFormat>(_: Format.Type, _ rows: Int, _ tokens: Int) {
        var row = 0
        while row < rows {
            // For a lone token the fewest rows that hide the latency of the sums: one stream is read fastest.
            let alone = Format.columnsPerStep > lanes ? 1 : 2
            let some = tokens == 1 ? min(rows - row, alone) : rows - row >= 4 ? 4 : 1
            var token = 0
            while token < tokens {
                let rest = tokens - token
                let place = output + token * outputStride + row
                let weights = data + row * rowBytes
                let values = input + token * inputStride
                if some == 1 {
                    tile(Format.self, InlineArray<1, InlineArray<1, Void>>.self, weights, values, place)
                    token += 1
                } else if some == 2 {
                    tile(Format.self, InlineArray<2, InlineArray<1, Void>>.self, weights, values, place)
                    token += 1
                } else if rest >= floatTokens {
                    tile(Format.self, InlineArray<4, FloatTokens>.self, weights, values, place)
                    token += floatTokens
                } else if rest >= 2 {
                    tile(Format.self, InlineArray<4, InlineArray<2, Void>>.self, weights, values, place)
                    token += 2
                } else {
                    tile(Format.self, InlineArray<4, InlineArray<1, Void>>.self, weights, values, place)
                    token += 1
                }
            }
            row += some
        }
    }

    private func tile<Format: ProductFormat, let rows: Int, let tokens: Int>(
        _: Format.Type, _: InlineArray<rows, InlineArray<tokens, Void>>.Type,
        _ weights: UnsafeRawPointer, _ values: UnsafeRawPointer, _ place: UnsafeMutablePointer<Float>
    ) {
        var sums = InlineArray<rows, InlineArray<tokens, FloatVector>>(
            repeating: InlineArray<tokens, FloatVector>(repeating: broadcast(Float(0))))
        var column = 0
        while column + Format.columnsPerStep <= columns {
            var inputs = InlineArray<tokens, Format.Operand>(
                repeating: Format.loadInput(values + column * Format.inputBytes))
            for token in 1..<tokens {
                inputs[token] = Format.loadInput(values + token * inputStride + column * Format.inputBytes)
            }
            for row in 0..<rows {
                let source = weights + row * rowBytes + column * Format.bytes
                // A lone token waits for memory: what lies ahead, or in the rows that come next.
                if tokens == 1 { cabochon_simd_prefetch(source + (rows == 1 ? 4096 : rows * rowBytes)) }
                let weight = Format.load(source)
                for token in 0..<tokens {
                    sums[row][token] = Format.addProduct(weight, inputs[token], to: sums[row][token])
                }
            }
            column += Format.columnsPerStep
        }
        if column < columns {
            let count = columns - column
            for row in 0..<rows {
                let weight = Format.load(weights + row * rowBytes + column * Format.bytes, first: count)
                for token in 0..<tokens {
                    let source = values + token * inputStride + column * Format.inputBytes
                    let input = Format.loadInput(source, first: count)
                    sums[row][token] = Format.addProduct(weight, input, to: sums[row][token])
                }
            }
        }
        for token in 0..<tokens {
            for row in 0..<rows { place[token * outputStride + row] = sumOfLanes(sums[row][token]) }
        }
    }
}
