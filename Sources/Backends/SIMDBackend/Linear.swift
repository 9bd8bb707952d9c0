// The linear op: norm and quantization once, then panels of every weight shared out over threads.
import CCabochonBackend

/// Tokens that are multiplied by codes as they are, while memory brings the next; for more of them rows are unpacked
/// first.
let codedTokens = 16

/// One weight of a call, packed or floating-point, and where its products go.
struct LinearWeight {
    /// The packed weight, or nil for a floating-point one.
    var panels: UnsafeRawPointer?
    var form: InputForms
    var packed: PackedWeight
    /// A floating-point weight's rows; or where it is coded, what BrainFloatCodes made of them.
    var data: UnsafeRawPointer
    var isCoded = false
    /// Whether all tokens of the op are multiplied together, as MatrixPanel does.
    var usesMatrices = false
    /// The type of its rows, which are bfloat16 where codes are unpacked.
    var rowType: UInt32
    var rowBytes: Int
    var output: UnsafeMutablePointer<Float>
    var outputStride: Int
    /// Its share of the indices of parallel_for.
    var firstIndex: Int
    var panelsPerIndex: Int

    /// nil where the backend cannot compute with it.
    init?(
        _ weight: UnsafePointer<cabochon_weight>, _ output: UnsafeMutablePointer<Float>, _ stride: Int,
        tokens: Int, _ host: UnsafePointer<cabochon_host>
    ) {
        let type = weight.pointee.type
        rowType = type
        rowBytes = Int(truncatingIfNeeded: weight.pointee.row_bytes)
        if let prepared = weight.pointee.prepared {
            packed = PackedWeight.at(prepared)
            isCoded = WeightType.isFloat(packed.type)
            panels = isCoded ? nil : UnsafeRawPointer(prepared) + PackedWeight.headerBytes
            data = UnsafeRawPointer(prepared)
            if isCoded {
                form = Self.form(ofFloats: type, host)
                rowType = WeightType.bf16
                rowBytes = packed.blocks * 64
            } else {
                form = withFormat(packed.type, FormOfInput()) ?? .blocks
                usesMatrices = withFormat(packed.type, MatricesPay(tokens: tokens)) ?? false
            }
        } else if WeightType.isFloat(type), let data = weight.pointee.data {
            let rows = Int(truncatingIfNeeded: weight.pointee.rows)
            packed = PackedWeight(
                type: type, rows: rows, blocks: 0, panels: (rows + lanes - 1) / lanes,
                panelBytes: rowBytes * lanes, totalBytes: 0)
            panels = nil
            self.data = data
            form = Self.form(ofFloats: type, host)
        } else {
            return nil
        }
        if form == .brainFloatTiles { usesMatrices = tokens > BrainFloatTiles.fewTokens }
        self.output = output
        outputStride = stride
        firstIndex = 0
        panelsPerIndex = 1
    }

    private static func form(ofFloats type: UInt32, _ host: UnsafePointer<cabochon_host>) -> InputForms {
        if BrainFloatTiles.take(type) { return .brainFloatTiles }
        return BrainFloatCodes.pairs(type, host) ? .brainFloats : .floats
    }

    /// Floating-point weights have panels in name only.
    var panelsAtOnce: Int {
        if panels == nil { return usesMatrices ? BrainFloatTiles.panels : 1 }
        return usesMatrices ? matrixPanels : panelsTogether
    }

    /// Memory that a worker needs to unpack a coded panel for several tokens, or for the products of packed panels.
    func unpackedBytes(tokens: Int, columns: Int) -> Int {
        if form == .brainFloatTiles { return BrainFloatTiles.memoryBytes(tokens: tokens) }
        if panels == nil { return isCoded && tokens > codedTokens ? lanes * columns * 2 : 0 }
        return withFormat(packed.type, MemorySize(blocks: packed.blocks, tokens: tokens)) ?? 0
    }

    /// Cuts the panels into pieces: at least eight for each thread, so that one that is held up leaves
    /// little behind, but none below the few microseconds beside which taking an index costs nothing.
    /// Half a megabyte at most, for which the others wait at the end. A thread goes through neighbouring
    /// pieces in order, so that the end of one asks for the beginning of the next.
    /// Panels that are multiplied together stay together.
    mutating func share(from index: Int, tokens: Int, threads: Int) -> Int {
        firstIndex = index
        let bytes = max(1, packed.panelBytes * min(tokens, 8))
        let together = usesMatrices ? panelsAtOnce : tokens < largestTile ? 1 : max(panelsTogether, panelsAtOnce)
        // Matrices go through more panels: for each piece the activations come from beyond the second-level cache.
        let most = usesMatrices ? 1 &<< 21 : 1 &<< 19
        let piece = min(max(bytes * packed.panels / (8 * threads), 1 &<< 15), most)
        panelsPerIndex = max(1, piece / bytes / together) * together
        return index + (packed.panels + panelsPerIndex - 1) / panelsPerIndex
    }
}

/// The weight that has index `index` of parallel_for.
@inline(__always)
func weightOfIndex(_ index: Int, _ weights: InlineArray<4, LinearWeight>, _ count: Int) -> LinearWeight {
    var number = count - 1
    while number > 0 && weights[number].firstIndex > index { number -= 1 }
    return weights[number]
}

private struct FormOfInput: FormatOperation {
    func run<Format: PackedFormat>(_: Format.Type) -> InputForms { Format.Scales.isSuper ? .superBlocks : .blocks }
}

private struct MatricesPay: FormatOperation {
    var tokens: Int

    func run<Format: PackedFormat>(_: Format.Type) -> Bool { MatrixPanel<Format>.pays(tokens: tokens) }
}

private struct MemorySize: FormatOperation {
    var blocks: Int
    var tokens: Int

    func run<Format: PackedFormat>(_: Format.Type) -> Int {
        PanelProduct.memoryBytes(Format.self, blocks: blocks, tokens: tokens)
    }
}

struct LinearTask {
    var input: LinearInput
    var weights: InlineArray<4, LinearWeight>
    var count: Int
    /// Tokens whose activations stay in a cache while panels pass over them.
    var tokensPerPass: Int
    /// Each worker's, for panels of coded weights and products of packed ones.
    var unpacked: UnsafeMutableRawPointer
    var unpackedBytes: Int

    /// One index of parallel_for.
    func run(_ index: Int, _ worker: Int) {
        let weight = weightOfIndex(index, weights, count)
        let first = (index - weight.firstIndex) * weight.panelsPerIndex
        let last = min(first + weight.panelsPerIndex, weight.packed.panels)
        var token = 0
        while token < input.activations.tokens {
            let left = input.activations.tokens - token
            let tokens = weight.usesMatrices ? left : min(tokensPerPass, left)
            for panel in stride(from: first, to: last, by: weight.panelsAtOnce) {
                let source = rows(of: weight, panel, unpacked + worker * unpackedBytes)
                let row = panel * lanes
                let rows = min(min(weight.panelsAtOnce, last - panel) * lanes, weight.packed.rows - row)
                multiply(
                    weight, panel, source, token, tokens, isFirstOfPass: true, rows,
                    weight.output + token * weight.outputStride + row, weight.outputStride)
            }
            token += tokens
        }
    }

    /// A floating-point panel's rows, unpacked where the weight is coded and several tokens read them; for a packed
    /// panel the memory that its products need.
    @inline(__always)
    func rows(of weight: LinearWeight, _ panel: Int, _ memory: UnsafeMutableRawPointer) -> UnsafeRawPointer {
        if weight.panels != nil || weight.form == .brainFloatTiles { return UnsafeRawPointer(memory) }
        if !weight.isCoded { return weight.data + panel * lanes * weight.rowBytes }
        if input.activations.tokens > codedTokens {
            let rows = min(lanes, weight.packed.rows - panel * lanes)
            BrainFloatCodes(weight.data).unpack(
                panel: panel, rows: rows, pairs: weight.form == .brainFloats, into: memory)
        }
        return UnsafeRawPointer(memory)
    }

    /// output[token, 0 ..< rows] for tokens in a row, the first of which begins a tile.
    ///
    /// - Parameters:
    ///   - source: what rows(of:) gave.
    ///   - isFirstOfPass: of the tokens that pass over the panel with this source.
    @inline(__always)
    func multiply(
        _ weight: LinearWeight, _ panel: Int, _ source: UnsafeRawPointer, _ token: Int, _ tokens: Int,
        isFirstOfPass: Bool, _ rows: Int, _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        if let panels = weight.panels {
            _ = withFormat(
                weight.packed.type,
                PanelProduct(
                    panels: panels + panel * weight.packed.panelBytes, panelBytes: weight.packed.panelBytes,
                    blocks: weight.packed.blocks, tile: input.activations.tile(at: token, weight.form),
                    matrices: input.matrices.memory,
                    tokens: tokens, remainingTokens: input.activations.tokens - token,
                    operationTokens: input.activations.tokens, isFirst: token == 0,
                    memory: UnsafeMutableRawPointer(mutating: source), isFirstOfPass: isFirstOfPass, output: output,
                    outputStride: stride, rows: rows))
        } else if weight.form == .brainFloatTiles {
            BrainFloatTiles(weight, columns: input.activations.columns).multiply(
                panel: panel, rows: rows, by: input.elements, from: token, tokens: tokens, of: input.activations.tokens,
                memory: UnsafeMutableRawPointer(mutating: source), output, stride)
        } else {
            let pairs = weight.form == .brainFloats
            let values = pairs ? input.elements : UnsafeRawPointer(input.floats)
            let valueStride = pairs ? input.elementStride : input.floatStride * 4
            if weight.isCoded && input.activations.tokens <= codedTokens {
                return BrainFloatCodes(weight.data).multiply(
                    panel: panel, rows: rows, by: values + token * valueStride, stride: valueStride, tokens: tokens,
                    pairs: pairs, output, stride)
            }
            FloatProduct(
                data: source, rowBytes: weight.rowBytes,
                columns: input.activations.columns, input: values + token * valueStride, inputStride: valueStride,
                output: output, outputStride: stride
            ).run(type: weight.rowType, pairs: pairs, rows: rows, tokens: tokens)
        }
    }
}

@c(cabochon_simd_linear)
public func linear(
    _ self_: UnsafeMutableRawPointer?, _ run: UnsafePointer<cabochon_run>?,
    _ args: UnsafePointer<cabochon_linear_args>?
) -> Int32 {
    guard let self_, let run, let args = args?.pointee, let input = args.input, let weights = args.weights,
        let outputs = args.outputs, let strides = args.output_strides,
        args.weight_count >= 1, args.weight_count <= 4, let first = weights[0]
    else { return OpStatus.declined }
    let host = UnsafePointer(self_.assumingMemoryBound(to: cabochon_host.self))
    let tokens = Int(truncatingIfNeeded: args.tokens)
    let count = Int(args.weight_count)
    let threads = Int(run.pointee.thread_count)
    guard
        let output = outputs[0],
        let one = LinearWeight(first, output, Int(truncatingIfNeeded: strides[0]), tokens: tokens, host)
    else { return OpStatus.declined }
    var list = InlineArray<4, LinearWeight>(repeating: one)
    var indices = list[0].share(from: 0, tokens: tokens, threads: threads)
    var forms = one.form
    for number in 1..<count {
        guard let weight = weights[number], let output = outputs[number],
            let next = LinearWeight(weight, output, Int(truncatingIfNeeded: strides[number]), tokens: tokens, host)
        else { return OpStatus.declined }
        list[number] = next
        indices = list[number].share(from: indices, tokens: tokens, threads: threads)
        forms.insert(next.form)
    }
    if tokens == 0 { return OpStatus.done }
    let columns = Int(truncatingIfNeeded: first.pointee.columns)
    let call = LinearCall(
        run: run, input: input, inputStride: Int(truncatingIfNeeded: args.input_stride), tokens: tokens,
        columns: columns, gain: args.norm_gain, epsilon: args.norm_epsilon)
    if let status = multiplyFloatPanels(call, list, count, isGated: false) { return status }
    var unpackedBytes = 0
    for number in 0..<count {
        unpackedBytes = max(unpackedBytes, list[number].unpackedBytes(tokens: tokens, columns: columns))
    }
    guard let linearInput = LinearInput(call, forms: forms, extraBytes: threads * unpackedBytes)
    else { return OpStatus.failed }
    var task = LinearTask(
        input: linearInput, weights: list, count: count, tokensPerPass: tokensPerPass(columns: columns),
        unpacked: linearInput.extra, unpackedBytes: unpackedBytes)
    parallel(run, indices, &task) { context, index, worker in
        context.unsafelyUnwrapped.assumingMemoryBound(to: LinearTask.self).pointee.run(index, worker)
    }
    return OpStatus.done
}

/// A whole number of full tiles in some `passBytes`, so that tile boundaries stay where they are.
@inline(__always)
func tokensPerPass(columns: Int) -> Int {
    let tileBytes = max(1, largestTile * Tile.tokenBytes(blocks: columns / 32, .superBlocks))
    return largestTile * max(1, passBytes / tileBytes)
}
