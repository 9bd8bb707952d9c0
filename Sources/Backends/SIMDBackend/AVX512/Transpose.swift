// Sixteen vectors of sixteen elements, rows as columns.
import SIMDIntrinsics

/// Written out, because an index that a loop computes would put the vectors in memory.
@inline(__always)
func vectorOfEachLane(_ vector: (Int) -> FloatVector) -> LaneSums {
    [
        vector(0), vector(1), vector(2), vector(3), vector(4), vector(5), vector(6), vector(7),
        vector(8), vector(9), vector(10), vector(11), vector(12), vector(13), vector(14), vector(15),
    ]
}

/// Element l of all rows at destination + l * stride, as many rows as `count`.
@inline(__always)
func storeTransposed(
    _ rows: LaneSums, _ destination: UnsafeMutableRawPointer, stride: Int, count: Int = lanes
) {
    let a = transposeQuarters(rows[0], rows[1], rows[2], rows[3])
    let b = transposeQuarters(rows[4], rows[5], rows[6], rows[7])
    let c = transposeQuarters(rows[8], rows[9], rows[10], rows[11])
    let d = transposeQuarters(rows[12], rows[13], rows[14], rows[15])
    storeQuarters(a.0, b.0, c.0, d.0, destination, 4 * stride, count)
    storeQuarters(a.1, b.1, c.1, d.1, destination + stride, 4 * stride, count)
    storeQuarters(a.2, b.2, c.2, d.2, destination + 2 * stride, 4 * stride, count)
    storeQuarters(a.3, b.3, c.3, d.3, destination + 3 * stride, 4 * stride, count)
}

/// Quarters 0 of all four, quarters 1, 2 and 3.
@inline(__always)
private func storeQuarters(
    _ a: FloatVector, _ b: FloatVector, _ c: FloatVector, _ d: FloatVector, _ destination: UnsafeMutableRawPointer,
    _ stride: Int, _ count: Int
) {
    let evenAB = cabochon_x86_even_quarters_512(a, b)
    let evenCD = cabochon_x86_even_quarters_512(c, d)
    let oddAB = cabochon_x86_odd_quarters_512(a, b)
    let oddCD = cabochon_x86_odd_quarters_512(c, d)
    let first = cabochon_x86_even_quarters_512(evenAB, evenCD)
    let second = cabochon_x86_even_quarters_512(oddAB, oddCD)
    let third = cabochon_x86_odd_quarters_512(evenAB, evenCD)
    let fourth = cabochon_x86_odd_quarters_512(oddAB, oddCD)
    if count == lanes {
        storeFloats(first, destination)
        storeFloats(second, destination + stride)
        storeFloats(third, destination + 2 * stride)
        storeFloats(fourth, destination + 3 * stride)
    } else {
        storeFloats(first, destination, first: count)
        storeFloats(second, destination + stride, first: count)
        storeFloats(third, destination + 2 * stride, first: count)
        storeFloats(fourth, destination + 3 * stride, first: count)
    }
}
