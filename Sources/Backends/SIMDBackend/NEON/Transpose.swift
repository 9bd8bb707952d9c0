// Four vectors of four elements, rows as columns.

/// Written out, because an index that a loop computes would put the vectors in memory.
@inline(__always)
func vectorOfEachLane(_ vector: (Int) -> FloatVector) -> LaneSums { [vector(0), vector(1), vector(2), vector(3)] }

/// Element l of all rows at destination + l * stride, of as many rows as `count`.
@inline(__always)
func storeTransposed(
    _ rows: LaneSums, _ destination: UnsafeMutableRawPointer, stride: Int, count: Int = lanes
) {
    let columns = transposeQuarters(rows[0], rows[1], rows[2], rows[3])
    storeFloats(columns.0, destination, first: count)
    storeFloats(columns.1, destination + stride, first: count)
    storeFloats(columns.2, destination + 2 * stride, first: count)
    storeFloats(columns.3, destination + 3 * stride, first: count)
}
