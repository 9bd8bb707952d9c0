// What the four bits of a twelve-bit code stand for (BrainFloatCodes.swift).
import SIMDIntrinsics

/// Which high bytes the codes of a row stand for: a sign, and one of eight values of the exponent's upper seven bits.
struct ExponentWindow: Equatable {
    private var bits: UInt8 = 0

    init() {}
    /// - Parameters:
    ///   - first: what code 0 stands for, and those that follow for the next; at most 120.
    ///   - hasZero: code 0 stands for 0 instead.
    init(first: Int, hasZero: Bool) { bits = UInt8(truncatingIfNeeded: first) | (hasZero ? 0x80 : 0) }

    /// The one that leaves out fewest, by how often each value of the exponent's upper seven bits is there.
    init(coveringMost counts: InlineArray<128, Int>) {
        var covered = -1
        for first in 0...120 {
            var rest = 0
            for exponent in first + 1..<first + 8 { rest += counts[exponent] }
            for hasZero in [false, true] {
                let sum = rest + counts[hasZero ? 0 : first]
                if sum > covered { (self, covered) = (ExponentWindow(first: first, hasZero: hasZero), sum) }
            }
        }
    }

    @inline(__always) var first: Int { Int(bits & 0x7f) }
    @inline(__always) var hasZero: Bool { bits & 0x80 != 0 }

    /// High bytes by code.
    @inline(__always) var table: IntVector { withUnsafePointer(to: bytes) { loadTable($0) } }
    @inline(__always) var bytes: InlineArray<2, UInt64> {
        var magnitudes = 0x0706_0504_0302_0100 &+ UInt64(bits & 0x7f) &* 0x0101_0101_0101_0101
        if hasZero { magnitudes &= ~0xff }
        return [magnitudes, magnitudes | 0x8080_8080_8080_8080]
    }

    /// For high bytes, codes that stand for them if any do.
    @inline(__always) func codes(of high: IntVector) -> IntVector {
        Self.codes(of: high, first: broadcast(Int32(truncatingIfNeeded: UInt32(bits & 0x7f) &* 0x0101_0101)))
    }
    /// - Parameter first: what code 0 stands for, in each byte.
    @inline(__always) static func codes(of high: IntVector, first: IntVector) -> IntVector {
        let place = subtractBytes(and(high, broadcast(Int32(0x7f7f_7f7f))), first)
        let sign = and(shiftRight(high, 4), broadcast(Int32(0x0808_0808)))
        return or(and(place, broadcast(Int32(0x0707_0707))), sign)
    }
}
