// Tiles of integer products for AVX-VNNI, AVX-512's byte products in sixteen registers of eight lanes, and its two
// instructions. Processors that have it and no AVX-512: Intel's for desktops and notebooks since Alder Lake.
import SIMDIntrinsics

/// Passes of many tokens unpack panels first, as with AVX2 (UnpackedPanel.swift).
let unpacksPanels = true
/// Activations of a pass.
let passBytes = 1 &<< 20

/// Panels that take a tile together: there are no registers for a second.
let panelsTogether = 1
/// Tokens of a full tile: six integer and six float accumulators leave four registers.
let largestTile = 6
typealias LargestTile = InlineArray<6, Void>
/// Tokens of a part of a full tile.
let tilePart = 6
typealias TilePart = InlineArray<6, Void>

/// sum + the products of two 16-bit numbers in each lane.
@inline(__always) func addPairs(_ a: IntVector, _ b: IntVector, to sum: IntVector) -> IntVector {
    cabochon_x86_add_word_products_256(sum, a, b)
}
/// sum + the products of four unsigned bytes by four signed ones in each lane.
@inline(__always) func addFours(_ codes: IntVector, _ values: IntVector, to sum: IntVector) -> IntVector {
    cabochon_x86_add_byte_products_in_order_256(sum, codes, values)
}
