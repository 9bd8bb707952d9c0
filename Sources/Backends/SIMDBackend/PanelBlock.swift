// A block of 32 columns of one panel, or of two neighbours, by the same block of a tile of activations.
//
// Exact integer sums, then one product of scales and one fused add into the float accumulator of
// each (row, token), block after block. That order is the same for every number of panels and tokens,
// which is why a token alone and a token in a batch get the same bits.
import SIMDIntrinsics

/// Bytes ahead of the first products with a panel that memory is asked for. The processor's own prefetcher
/// stops at each page of 4 KiB; asking 4 to 8 KiB ahead read Q4_K 1.8 times as fast for a lone token with one
/// thread of an EPYC of family 26 and 1.5 times with two (Benchmarks/kernels.c), 2 and 16 KiB less. Asked for by
/// the first tile of many, two threads took Q4_K 1.8 to 2.7 times as fast with 2 to 12 tokens, 1.14 times with 115.
private let prefetchDistance = 8192

/// Accumulators of a few panels' rows by the tokens of a tile.
typealias TileSums<let panels: Int, let tokens: Int> = InlineArray<panels, InlineArray<tokens, FloatVector>>
typealias TileProducts<let panels: Int, let tokens: Int> = InlineArray<panels, InlineArray<tokens, IntVector>>

/// The same block of 32 columns of neighbouring panels.
struct PanelBlock<Format: PackedFormat> {
    /// The first panel's; the next one's lie `panelBytes` further on.
    let codes: UnsafeRawPointer
    private let record: UnsafeRawPointer
    private let index: Int
    private let panelBytes: Int
    private let recordStride: Int

    /// Block `index` of a chunk; `spread` holds the panels' records where their scales are spread.
    @inline(__always)
    init(_ chunk: UnsafeRawPointer, _ index: Int, panelBytes: Int, spread: UnsafeRawPointer) {
        codes = chunk + index * Format.blockBytes
        record =
            Format.Scales.isSpread
            ? spread : chunk + Format.chunkCodeBytes + index / Format.Scales.blocks * Format.recordBytes
        recordStride = Format.Scales.isSpread ? spreadBytes : panelBytes
        self.index = index % Format.Scales.blocks
        self.panelBytes = panelBytes
    }

    /// Four columns (group 0 ... 7) of every row of a panel.
    @inline(__always) func group(_ panel: Int, _ index: Int) -> IntVector {
        Format.group(codes + panel * panelBytes, index)
    }

    /// Asks for a block's share of its chunk `prefetchDistance` further on, which leaves out most of the scales unless
    /// they are counted in. A tile that fills the registers does not: the address would take one from its products
    /// (Q6_K 0.94 times as fast with 512 tokens).
    @inline(__always) func prefetch(countingScales: Bool, isFar: Bool) {
        let share = Format.chunkBytes / Format.chunkBlocks
        let start = countingScales ? codes + index * (share - Format.blockBytes) : codes
        if isFar {
            for line in 0..<(share + 63) / 64 { cabochon_simd_prefetch_far(start + prefetchDistance + 64 * line) }
        } else {
            for line in 0..<(share + 63) / 64 { cabochon_simd_prefetch(start + prefetchDistance + 64 * line) }
        }
    }

    @inline(__always)
    func addProducts<let panels: Int, let tokens: Int>(
        to sums: inout TileSums<panels, tokens>, _ activations: TileBlock
    ) {
        let products: TileProducts<panels, tokens> = blockProducts(
            self, activations, first: 0, last: 8, negatedSum: Tile.negatedSum)
        // Written out for both panels, and for both parts of a tile, since a loop over them would not be unrolled.
        if tokens == largestTile && tilePart < largestTile {
            addScaled(products, to: &sums, 0, TilePart.self, 0, activations)
            addScaled(products, to: &sums, 0, TilePart.self, tilePart, activations.secondPart)
        } else {
            addScaled(products, to: &sums, 0, InlineArray<tokens, Void>.self, 0, activations)
            if panels == 2 { addScaled(products, to: &sums, 1, InlineArray<tokens, Void>.self, 0, activations) }
        }
    }

    /// A panel's products with the tokens from `start` on, whose part of the tile is `part`.
    @inline(__always)
    private func addScaled<let panels: Int, let tokens: Int, let few: Int>(
        _ products: TileProducts<panels, tokens>, to sums: inout TileSums<panels, tokens>, _ panel: Int,
        _: InlineArray<few, Void>.Type, _ start: Int, _ part: TileBlock
    ) {
        let scale = shiftedScale(panel, 0)
        for token in 0..<few {
            let both = multiply(scale, broadcast(part.float(Tile.scale, token)))
            sums[panel][start + token] = multiplyAdd(
                floats(products[panel][start + token]), both, sums[panel][start + token])
        }
        if Format.zeroShift < 0 {
            let minimum = Format.Scales.minimum(record + panel * recordStride, index, 0)
            for token in 0..<few {
                let sum = broadcast(part.float(Tile.scaledSum, token))
                sums[panel][start + token] = subtractProduct(minimum, sum, from: sums[panel][start + token])
            }
        }
    }

    /// One panel of a type with a scale for each 16 columns, by `few` tokens of the tile from `start` on: both halves
    /// are scaled and added before the activations' scale. A third set of accumulators is live here, so that a tile
    /// of twelve tokens is taken as two of six, which fit in 32 registers.
    @inline(__always)
    func addHalves<let panels: Int, let tokens: Int, let few: Int>(
        to sums: inout TileSums<panels, tokens>, _: InlineArray<few, Void>.Type, _ start: Int, _ part: TileBlock
    ) {
        // Written out for both halves, since a loop over them would not be unrolled.
        let first: TileProducts<1, few> = blockProducts(
            self, part, first: 0, last: 4, negatedSum: Tile.negatedHalfSum(0))
        let firstScale = shiftedScale(0, 0)
        var scaled = InlineArray<few, FloatVector>(repeating: broadcast(Float(0)))
        for token in 0..<few { scaled[token] = multiply(floats(first[0][token]), firstScale) }
        let second: TileProducts<1, few> = blockProducts(
            self, part, first: 4, last: 8, negatedSum: Tile.negatedHalfSum(1))
        let secondScale = shiftedScale(0, 1)
        for token in 0..<few { scaled[token] = multiplyAdd(floats(second[0][token]), secondScale, scaled[token]) }
        if Format.zeroShift < 0 {
            subtractMinimum(&scaled, 0, part)
            subtractMinimum(&scaled, 1, part)
        }
        for token in 0..<few {
            let scale = broadcast(part.float(Tile.scale, token))
            sums[0][start + token] = multiplyAdd(scaled[token], scale, sums[0][start + token])
        }
    }

    @inline(__always)
    private func subtractMinimum<let few: Int>(
        _ scaled: inout InlineArray<few, FloatVector>, _ half: Int, _ activations: TileBlock
    ) {
        // Takes back what the sums are multiplied by; a power of two, so exact.
        let minimum = multiply(
            Format.Scales.minimum(record, index, half), broadcast(zeroIs128 ? Float(1.0 / 128) : Float(1)))
        for token in 0..<few {
            let negated = Float(activations.int(Tile.negatedHalfSum(half), token))
            scaled[token] = multiplyAdd(minimum, broadcast(negated), scaled[token])
        }
    }

    /// The scale of codes that were moved to the left.
    @inline(__always) private func shiftedScale(_ panel: Int, _ half: Int) -> FloatVector {
        let scale = Format.Scales.scale(record + panel * recordStride, index, half)
        return Format.shift == 0 ? scale : multiply(scale, broadcast(1 / Float(1 &<< Format.shift)))
    }
}
