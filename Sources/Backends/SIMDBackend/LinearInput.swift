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
    @inline(__always) static var brainFloatsByLane: InputForms { InputForms(rawValue: 16) }
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
    init?(_ call: LinearCall, forms: InputForms, extraBytes: Int) {
        let (run, tokens, columns) = (call.run, call.tokens, call.columns)
        let normalized = call.gain == nil ? 0 : forms.contains(.floats) ? tokens : Int(run.pointee.thread_count)
        let rowBytes = (normalized * columns * 4 + 63) & ~63
        let blockBytes = forms.contains(.blocks) ? Activations.tileBytes(tokens: tokens, columns: columns, .blocks) : 0
        let superBytes =
            forms.contains(.superBlocks) ? Activations.tileBytes(tokens: tokens, columns: columns, .superBlocks) : 0
        let tileBytes = blockBytes + superBytes
        brainFloatStride = (2 * columns + 63) & ~63
        let brainFloatBytes =
            forms.isDisjoint(with: [.brainFloats, .brainFloatsByLane]) ? 0 : tokens * brainFloatStride
        guard let scratch = run.pointee.scratch(run, rowBytes + tileBytes + brainFloatBytes + extraBytes + 64) else {
            return nil
        }
        let rows = scratch.assumingMemoryBound(to: Float.self)
        activations = Activations(
            input: call.input, inputStride: call.inputStride, tokens: tokens, columns: columns, gain: call.gain,
            epsilon: call.epsilon, rows: rows, tiles: scratch + rowBytes, superTiles: scratch + rowBytes + blockBytes)
        let brainFloats = scratch + rowBytes + tileBytes
        self.brainFloats = UnsafeRawPointer(brainFloats)
        extra = brainFloats + brainFloatBytes
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
        if forms.contains(.superBlocks) { Activations.quantize(run, &activations, .superBlocks) }
        if forms.contains(.brainFloats) { narrow(run) }
        if forms.contains(.brainFloatsByLane) { narrowByLane(run) }
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
