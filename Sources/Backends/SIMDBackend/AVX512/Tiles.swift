// Tiles of products and of attention for 32 registers of sixteen lanes.

/// Passes of many tokens unpack panels first (UnpackedPanel.swift) where that takes the ports that products need, as
/// Intel's processors do. AMD's have others for it; there each tile unpacks its panels, two of them for six tokens.
@inline(__always) var unpacksPanels: Bool { Processor.amdFamily == 0 }
/// Four bits without a table, too.
let unpacksNibbles = true
/// Activations of a pass, which stay in the second-level cache; that of Intel's is of 2 MiB.
@inline(__always) var passBytes: Int { unpacksPanels ? 1 &<< 20 : 256 &<< 10 }

/// Panels that take the tiles after a call's first together.
let panelsTogether = 2
/// Tokens of a full tile: twelve integer and twelve float accumulators leave eight registers, for one panel
/// by twelve or two panels by six.
let largestTile = 12
typealias LargestTile = InlineArray<12, Void>
/// Tokens of a part of a full tile.
let tilePart = 6
typealias TilePart = InlineArray<6, Void>

/// Tokens that share a floating-point weight's vectors: four rows by six are 24 accumulators.
let floatTokens = 6
typealias FloatTokens = InlineArray<6, Void>
/// Panels of a floating-point weight that share the vectors of many tokens: four by six tokens are 24 accumulators.
let floatPanels = 4
typealias FloatPanelVectors<Operand> = InlineArray<4, Operand>

/// Rows of twelve-bit codes that lie together: their sums hide each other's latency.
let codedRows = 2
typealias CodedRows<Element> = InlineArray<2, Element>
/// Those of them that three or four tokens share.
let codedTileRows = 2
typealias CodedTile<Element> = InlineArray<2, Element>

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
