// Four vectors of four elements, rows as columns.
import SIMDIntrinsics

/// Written out, because an index that a loop computes would put the vectors in memory.
@inline(__always)
func vectorOfEachLane(_ vector: (Int) -> FloatVector) -> LaneSums { [vector(0), vector(1), vector(2), vector(3)] }

/// Element l of all rows at destination + l * stride.
@inline(__always)
func storeTransposed(_ rows: LaneSums, _ destination: UnsafeMutableRawPointer, stride: Int) {
    let lowAB = vzip1q_f32(rows[0], rows[1])
    let lowCD = vzip1q_f32(rows[2], rows[3])
    let highAB = vzip2q_f32(rows[0], rows[1])
    let highCD = vzip2q_f32(rows[2], rows[3])
    storeFloats(FloatVector(lowHalf: lowAB.lowHalf, highHalf: lowCD.lowHalf), destination)
    storeFloats(FloatVector(lowHalf: lowAB.highHalf, highHalf: lowCD.highHalf), destination + stride)
    storeFloats(FloatVector(lowHalf: highAB.lowHalf, highHalf: highCD.lowHalf), destination + 2 * stride)
    storeFloats(FloatVector(lowHalf: highAB.highHalf, highHalf: highCD.highHalf), destination + 3 * stride)
}
