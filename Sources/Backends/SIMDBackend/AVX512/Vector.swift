// The vocabulary of the kernels on AVX-512: sixteen 32-bit lanes.
//
// Every instruction set supplies the same names (AVX2/, NEON/), so the kernels are written once.
// All of it is inlined into the kernels; nothing here is a call at run time.
import SIMDIntrinsics

typealias FloatVector = __m512
typealias IntVector = __m512i
/// Lanes of a vector, and so the rows of a weight's panel.
let lanes = 16

// MARK: Floats

@inline(__always) func broadcast(_ value: Float) -> FloatVector { _mm512_set1_ps(value) }
@inline(__always) func loadFloats(_ source: UnsafeRawPointer) -> FloatVector { _mm512_loadu_ps(source) }
@inline(__always) func storeFloats(_ value: FloatVector, _ destination: UnsafeMutableRawPointer) {
    _mm512_storeu_ps(destination, value)
}

/// The first `count` (0 ... lanes) elements; the other lanes are zero and their memory is not touched.
@inline(__always) func loadFloats(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
    _mm512_maskz_loadu_ps(mask(first: count), source)
}
@inline(__always) func storeFloats(_ value: FloatVector, _ destination: UnsafeMutableRawPointer, first count: Int) {
    _mm512_mask_storeu_ps(destination, mask(first: count), value)
}
@inline(__always) func mask(first count: Int) -> __mmask16 { __mmask16(truncatingIfNeeded: (1 &<< count) - 1) }

@inline(__always) func add(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm512_add_ps(a, b) }
@inline(__always) func subtract(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm512_sub_ps(a, b) }
@inline(__always) func multiply(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm512_mul_ps(a, b) }
@inline(__always) func divide(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm512_div_ps(a, b) }
/// a * b + c, rounded once.
@inline(__always) func multiplyAdd(_ a: FloatVector, _ b: FloatVector, _ c: FloatVector) -> FloatVector {
    _mm512_fmadd_ps(a, b, c)
}
/// The same, and no sum is moved before one that is written first, where registers are too few to leave that to the
/// compiler.
@inline(__always)
func multiplyAddInOrder(_ a: FloatVector, _ b: FloatVector, _ c: FloatVector) -> FloatVector { multiplyAdd(a, b, c) }
/// c - a * b, rounded once.
@inline(__always) func subtractProduct(_ a: FloatVector, _ b: FloatVector, from c: FloatVector) -> FloatVector {
    _mm512_fnmadd_ps(a, b, c)
}
/// b, where that is not a number; where only a is none, what the instruction set makes of it.
@inline(__always) func maximum(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm512_max_ps(a, b) }
@inline(__always) func minimum(_ a: FloatVector, _ b: FloatVector) -> FloatVector { _mm512_min_ps(a, b) }
/// Of two magnitudes. Compared as integers, in whose order what is no number comes last, so that none gets lost.
@inline(__always) func largerMagnitude(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)))
}
@inline(__always) func magnitude(_ a: FloatVector) -> FloatVector {
    _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fff_ffff)))
}
/// The magnitude of `magnitude` (not negative) with the sign of `sign`.
@inline(__always) func copySign(_ magnitude: FloatVector, of sign: FloatVector) -> FloatVector {
    let bit = _mm512_and_si512(_mm512_castps_si512(sign), _mm512_set1_epi32(Int32.min))
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(magnitude), bit))
}
/// Lane by lane: `value` where left < right, else `other`.
@inline(__always) func select(
    _ left: FloatVector, below right: FloatVector, _ value: FloatVector, else other: FloatVector
) -> FloatVector {
    _mm512_mask_blend_ps(cabochon_x86_less_512(left, right), other, value)
}

/// As an instruction: the standard library's would call libm.
@inline(__always) func squareRoot(_ value: Float) -> Float { _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(value))) }

// MARK: Half precision

@inline(__always) func loadHalves(_ source: UnsafeRawPointer) -> FloatVector {
    _mm512_cvtph_ps(_mm256_loadu_si256(source.assumingMemoryBound(to: __m256i_u.self)))
}
@inline(__always) func loadHalves(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
    _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(first: count), source))
}
@inline(__always) func storeHalves(_ value: FloatVector, _ destination: UnsafeMutableRawPointer, first count: Int) {
    _mm256_mask_storeu_epi16(destination, mask(first: count), cabochon_x86_half_from_float_512(value))
}
@inline(__always) func loadBrainFloats(_ source: UnsafeRawPointer) -> FloatVector {
    widenBrainFloats(_mm256_loadu_si256(source.assumingMemoryBound(to: __m256i_u.self)))
}
@inline(__always) func loadBrainFloats(_ source: UnsafeRawPointer, first count: Int) -> FloatVector {
    widenBrainFloats(_mm256_maskz_loadu_epi16(mask(first: count), source))
}
@inline(__always) func widenBrainFloats(_ values: __m256i) -> FloatVector {
    _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(values), 16))
}

// MARK: Integers

@inline(__always) func broadcast(_ value: Int32) -> IntVector { _mm512_set1_epi32(value) }
@inline(__always) func loadInts(_ source: UnsafeRawPointer) -> IntVector { _mm512_loadu_si512(source) }
@inline(__always) func storeInts(_ value: IntVector, _ destination: UnsafeMutableRawPointer) {
    _mm512_storeu_si512(destination, value)
}
@inline(__always) func add(_ a: IntVector, _ b: IntVector) -> IntVector { _mm512_add_epi32(a, b) }
/// sum + both products of the 16-bit integers in each lane.
@inline(__always) func addPairs(_ a: IntVector, _ b: IntVector, to sum: IntVector) -> IntVector {
    _mm512_dpwssd_epi32(sum, a, b)
}
/// sum + the products of four unsigned bytes by four signed ones in each lane.
@inline(__always) func addFours(_ codes: IntVector, _ values: IntVector, to sum: IntVector) -> IntVector {
    _mm512_dpbusd_epi32(sum, codes, values)
}
@inline(__always) func and(_ a: IntVector, _ b: IntVector) -> IntVector { _mm512_and_si512(a, b) }
@inline(__always) func or(_ a: IntVector, _ b: IntVector) -> IntVector { _mm512_or_si512(a, b) }
/// Shifts in 16-bit lanes; the callers mask away what crosses a byte.
@inline(__always) func shiftRight(_ a: IntVector, _ count: Int) -> IntVector {
    _mm512_srli_epi16(a, UInt32(truncatingIfNeeded: count))
}
@inline(__always) func shiftLeft(_ a: IntVector, _ count: Int) -> IntVector {
    _mm512_slli_epi16(a, UInt32(truncatingIfNeeded: count))
}
@inline(__always) func shiftLanesLeft(_ a: IntVector, _ count: Int) -> IntVector {
    _mm512_slli_epi32(a, UInt32(truncatingIfNeeded: count))
}
@inline(__always) func shiftLanesRight(_ a: IntVector, _ count: Int) -> IntVector {
    _mm512_srli_epi32(a, UInt32(truncatingIfNeeded: count))
}
/// The float whose bits are that many more: with a number in the place of exponents, times a power of two.
@inline(__always) func addToBits(_ value: FloatVector, _ bits: IntVector) -> FloatVector {
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(value), bits))
}
@inline(__always) func floats(_ a: IntVector) -> FloatVector { _mm512_cvtepi32_ps(a) }
/// Rounded to nearest even.
@inline(__always) func ints(_ a: FloatVector) -> IntVector { _mm512_cvtps_epi32(a) }
/// Sixteen bytes in each 128 bits, and one of them per byte of `indices` (0 ... 15).
@inline(__always) func loadTable(_ source: UnsafeRawPointer) -> IntVector {
    _mm512_broadcast_i32x4(_mm_loadu_si128(source.assumingMemoryBound(to: __m128i_u.self)))
}
@inline(__always) func lookUp(_ table: IntVector, _ indices: IntVector) -> IntVector {
    _mm512_shuffle_epi8(table, indices)
}
/// `lanes` unsigned or signed bytes as integers.
@inline(__always) func loadBytes(_ source: UnsafeRawPointer) -> IntVector {
    _mm512_cvtepu8_epi32(_mm_loadu_si128(source.assumingMemoryBound(to: __m128i_u.self)))
}
@inline(__always) func loadSignedBytes(_ source: UnsafeRawPointer) -> IntVector {
    _mm512_cvtepi8_epi32(_mm_loadu_si128(source.assumingMemoryBound(to: __m128i_u.self)))
}
/// The low byte of each lane; lanes hold -128 ... 127.
@inline(__always) func storeLowBytes(_ value: IntVector, _ destination: UnsafeMutableRawPointer) {
    _mm_storeu_si128(destination.assumingMemoryBound(to: __m128i_u.self), _mm512_cvtepi32_epi8(value))
}

// MARK: Bytes and words

@inline(__always) func floatsOfBits(_ a: IntVector) -> FloatVector { _mm512_castsi512_ps(a) }
@inline(__always) func bitsOfFloats(_ a: FloatVector) -> IntVector { _mm512_castps_si512(a) }
/// Words of a low and a high byte, in each 128 bits those of the first eight bytes or those of the last.
@inline(__always) func firstWords(low: IntVector, high: IntVector) -> IntVector { _mm512_unpacklo_epi8(low, high) }
@inline(__always) func lastWords(low: IntVector, high: IntVector) -> IntVector { _mm512_unpackhi_epi8(low, high) }
/// The bytes that `firstWords` and `lastWords` take, of words that are below 256.
@inline(__always) func bytes(ofFirst first: IntVector, last: IntVector) -> IntVector {
    _mm512_packus_epi16(first, last)
}
/// Each byte less another, 0 where that is more.
@inline(__always) func subtractBytes(_ a: IntVector, _ b: IntVector) -> IntVector { _mm512_subs_epu8(a, b) }
@inline(__always) func isEqual(_ a: IntVector, _ b: IntVector) -> Bool {
    let difference = _mm512_xor_si512(a, b)
    return _mm512_test_epi32_mask(difference, difference) == 0
}
/// Pairs of one word of each of two steps become the steps of `lanes` words.
@inline(__always) func stepsOfPairs(_ pairs: IntVector) -> IntVector {
    let order = _mm512_set_epi32(
        0x001f_001d, 0x001b_0019, 0x0017_0015, 0x0013_0011, 0x000f_000d, 0x000b_0009, 0x0007_0005, 0x0003_0001,
        0x001e_001c, 0x001a_0018, 0x0016_0014, 0x0012_0010, 0x000e_000c, 0x000a_0008, 0x0006_0004, 0x0002_0000)
    return _mm512_permutexvar_epi16(order, pairs)
}

// MARK: Across lanes

/// In each four elements: 0 and 1 of both vectors, 2 and 3 of both, the even ones of both, the odd ones of both.
@inline(__always) func lowPairs(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    cabochon_x86_low_pairs_512(a, b)
}
@inline(__always) func highPairs(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    cabochon_x86_high_pairs_512(a, b)
}
@inline(__always) func evenElements(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    cabochon_x86_even_elements_512(a, b)
}
@inline(__always) func oddElements(_ a: FloatVector, _ b: FloatVector) -> FloatVector {
    cabochon_x86_odd_elements_512(a, b)
}

/// The same tree for every caller: lanes i and i + 8, then + 4, + 2, + 1. Addition commutes, so a
/// dot product summed here and one summed by `sumsOfLanes` have the same bits.
@inline(__always) func sumOfLanes(_ a: FloatVector) -> Float {
    let half = halves(a, a) { add($0, $1) }
    let quarter = quarters(half, half) { add($0, $1) }
    let two = add(lowPairs(quarter, quarter), highPairs(quarter, quarter))
    return firstLane(add(evenElements(two, two), oddElements(two, two)))
}
@inline(__always) func firstLane(_ a: FloatVector) -> Float { _mm512_cvtss_f32(a) }

/// Lane i of the result is the sum, or the largest, of vector i's lanes, all by the same tree: + 8, + 4, + 2, + 1.
@inline(__always) func sumsOfLanes(_ vectors: LaneSums) -> FloatVector { reduce(vectors) { add($0, $1) } }
@inline(__always) func largestOfLanes(_ vectors: LaneSums) -> FloatVector { reduce(vectors) { maximum($0, $1) } }
@inline(__always) func largestMagnitudesOfLanes(_ vectors: LaneSums) -> FloatVector {
    reduce(vectors) { largerMagnitude($0, $1) }
}

/// Written out, because an index that a loop computes would put the vectors in memory.
@inline(__always)
private func reduce(_ v: LaneSums, _ combine: (FloatVector, FloatVector) -> FloatVector) -> FloatVector {
    let first = quarters(halves(v[0], v[4], combine), halves(v[8], v[12], combine), combine)
    let second = quarters(halves(v[1], v[5], combine), halves(v[9], v[13], combine), combine)
    let third = quarters(halves(v[2], v[6], combine), halves(v[10], v[14], combine), combine)
    let fourth = quarters(halves(v[3], v[7], combine), halves(v[11], v[15], combine), combine)
    let low = combine(lowPairs(first, second), highPairs(first, second))
    let high = combine(lowPairs(third, fourth), highPairs(third, fourth))
    return combine(evenElements(low, high), oddElements(low, high))
}
@inline(__always)
private func halves(
    _ a: FloatVector, _ b: FloatVector, _ combine: (FloatVector, FloatVector) -> FloatVector
) -> FloatVector {
    combine(cabochon_x86_low_halves_512(a, b), cabochon_x86_high_halves_512(a, b))
}
@inline(__always)
private func quarters(
    _ a: FloatVector, _ b: FloatVector, _ combine: (FloatVector, FloatVector) -> FloatVector
) -> FloatVector {
    combine(cabochon_x86_even_quarters_512(a, b), cabochon_x86_odd_quarters_512(a, b))
}

/// destination[0 ..< 4] = the sums of four vectors' lanes, by the same tree.
@inline(__always)
func storeSumsOfLanes(
    _ a: FloatVector, _ b: FloatVector, _ c: FloatVector, _ d: FloatVector, _ destination: UnsafeMutablePointer<Float>
) {
    let quarter = quarters(halves(a, b) { add($0, $1) }, halves(c, d) { add($0, $1) }) { add($0, $1) }
    let two = add(lowPairs(quarter, quarter), highPairs(quarter, quarter))
    let one = add(evenElements(two, two), oddElements(two, two))
    _mm_storeu_ps(destination, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, one)))
}

/// 0, 1, 2, ...
@inline(__always) func laneNumbers() -> FloatVector {
    _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
}
