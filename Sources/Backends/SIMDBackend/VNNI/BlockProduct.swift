// Integer products of a block on AVX-512 VNNI and AVX-VNNI: unsigned codes by signed activations, four columns of a
// vector's rows an instruction, exact in 32 bits.
import SIMDIntrinsics

/// Codes may be any unsigned byte.
let zeroIs128 = true

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
        for panel in 0..<panels { sums[panel][token] = addFours(weights[panel], four, to: sums[panel][token]) }
    }
}
