// linear and gated_linear with BF16 weights and many tokens: groups of four panels shared out over threads.
import CCabochonBackend

/// nil where the call is FloatProduct's: another type among the weights, few tokens, or so few groups that
/// threads would wait for the last.
func multiplyBrainFloatPanels(
    _ call: LinearCall, _ weights: InlineArray<4, LinearWeight>, _ count: Int, isGated: Bool
) -> Int32? {
    let threads = Int(call.run.pointee.thread_count)
    if call.tokens < BrainFloatTask.fewestTokens { return nil }
    var weights = weights
    let rows = isGated ? BrainFloatPanels.rows / 2 : BrainFloatPanels.rows
    var groups = 0
    for number in 0..<count {
        if weights[number].form != .brainFloats { return nil }
        weights[number].firstIndex = groups
        if number == 0 || !isGated { groups += (weights[number].packed.rows + rows - 1) / rows }
    }
    if groups < 4 * threads { return nil }
    guard
        let input = LinearInput(
            call, forms: .brainFloatsByLane, extraBytes: threads * BrainFloatPanels.bytes(columns: call.columns))
    else { return OpStatus.failed }
    var task = BrainFloatTask(input: input, weights: weights, count: count, isGated: isGated)
    parallel(call.run, groups, &task) { context, index, worker in
        context.unsafelyUnwrapped.assumingMemoryBound(to: BrainFloatTask.self).pointee.run(index, worker)
    }
    return OpStatus.done
}

struct BrainFloatTask {
    var input: LinearInput
    var weights: InlineArray<4, LinearWeight>
    var count: Int
    /// Two panels of gate and two of up make a group, and the gate's output is the op's; else four of one weight do.
    var isGated: Bool

    /// Fewer do not pay for rearranging the weights.
    static let fewestTokens = 32

    /// One index of parallel_for: a group.
    func run(_ index: Int, _ worker: Int) {
        let columns = input.activations.columns
        let panels = BrainFloatPanels(
            input.extra + worker * BrainFloatPanels.bytes(columns: columns), columns: columns)
        if isGated { multiplyGated(index, panels) } else { multiply(index, panels) }
    }

    private func multiply(_ index: Int, _ panels: BrainFloatPanels) {
        var number = count - 1
        while number > 0 && weights[number].firstIndex > index { number -= 1 }
        let weight = weights[number]
        let row = (index - weight.firstIndex) * BrainFloatPanels.rows
        for panel in 0..<BrainFloatPanels.count { panels.take(weight, row: row + panel * lanes, as: panel) }
        let tokens = input.activations.tokens
        for number in 0..<BrainFloatPanels.chunks(tokens) {
            let chunk = BrainFloatPanels.chunk(number, of: tokens)
            var sums = panels.multiply(input, first: chunk.first, tokens: chunk.tokens)
            for token in chunk.first..<chunk.first + chunk.tokens {
                for panel in 0..<BrainFloatPanels.count {
                    store(loadFloats(sums + panel * lanes), weight, token, row + panel * lanes)
                }
                sums += BrainFloatPanels.rows
            }
        }
    }

    private func multiplyGated(_ index: Int, _ panels: BrainFloatPanels) {
        let row = index * BrainFloatPanels.rows / 2
        for panel in 0..<2 {
            panels.take(weights[0], row: row + panel * lanes, as: panel)
            panels.take(weights[1], row: row + panel * lanes, as: 2 + panel)
        }
        let tokens = input.activations.tokens
        for number in 0..<BrainFloatPanels.chunks(tokens) {
            let chunk = BrainFloatPanels.chunk(number, of: tokens)
            var sums = panels.multiply(input, first: chunk.first, tokens: chunk.tokens)
            for token in chunk.first..<chunk.first + chunk.tokens {
                for panel in 0..<2 {
                    let gate = gelu(loadFloats(sums + panel * lanes))
                    let gated = avx512.multiply(gate, loadFloats(sums + (2 + panel) * lanes))
                    store(gated, weights[0], token, row + panel * lanes)
                }
                sums += BrainFloatPanels.rows
            }
        }
    }

    /// As many rows as the weight has.
    @inline(__always)
    private func store(_ values: FloatVector, _ weight: LinearWeight, _ token: Int, _ row: Int) {
        let target = weight.output + token * weight.outputStride + row
        let rows = weight.packed.rows - row
        if rows >= lanes {
            storeFloats(values, target)
        } else if rows > 0 {
            storeFloats(values, target, first: rows)
        }
    }
}
