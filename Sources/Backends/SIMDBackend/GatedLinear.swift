// The gated_linear op: gate and up panels of the same rows one after the other, and their product
// through GELU before either leaves the cache.
import CCabochonBackend

/// How much gate and up are multiplied with before they become one.
struct GatedGroup {
    /// Whole tiles whose products stay in the first-level cache, 8 KiB; all tokens where matrices take them together.
    var tokens: Int
    var panels: Int
    /// Of both products.
    var floats: Int { 2 * tokens * panels * lanes }

    init(_ gate: LinearWeight, _ up: LinearWeight, tokens: Int) {
        panels = min(gate.panelsAtOnce, up.panelsAtOnce)
        let few = largestTile * max(1, 1024 / (largestTile * panelsTogether * lanes))
        self.tokens = gate.usesMatrices || up.usesMatrices ? tokens : few
    }
}

struct GatedTask {
    var linear: LinearTask
    var output: UnsafeMutablePointer<Float>
    var outputStride: Int
    var group: GatedGroup
    /// Gate and up products of a group for each worker.
    var products: UnsafeMutablePointer<Float>

    func run(_ index: Int, _ worker: Int) {
        let first = index * linear.weights[0].panelsPerIndex
        let last = min(first + linear.weights[0].panelsPerIndex, linear.weights[0].packed.panels)
        let gate = products + worker * group.floats
        let up = gate + group.floats / 2
        var token = 0
        while token < linear.input.activations.tokens {
            let tokens = min(max(linear.tokensPerPass, group.tokens), linear.input.activations.tokens - token)
            for panel in Swift.stride(from: first, to: last, by: group.panels) {
                let memory = linear.unpacked + worker * 2 * linear.unpackedBytes
                let gateRows = linear.rows(of: linear.weights[0], panel, memory)
                let upRows = linear.rows(of: linear.weights[1], panel, memory + linear.unpackedBytes)
                run(panel, gateRows, upRows, min(group.panels, last - panel), token, tokens, gate, up)
            }
            token += tokens
        }
    }

    @inline(__always)
    private func run(
        _ panel: Int, _ gateRows: UnsafeRawPointer, _ upRows: UnsafeRawPointer, _ panels: Int, _ firstToken: Int,
        _ tokens: Int, _ gate: UnsafeMutablePointer<Float>, _ up: UnsafeMutablePointer<Float>
    ) {
        let stride = group.panels * lanes
        let row = panel * lanes
        let rows = min(panels * lanes, linear.weights[0].packed.rows - row)
        var token = firstToken
        while token < firstToken + tokens {
            let size = min(group.tokens, firstToken + tokens - token)
            let isFirst = token == firstToken
            linear.multiply(
                linear.weights[0], panel, gateRows, token, size, isFirstOfPass: isFirst, rows, gate, stride)
            linear.multiply(linear.weights[1], panel, upRows, token, size, isFirstOfPass: isFirst, rows, up, stride)
            for place in 0..<size {
                let target = output + (token + place) * outputStride + row
                for part in Swift.stride(from: 0, to: rows, by: lanes) {
                    let at = place * stride + part
                    let gated = multiply(gelu(loadFloats(gate + at)), loadFloats(up + at))
                    storeFloats(gated, target + part, first: min(lanes, rows - part))
                }
            }
            token += size
        }
    }
}

@c(cabochon_simd_gated_linear)
public func gatedLinear(
    _ self_: UnsafeMutableRawPointer?, _ run: UnsafePointer<cabochon_run>?,
    _ args: UnsafePointer<cabochon_gated_linear_args>?
) -> Int32 {
    guard let self_, let run, let args = args?.pointee, let input = args.input, let output = args.output,
        let gateWeight = args.gate, let upWeight = args.up
    else { return OpStatus.declined }
    let host = UnsafePointer(self_.assumingMemoryBound(to: cabochon_host.self))
    let tokens = Int(truncatingIfNeeded: args.tokens)
    let outputStride = Int(truncatingIfNeeded: args.output_stride)
    guard let gate = LinearWeight(gateWeight, output, outputStride, tokens: tokens, host),
        let up = LinearWeight(upWeight, output, 0, tokens: tokens, host)
    else { return OpStatus.declined }
    if tokens == 0 { return OpStatus.done }
    let columns = Int(truncatingIfNeeded: gateWeight.pointee.columns)
    var weights = InlineArray<4, LinearWeight>(repeating: gate)
    weights[1] = up
    let call = LinearCall(
        run: run, input: input, inputStride: Int(truncatingIfNeeded: args.input_stride), tokens: tokens,
        columns: columns, gain: args.norm_gain, epsilon: args.norm_epsilon)
    if let status = multiplyFloatPanels(call, weights, 2, isGated: true) { return status }
    let threads = Int(run.pointee.thread_count)
    let group = GatedGroup(gate, up, tokens: tokens)
    let productBytes = threads * group.floats * 4
    let unpackedBytes = max(
        gate.unpackedBytes(tokens: tokens, columns: columns), up.unpackedBytes(tokens: tokens, columns: columns))
    let forms = gate.form.union(up.form)
    guard
        let linearInput = LinearInput(call, forms: forms, extraBytes: productBytes + threads * 2 * unpackedBytes)
    else { return OpStatus.failed }
    let indices = weights[0].share(from: 0, tokens: 2 * tokens, threads: threads)
    var task = GatedTask(
        linear: LinearTask(
            input: linearInput, weights: weights, count: 2, tokensPerPass: tokensPerPass(columns: columns),
            unpacked: linearInput.extra + productBytes, unpackedBytes: unpackedBytes),
        output: output, outputStride: outputStride, group: group,
        products: linearInput.extra.assumingMemoryBound(to: Float.self))
    parallel(run, indices, &task) { context, index, worker in
        context.unsafelyUnwrapped.assumingMemoryBound(to: GatedTask.self).pointee.run(index, worker)
    }
    return OpStatus.done
}
