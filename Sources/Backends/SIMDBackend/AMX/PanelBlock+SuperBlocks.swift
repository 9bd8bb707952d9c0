// A super-block's sums where tiles make them of integers from end to end (MatrixDigits.swift): byte products do the
// same, a block's 32-bit sums times its integer scale and power of two.
import SIMDIntrinsics

/// A super-block's sum of a (row, token), which SuperBlock finishes.
typealias SuperSum = IntVector

enum SuperSums {
    @inline(__always) static var zero: SuperSum { broadcast(Int32(0)) }
    /// The sum of codes that were moved to the left by `shift`, which would not fit 32 bits.
    @inline(__always) static func floats(_ sum: SuperSum, shift: Int) -> FloatVector {
        let unshifted = _mm512_cvtepi32_ps(sum)
        return shift == 0 ? unshifted : multiply(unshifted, broadcast(Float(1 &<< shift)))
    }
    /// Exponents are how far sums are moved to the left.
    static let exponentPlace: Int32 = 0
}

/// What a block's integer sums start with, for the zero point of a weight's codes.
@inline(__always)
func startOfSums(_ codes: UnsafeRawPointer, count: Int, sum: Int32) -> Int32 { -128 &* sum }

extension PanelBlock {
    /// Adds a block's products, times its integer scale and power of two.
    @inline(__always)
    func addSuperProducts<let panels: Int, let tokens: Int>(
        to sums: inout SuperTileSums<panels, tokens>, _ activations: TileRecords
    ) {
        if Format.Scales.halves {
            // One after the other, so that no third set of accumulators is live.
            let first: TileProducts<panels, tokens> = blockProducts(
                self, activations, first: 0, last: 4, start: Tile.halfSumStart(0))
            addScaled(first, 0, to: &sums, 0, InlineArray<tokens, Void>.self, 0, activations)
            let second: TileProducts<panels, tokens> = blockProducts(
                self, activations, first: 4, last: 8, start: Tile.halfSumStart(1))
            return addScaled(second, 1, to: &sums, 0, InlineArray<tokens, Void>.self, 0, activations)
        }
        let products: TileProducts<panels, tokens> = blockProducts(
            self, activations, first: 0, last: 8, start: Tile.sumStart)
        // Written out for both panels, and for both parts of a tile, since a loop over them would not be unrolled.
        if tokens == largestTile && tilePart < largestTile {
            addScaled(products, 0, to: &sums, 0, TilePart.self, 0, activations)
            addScaled(products, 0, to: &sums, 0, TilePart.self, tilePart, activations.secondPart)
        } else {
            addScaled(products, 0, to: &sums, 0, InlineArray<tokens, Void>.self, 0, activations)
            if panels == 2 { addScaled(products, 0, to: &sums, 1, InlineArray<tokens, Void>.self, 0, activations) }
        }
    }

    @inline(__always)
    private func addScaled<let panels: Int, let tokens: Int, let few: Int>(
        _ products: TileProducts<panels, tokens>, _ half: Int, to sums: inout SuperTileSums<panels, tokens>,
        _ panel: Int, _: InlineArray<few, Void>.Type, _ start: Int, _ part: TileRecords
    ) {
        let scale = integerScale(panel, half)
        for token in 0..<few {
            let both = _mm512_sll_epi32(scale, _mm_cvtsi32_si128(part.int(Tile.exponent, token)))
            let product = _mm512_srai_epi32(products[panel][start + token], UInt32(truncatingIfNeeded: Format.shift))
            sums[panel][start + token] = add(sums[panel][start + token], _mm512_mullo_epi32(product, both))
        }
    }
}
