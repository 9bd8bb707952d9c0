// The linear op: norm and quantization once, then panels of every weight shared out over threads.
import CCabochonBackend

/// One weight of a call, packed or floating-point, and where its products go.
struct LinearWeight {
    /// The packed weight, or nil for a floating-point one.
    var panels: UnsafeRawPointer?
    var packed: PackedWeight
    var data: UnsafeRawPointer
    var rowBytes: Int
    var output: UnsafeMutablePointer<Float>
    var outputStride: Int
    /// Its share of the indices of parallel_for.
    var firstIndex: Int
    var panelsPerIndex: Int

    /// nil where the backend cannot compute with it.
    init?(_ weight: UnsafePointer<cabochon_weight>, _ output: UnsafeMutablePointer<Float>, _ stride: Int) {
        let type = weight.pointee.type
        rowBytes = Int(truncatingIfNeeded: weight.pointee.row_bytes)
        if let prepared = weight.pointee.prepared {
            packed = PackedWeight.at(prepared)
            panels = UnsafeRawPointer(prepared) + PackedWeight.headerBytes
            data = UnsafeRawPointer(prepared)
        } else if type == WeightType.f32 || type == WeightType.f16 || type == WeightType.bf16,
            let data = weight.pointee.data
        {
            let rows = Int(truncatingIfNeeded: weight.pointee.rows)
            packed = PackedWeight(
                type: type, rows: rows, blocks: 0, panels: (rows + lanes - 1) / lanes,
                panelBytes: rowBytes * lanes, totalBytes: 0)
            panels = nil
            self.data = data
        } else {
            return nil
        }
        self.output = output
        outputStride = stride
        firstIndex = 0
        panelsPerIndex = 1
    }

    /// Cuts the panels into pieces: at least eight for each thread, so that one that is held up leaves
    /// little behind, but none below the few microseconds beside which taking an index costs nothing.
    /// Half a megabyte at most: each piece begins with lines that nothing has asked for ahead of time.
    mutating func share(from index: Int, tokens: Int, threads: Int) -> Int {
        firstIndex = index
        let bytes = max(1, packed.panelBytes * min(tokens, 8))
        let piece = min(max(bytes * packed.panels / (8 * threads), 1 &<< 15), 1 &<< 19)
        panelsPerIndex = max(1, piece / bytes)
        return index + (packed.panels + panelsPerIndex - 1) / panelsPerIndex
    }
}

struct LinearTask {
    var activations: Activations
    /// Where float weights find their input: the call's own, or its norm.
    var floats: UnsafePointer<Float>
    var floatStride: Int
    var weights: InlineArray<4, LinearWeight>
    var count: Int
    /// Tokens whose activations stay in the second-level cache while panels pass over them.
    var tokensPerPass: Int

    /// One index of parallel_for.
    func run(_ index: Int) {
        var number = count - 1
        while number > 0 && weights[number].firstIndex > index { number -= 1 }
        let weight = weights[number]
        let first = (index - weight.firstIndex) * weight.panelsPerIndex
        let last = min(first + weight.panelsPerIndex, weight.packed.panels)
        var token = 0
        while token < activations.tokens {
            let tokens = min(tokensPerPass, activations.tokens - token)
            for panel in first..<last { multiply(weight, panel, token, tokens) }
            token += tokens
        }
    }

    @inline(__always)
    private func multiply(_ weight: LinearWeight, _ panel: Int, _ firstToken: Int, _ tokens: Int) {
        let row = panel * lanes
        let rows = min(lanes, weight.packed.rows - row)
        if weight.panels == nil {
            multiplyTile(
                weight, panel, firstToken, tokens, rows,
                weight.output + firstToken * weight.outputStride + row, weight.outputStride)
            return
        }
        var token = firstToken
        while token < firstToken + tokens {
            let size = Tile.size(remaining: activations.tokens - token)
            multiplyTile(
                weight, panel, token, size, rows, weight.output + token * weight.outputStride + row,
                weight.outputStride)
            token += size
        }
    }

    /// output[token, 0 ..< rows] for the tokens of one tile (of any number for a floating-point weight).
    @inline(__always)
    func multiplyTile(
        _ weight: LinearWeight, _ panel: Int, _ token: Int, _ tokens: Int, _ rows: Int,
        _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        if let panels = weight.panels {
            multiplyPanel(
                panels + panel * weight.packed.panelBytes, weight.packed, activations.tile(at: token), tokens,
                output, stride, rows)
        } else {
            FloatProduct(
                data: weight.data + panel * lanes * weight.rowBytes, type: weight.packed.type,
                rowBytes: weight.rowBytes, columns: activations.columns,
                input: floats + token * floatStride, inputStride: floatStride, output: output, outputStride: stride
            ).run(rows: rows, tokens: tokens)
        }
    }
}

/// What linear and gated_linear do before their products. nil where scratch was refused.
@inline(__always)
func prepareActivations(
    _ run: UnsafePointer<cabochon_run>, input: UnsafePointer<Float>, inputStride: Int, tokens: Int, columns: Int,
    gain: UnsafePointer<Float>?, epsilon: Float, packed: Bool, floats: Bool, extraBytes: Int
) -> (activations: Activations, floats: UnsafePointer<Float>, floatStride: Int, extra: UnsafeMutableRawPointer)? {
    let normalized = gain == nil ? 0 : floats ? tokens : Int(run.pointee.thread_count)
    let rowBytes = (normalized * columns * 4 + 63) & ~63
    let tileBytes = packed ? Activations.tileBytes(tokens: tokens, columns: columns) : 0
    guard let scratch = run.pointee.scratch(run, rowBytes + tileBytes + extraBytes + 64) else { return nil }
    let rows = scratch.assumingMemoryBound(to: Float.self)
    var activations = Activations(
        input: input, inputStride: inputStride, tokens: tokens, columns: columns, gain: gain, epsilon: epsilon,
        rows: rows, tiles: scratch + rowBytes)
    var floatInput = input
    var floatStride = inputStride
    if floats && gain != nil {
        normalizeRows(run, &activations)
        floatInput = UnsafePointer(rows)
        floatStride = columns
        activations.input = floatInput
        activations.inputStride = columns
        activations.gain = nil
    }
    if packed { Activations.quantize(run, &activations) }
    return (activations, floatInput, floatStride, scratch + rowBytes + tileBytes)
}

@c(cabochon_simd_linear)
public func linear(
    _ self_: UnsafeMutableRawPointer?, _ run: UnsafePointer<cabochon_run>?,
    _ args: UnsafePointer<cabochon_linear_args>?
) -> Int32 {
    guard let run, let args = args?.pointee, let input = args.input, let weights = args.weights,
        let outputs = args.outputs, let strides = args.output_strides,
        args.weight_count >= 1, args.weight_count <= 4, let first = weights[0]
    else { return OpStatus.declined }
    let tokens = Int(truncatingIfNeeded: args.tokens)
    let count = Int(args.weight_count)
    let threads = Int(run.pointee.thread_count)
    guard
        let output = outputs[0],
        let one = LinearWeight(first, output, Int(truncatingIfNeeded: strides[0]))
    else { return OpStatus.declined }
    var list = InlineArray<4, LinearWeight>(repeating: one)
    var indices = list[0].share(from: 0, tokens: tokens, threads: threads)
    var packed = list[0].panels != nil
    var floats = !packed
    for number in 1..<count {
        guard let weight = weights[number], let output = outputs[number],
            let next = LinearWeight(weight, output, Int(truncatingIfNeeded: strides[number]))
        else { return OpStatus.declined }
        list[number] = next
        indices = list[number].share(from: indices, tokens: tokens, threads: threads)
        if next.panels != nil { packed = true } else { floats = true }
    }
    if tokens == 0 { return OpStatus.done }
    let columns = Int(truncatingIfNeeded: first.pointee.columns)
    guard
        let ready = prepareActivations(
            run, input: input, inputStride: Int(truncatingIfNeeded: args.input_stride), tokens: tokens,
            columns: columns, gain: args.norm_gain, epsilon: args.norm_epsilon, packed: packed, floats: floats,
            extraBytes: 0)
    else { return OpStatus.failed }
    var task = LinearTask(
        activations: ready.activations, floats: ready.floats, floatStride: ready.floatStride, weights: list,
        count: count, tokensPerPass: tokensPerPass(columns: columns))
    parallel(run, indices, &task) { context, index, _ in
        context.unsafelyUnwrapped.assumingMemoryBound(to: LinearTask.self).pointee.run(index)
    }
    return OpStatus.done
}

/// A whole number of full tiles in some 256 KiB, so that tile boundaries stay where they are.
@inline(__always)
func tokensPerPass(columns: Int) -> Int {
    let tileBytes = max(1, largestTile * columns * Tile.bytesPerToken / 32)
    return largestTile * max(1, (256 &<< 10) / tileBytes)
}
