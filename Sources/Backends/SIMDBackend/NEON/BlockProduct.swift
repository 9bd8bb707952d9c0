// Integer products of a block on NEON: signed bytes by signed bytes, exact in 32 bits.
//
// Codes of up to 7 bits are signed bytes as they stand, and the zero point enters through the sums
// of the activations; codes of 8 bits lose their 128 first and need no zero point.
import SIMDIntrinsics

/// Codes are to be signed bytes.
let zeroIs128 = false

/// Each tile unpacks its panels, two of them for four tokens; unpacking them once for a pass was not tried.
let unpacksPanels = false
let unpacksNibbles = false
/// Activations of a pass, which stay in the second-level cache.
let passBytes = 256 &<< 10

/// Panels that take the tiles after a call's first together.
let panelsTogether = 2
/// Tokens of a full tile: eight integer and eight float accumulators of 32 registers, for one panel by eight or
/// two panels by four.
let largestTile = 8
typealias LargestTile = InlineArray<8, Void>
/// Tokens of a part of a full tile.
let tilePart = 4
typealias TilePart = InlineArray<4, Void>

@inline(__always)
func blockProducts<Format: PanelFormat, let panels: Int, let tokens: Int>(
    _ block: PanelBlock<Format>, _ activations: TileRecords, first: Int, last: Int, start field: Int
) -> TileProducts<panels, tokens> {
    var sums = TileProducts<panels, tokens>(repeating: InlineArray(repeating: broadcast(Int32(0))))
    let isWide = Format.Codes.bits == 8 || Format.usesTable
    if Format.zeroShift >= 0 && !isWide {
        for token in 0..<tokens {
            let start = shiftLanesLeft(broadcast(activations.int(field, token)), Format.zeroShift)
            for panel in 0..<panels { sums[panel][token] = start }
        }
    }
    for group in first..<last {
        var weights = InlineArray<panels, IntVector>(repeating: broadcast(Int32(0)))
        for panel in 0..<panels {
            weights[panel] = block.group(panel, group)
            if isWide { weights[panel] ^= IntVector(repeating: Int32(bitPattern: 0x8080_8080)) }
        }
        for token in 0..<tokens {
            let four = unsafeBitCast(broadcast(activations.int(4 * group, token)), to: SIMD16<Int8>.self)
            for panel in 0..<panels {
                sums[panel][token] = vdotq_s32(
                    sums[panel][token], unsafeBitCast(weights[panel], to: SIMD16<Int8>.self), four)
            }
        }
    }
    return sums
}

/// Tokens that share a floating-point weight's vectors: four rows by four are 16 accumulators.
let floatTokens = 4
typealias FloatTokens = InlineArray<4, Void>
/// Panels of a floating-point weight that share the vectors of many tokens: four by six tokens are 24 accumulators.
let floatPanels = 4
typealias FloatPanelVectors<Operand> = InlineArray<4, Operand>

/// Rows of twelve-bit codes that lie together: their sums hide each other's latency.
let codedRows = 4
typealias CodedRows<Element> = InlineArray<4, Element>
/// Those of them that three or four tokens share.
let codedTileRows = 4
typealias CodedTile<Element> = InlineArray<4, Element>

/// Attention's tiles: queries by keys make `lanes` dot products, which are summed together.
typealias LaneSums = InlineArray<4, FloatVector>
let attentionQueries = 2
/// Queries that share columns of two vectors of keys, and lanes that are summed at a time: sixteen accumulators.
typealias ColumnQueries = InlineArray<8, Void>
let columnLanes = 1
/// Queries that share vectors of values, and vectors that so many, four, and one or two take: as many accumulators
/// as the registers hold beside the vectors.
typealias ValueQueries = InlineArray<8, Void>
typealias ValueVectors = InlineArray<2, Void>
typealias FourValueVectors = InlineArray<4, Void>
typealias PairValueVectors = InlineArray<8, Void>

/// Blocks that are quantized together.
typealias BlocksOfLanes = InlineArray<4, Void>
