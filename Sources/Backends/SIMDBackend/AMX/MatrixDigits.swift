// Numbers of up to fourteen bits as two digits, which AMX's products of signed bytes take.
//
// In a super-block a weight is its code times an integer scale, and an activation its code times a power of two:
// integers of up to 14 and 11 bits, with which a super-block's sum is exact, however it is added up.
// number = 128 * high + low, low -64 ... 63, high at most 32 in magnitude, so that
//
//     sum of weight * activation = 16384 * (high * high) + 128 * (high * low + low * high) + low * low.
//
// No sum passes 2^31: 256 columns * 4096 (Q6_K) * 127 * 8.
import SIMDIntrinsics

enum MatrixDigits {
    /// Steps of 64 columns in a super-block; bytes of a step's digits, the high ones first, for 16 tokens or rows.
    static let steps = 4
    static let stepBytes = 2 * tileBytes
    static let tileBytes = 1024
    static let superBytes = steps * stepBytes
    /// Tokens of a tile, and rows.
    static let tokens = 16

    /// Digits of 16-bit numbers, each a 16-bit number.
    @inline(__always) static func high(_ numbers: IntVector) -> IntVector {
        _mm512_srai_epi16(_mm512_add_epi16(numbers, _mm512_set1_epi16(64)), 7)
    }
    /// 64 more than the low digit.
    @inline(__always) static func raisedLow(_ numbers: IntVector) -> IntVector {
        and(_mm512_add_epi16(numbers, _mm512_set1_epi16(64)), _mm512_set1_epi16(127))
    }
    @inline(__always) static func low(_ numbers: IntVector) -> IntVector {
        _mm512_sub_epi16(raisedLow(numbers), _mm512_set1_epi16(64))
    }

    /// The sum that a tile's three sums stand for.
    @inline(__always) static func sum(high: IntVector, mixed: IntVector, low: IntVector) -> IntVector {
        add(add(low, shiftLanesLeft(mixed, 7)), shiftLanesLeft(high, 14))
    }
}
