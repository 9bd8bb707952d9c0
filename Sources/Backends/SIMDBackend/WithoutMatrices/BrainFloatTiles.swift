// Instruction sets without AMX multiply BF16 weights in the lanes' order (FloatProduct.swift). The names that the shared
// sources use, never called.
import CCabochonBackend

struct BrainFloatTiles {
    static let panels = 1
    static let fewTokens = 0
    @inline(__always) static func take(_ type: UInt32) -> Bool { false }
    @inline(__always)
    static func pack(
        _ run: UnsafePointer<cabochon_run>, _ host: UnsafePointer<cabochon_host>,
        _ weight: UnsafePointer<cabochon_weight>
    ) -> (status: Int32, prepared: UnsafeMutableRawPointer?) { (OpStatus.declined, nil) }
    @inline(__always) static func inputBytes(tokens: Int, columns: Int) -> Int { 0 }
    @inline(__always) static func memoryBytes(tokens: Int) -> Int { 0 }
    @inline(__always)
    static func fill(
        _ run: UnsafePointer<cabochon_run>, _ activations: Activations, _ memory: UnsafeMutableRawPointer
    ) {}

    @inline(__always) init(_ weight: LinearWeight, columns: Int) {}
    @inline(__always)
    func multiply(
        panel: Int, rows: Int, by values: UnsafeRawPointer, from token: Int, tokens: Int, of allTokens: Int,
        memory: UnsafeMutableRawPointer, _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {}
}
