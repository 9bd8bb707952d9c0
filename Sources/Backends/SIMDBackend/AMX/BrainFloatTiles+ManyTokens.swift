// Products of many tokens by tiles: two tiles of tokens by two of rows at a time, whose four tiles of sums go through a
// part of the columns.
import CCabochonBackend
import SIMDIntrinsics

extension BrainFloatTiles {
    /// output[token, 0 ..< rows] of panels from `first` on, `panels` at most, by all tokens of an op, whose values `fill`
    /// made.
    func multiplyMany(
        _ first: Int, rows: Int, by values: UnsafeRawPointer, tokens: Int, memory: UnsafeMutableRawPointer,
        _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        let panelCount = (rows + lanes - 1) / lanes
        let steps = Self.steps(columns)
        let tiles = Self.tiles(tokens)
        let weights = memory
        let partBytes = Self.partSteps * Self.stepBytes
        // [two panels][tile of tokens][panel]
        let totals = memory + 2 * partBytes
        var readers = InlineArray<8, Reader>(repeating: reader(first))
        for panel in 1..<panelCount { readers[panel] = reader(first + panel) }
        cabochon_x86_take_tiles()
        for part in Swift.stride(from: 0, to: steps, by: Self.partSteps) {
            let partSteps = min(Self.partSteps, steps - part)
            let tileValues = values + part * tiles * Self.stepBytes
            for panel in Swift.stride(from: 0, to: panelCount, by: 2) {
                for number in 0..<min(2, panelCount - panel) {
                    for step in 0..<partSteps {
                        unpack(
                            part + step, &readers[panel + number],
                            to: weights + number * partBytes + step * Self.stepBytes)
                    }
                }
                let pairTotals = totals + panel * tiles * Self.tileBytes
                for tile in Swift.stride(from: 0, to: tiles, by: 2) {
                    let place = pairTotals + 2 * tile * Self.tileBytes
                    let activations = tileValues + tile * partSteps * Self.stepBytes
                    let isFirst = part == 0
                    if tiles - tile == 1 {
                        addPart(to: place, activations, weights, partSteps, tiles: 1, isFirst: isFirst)
                    } else {
                        addPart(to: place, activations, weights, partSteps, tiles: 2, isFirst: isFirst)
                    }
                }
            }
        }
        cabochon_x86_let_go_of_tiles()
        for panel in 0..<panelCount {
            let count = min(lanes, rows - panel * lanes)
            let place = totals + ((panel & ~1) * tiles + (panel & 1)) * Self.tileBytes
            for token in 0..<tokens {
                let total = loadFloats(
                    place + token / Self.tokens * 2 * Self.tileBytes + token % Self.tokens * vectorBytes)
                storeFloats(total, output + token * stride + panel * lanes, first: count)
            }
        }
    }

    /// A part of two panels by one or two tiles of tokens.
    @inline(__always)
    private func addPart(
        to totals: UnsafeMutableRawPointer, _ activations: UnsafeRawPointer, _ weights: UnsafeRawPointer,
        _ steps: Int, tiles: Int32, isFirst: Bool
    ) {
        if isFirst { cabochon_x86_clear_totals() } else { cabochon_x86_load_totals(totals, tiles) }
        var values = activations
        var panel = weights
        for _ in 0..<2 * steps {
            cabochon_x86_add_brain_float_tiles(
                values, values + steps * Self.stepBytes, panel, panel + Self.partSteps * Self.stepBytes, tiles)
            values += Self.tileBytes
            panel += Self.tileBytes
        }
        cabochon_x86_store_totals(totals, tiles)
    }
}
