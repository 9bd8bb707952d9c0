// A block of 32 columns of one panel, or of two neighbours, by the same block of a tile of activations.
//
// Exact integer sums, then for a type with scales of its own for each block one product of scales and one fused add
// into the float accumulator of each (row, token). In a super-block a block's sums are multiplied by its integer scale
// and a power of two, and what eight blocks have in common, minima included, follows once (SuperBlock). That order is
// the same for every number of panels and tokens, which is why a token alone and a token in a batch get the same bits.
import SIMDIntrinsics

/// Bytes ahead of the first products with a panel that memory is asked for. The processor's own prefetcher
/// stops at each page of 4 KiB; asking 4 to 8 KiB ahead read Q4_K 1.8 times as fast for a lone token with one
/// thread of an EPYC of family 26 and 1.5 times with two (Benchmarks/kernels.c), 2 and 16 KiB less. Asked for by
/// the first tile of many, two threads took Q4_K 1.8 to 2.7 times as fast with 2 to 12 tokens, 1.14 times with 115.
/// Vectors of half the size take as long for half the bytes. On an EPYC of family 25 without AVX-512 two threads took a
/// lone token's Q4_K 1.04 to 1.06 times as fast with 2 KiB as with 8, Q6_K 1.10, Q8_0 1.03 to 1.05; with 1 KiB Q4_K
/// 1.00 and Q6_K 0.94, without asking 0.75 and 0.69.
private let prefetchDistance = lanes == 8 ? 2048 : 8192

/// Accumulators of a few panels' rows by the tokens of a tile.
typealias TileSums<let panels: Int, let tokens: Int> = InlineArray<panels, InlineArray<tokens, FloatVector>>
typealias SuperTileSums<let panels: Int, let tokens: Int> = InlineArray<panels, InlineArray<tokens, SuperSum>>
typealias TileProducts<let panels: Int, let tokens: Int> = InlineArray<panels, InlineArray<tokens, IntVector>>

/// The same block of 32 columns of neighbouring panels.
struct PanelBlock<Format: PanelFormat> {
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

    /// A block's integer scale in a super-block.
    @inline(__always) func integerScale(_ panel: Int, _ half: Int) -> IntVector {
        Format.Scales.integerScale(record + panel * recordStride, index, half)
    }

    /// Adds the products of a block that is alone.
    @inline(__always)
    func addProducts<let panels: Int, let tokens: Int>(
        to sums: inout TileSums<panels, tokens>, _ activations: TileRecords
    ) {
        let products: TileProducts<panels, tokens> = blockProducts(
            self, activations, first: 0, last: 8, start: Tile.sumStart)
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
        _: InlineArray<few, Void>.Type, _ start: Int, _ part: TileRecords
    ) {
        let record = record + panel * recordStride
        let scale = Format.unshifted(Format.Scales.scale(record))
        for token in 0..<few {
            let both = multiply(scale, broadcast(part.float(Tile.scale, token)))
            sums[panel][start + token] = multiplyAdd(
                floats(products[panel][start + token]), both, sums[panel][start + token])
        }
        if Format.zeroShift < 0 {
            let minimum = Format.Scales.minimum(record)
            for token in 0..<few {
                let sum = broadcast(part.float(Tile.scaledSum, token))
                sums[panel][start + token] = subtractProduct(minimum, sum, from: sums[panel][start + token])
            }
        }
    }
}

/// What the eight blocks of a super-block have in common: scales, minima and the activations' scale.
struct SuperBlock<Format: PanelFormat> {
    /// The first panel's record of scales, and how far on the next one's lies.
    let record: UnsafeRawPointer
    let recordStride: Int
    /// [panels, tokens, lanes]. In memory, since integer and float sums of a block leave no registers for them.
    let totals: UnsafeMutableRawPointer

    /// totals += (scale * sums - minimum * (minima * sums of activations)) * the activations' scale.
    @inline(__always)
    func add<let panels: Int, let tokens: Int>(_ sums: SuperTileSums<panels, tokens>, _ activations: TileRecords) {
        if tokens == largestTile && tilePart < largestTile {
            add(sums, 0, TilePart.self, 0, activations)
            add(sums, 0, TilePart.self, tilePart, activations.secondPart)
        } else {
            add(sums, 0, InlineArray<tokens, Void>.self, 0, activations)
            if panels == 2 { add(sums, 1, InlineArray<tokens, Void>.self, 0, activations) }
        }
    }

    @inline(__always)
    private func add<let panels: Int, let tokens: Int, let few: Int>(
        _ sums: SuperTileSums<panels, tokens>, _ panel: Int, _: InlineArray<few, Void>.Type, _ start: Int,
        _ part: TileRecords
    ) {
        let totals = totals + (panel * tokens + start) * vectorBytes
        let record = record + panel * recordStride
        let scale = Format.unshifted(Format.Scales.superScale(record))
        if Format.Scales.minimumPairs == 0 {
            for token in 0..<few {
                let both = multiply(scale, broadcast(part.float(Tile.superScale, token)))
                let total = totals + token * vectorBytes
                let sum = SuperSums.floats(sums[panel][start + token], shift: Format.shift)
                storeFloats(multiplyAdd(sum, both, loadFloats(total)), total)
            }
            return
        }
        let minimum = Format.Scales.superMinimum(record)
        let field = Format.Scales.halves ? Tile.halfSums : Tile.sums
        var minima = InlineArray<8, IntVector>(repeating: broadcast(Int32(0)))
        for pair in 0..<Format.Scales.minimumPairs { minima[pair] = Format.Scales.minimumPair(record, pair) }
        for token in 0..<few {
            var product = broadcast(Int32(0))
            for pair in 0..<Format.Scales.minimumPairs {
                product = addPairs(minima[pair], broadcast(part.int(field + 4 * pair, token)), to: product)
            }
            let sum = SuperSums.floats(sums[panel][start + token], shift: Format.shift)
            let value = subtractProduct(floats(product), minimum, from: multiply(sum, scale))
            let total = totals + token * vectorBytes
            storeFloats(multiplyAdd(value, broadcast(part.float(Tile.superScale, token)), loadFloats(total)), total)
        }
    }
}
