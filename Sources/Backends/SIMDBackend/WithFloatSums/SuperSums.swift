// A super-block's sums as floats: a block's integer sums are multiplied by its integer scale and power of two, which costs
// a conversion, an addition to the scale's exponent and a fused add; 32-bit integers would need a product of their own.

/// A super-block's sum of a (row, token), which SuperBlock finishes.
typealias SuperSum = FloatVector

enum SuperSums {
    @inline(__always) static var zero: SuperSum { broadcast(Float(0)) }
    @inline(__always) static func floats(_ sum: SuperSum, shift: Int) -> FloatVector { sum }
    /// Where a float's bits have its exponent.
    static let exponentPlace: Int32 = 23

    /// A block's integer scale, as its sums are multiplied by it.
    @inline(__always) static func scale(_ integer: IntVector) -> FloatVector { convert(integer) }

    /// sum + a block's integer sum, of codes moved to the left by `shift`, times its scale and power of two.
    @inline(__always)
    static func add(
        _ product: IntVector, times scale: FloatVector, exponent: Int32, shift: Int, to sum: SuperSum
    ) -> SuperSum {
        multiplyAdd(convert(product), addToBits(scale, broadcast(exponent)), sum)
    }
}

/// By a name that SuperSums has not.
@inline(__always) private func convert(_ integers: IntVector) -> FloatVector { floats(integers) }
