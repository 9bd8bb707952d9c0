// Integer products of a block on AVX2 without VNNI, exact as with it.
//
// There is no instruction from bytes to 32 bits: products of bytes add up to 16 bits in pairs, and those are widened by a
// multiplication, which takes a block's integer scale along. A pair of products must not saturate, which those with
// codes of 2 to 6 bits never do, nor may their sum. It starts with minus the zero point times all activations, so that
// each step exchanges -zero * activation for (code - zero) * activation, of which neither is larger than 127 * zero.
//
// Codes of 8 bits are taken as signed values: their magnitude, at most 128, by the activation with the code's sign,
// at most 127, stays below 32,768 for a pair.
import SIMDIntrinsics

/// Sums of pairs need room in 16 bits: codes stay small.
let zeroIs128 = false

extension PanelFormat {
    @inline(__always) static var hasWideCodes: Bool { Codes.bits == 8 || usesTable }
    /// Groups that are added up in 16 bits, two products of each in a sum: 8 * 2 * 127 * 16 with a zero point of at most
    /// 16 (four groups with one of 32) and 4 * 2 * 127 * 31 without any are below 32,768.
    @inline(__always) static var groupsIn16Bits: Int { zeroShift < 0 && Codes.bits > 4 ? 4 : 8 }
}

/// What a block's 16-bit sums start with: minus the activations of the first two columns of each four, and of the others.
@inline(__always)
func startOfSums(_ codes: UnsafeRawPointer, count: Int, sum: Int32) -> Int32 {
    let ones = _mm_set1_epi8(1)
    var pairs = _mm_maddubs_epi16(ones, _mm_loadu_si128(codes.assumingMemoryBound(to: __m128i_u.self)))
    if count == 32 {
        let second = _mm_loadu_si128((codes + 16).assumingMemoryBound(to: __m128i_u.self))
        pairs = _mm_add_epi16(pairs, _mm_maddubs_epi16(ones, second))
    }
    let two = _mm_add_epi16(pairs, _mm_unpackhi_epi64(pairs, pairs))
    let one = _mm_add_epi16(two, _mm_srli_epi64(two, 32))
    return _mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), one))
}

@inline(__always)
func blockProducts<Format: PanelFormat, let panels: Int, let tokens: Int>(
    _ block: PanelBlock<Format>, _ activations: TileRecords, first: Int, last: Int, start field: Int
) -> TileProducts<panels, tokens> {
    var sums = TileProducts<panels, tokens>(repeating: InlineArray(repeating: broadcast(Int32(0))))
    for panel in 0..<panels {
        sums[panel] = panelProducts(
            block, panel, activations, first: first, last: last, start: field, times: _mm256_set1_epi16(1))
    }
    return sums
}

/// For each token, sum over groups first ..< last of (code - zero) * activation in each row's lane, times its 16-bit
/// `factors`.
@inline(__always)
func panelProducts<Format: PanelFormat, let tokens: Int>(
    _ block: PanelBlock<Format>, _ panel: Int, _ activations: TileRecords, first: Int, last: Int, start field: Int,
    times factors: IntVector
) -> InlineArray<tokens, IntVector> {
    var sums = InlineArray<tokens, IntVector>(repeating: broadcast(Int32(0)))
    if Format.hasWideCodes {
        for group in first..<last {
            let weights = _mm256_xor_si256(block.group(panel, group), _mm256_set1_epi8(-128))
            let magnitudes = _mm256_abs_epi8(weights)
            for token in 0..<tokens {
                let signed = _mm256_sign_epi8(fourColumns(activations, token, group), weights)
                sums[token] = addPairs(_mm256_maddubs_epi16(magnitudes, signed), factors, to: sums[token])
            }
        }
        return sums
    }
    var pairs = InlineArray<tokens, IntVector>(repeating: broadcast(Int32(0)))
    if Format.zeroShift >= 0 {
        for token in 0..<tokens {
            pairs[token] = shiftLeft(broadcast(activations.int(field, token)), Format.zeroShift)
        }
    }
    addFourGroups(block, panel, &pairs, activations, first)
    if last - first == 8 {
        if Format.groupsIn16Bits == 4 {
            widen(pairs, times: factors, addingTo: &sums)
            pairs = InlineArray(repeating: broadcast(Int32(0)))
        }
        addFourGroups(block, panel, &pairs, activations, first + 4)
    }
    widen(pairs, times: factors, addingTo: &sums)
    return sums
}

@inline(__always)
private func widen<let tokens: Int>(
    _ pairs: InlineArray<tokens, IntVector>, times factors: IntVector,
    addingTo sums: inout InlineArray<tokens, IntVector>
) {
    for token in 0..<tokens { sums[token] = addPairs(pairs[token], factors, to: sums[token]) }
}

/// Written out: the compiler leaves a loop of eight groups as a loop.
@inline(__always)
private func addFourGroups<Format: PanelFormat, let tokens: Int>(
    _ block: PanelBlock<Format>, _ panel: Int, _ pairs: inout InlineArray<tokens, IntVector>,
    _ activations: TileRecords, _ first: Int
) {
    addGroup(block, panel, &pairs, activations, first)
    addGroup(block, panel, &pairs, activations, first + 1)
    addGroup(block, panel, &pairs, activations, first + 2)
    addGroup(block, panel, &pairs, activations, first + 3)
}

@inline(__always)
private func addGroup<Format: PanelFormat, let tokens: Int>(
    _ block: PanelBlock<Format>, _ panel: Int, _ pairs: inout InlineArray<tokens, IntVector>,
    _ activations: TileRecords, _ group: Int
) {
    let weights = block.group(panel, group)
    for token in 0..<tokens {
        pairs[token] = cabochon_x86_add_byte_pairs_in_order_256(
            pairs[token], weights, fourColumns(activations, token, group))
    }
}

/// sum + the products of two 16-bit numbers in each lane.
@inline(__always) func addPairs(_ a: IntVector, _ b: IntVector, to sum: IntVector) -> IntVector {
    _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
}

/// Four activations of a token in every lane.
@inline(__always) func fourColumns(_ activations: TileRecords, _ token: Int, _ group: Int) -> IntVector {
    broadcast(activations.int(4 * group, token))
}
