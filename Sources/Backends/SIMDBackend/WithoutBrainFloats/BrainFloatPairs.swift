// For instruction sets without products of bfloat16 pairs (AVX2, NEON): BF16 weights are read as the file has
// them and widened to float32. The names that the shared sources use, never called.
import CCabochonBackend

typealias BrainFloatPairs = FormatBF16
func takesBrainFloatPairs(_ host: UnsafePointer<cabochon_host>) -> Bool { false }
func narrowToBrainFloats(_ row: UnsafePointer<Float>, _ columns: Int, _ output: UnsafeMutableRawPointer) {}

struct BrainFloatCodes {
    static func pack(
        _ run: UnsafePointer<cabochon_run>, _ host: UnsafePointer<cabochon_host>,
        _ weight: UnsafePointer<cabochon_weight>
    ) -> (status: Int32, prepared: UnsafeMutableRawPointer?) { (OpStatus.declined, nil) }
    init(_ prepared: UnsafeRawPointer) {}
    func unpack(panel: Int, rows: Int, into target: UnsafeMutableRawPointer) {}
    func multiply(panel: Int, rows: Int, by values: UnsafeRawPointer, _ output: UnsafeMutablePointer<Float>) {}
}
