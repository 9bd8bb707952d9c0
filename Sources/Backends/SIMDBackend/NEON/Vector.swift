// The vocabulary of the kernels on NEON with dot products: four 32-bit lanes (see AVX512/Vector.swift).
//
// Swift's own vectors are NEON's registers; intrinsics appear where Swift has no operation.
import SIMDIntrinsics

typealias FloatVector = SIMD4<Float>
typealias IntVector = SIMD4<Int32>
let lanes = 4

// MARK: Floats

@inline(__always) func broadcast(_ value: Float) -> FloatVector { FloatVector(repeating: value) }
@inline(__always) func loadFloats(_ source: UnsafeRawPointer) -> FloatVector {
    source.loadUnaligned(as: FloatVector.self)
}
@inline(__always) func storeFloats(_ value: FloatVector, _ destination: UnsafeMutableRawPointer) {
    destination.storeBytes(of: value, as: FloatVector.self)
}
@inline(__always) func loadFloats(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
    if count == lanes { return loadFloats(source) }
    var value = FloatVector(repeating: 0)
    for lane in 0..<count { value[lane] = source.loadUnaligned(fromByteOffset: 4 * lane, as: Float.self) }
    return value
}
@inline(__always) func storeFloats(_ value: FloatVector, _ destination: UnsafeMutableRawPointer, first count: Int) {
    if count == lanes { return storeFloats(value, destination) }
    for lane in 0..<count { destination.storeBytes(of: value[lane], toByteOffset: 4 * lane, as: Float.self) }
}

@inline(__always) func add(_ a: FloatVector, _ b: FloatVector) -> FloatVector { a + b }
@inline(__always) func subtract(_ a: FloatVector, _ b: FloatVector) -> FloatVector { a - b }
@inline(__always) func multiply(_ a: FloatVector, _ b: FloatVector) -> FloatVector { a * b }
@inline(__always) func divide(_ a: FloatVector, _ b: FloatVector) -> FloatVector { a / b }
@inline(__always) func multiplyAdd(_ a: FloatVector, _ b: FloatVector, _ c: FloatVector) -> FloatVector {
    vfmaq_f32(c, a, b)
}
@inline(__always)
func multiplyAddInOrder(_ a: FloatVector, _ b: FloatVector, _ c: FloatVector) -> FloatVector { multiplyAdd(a, b, c) }
@inline(__always) func subtractProduct(_ a: FloatVector, _ b: FloatVector, from c: FloatVector) -> FloatVector {
    vfmsq_f32(c, a, b)
}
@inline(__always) func maximum(_ a: FloatVector, _ b: FloatVector) -> FloatVector { vmaxq_f32(a, b) }
@inline(__always) func minimum(_ a: FloatVector, _ b: FloatVector) -> FloatVector { vminq_f32(a, b) }
@inline(__always) func largerMagnitude(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    let (left, right) = (unsafeBitCast(a, to: IntVector.self), unsafeBitCast(b, to: IntVector.self))
    return unsafeBitCast(left.replacing(with: right, where: right .> left), to: FloatVector.self)
}
@inline(__always) func magnitude(_ a: FloatVector) -> FloatVector { vabsq_f32(a) }
@inline(__always) func copySign(_ magnitude: FloatVector, of sign: FloatVector) -> FloatVector {
    let bit = unsafeBitCast(sign, to: IntVector.self) & IntVector(repeating: Int32.min)
    return unsafeBitCast(unsafeBitCast(magnitude, to: IntVector.self) | bit, to: FloatVector.self)
}
@inline(__always) func select(
    _ left: FloatVector, below right: FloatVector, _ value: FloatVector, else other: FloatVector
) -> FloatVector {
    other.replacing(with: value, where: left .< right)
}
@inline(__always) func squareRoot(_ value: Float) -> Float { vsqrtq_f32(broadcast(value))[0] }
@inline(__always) func laneNumbers() -> FloatVector { FloatVector(0, 1, 2, 3) }

// MARK: Half precision

@inline(__always) func loadHalves(_ source: UnsafeRawPointer) -> FloatVector {
    FloatVector(source.loadUnaligned(as: SIMD4<Float16>.self))
}
@inline(__always) func loadHalves(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
    FloatVector(unsafeBitCast(loadWords(source, first: count), to: SIMD4<Float16>.self))
}
@inline(__always) func storeHalves(_ value: FloatVector, _ destination: UnsafeMutableRawPointer, first count: Int) {
    let halves = SIMD4<Float16>(value)
    for lane in 0..<count { destination.storeBytes(of: halves[lane], toByteOffset: 2 * lane, as: Float16.self) }
}
@inline(__always) func loadBrainFloats(_ source: UnsafeRawPointer) -> FloatVector {
    widenBrainFloats(source.loadUnaligned(as: SIMD4<UInt16>.self))
}
@inline(__always) func loadBrainFloats(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
    widenBrainFloats(loadWords(source, first: count))
}
@inline(__always) func widenBrainFloats(_ words: SIMD4<UInt16>) -> FloatVector {
    unsafeBitCast(SIMD4<UInt32>(truncatingIfNeeded: words) &<< 16, to: FloatVector.self)
}
@inline(__always) func loadWords(_ source: UnsafeRawPointer, first count: Int) -> SIMD4<UInt16> {
    var words = SIMD4<UInt16>(repeating: 0)
    for lane in 0..<count { words[lane] = source.loadUnaligned(fromByteOffset: 2 * lane, as: UInt16.self) }
    return words
}

// MARK: Integers

@inline(__always) func broadcast(_ value: Int32) -> IntVector { IntVector(repeating: value) }
@inline(__always) func loadInts(_ source: UnsafeRawPointer) -> IntVector { source.loadUnaligned(as: IntVector.self) }
@inline(__always) func storeInts(_ value: IntVector, _ destination: UnsafeMutableRawPointer) {
    destination.storeBytes(of: value, as: IntVector.self)
}
@inline(__always) func add(_ a: IntVector, _ b: IntVector) -> IntVector { a &+ b }
@inline(__always) func addPairs(_ a: IntVector, _ b: IntVector, to sum: IntVector) -> IntVector {
    sum &+ ((a &<< 16) &>> 16) &* ((b &<< 16) &>> 16) &+ (a &>> 16) &* (b &>> 16)
}
@inline(__always) func and(_ a: IntVector, _ b: IntVector) -> IntVector { a & b }
@inline(__always) func or(_ a: IntVector, _ b: IntVector) -> IntVector { a | b }
@inline(__always) func shiftRight(_ a: IntVector, _ count: Int) -> IntVector {
    unsafeBitCast(unsafeBitCast(a, to: SIMD8<UInt16>.self) &>> UInt16(truncatingIfNeeded: count), to: IntVector.self)
}
@inline(__always) func shiftLeft(_ a: IntVector, _ count: Int) -> IntVector {
    unsafeBitCast(unsafeBitCast(a, to: SIMD8<UInt16>.self) &<< UInt16(truncatingIfNeeded: count), to: IntVector.self)
}
@inline(__always) func shiftLanesLeft(_ a: IntVector, _ count: Int) -> IntVector {
    a &<< Int32(truncatingIfNeeded: count)
}
@inline(__always) func shiftLanesRight(_ a: IntVector, _ count: Int) -> IntVector {
    let lanes = unsafeBitCast(a, to: SIMD4<UInt32>.self) &>> UInt32(truncatingIfNeeded: count)
    return unsafeBitCast(lanes, to: IntVector.self)
}
@inline(__always) func addToBits(_ value: FloatVector, _ bits: IntVector) -> FloatVector {
    unsafeBitCast(unsafeBitCast(value, to: IntVector.self) &+ bits, to: FloatVector.self)
}
@inline(__always) func floats(_ a: IntVector) -> FloatVector { vcvtq_f32_s32(a) }
@inline(__always) func ints(_ a: FloatVector) -> IntVector { vcvtnq_s32_f32(a) }
@inline(__always) func loadTable(_ source: UnsafeRawPointer) -> IntVector { loadInts(source) }
@inline(__always) func lookUp(_ table: IntVector, _ indices: IntVector) -> IntVector {
    ints(vqtbl1q_u8(bytes(table), bytes(indices)))
}
@inline(__always) func loadBytes(_ source: UnsafeRawPointer) -> IntVector {
    IntVector(truncatingIfNeeded: source.loadUnaligned(as: SIMD4<UInt8>.self))
}
@inline(__always) func loadSignedBytes(_ source: UnsafeRawPointer) -> IntVector {
    IntVector(truncatingIfNeeded: source.loadUnaligned(as: SIMD4<Int8>.self))
}
@inline(__always) func storeLowBytes(_ value: IntVector, _ destination: UnsafeMutableRawPointer) {
    destination.storeBytes(of: SIMD4<Int8>(truncatingIfNeeded: value), as: SIMD4<Int8>.self)
}

// MARK: Bytes and words

@inline(__always) private func bytes(_ a: IntVector) -> SIMD16<UInt8> { unsafeBitCast(a, to: SIMD16<UInt8>.self) }
@inline(__always) private func words(_ a: IntVector) -> SIMD8<UInt16> { unsafeBitCast(a, to: SIMD8<UInt16>.self) }
@inline(__always) private func ints(_ a: SIMD16<UInt8>) -> IntVector { unsafeBitCast(a, to: IntVector.self) }
@inline(__always) private func ints(_ a: SIMD8<UInt16>) -> IntVector { unsafeBitCast(a, to: IntVector.self) }
@inline(__always) func floatsOfBits(_ a: IntVector) -> FloatVector { unsafeBitCast(a, to: FloatVector.self) }
@inline(__always) func bitsOfFloats(_ a: FloatVector) -> IntVector { unsafeBitCast(a, to: IntVector.self) }
@inline(__always) func firstWords(low: IntVector, high: IntVector) -> IntVector {
    ints(vzip1q_u8(bytes(low), bytes(high)))
}
@inline(__always) func lastWords(low: IntVector, high: IntVector) -> IntVector {
    ints(vzip2q_u8(bytes(low), bytes(high)))
}
@inline(__always) func bytes(ofFirst first: IntVector, last: IntVector) -> IntVector {
    ints(vuzp1q_u8(bytes(first), bytes(last)))
}
@inline(__always) func subtractBytes(_ a: IntVector, _ b: IntVector) -> IntVector {
    ints(vqsubq_u8(bytes(a), bytes(b)))
}
@inline(__always) func isEqual(_ a: IntVector, _ b: IntVector) -> Bool { a == b }
@inline(__always) func stepsOfPairs(_ pairs: IntVector) -> IntVector {
    let words = words(pairs)
    return ints(SIMD8(lowHalf: words.evenHalf, highHalf: words.oddHalf))
}

// MARK: Across lanes

@inline(__always) func lowPairs(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    FloatVector(lowHalf: a.lowHalf, highHalf: b.lowHalf)
}
@inline(__always) func highPairs(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    FloatVector(lowHalf: a.highHalf, highHalf: b.highHalf)
}
@inline(__always) func evenElements(_ a: FloatVector, _ b: FloatVector) -> FloatVector { vuzp1q_f32(a, b) }
@inline(__always) func oddElements(_ a: FloatVector, _ b: FloatVector) -> FloatVector { vuzp2q_f32(a, b) }

@inline(__always) func sumOfLanes(_ a: FloatVector) -> Float { (a[0] + a[2]) + (a[1] + a[3]) }
@inline(__always) func firstLane(_ a: FloatVector) -> Float { a[0] }

/// Lane i of the result is the sum, or the largest, of vector i's lanes, all by the same tree: + 2, + 1.
@inline(__always) func sumsOfLanes(_ vectors: LaneSums) -> FloatVector { reduce(vectors) { add($0, $1) } }
@inline(__always) func largestOfLanes(_ vectors: LaneSums) -> FloatVector { reduce(vectors) { maximum($0, $1) } }
@inline(__always) func largestMagnitudesOfLanes(_ vectors: LaneSums) -> FloatVector {
    reduce(vectors) { largerMagnitude($0, $1) }
}

/// destination[0 ..< 4] = the sums of four vectors' lanes, by the same tree.
@inline(__always)
func storeSumsOfLanes(
    _ a: FloatVector, _ b: FloatVector, _ c: FloatVector, _ d: FloatVector, _ destination: UnsafeMutablePointer<Float>
) {
    storeFloats(sumsOfLanes([a, b, c, d]), destination)
}

@inline(__always)
private func reduce(_ v: LaneSums, _ combine: (FloatVector, FloatVector) -> FloatVector) -> FloatVector {
    let low = combine(lowPairs(v[0], v[1]), highPairs(v[0], v[1]))
    let high = combine(lowPairs(v[2], v[3]), highPairs(v[2], v[3]))
    return combine(evenElements(low, high), oddElements(low, high))
}
