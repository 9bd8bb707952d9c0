// Products with F32, F16 and BF16 weights, read row by row as the file has them.
//
// They are widened to float32 in registers; where the processor multiplies pairs of bfloat16 itself
// (BrainFloatPairs), a BF16 weight is taken as it is and the activations are rounded to bfloat16 once
// per op. A lane of an accumulator sums every columnsPerStep-th column (or pair of columns); the lanes
// are added at the end in one tree. Few rows and few tokens share each loaded vector, and long rows are
// taken in stretches that the first-level cache holds; neither changes the order. FloatPanels keeps it too,
// which multiplies many tokens faster, and BrainFloatCodes, which reads BF16 in twelve bits.
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
    /// A column or pair of columns, four bytes of the input, in every lane.
    static func broadcastInput(_ source: UnsafeRawPointer) -> Operand
    /// A step of a float32 row as input; zero beyond the last column.
    static func input(_ row: UnsafePointer<Float>, _ columns: Int, step: Int) -> Operand
    /// The same lanes, as what transpositions take.
    static func bits(_ operand: Operand) -> FloatVector
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
    @inline(__always) static func broadcastInput(_ source: UnsafeRawPointer) -> FloatVector {
        broadcast(source.load(as: Float.self))
    }
    @inline(__always) static func input(_ row: UnsafePointer<Float>, _ columns: Int, step: Int) -> FloatVector {
        loadFloats(row + step * lanes, first: min(lanes, max(0, columns - step * lanes)))
    }
    @inline(__always) static func bits(_ operand: FloatVector) -> FloatVector { operand }
    @inline(__always)
    static func addProduct(_ weight: FloatVector, _ input: FloatVector, to sum: FloatVector) -> FloatVector {
        multiplyAddInOrder(weight, input, sum)
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
        if tokens == 1 { return runAlone(Format.self, rows) }
        let together = rows & ~3
        var token = 0
        while token < tokens {
            let rest = tokens - token
            if rest >= floatTokens {
                run(Format.self, FloatTokens.self, together, token)
                token += floatTokens
            } else if rest >= 2 {
                run(Format.self, InlineArray<2, Void>.self, together, token)
                token += 2
            } else {
                run(Format.self, InlineArray<1, Void>.self, together, token)
                token += 1
            }
        }
        for row in together..<rows {
            for token in 0..<tokens { tile(Format.self, InlineArray<1, InlineArray<1, Void>>.self, row, token) }
        }
    }

    /// For a lone token the fewest rows that hide the latency of the sums: one stream is read fastest.
    private func runAlone<Format: ProductFormat>(_: Format.Type, _ rows: Int) {
        var row = 0
        while Format.columnsPerStep == lanes && row + 2 <= rows {
            tile(Format.self, InlineArray<2, InlineArray<1, Void>>.self, row, 0)
            row += 2
        }
        while row < rows {
            tile(Format.self, InlineArray<1, InlineArray<1, Void>>.self, row, 0)
            row += 1
        }
    }

    /// Four rows at a time by the same tokens.
    private func run<Format: ProductFormat, let tokens: Int>(
        _: Format.Type, _: InlineArray<tokens, Void>.Type, _ rows: Int, _ token: Int
    ) {
        let stretch = Self.stretchBytes / Format.inputBytes
        if columns > stretch * 3 / 2 {
            return runStretches(Format.self, InlineArray<tokens, Void>.self, rows, token, stretch)
        }
        for row in stride(from: 0, to: rows, by: 4) {
            tile(Format.self, InlineArray<4, InlineArray<tokens, Void>>.self, row, token)
        }
    }

    /// The same in stretches of columns: the tokens' stay in the first-level cache while all rows of a
    /// stretch pass, and the rows' sums wait for the next. BF16 of 9,216 columns took 12 % less time so on
    /// an EPYC of family 26, F16 and F32 9 % less with AVX2, and F16 6 to 10 % more with AVX-512.
    private func runStretches<Format: ProductFormat, let tokens: Int>(
        _: Format.Type, _: InlineArray<tokens, Void>.Type, _ rows: Int, _ token: Int, _ stretch: Int
    ) {
        var sums = InlineArray<4, InlineArray<4, InlineArray<tokens, FloatVector>>>(
            repeating: InlineArray<4, InlineArray<tokens, FloatVector>>(
                repeating: InlineArray<tokens, FloatVector>(repeating: broadcast(Float(0)))))
        var column = 0
        while column < columns {
            let end = min(column + stretch, columns)
            for index in 0..<rows / 4 {
                let total = add(Format.self, to: sums[index], 4 * index, token, column..<end)
                if end < columns { sums[index] = total } else { store(total, 4 * index, token) }
            }
            column = end
        }
    }

    /// The input's bytes of a stretch: six tokens' and four rows' of bfloat16 fill most of 48 KiB. A whole
    /// number of steps of every format.
    private static var stretchBytes: Int { 4096 }

    private func tile<Format: ProductFormat, let rows: Int, let tokens: Int>(
        _: Format.Type, _: InlineArray<rows, InlineArray<tokens, Void>>.Type, _ row: Int, _ token: Int
    ) {
        let zero = InlineArray<rows, InlineArray<tokens, FloatVector>>(
            repeating: InlineArray<tokens, FloatVector>(repeating: broadcast(Float(0))))
        store(add(Format.self, to: zero, row, token, 0..<columns), row, token)
    }

    @inline(__always)
    private func add<Format: ProductFormat, let rows: Int, let tokens: Int>(
        _: Format.Type, to start: InlineArray<rows, InlineArray<tokens, FloatVector>>, _ firstRow: Int,
        _ firstToken: Int, _ range: Range<Int>
    ) -> InlineArray<rows, InlineArray<tokens, FloatVector>> {
        var sums = start
        let weights = data + firstRow * rowBytes
        let values = input + firstToken * inputStride
        var column = range.lowerBound
        while column + Format.columnsPerStep <= range.upperBound {
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
        if column < range.upperBound {
            let count = range.upperBound - column
            for row in 0..<rows {
                let weight = Format.load(weights + row * rowBytes + column * Format.bytes, first: count)
                for token in 0..<tokens {
                    let source = values + token * inputStride + column * Format.inputBytes
                    let input = Format.loadInput(source, first: count)
                    sums[row][token] = Format.addProduct(weight, input, to: sums[row][token])
                }
            }
        }
        return sums
    }

    @inline(__always)
    private func store<let rows: Int, let tokens: Int>(
        _ sums: InlineArray<rows, InlineArray<tokens, FloatVector>>, _ row: Int, _ token: Int
    ) {
        let place = output + token * outputStride + row
        for token in 0..<tokens {
            if rows == 4 {
                storeSumsOfLanes(
                    sums[0][token], sums[1][token], sums[2][token], sums[3][token], place + token * outputStride)
            } else {
                for row in 0..<rows { place[token * outputStride + row] = sumOfLanes(sums[row][token]) }
            }
        }
    }
}
