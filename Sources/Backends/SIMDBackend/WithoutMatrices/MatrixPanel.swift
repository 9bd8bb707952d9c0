// Instruction sets without AMX multiply all tokens by byte products.
import CCabochonBackend

let matrixPanels = 1

@inline(__always) func mayMultiplyMatrices() -> Bool { true }

struct MatrixInput {
    @inline(__always) static func bytes(tokens: Int, columns: Int) -> Int { 0 }
    var memory: UnsafeMutableRawPointer
    @inline(__always) init(memory: UnsafeMutableRawPointer, _ activations: Activations) { self.memory = memory }
    @inline(__always) func fill(_ run: UnsafePointer<cabochon_run>) {}
}

enum MatrixPanel<Format: PackedFormat> {
    @inline(__always) static func pays(tokens: Int) -> Bool { false }
    @inline(__always) static func bytes(tokens: Int) -> Int { 0 }
    @inline(__always)
    static func multiplyPanels(
        _ panels: UnsafeRawPointer, panelBytes: Int, blocks: Int, _ input: UnsafeRawPointer, tokens: Int,
        memory: UnsafeMutableRawPointer, _ output: UnsafeMutablePointer<Float>, _ stride: Int, rows: Int
    ) {}
}
