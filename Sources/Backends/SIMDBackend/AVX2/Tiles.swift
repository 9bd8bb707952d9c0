// Tiles of products and of attention for sixteen registers of eight lanes, with VNNI or without.

/// Passes of many tokens unpack panels first (UnpackedPanel.swift).
let unpacksPanels = true
/// Four bits without a table are a mask away: unpacked they are no faster (Q4_K and Q4_0 0.99).
let unpacksNibbles = false
/// Activations of a pass. Beyond the second-level cache tiles are read in order, once for each panel; fewer tokens a pass
/// unpack a panel of 9,216 columns too often (Q6_K with 256 KiB 1.06 times as fast as without, with 1 MiB 1.21).
let passBytes = 1 &<< 20

/// Panels that take a tile together: there are no registers for a second.
let panelsTogether = 1
/// Tokens of a full tile: six accumulators of a block's integer sums and six of what has come of those before.
let largestTile = 6
typealias LargestTile = InlineArray<6, Void>
/// Tokens of a part of a full tile.
let tilePart = 6
typealias TilePart = InlineArray<6, Void>

/// Tokens that share a floating-point weight's vectors: four rows by three are twelve accumulators, which leave
/// registers for the tokens' vectors and one of weights.
let floatTokens = 3
typealias FloatTokens = InlineArray<3, Void>
/// Panels of a floating-point weight that share the vectors of many tokens: two by six tokens are twelve accumulators.
let floatPanels = 2
typealias FloatPanelVectors<Operand> = InlineArray<2, Operand>

/// Rows of twelve-bit codes that lie together: their sums hide each other's latency, and their vectors share the token's.
let codedRows = 4
typealias CodedRows<Element> = InlineArray<4, Element>
/// Those of them that three or four tokens share.
let codedTileRows = 2
typealias CodedTile<Element> = InlineArray<2, Element>

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
