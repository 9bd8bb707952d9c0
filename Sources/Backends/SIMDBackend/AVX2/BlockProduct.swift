// Integer products of a block on AVX2, exact as on AVX-512.
//
// There is no instruction from bytes to 32 bits; pairs of products add up to 16 bits first, and
// those must not saturate. Codes of 2 to 6 bits leave room for 8, 4 or 2 groups before the 16-bit
// sums are widened. Codes of 8 bits are taken as signed values: their magnitude, at most 128, by
// the activation with the code's sign, at most 127, stays below 32,768 for a pair.
import SIMDIntrinsics

/// Sums of pairs need room in 16 bits: codes stay small.
let zeroIs128 = false

/// Panels that take a tile together: there are no registers for a second.
let panelsTogether = 1
/// Tokens of a full tile; sixteen registers hold no more sums.
let largestTile = 4
typealias LargestTile = InlineArray<4, Void>
/// Tokens of a part of a full tile.
let tilePart = 4
typealias TilePart = InlineArray<4, Void>

extension PackedFormat {
    /// Groups whose pairs, at most 2 * 127 * (2^bits - 1) each, add up below 32,768.
    @inline(__always) static var groupsIn16Bits: Int {
        Codes.bits <= 4 ? 8 : Codes.bits == 5 ? 4 : 2
    }
    @inline(__always) static var hasWideCodes: Bool { Codes.bits == 8 || usesTable }
}

@inline(__always)
func blockProducts<Format: PackedFormat, let panels: Int, let tokens: Int>(
    _ block: PanelBlock<Format>, _ activations: TileRecords, first: Int, last: Int, negatedSum: Int
) -> TileProducts<panels, tokens> {
    var sums = TileProducts<panels, tokens>(repeating: InlineArray(repeating: broadcast(Int32(0))))
    for panel in 0..<panels {
        sums[panel] = panelProducts(block, panel, activations, first: first, last: last, negatedSum: negatedSum)
    }
    return sums
}

@inline(__always)
private func panelProducts<Format: PackedFormat, let tokens: Int>(
    _ block: PanelBlock<Format>, _ panel: Int, _ activations: TileRecords, first: Int, last: Int, negatedSum: Int
) -> InlineArray<tokens, IntVector> {
    var sums = InlineArray<tokens, IntVector>(repeating: broadcast(Int32(0)))
    let ones = _mm256_set1_epi16(1)
    if Format.hasWideCodes {
        for group in first..<last {
            let weights = _mm256_xor_si256(block.group(panel, group), _mm256_set1_epi8(-128))
            let magnitudes = _mm256_abs_epi8(weights)
            for token in 0..<tokens {
                let signed = _mm256_sign_epi8(fourColumns(activations, token, group), weights)
                let pairs = _mm256_maddubs_epi16(magnitudes, signed)
                sums[token] = add(sums[token], _mm256_madd_epi16(pairs, ones))
            }
        }
        return sums
    }
    if Format.zeroShift >= 0 {
        for token in 0..<tokens {
            let sum = broadcast(activations.int(negatedSum, token))
            sums[token] = shiftLanesLeft(sum, Format.zeroShift)
        }
    }
    // One call for each stretch: a loop over stretches would not be unrolled, and indices that are not
    // constants would put the sums in memory.
    let stretch = min(last - first, Format.groupsIn16Bits)
    addStretch(block, panel, &sums, activations, first, stretch)
    if first + stretch < last { addStretch(block, panel, &sums, activations, first + stretch, stretch) }
    if first + 2 * stretch < last { addStretch(block, panel, &sums, activations, first + 2 * stretch, stretch) }
    if first + 3 * stretch < last { addStretch(block, panel, &sums, activations, first + 3 * stretch, stretch) }
    return sums
}

/// As many groups as fit in 16-bit sums.
@inline(__always)
private func addStretch<Format: PackedFormat, let tokens: Int>(
    _ block: PanelBlock<Format>, _ panel: Int, _ sums: inout InlineArray<tokens, IntVector>, _ activations: TileRecords,
    _ first: Int, _ count: Int
) {
    var pairs = InlineArray<tokens, IntVector>(repeating: broadcast(Int32(0)))
    for group in first..<first + count {
        let weights = block.group(panel, group)
        for token in 0..<tokens {
            pairs[token] = _mm256_add_epi16(
                pairs[token], _mm256_maddubs_epi16(weights, fourColumns(activations, token, group)))
        }
    }
    for token in 0..<tokens { sums[token] = add(sums[token], _mm256_madd_epi16(pairs[token], _mm256_set1_epi16(1))) }
}

/// Four activations of a token in every lane.
@inline(__always) func fourColumns(_ activations: TileRecords, _ token: Int, _ group: Int) -> IntVector {
    broadcast(activations.int(4 * group, token))
}

/// Tokens that share a floating-point weight's vectors: four rows by two are eight accumulators.
let floatTokens = 2
typealias FloatTokens = InlineArray<2, Void>

/// Attention's tiles: queries by keys make `lanes` dot products, which are summed together.
typealias LaneSums = InlineArray<8, FloatVector>
let attentionQueries = 2
/// Queries that share columns of two vectors of keys, and lanes that are summed at a time.
typealias ColumnQueries = InlineArray<6, Void>
let columnLanes = 1
/// Queries that share vectors of values, and vectors that so many, four, and one or two take: as many accumulators
/// as the registers hold beside the vectors.
typealias ValueQueries = InlineArray<6, Void>
typealias ValueVectors = InlineArray<2, Void>
typealias FourValueVectors = InlineArray<2, Void>
typealias PairValueVectors = InlineArray<4, Void>

/// Blocks that are quantized together.
typealias BlocksOfLanes = InlineArray<8, Void>
