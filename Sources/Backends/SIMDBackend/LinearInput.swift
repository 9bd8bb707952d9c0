// The input of a linear or gated_linear call, in every form that its weights take: bytes in tiles
// (ActivationTile.swift) for packed ones, float32, and bfloat16 where pairs of it are multiplied. Each is
// made once per call, after the norm where there is one, and lies in the op's scratch.
import CCabochonBackend

enum InputForm {
    /// Signed bytes in tiles, a scale for each 32 or 256 columns.
    case blocks
    case superBlocks
    case floats
    case brainFloats
    case brainFloatsByLane
}

struct InputForms {
    var blocks = false
    var superBlocks = false
    var floats = false
    var brainFloats = false
    var brainFloatsByLane = false

    init(_ form: InputForm) { insert(form) }

    mutating func insert(_ form: InputForm) {
        switch form {
        case .blocks: blocks = true
        case .superBlocks: superBlocks = true
        case .floats: floats = true
        case .brainFloats: brainFloats = true
        case .brainFloatsByLane: brainFloatsByLane = true
        }
    }
}

/// A linear or gated_linear call but for its weights.
struct LinearCall {
    var run: UnsafePointer<cabochon_run>
    var input: UnsafePointer<Float>
    var inputStride: Int
    var tokens: Int
    var columns: Int
    var gain: UnsafePointer<Float>?
    var epsilon: Float
}

struct LinearInput {
    var activations: Activations
    /// The call's own rows, or their norm; stride in floats.
    var floats: UnsafePointer<Float>
    var floatStride: Int
    /// [tokens, columns], or by lane in chunks of tokens as BrainFloatPanels has them; stride in bytes.
    var brainFloats: UnsafeRawPointer
    var brainFloatStride: Int
    /// `extraBytes` for the caller.
    var extra: UnsafeMutableRawPointer

    /// nil where scratch was refused.
    @inline(__always)
    init?(
        _ run: UnsafePointer<cabochon_run>, _ input: UnsafePointer<Float>, stride: Int, tokens: Int, columns: Int,
        gain: UnsafePointer<Float>?, epsilon: Float, forms: InputForms, extraBytes: Int
    ) {
        let normalized = gain == nil ? 0 : forms.floats ? tokens : Int(run.pointee.thread_count)
        let rowBytes = (normalized * columns * 4 + 63) & ~63
        let blockBytes = forms.blocks ? Activations.tileBytes(tokens: tokens, columns: columns, .blocks) : 0
        let tileBytes =
            blockBytes + (forms.superBlocks ? Activations.tileBytes(tokens: tokens, columns: columns, .superBlocks) : 0)
        brainFloatStride = (2 * columns + 63) & ~63
        let brainFloatBytes = forms.brainFloats || forms.brainFloatsByLane ? tokens * brainFloatStride : 0
        guard let scratch = run.pointee.scratch(run, rowBytes + tileBytes + brainFloatBytes + extraBytes + 64) else {
            return nil
        }
        let rows = scratch.assumingMemoryBound(to: Float.self)
        activations = Activations(
            input: input, inputStride: stride, tokens: tokens, columns: columns, gain: gain, epsilon: epsilon,
            rows: rows, tiles: scratch + rowBytes, superTiles: scratch + rowBytes + blockBytes)
        let brainFloats = scratch + rowBytes + tileBytes
        self.brainFloats = UnsafeRawPointer(brainFloats)
        extra = brainFloats + brainFloatBytes
        floats = input
        floatStride = stride
        if forms.floats && gain != nil {
            normalizeRows(run, &activations)
            floats = UnsafePointer(rows)
            floatStride = columns
            activations.input = floats
            activations.inputStride = columns
            activations.gain = nil
        }
        if forms.blocks { Activations.quantize(run, &activations, .blocks) }
        if forms.superBlocks { Activations.quantize(run, &activations, .superBlocks) }
        if forms.brainFloats { narrow(run) }
        if forms.brainFloatsByLane { narrowByLane(run) }
    }

    private func narrow(_ run: UnsafePointer<cabochon_run>) {
        var task = self
        parallel(run, activations.tokens, &task) { context, token, worker in
            let task = context.unsafelyUnwrapped.assumingMemoryBound(to: LinearInput.self).pointee
            let row = task.activations.normalizedRow(token, worker)
            let output = UnsafeMutableRawPointer(mutating: task.brainFloats) + token * task.brainFloatStride
            narrowToBrainFloats(row, task.activations.columns, output)
        }
    }

    private func narrowByLane(_ run: UnsafePointer<cabochon_run>) {
        var task = self
        parallel(run, activations.tokens, &task) { context, token, worker in
            let task = context.unsafelyUnwrapped.assumingMemoryBound(to: LinearInput.self).pointee
            narrowToBrainFloatsByLane(
                task.activations.normalizedRow(token, worker), task.activations.columns, token,
                of: task.activations.tokens, UnsafeMutableRawPointer(mutating: task.brainFloats))
        }
    }
}
