// Products of a few tokens by lanes of float32, one for each row, in the order of tiles.
//
// Tiles take numbers below the normal ones for zero; lanes are told to for as long as they multiply.
import CCabochonBackend
import SIMDIntrinsics

extension BrainFloatTiles {
    /// output[token, 0 ..< rows] of a panel by at most `fewTokens` tokens, whose values `fill` made.
    func multiplyFew(
        _ panel: Int, rows: Int, by values: UnsafePointer<Float>, tokens: Int, memory: UnsafeMutableRawPointer,
        _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        let before = cabochon_x86_take_small_for_zero()
        switch tokens {
        case 1: multiplyFew(InlineArray<1, Void>.self, panel, rows, values, memory, output, stride)
        case 2: multiplyFew(InlineArray<2, Void>.self, panel, rows, values, memory, output, stride)
        case 3: multiplyFew(InlineArray<3, Void>.self, panel, rows, values, memory, output, stride)
        default: multiplyFew(InlineArray<4, Void>.self, panel, rows, values, memory, output, stride)
        }
        cabochon_x86_take_small_as_before(before)
    }

    /// Apart from where the processor is told how to take small numbers, past which no sum may move.
    @inline(never)
    private func multiplyFew<let tokens: Int>(
        _: InlineArray<tokens, Void>.Type, _ panel: Int, _ rows: Int, _ values: UnsafePointer<Float>,
        _ memory: UnsafeMutableRawPointer, _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        let steps = Self.steps(columns)
        let valueStride = steps * Self.stepColumns
        var reader = reader(panel)
        var totals = InlineArray<tokens, FloatVector>(repeating: broadcast(Float(0)))
        for step in 0..<steps {
            var sums = StepSums<tokens>()
            let value = values + step * Self.stepColumns
            if isCoded && step != reader.exceptionStep {
                // A lone token waits for memory, and must not wait for its words to come back from a cache as well.
                let codes = stepCodes(step, reader)
                for group in 0..<8 {
                    let words = Self.words(codes, group, reader.table)
                    sums.add(words[0], words[2], value + 4 * group, valueStride)
                    sums.add(words[1], words[3], value + (4 * group + 2), valueStride)
                }
            } else {
                unpack(step, &reader, to: memory)
                for pair in 0..<16 {
                    sums.add(
                        loadInts(memory + pair * vectorBytes),
                        loadInts(memory + (Self.tileBytes + pair * vectorBytes)), value + 2 * pair, valueStride)
                }
            }
            for token in 0..<tokens { totals[token] = sums.total(token, after: totals[token]) }
        }
        for token in 0..<tokens { storeFloats(totals[token], output + token * stride, first: rows) }
    }

    /// The chains of two tiles.
    private struct StepSums<let tokens: Int> {
        private typealias Sums = InlineArray<tokens, FloatVector>
        private var even = Sums(repeating: broadcast(Float(0)))
        private var odd = Sums(repeating: broadcast(Float(0)))
        private var nextEven = Sums(repeating: broadcast(Float(0)))
        private var nextOdd = Sums(repeating: broadcast(Float(0)))

        /// Two columns of each tile by the tokens' values of them.
        @inline(__always)
        mutating func add(
            _ words: IntVector, _ nextWords: IntVector, _ value: UnsafePointer<Float>, _ valueStride: Int
        ) {
            let upper = broadcast(Int32(bitPattern: 0xffff_0000))
            let weights = (floatsOfBits(shiftLanesLeft(words, 16)), floatsOfBits(and(words, upper)))
            let next = (floatsOfBits(shiftLanesLeft(nextWords, 16)), floatsOfBits(and(nextWords, upper)))
            for token in 0..<tokens {
                let value = value + token * valueStride
                even[token] = multiplyAdd(weights.0, broadcast(value[0]), even[token])
                odd[token] = multiplyAdd(weights.1, broadcast(value[1]), odd[token])
                nextEven[token] = multiplyAdd(next.0, broadcast(value[tileColumns]), nextEven[token])
                nextOdd[token] = multiplyAdd(next.1, broadcast(value[tileColumns + 1]), nextOdd[token])
            }
        }

        @inline(__always) func total(_ token: Int, after before: FloatVector) -> FloatVector {
            let total = _mm512_add_ps(before, _mm512_add_ps(even[token], odd[token]))
            return _mm512_add_ps(total, _mm512_add_ps(nextEven[token], nextOdd[token]))
        }
    }
}
