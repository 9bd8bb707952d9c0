// A super-block's sums on AVX2 without VNNI, in integers from end to end.
//
// The multiplication that widens a block's 16-bit sums takes its integer scale, and its power of two moves the result to
// the left. No sum of a super-block passes 2^31: the largest, of Q6_K, is 256 columns * 32 * 127 * a scale of 128 * 8.
// Where a sum of products is not below 2^24, the conversion at the end rounds once what floats would round each time.
import SIMDIntrinsics

/// A super-block's sum of a (row, token), which SuperBlock finishes.
typealias SuperSum = IntVector

enum SuperSums {
    @inline(__always) static var zero: SuperSum { broadcast(Int32(0)) }
    @inline(__always) static func floats(_ sum: SuperSum, shift: Int) -> FloatVector {
        _mm256_cvtepi32_ps(sum)
    }
    /// Exponents are how far sums are moved to the left.
    static let exponentPlace: Int32 = 0
}

extension PanelBlock {
    /// Adds a block's products, times its integer scale and power of two.
    @inline(__always)
    func addSuperProducts<let panels: Int, let tokens: Int>(
        to sums: inout SuperTileSums<panels, tokens>, _ activations: TileRecords
    ) {
        for panel in 0..<panels {
            if Format.Scales.halves {
                addScaled(panel, 0, first: 0, last: 4, start: Tile.halfSumStart(0), to: &sums[panel], activations)
                addScaled(panel, 1, first: 4, last: 8, start: Tile.halfSumStart(1), to: &sums[panel], activations)
            } else {
                addScaled(panel, 0, first: 0, last: 8, start: Tile.sumStart, to: &sums[panel], activations)
            }
        }
    }

    @inline(__always)
    private func addScaled<let tokens: Int>(
        _ panel: Int, _ half: Int, first: Int, last: Int, start: Int, to sums: inout InlineArray<tokens, SuperSum>,
        _ activations: TileRecords
    ) {
        let products: InlineArray<tokens, IntVector> = panelProducts(
            self, panel, activations, first: first, last: last, start: start,
            times: inBothWords(integerScale(panel, half)))
        for token in 0..<tokens {
            let exponent = broadcast(activations.int(Tile.exponent, token))
            sums[token] = add(sums[token], _mm256_sllv_epi32(products[token], exponent))
        }
    }

    /// The lower word of each lane in both words.
    @inline(__always) private func inBothWords(_ values: IntVector) -> IntVector {
        or(and(values, broadcast(Int32(0xffff))), shiftLanesLeft(values, 16))
    }
}
