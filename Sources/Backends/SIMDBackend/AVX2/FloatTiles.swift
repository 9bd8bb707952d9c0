// Tiles of floating-point products and of attention for sixteen registers of eight lanes.

/// Tokens that share a floating-point weight's vectors: four rows by three are twelve accumulators, which leave
/// registers for the tokens' vectors and one of weights.
let floatTokens = 3
typealias FloatTokens = InlineArray<3, Void>
/// Panels of a floating-point weight that share the vectors of many tokens: two by six tokens are twelve accumulators.
let floatPanels = 2
typealias FloatPanelVectors<Operand> = InlineArray<2, Operand>

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
