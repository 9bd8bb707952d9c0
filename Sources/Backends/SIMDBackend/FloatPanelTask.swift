// linear and gated_linear with F32, F16 or BF16 weights and many tokens: groups of panels shared out over threads.
import CCabochonBackend

/// nil where the call is FloatProduct's: another type among the weights, few tokens, or so few groups that
/// threads would wait for the last.
func multiplyFloatPanels(
    _ call: LinearCall, _ weights: InlineArray<4, LinearWeight>, _ count: Int, isGated: Bool
) -> Int32? {
    let threads = Int(call.run.pointee.thread_count)
    if call.tokens < FloatPanelTask.fewestTokens { return nil }
    var weights = weights
    let rows = isGated ? FloatPanels.rows / 2 : FloatPanels.rows
    let form = weights[0].form
    if form != .floats && form != .brainFloats { return nil }
    let pairs = form == .brainFloats
    var groups = 0
    for number in 0..<count {
        if weights[number].form != form { return nil }
        weights[number].firstIndex = groups
        if number == 0 || !isGated { groups += (weights[number].packed.rows + rows - 1) / rows }
    }
    if groups < 4 * threads { return nil }
    guard
        let input = LinearInput(
            call, forms: pairs ? .brainFloatsByLane : .floatsByLane,
            extraBytes: threads * FloatPanels.bytes(columns: call.columns, pairs: pairs))
    else { return OpStatus.failed }
    var task = FloatPanelTask(input: input, weights: weights, count: count, pairs: pairs, isGated: isGated)
    parallel(call.run, groups, &task) { context, index, worker in
        context.unsafelyUnwrapped.assumingMemoryBound(to: FloatPanelTask.self).pointee.run(index, worker)
    }
    return OpStatus.done
}

struct FloatPanelTask {
    var input: LinearInput
    var weights: InlineArray<4, LinearWeight>
    var count: Int
    var pairs: Bool
    /// Half a group's panels are of gate and half of up, and the gate's output is the op's; else all are of one weight.
    var isGated: Bool

    /// Fewer do not pay for rearranging the weights.
    static let fewestTokens = 32

    /// One index of parallel_for: a group.
    func run(_ index: Int, _ worker: Int) {
        let columns = input.activations.columns
        let panels = FloatPanels(
            input.extra + worker * FloatPanels.bytes(columns: columns, pairs: pairs), columns: columns, pairs: pairs)
        if isGated { runGated(index, panels) } else { runLinear(index, panels) }
    }

    private func runLinear(_ index: Int, _ panels: FloatPanels) {
        let weight = weightOfIndex(index, weights, count)
        let row = (index - weight.firstIndex) * FloatPanels.rows
        for panel in 0..<FloatPanels.count { panels.take(weight, row: row + panel * lanes, as: panel) }
        let tokens = input.activations.tokens
        for number in 0..<FloatPanels.chunks(tokens) {
            let chunk = FloatPanels.chunk(number, of: tokens)
            var sums = panels.multiply(input, first: chunk.first, tokens: chunk.tokens)
            for token in chunk.first..<chunk.first + chunk.tokens {
                for panel in 0..<FloatPanels.count {
                    store(loadFloats(sums + panel * lanes), weight, token, row + panel * lanes)
                }
                sums += FloatPanels.rows
            }
        }
    }

    private func runGated(_ index: Int, _ panels: FloatPanels) {
        let row = index * FloatPanels.rows / 2
        let half = FloatPanels.count / 2
        for panel in 0..<half {
            panels.take(weights[0], row: row + panel * lanes, as: panel)
            panels.take(weights[1], row: row + panel * lanes, as: half + panel)
        }
        let tokens = input.activations.tokens
        for number in 0..<FloatPanels.chunks(tokens) {
            let chunk = FloatPanels.chunk(number, of: tokens)
            var sums = panels.multiply(input, first: chunk.first, tokens: chunk.tokens)
            for token in chunk.first..<chunk.first + chunk.tokens {
                for panel in 0..<half {
                    let gate = gelu(loadFloats(sums + panel * lanes))
                    let gated = multiply(gate, loadFloats(sums + (half + panel) * lanes))
                    store(gated, weights[0], token, row + panel * lanes)
                }
                sums += FloatPanels.rows
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
