// The vocabulary of the kernels on AVX2, FMA and F16C, with VNNI or without: eight 32-bit lanes (see AVX512/Vector.swift).
import SIMDIntrinsics

typealias FloatVector = __m256
typealias IntVector = __m256i
let lanes = 8

// MARK: Floats

@inline(__always) func broadcast(_ value: Float) -> FloatVector { _mm256_set1_ps(value) }
@inline(__always) func loadFloats(_ source: UnsafeRawPointer) -> FloatVector {
    _mm256_loadu_ps(source.assumingMemoryBound(to: Float.self))
}
@inline(__always) func storeFloats(_ value: FloatVector, _ destination: UnsafeMutableRawPointer) {
    _mm256_storeu_ps(destination.assumingMemoryBound(to: Float.self), value)
}
/// Whole vectors without a mask: AMD's processors take a masked store in dozens of steps, with which norms took 3.2 times
/// as long and softcaps 1.85 times (EPYC of family 25).
@inline(__always) func loadFloats(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
    if count == lanes { return loadFloats(source) }
    return _mm256_maskload_ps(source.assumingMemoryBound(to: Float.self), mask(first: count))
}
@inline(__always) func storeFloats(_ value: FloatVector, _ destination: UnsafeMutableRawPointer, first count: Int) {
    if count == lanes { return storeFloats(value, destination) }
    _mm256_maskstore_ps(destination.assumingMemoryBound(to: Float.self), mask(first: count), value)
}
@inline(__always) func mask(first count: Int) -> IntVector {
    _mm256_cmpgt_epi32(broadcast(Int32(truncatingIfNeeded: count)), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0))
}

@inline(__always) func add(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm256_add_ps(a, b) }
@inline(__always) func subtract(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm256_sub_ps(a, b) }
@inline(__always) func multiply(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm256_mul_ps(a, b) }
@inline(__always) func divide(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm256_div_ps(a, b) }
@inline(__always) func multiplyAdd(_ a: FloatVector, _ b: FloatVector, _ c: FloatVector) -> FloatVector {
    _mm256_fmadd_ps(a, b, c)
}
@inline(__always)
func multiplyAddInOrder(_ a: FloatVector, _ b: FloatVector, _ c: FloatVector) -> FloatVector {
    cabochon_x86_multiply_add_in_order_256(a, b, c)
}
@inline(__always) func subtractProduct(_ a: FloatVector, _ b: FloatVector, from c: FloatVector) -> FloatVector {
    _mm256_fnmadd_ps(a, b, c)
}
@inline(__always) func maximum(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm256_max_ps(a, b) }
@inline(__always) func minimum(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm256_min_ps(a, b) }
@inline(__always) func largerMagnitude(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)))
}
@inline(__always) func magnitude(_ a: FloatVector) -> FloatVector {
    _mm256_and_ps(a, _mm256_castsi256_ps(broadcast(Int32.max)))
}
@inline(__always) func copySign(_ magnitude: FloatVector, of sign: FloatVector) -> FloatVector {
    _mm256_or_ps(magnitude, _mm256_and_ps(sign, _mm256_castsi256_ps(broadcast(Int32.min))))
}
@inline(__always) func select(
    _ left: FloatVector, below right: FloatVector, _ value: FloatVector, else other: FloatVector
) -> FloatVector {
    _mm256_blendv_ps(other, value, cabochon_x86_less_256(left, right))
}
@inline(__always) func squareRoot(_ value: Float) -> Float { _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(value))) }
@inline(__always) func laneNumbers() -> FloatVector { _mm256_set_ps(7, 6, 5, 4, 3, 2, 1, 0) }

// MARK: Half precision

@inline(__always) func loadHalves(_ source: UnsafeRawPointer) -> FloatVector {
    _mm256_cvtph_ps(_mm_loadu_si128(source.assumingMemoryBound(to: __m128i_u.self)))
}
@inline(__always) func loadHalves(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
    var halves = loadWords(source, first: count)
    return loadHalves(&halves)
}
@inline(__always) func storeHalves(_ value: FloatVector, _ destination: UnsafeMutableRawPointer, first count: Int) {
    let halves = cabochon_x86_half_from_float_256(value)
    if count == lanes {
        _mm_storeu_si128(destination.assumingMemoryBound(to: __m128i_u.self), halves)
        return
    }
    withUnsafeBytes(of: halves) { destination.copyMemory(from: $0.baseAddress.unsafelyUnwrapped, byteCount: 2 * count) }
}
@inline(__always) func loadBrainFloats(_ source: UnsafeRawPointer) -> FloatVector {
    let words = _mm_loadu_si128(source.assumingMemoryBound(to: __m128i_u.self))
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16))
}
@inline(__always) func loadBrainFloats(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
    var words = loadWords(source, first: count)
    return loadBrainFloats(&words)
}
/// AVX2 has no masked load of 16-bit elements.
@inline(__always) func loadWords(_ source: UnsafeRawPointer, first count: Int) -> InlineArray<8, UInt16> {
    var words = InlineArray<8, UInt16>(repeating: 0)
    for index in 0..<count { words[index] = source.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self) }
    return words
}

// MARK: Integers

@inline(__always) func broadcast(_ value: Int32) -> IntVector { _mm256_set1_epi32(value) }
@inline(__always) func loadInts(_ source: UnsafeRawPointer) -> IntVector {
    _mm256_loadu_si256(source.assumingMemoryBound(to: __m256i_u.self))
}
@inline(__always) func storeInts(_ value: IntVector, _ destination: UnsafeMutableRawPointer) {
    _mm256_storeu_si256(destination.assumingMemoryBound(to: __m256i_u.self), value)
}
@inline(__always) func add(_ a: IntVector, _ b: IntVector) -> IntVector { _mm256_add_epi32(a, b) }
@inline(__always) func and(_ a: IntVector, _ b: IntVector) -> IntVector { _mm256_and_si256(a, b) }
@inline(__always) func or(_ a: IntVector, _ b: IntVector) -> IntVector { _mm256_or_si256(a, b) }
@inline(__always) func shiftRight(_ a: IntVector, _ count: Int) -> IntVector {
    _mm256_srli_epi16(a, Int32(truncatingIfNeeded: count))
}
@inline(__always) func shiftLeft(_ a: IntVector, _ count: Int) -> IntVector {
    _mm256_slli_epi16(a, Int32(truncatingIfNeeded: count))
}
@inline(__always) func shiftLanesLeft(_ a: IntVector, _ count: Int) -> IntVector {
    _mm256_slli_epi32(a, Int32(truncatingIfNeeded: count))
}
@inline(__always) func shiftLanesRight(_ a: IntVector, _ count: Int) -> IntVector {
    _mm256_srli_epi32(a, Int32(truncatingIfNeeded: count))
}
@inline(__always) func addToBits(_ value: FloatVector, _ bits: IntVector) -> FloatVector {
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), bits))
}
@inline(__always) func floats(_ a: IntVector) -> FloatVector { _mm256_cvtepi32_ps(a) }
@inline(__always) func ints(_ a: FloatVector) -> IntVector { _mm256_cvtps_epi32(a) }
@inline(__always) func loadTable(_ source: UnsafeRawPointer) -> IntVector {
    _mm256_broadcastsi128_si256(_mm_loadu_si128(source.assumingMemoryBound(to: __m128i_u.self)))
}
@inline(__always) func lookUp(_ table: IntVector, _ indices: IntVector) -> IntVector {
    _mm256_shuffle_epi8(table, indices)
}
@inline(__always) func loadBytes(_ source: UnsafeRawPointer) -> IntVector {
    _mm256_cvtepu8_epi32(_mm_loadl_epi64(source.assumingMemoryBound(to: __m128i_u.self)))
}
@inline(__always) func loadSignedBytes(_ source: UnsafeRawPointer) -> IntVector {
    _mm256_cvtepi8_epi32(_mm_loadl_epi64(source.assumingMemoryBound(to: __m128i_u.self)))
}
@inline(__always) func storeLowBytes(_ value: IntVector, _ destination: UnsafeMutableRawPointer) {
    _mm_storel_epi64(destination.assumingMemoryBound(to: __m128i_u.self), cabochon_x86_low_bytes_256(value))
}

// MARK: Bytes and words

@inline(__always) func floatsOfBits(_ a: IntVector) -> FloatVector { _mm256_castsi256_ps(a) }
@inline(__always) func bitsOfFloats(_ a: FloatVector) -> IntVector { _mm256_castps_si256(a) }
@inline(__always) func firstWords(low: IntVector, high: IntVector) -> IntVector { _mm256_unpacklo_epi8(low, high) }
@inline(__always) func lastWords(low: IntVector, high: IntVector) -> IntVector { _mm256_unpackhi_epi8(low, high) }
@inline(__always) func bytes(ofFirst first: IntVector, last: IntVector) -> IntVector {
    _mm256_packus_epi16(first, last)
}
@inline(__always) func subtractBytes(_ a: IntVector, _ b: IntVector) -> IntVector { _mm256_subs_epu8(a, b) }
@inline(__always) func isEqual(_ a: IntVector, _ b: IntVector) -> Bool {
    let difference = _mm256_xor_si256(a, b)
    return _mm256_testz_si256(difference, difference) != 0
}
@inline(__always) func stepsOfPairs(_ pairs: IntVector) -> IntVector {
    let order = _mm256_set_epi32(
        0x0f0e_0b0a, 0x0706_0302, 0x0d0c_0908, 0x0504_0100, 0x0f0e_0b0a, 0x0706_0302, 0x0d0c_0908, 0x0504_0100)
    return cabochon_x86_swap_middle_quarters_256(_mm256_shuffle_epi8(pairs, order))
}

// MARK: Across lanes

@inline(__always) func lowPairs(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    cabochon_x86_low_pairs_256(a, b)
}
@inline(__always) func highPairs(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    cabochon_x86_high_pairs_256(a, b)
}
@inline(__always) func evenElements(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    cabochon_x86_even_elements_256(a, b)
}
@inline(__always) func oddElements(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    cabochon_x86_odd_elements_256(a, b)
}

@inline(__always) func sumOfLanes(_ a: FloatVector) -> Float {
    let half = halves(a, a) { add($0, $1) }
    let two = pairs(half, half) { add($0, $1) }
    return firstLane(add(evenElements(two, two), oddElements(two, two)))
}
@inline(__always) func firstLane(_ a: FloatVector) -> Float { _mm256_cvtss_f32(a) }

/// Lane i of the result is the sum, or the largest, of vector i's lanes, all by the same tree: + 4, + 2, + 1.
@inline(__always) func sumsOfLanes(_ vectors: LaneSums) -> FloatVector { reduce(vectors) { add($0, $1) } }
@inline(__always) func largestOfLanes(_ vectors: LaneSums) -> FloatVector { reduce(vectors) { maximum($0, $1) } }
@inline(__always) func largestMagnitudesOfLanes(_ vectors: LaneSums) -> FloatVector {
    reduce(vectors) { largerMagnitude($0, $1) }
}

@inline(__always)
private func reduce(_ v: LaneSums, _ combine: (FloatVector, FloatVector) -> FloatVector) -> FloatVector {
    let low = pairs(halves(v[0], v[4], combine), halves(v[1], v[5], combine), combine)
    let high = pairs(halves(v[2], v[6], combine), halves(v[3], v[7], combine), combine)
    return combine(evenElements(low, high), oddElements(low, high))
}

/// destination[0 ..< 4] = the sums of four vectors' lanes, by the same tree.
@inline(__always)
func storeSumsOfLanes(
    _ a: FloatVector, _ b: FloatVector, _ c: FloatVector, _ d: FloatVector, _ destination: UnsafeMutablePointer<Float>
) {
    let two = pairs(halves(a, b) { add($0, $1) }, halves(c, d) { add($0, $1) }) { add($0, $1) }
    let one = add(evenElements(two, two), oddElements(two, two))
    // Lanes 0 and 1 are the sums of a and c, lanes 4 and 5 those of b and d.
    _mm_storeu_ps(destination, _mm_unpacklo_ps(_mm256_castps256_ps128(one), cabochon_x86_high_half_256(one)))
}

@inline(__always)
private func halves(
    _ a: FloatVector, _ b: FloatVector, _ combine: (FloatVector, FloatVector) -> FloatVector
) -> FloatVector {
    combine(cabochon_x86_low_halves_256(a, b), cabochon_x86_high_halves_256(a, b))
}
@inline(__always)
private func pairs(
    _ a: FloatVector, _ b: FloatVector, _ combine: (FloatVector, FloatVector) -> FloatVector
) -> FloatVector {
    combine(lowPairs(a, b), highPairs(a, b))
}
