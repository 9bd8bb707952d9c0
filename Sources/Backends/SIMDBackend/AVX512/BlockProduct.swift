// Integer products of a block on AVX-512 VNNI: unsigned codes by signed activations, four columns
// of sixteen rows an instruction, exact in 32 bits.
import SIMDIntrinsics

/// Codes may be any unsigned byte.
let zeroIs128 = true

/// Each tile unpacks panels: a full one has twice as many tokens as AVX2's, and unpacking them for a pass was not tried.
let unpacksPanels = false
/// Activations of a pass, which stay in the second-level cache.
let passBytes = 256 &<< 10

/// Panels that take the tiles after a call's first together.
let panelsTogether = 2
/// Tokens of a full tile: twelve integer and twelve float accumulators leave eight registers, for one panel
/// by twelve or two panels by six.
let largestTile = 12
typealias LargestTile = InlineArray<12, Void>
/// Tokens of a part of a full tile.
let tilePart = 6
typealias TilePart = InlineArray<6, Void>

/// For each panel and each token of a tile, sum over `groups` of (code - zero) * activation in each row's lane.
@inline(__always)
func blockProducts<Format: PanelFormat, let panels: Int, let tokens: Int>(
    _ block: PanelBlock<Format>, _ activations: TileRecords, first: Int, last: Int, start field: Int
) -> TileProducts<panels, tokens> {
    var sums = TileProducts<panels, tokens>(repeating: InlineArray(repeating: broadcast(Int32(0))))
    if Format.zeroShift >= 0 {
        for token in 0..<tokens {
            let start = broadcast(activations.int(field, token))
            for panel in 0..<panels { sums[panel][token] = start }
        }
    }
    // Four or eight groups, written out: the compiler leaves the loop of eight as a loop.
    addGroup(block, &sums, activations, first)
    addGroup(block, &sums, activations, first + 1)
    addGroup(block, &sums, activations, first + 2)
    addGroup(block, &sums, activations, first + 3)
    if last - first == 8 {
        addGroup(block, &sums, activations, first + 4)
        addGroup(block, &sums, activations, first + 5)
        addGroup(block, &sums, activations, first + 6)
        addGroup(block, &sums, activations, first + 7)
    }
    return sums
}

@inline(__always)
private func addGroup<Format: PanelFormat, let panels: Int, let tokens: Int>(
    _ block: PanelBlock<Format>, _ sums: inout TileProducts<panels, tokens>, _ activations: TileRecords, _ group: Int
) {
    var weights = InlineArray<panels, IntVector>(repeating: broadcast(Int32(0)))
    for panel in 0..<panels { weights[panel] = block.group(panel, group) }
    for token in 0..<tokens {
        let four = broadcast(activations.int(4 * group, token))
        for panel in 0..<panels { sums[panel][token] = _mm512_dpbusd_epi32(sums[panel][token], weights[panel], four) }
    }
}

/// Tokens that share a floating-point weight's vectors: four rows by six are 24 accumulators.
let floatTokens = 6
typealias FloatTokens = InlineArray<6, Void>
/// Panels of a floating-point weight that share the vectors of many tokens: four by six tokens are 24 accumulators.
let floatPanels = 4
typealias FloatPanelVectors<Operand> = InlineArray<4, Operand>

/// Attention's tiles: queries by keys make `lanes` dot products, which are summed together.
typealias LaneSums = InlineArray<16, FloatVector>
let attentionQueries = 4
/// Queries that share columns of two vectors of keys, and lanes that are summed at a time: sixteen accumulators.
typealias ColumnQueries = InlineArray<4, Void>
let columnLanes = 2
/// Queries that share vectors of values, and vectors that so many, four, and one or two take: as many accumulators
/// as the registers hold beside the vectors.
typealias ValueQueries = InlineArray<8, Void>
typealias ValueVectors = InlineArray<2, Void>
typealias FourValueVectors = InlineArray<4, Void>
typealias PairValueVectors = InlineArray<8, Void>

/// Blocks that are quantized together.
typealias BlocksOfLanes = InlineArray<16, Void>
