// One panel of a packed weight by one tile of activations.
//
// Per block: exact integer sums, then one product of scales and one fused add into the float
// accumulator of each (row, token), block after block. That order is the same for every size of
// tile, which is why a token alone and a token in a batch get the same bits.
import CCabochonBackend
import SIMDIntrinsics

/// Bytes ahead of the first products with a panel that memory is asked for. The processor's own prefetcher
/// stops at each page of 4 KiB; asking 4 to 8 KiB ahead read Q4_K 1.8 times as fast for a lone token with one
/// thread of an EPYC of family 26 and 1.5 times with two (Benchmarks/kernels.c), 2 and 16 KiB less. Asked for by
/// the first tile of many, two threads took Q4_K 1.8 to 2.7 times as fast with 2 to 12 tokens, 1.14 times with 115.
private let prefetchDistance = 8192

extension PackedFormat {
    @inline(__always)
    static func product<let tokens: Int>(
        _ panel: UnsafeRawPointer, _ weight: PackedWeight, _ tile: UnsafeRawPointer, isFirst: Bool
    ) -> InlineArray<tokens, FloatVector> {
        var sums = InlineArray<tokens, FloatVector>(repeating: broadcast(Float(0)))
        var chunk = panel
        var block = tile
        var remaining = weight.blocks
        while remaining > 0 {
            for index in 0..<min(remaining, chunkBlocks) {
                let codes = chunk + index * blockBytes
                let record = chunk + chunkCodeBytes + index / Scales.blocks * recordBytes
                let inRecord = index % Scales.blocks
                if isFirst { prefetch(codes) }
                if Scales.halves {
                    if tokens == 12 {
                        addHalves(&sums, InlineArray<6, Void>.self, 0, codes, record, inRecord, block)
                        addHalves(&sums, InlineArray<6, Void>.self, 6, codes, record, inRecord, block)
                    } else {
                        addHalves(&sums, InlineArray<tokens, Void>.self, 0, codes, record, inRecord, block)
                    }
                } else {
                    addBlock(&sums, codes, record, inRecord, block)
                }
                block += Tile.blockBytes(tokens)
            }
            chunk += chunkBytes
            remaining -= chunkBlocks
        }
        return sums
    }

    /// Asks for a block's share of its chunk, `prefetchDistance` further on.
    @inline(__always)
    private static func prefetch(_ codes: UnsafeRawPointer) {
        for line in 0..<(chunkBytes / chunkBlocks + 63) / 64 {
            cabochon_simd_prefetch(codes + prefetchDistance + 64 * line)
        }
    }

    @inline(__always)
    private static func addBlock<let tokens: Int>(
        _ sums: inout InlineArray<tokens, FloatVector>, _ codes: UnsafeRawPointer, _ record: UnsafeRawPointer,
        _ index: Int, _ block: UnsafeRawPointer
    ) {
        let products: InlineArray<tokens, IntVector> = blockProducts(
            Self.self, codes, block, first: 0, last: 8, negatedSum: Tile.negatedSum)
        let scale = shiftedScale(record, index, 0)
        for token in 0..<tokens {
            let both = multiply(scale, broadcast(float(block, Tile.scale, token)))
            sums[token] = multiplyAdd(floats(products[token]), both, sums[token])
        }
        if zeroShift < 0 {
            let minimum = Scales.minimum(record, index, 0)
            for token in 0..<tokens {
                let sum = broadcast(float(block, Tile.scaledSum, token))
                sums[token] = subtractProduct(minimum, sum, from: sums[token])
            }
        }
    }

    /// The same with a scale for each 16 columns: both halves are scaled and added before the
    /// activations' scale. A third set of accumulators is live here, so that a tile of twelve tokens is
    /// taken as two of six, which fit in 32 registers.
    @inline(__always)
    private static func addHalves<let tokens: Int, let few: Int>(
        _ sums: inout InlineArray<tokens, FloatVector>, _: InlineArray<few, Void>.Type, _ start: Int,
        _ codes: UnsafeRawPointer, _ record: UnsafeRawPointer, _ index: Int, _ block: UnsafeRawPointer
    ) {
        // Written out for both halves, since a loop over them would not be unrolled.
        let activations = block + Tile.bytesPerToken * start
        let first: InlineArray<few, IntVector> = blockProducts(
            Self.self, codes, activations, first: 0, last: 4,
            negatedSum: Tile.negatedHalfSum(0))
        let firstScale = shiftedScale(record, index, 0)
        var scaled = InlineArray<few, FloatVector>(repeating: broadcast(Float(0)))
        for token in 0..<few { scaled[token] = multiply(floats(first[token]), firstScale) }
        let second: InlineArray<few, IntVector> = blockProducts(
            Self.self, codes, activations, first: 4, last: 8,
            negatedSum: Tile.negatedHalfSum(1))
        let secondScale = shiftedScale(record, index, 1)
        for token in 0..<few { scaled[token] = multiplyAdd(floats(second[token]), secondScale, scaled[token]) }
        if zeroShift < 0 {
            subtractMinimum(&scaled, record, index, 0, activations + Tile.negatedHalfSum(0))
            subtractMinimum(&scaled, record, index, 1, activations + Tile.negatedHalfSum(1))
        }
        for token in 0..<few {
            let scale = broadcast(float(activations, Tile.scale, token))
            sums[start + token] = multiplyAdd(scaled[token], scale, sums[start + token])
        }
    }

    @inline(__always)
    private static func subtractMinimum<let few: Int>(
        _ scaled: inout InlineArray<few, FloatVector>, _ record: UnsafeRawPointer, _ index: Int, _ half: Int,
        _ negatedSums: UnsafeRawPointer
    ) {
        // Takes back what the sums are multiplied by; a power of two, so exact.
        let minimum = multiply(
            Scales.minimum(record, index, half), broadcast(zeroIs128 ? Float(1.0 / 128) : Float(1)))
        for token in 0..<few {
            let negated = negatedSums.loadUnaligned(fromByteOffset: Tile.bytesPerToken * token, as: Int32.self)
            scaled[token] = multiplyAdd(minimum, broadcast(Float(negated)), scaled[token])
        }
    }

    /// The scale of codes that were moved to the left.
    @inline(__always)
    private static func shiftedScale(_ record: UnsafeRawPointer, _ index: Int, _ half: Int) -> FloatVector {
        let scale = Scales.scale(record, index, half)
        return shift == 0 ? scale : multiply(scale, broadcast(1 / Float(1 &<< shift)))
    }

    @inline(__always)
    private static func float(_ block: UnsafeRawPointer, _ field: Int, _ token: Int) -> Float {
        block.loadUnaligned(fromByteOffset: field + Tile.bytesPerToken * token, as: Float.self)
    }

    /// output[token, 0 ..< rows] = the products of one panel, rows being at most `lanes`. `isFirst`: no tile has
    /// brought the panel into a cache.
    static func multiplyTile<let tokens: Int>(
        _: InlineArray<tokens, Void>.Type, _ panel: UnsafeRawPointer, _ weight: PackedWeight,
        _ tile: UnsafeRawPointer, isFirst: Bool, _ output: UnsafeMutablePointer<Float>, _ stride: Int, _ rows: Int
    ) {
        let sums: InlineArray<tokens, FloatVector> = product(panel, weight, tile, isFirst: isFirst)
        if rows == lanes {
            for token in 0..<tokens { storeFloats(sums[token], output + token * stride) }
        } else {
            for token in 0..<tokens { storeFloats(sums[token], output + token * stride, first: rows) }
        }
    }

    @inline(__always)
    static func multiplyTile(
        tokens: Int, _ panel: UnsafeRawPointer, _ weight: PackedWeight, _ tile: UnsafeRawPointer, isFirst: Bool,
        _ output: UnsafeMutablePointer<Float>, _ stride: Int, _ rows: Int
    ) {
        switch tokens {
        case 1: multiplyTile(InlineArray<1, Void>.self, panel, weight, tile, isFirst: isFirst, output, stride, rows)
        case 2: multiplyTile(InlineArray<2, Void>.self, panel, weight, tile, isFirst: isFirst, output, stride, rows)
        case 4: multiplyTile(InlineArray<4, Void>.self, panel, weight, tile, isFirst: isFirst, output, stride, rows)
        case 8 where largestTile > 8:
            multiplyTile(InlineArray<8, Void>.self, panel, weight, tile, isFirst: isFirst, output, stride, rows)
        default: multiplyTile(LargestTile.self, panel, weight, tile, isFirst: isFirst, output, stride, rows)
        }
    }
}

/// One panel of a weight of any packed type by one tile of `tokens` tokens.
func multiplyPanel(
    _ panel: UnsafeRawPointer, _ weight: PackedWeight, _ tile: UnsafeRawPointer, _ tokens: Int, isFirst: Bool,
    _ output: UnsafeMutablePointer<Float>, _ stride: Int, _ rows: Int
) {
    switch weight.type {
    case WeightType.q4_0:
        FormatQ4_0.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.q4_1:
        FormatQ4_1.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.q5_0:
        FormatQ5_0.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.q5_1:
        FormatQ5_1.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.q8_0:
        FormatQ8_0.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.q2_K:
        FormatQ2_K.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.q3_K:
        FormatQ3_K.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.q4_K:
        FormatQ4_K.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.q5_K:
        FormatQ5_K.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.q6_K:
        FormatQ6_K.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    case WeightType.iq4_NL:
        FormatIQ4_NL.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    default: FormatIQ4_XS.multiplyTile(tokens: tokens, panel, weight, tile, isFirst: isFirst, output, stride, rows)
    }
}
