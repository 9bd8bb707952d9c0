// Eight vectors of eight elements, rows as columns.
import SIMDIntrinsics

/// Written out, because an index that a loop computes would put the vectors in memory.
@inline(__always)
func vectorOfEachLane(_ vector: (Int) -> FloatVector) -> LaneSums {
    [vector(0), vector(1), vector(2), vector(3), vector(4), vector(5), vector(6), vector(7)]
}

/// Element l of all rows at destination + l * stride, of as many rows as `count`.
@inline(__always)
func storeTransposed(
    _ rows: LaneSums, _ destination: UnsafeMutableRawPointer, stride: Int, count: Int = lanes
) {
    let a = transposeQuarters(rows[0], rows[1], rows[2], rows[3])
    let b = transposeQuarters(rows[4], rows[5], rows[6], rows[7])
    storeHalves(a.0, b.0, destination, 4 * stride, count)
    storeHalves(a.1, b.1, destination + stride, 4 * stride, count)
    storeHalves(a.2, b.2, destination + 2 * stride, 4 * stride, count)
    storeHalves(a.3, b.3, destination + 3 * stride, 4 * stride, count)
}

/// The first halves of both, and `stride` further on the second ones.
@inline(__always)
private func storeHalves(
    _ a: FloatVector, _ b: FloatVector, _ destination: UnsafeMutableRawPointer, _ stride: Int, _ count: Int
) {
    storeFloats(cabochon_x86_low_halves_256(a, b), destination, first: count)
    storeFloats(cabochon_x86_high_halves_256(a, b), destination + stride, first: count)
}
