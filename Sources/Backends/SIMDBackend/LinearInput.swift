// The input of a linear or gated_linear call, in every form that its weights take: bytes in tiles
// (ActivationTile.swift) for packed ones, float32, and bfloat16 where pairs of it are multiplied. Each is
// made once per call, after the norm where there is one, and lies in the op's scratch.
import CCabochonBackend

/// Which forms. No enumeration: one without payloads is Hashable by itself, and that links what libc has from glibc 2.36 on.
struct InputForms: OptionSet {
    let rawValue: UInt8

    /// Signed bytes in tiles, a scale for each 32 or 256 columns.
    @inline(__always) static var blocks: InputForms { InputForms(rawValue: 1) }
    @inline(__always) static var superBlocks: InputForms { InputForms(rawValue: 2) }
    @inline(__always) static var floats: InputForms { InputForms(rawValue: 4) }
    @inline(__always) static var brainFloats: InputForms { InputForms(rawValue: 8) }
    @inline(__always) static var floatsByLane: InputForms { InputForms(rawValue: 16) }
    @inline(__always) static var brainFloatsByLane: InputForms { InputForms(rawValue: 32) }
    @inline(__always) static var brainFloatTiles: InputForms { InputForms(rawValue: 64) }
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
    var forms: InputForms
    var activations: Activations
    /// The call's own rows, or their norm; stride in floats.
    var floats: UnsafePointer<Float>
    var floatStride: Int
    /// Pairs of bfloat16, [tokens, columns]; or those or floats by lane in chunks of tokens as FloatPanels has them;
    /// stride in bytes. Or what BrainFloatTiles takes, which has no stride.
    var elements: UnsafeRawPointer
    var elementStride: Int
    /// What quantized super-blocks are for matrices.
    var matrices: MatrixInput
    /// `extraBytes` for the caller.
    var extra: UnsafeMutableRawPointer

    /// nil where scratch was refused.
    @inline(__always)
    init?(_ call: LinearCall, forms: InputForms, extraBytes: Int) {
        let (run, tokens, columns) = (call.run, call.tokens, call.columns)
        self.forms = forms
        let normalized = call.gain == nil ? 0 : forms.contains(.floats) ? tokens : Int(run.pointee.thread_count)
        let rowBytes = (normalized * columns * 4 + 63) & ~63
        let blockBytes = forms.contains(.blocks) ? Activations.tileBytes(tokens: tokens, columns: columns, .blocks) : 0
        let superBytes =
            forms.contains(.superBlocks) ? Activations.tileBytes(tokens: tokens, columns: columns, .superBlocks) : 0
        let tileBytes = blockBytes + superBytes
        elementStride = FloatPanels.steps(columns, pairs: !forms.contains(.floatsByLane)) * lanes * 4
        var elementBytes =
            forms.isDisjoint(with: [.brainFloats, .brainFloatsByLane, .floatsByLane]) ? 0 : tokens * elementStride
        if forms.contains(.brainFloatTiles) {
            elementBytes = BrainFloatTiles.inputBytes(tokens: tokens, columns: columns)
        }
        let matrixBytes = forms.contains(.superBlocks) ? MatrixInput.bytes(tokens: tokens, columns: columns) : 0
        guard
            let scratch = run.pointee.scratch(
                run, rowBytes + tileBytes + elementBytes + matrixBytes + extraBytes + 64)
        else { return nil }
        let rows = scratch.assumingMemoryBound(to: Float.self)
        activations = Activations(
            input: call.input, inputStride: call.inputStride, tokens: tokens, columns: columns, gain: call.gain,
            epsilon: call.epsilon, rows: rows, tiles: scratch + rowBytes, superTiles: scratch + rowBytes + blockBytes)
        let elements = scratch + rowBytes + tileBytes
        self.elements = UnsafeRawPointer(elements)
        extra = elements + elementBytes + matrixBytes
        matrices = MatrixInput(memory: elements + elementBytes, activations)
        floats = call.input
        floatStride = call.inputStride
        if forms.contains(.floats) && call.gain != nil {
            normalizeRows(run, &activations)
            floats = UnsafePointer(rows)
            floatStride = columns
            activations.input = floats
            activations.inputStride = columns
            activations.gain = nil
        }
        if forms.contains(.blocks) { Activations.quantize(run, &activations, .blocks) }
        if forms.contains(.superBlocks) {
            Activations.quantize(run, &activations, .superBlocks)
            matrices.fill(run)
        }
        if forms.contains(.brainFloats) { narrow(run) }
        if forms.contains(.brainFloatTiles) { BrainFloatTiles.fill(run, activations, elements) }
        if !forms.isDisjoint(with: [.brainFloatsByLane, .floatsByLane]) { arrange(run) }
    }

    private func narrow(_ run: UnsafePointer<cabochon_run>) {
        var task = self
        parallel(run, activations.tokens, &task) { context, token, worker in
            let task = context.unsafelyUnwrapped.assumingMemoryBound(to: LinearInput.self).pointee
            let row = task.activations.normalizedRow(token, worker)
            let output = UnsafeMutableRawPointer(mutating: task.elements) + token * task.elementStride
            narrowToBrainFloats(row, task.activations.columns, output)
        }
    }

    private func arrange(_ run: UnsafePointer<cabochon_run>) {
        var task = self
        parallel(run, activations.tokens, &task) { context, token, worker in
            let task = context.unsafelyUnwrapped.assumingMemoryBound(to: LinearInput.self).pointee
            let (columns, tokens) = (task.activations.columns, task.activations.tokens)
            let row = task.activations.normalizedRow(token, worker)
            let output = UnsafeMutableRawPointer(mutating: task.elements)
            if task.forms.contains(.brainFloatsByLane) {
                arrangeByLane(BrainFloatPairs.self, row, columns, token, of: tokens, output)
            } else {
                arrangeByLane(FormatF32.self, row, columns, token, of: tokens, output)
            }
        }
    }
}
