// A super-block's sums as integers from end to end, as tiles make them (MatrixDigits.swift): byte products do the same, a
// block's 32-bit sums times its integer scale and power of two.
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

    /// A block's integer scale, as its sums are multiplied by it.
    @inline(__always) static func scale(_ integer: IntVector) -> IntVector { integer }

    /// sum + a block's integer sum, of codes moved to the left by `shift`, times its scale and power of two.
    @inline(__always)
    static func add(
        _ product: IntVector, times scale: IntVector, exponent: Int32, shift: Int, to sum: SuperSum
    ) -> SuperSum {
        let both = _mm512_sll_epi32(scale, _mm_cvtsi32_si128(exponent))
        let unshifted = _mm512_srai_epi32(product, UInt32(truncatingIfNeeded: shift))
        return _mm512_add_epi32(sum, _mm512_mullo_epi32(unshifted, both))
    }
}
