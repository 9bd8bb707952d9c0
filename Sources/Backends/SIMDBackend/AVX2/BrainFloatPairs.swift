// No products of bfloat16 pairs here: BF16 weights are widened to float32.
import CCabochonBackend

typealias BrainFloatPairs = FormatBF16
func takesBrainFloatPairs(_ host: UnsafePointer<cabochon_host>) -> Bool { false }
func narrowToBrainFloats(_ row: UnsafePointer<Float>, _ columns: Int, _ output: UnsafeMutableRawPointer) {}
func narrowToBrainFloatsByLane(
    _ row: UnsafePointer<Float>, _ columns: Int, _ token: Int, of tokens: Int, _ output: UnsafeMutableRawPointer
) {}
func multiplyBrainFloatPanels(
    _ call: LinearCall, _ weights: InlineArray<4, LinearWeight>, _ count: Int, isGated: Bool
) -> Int32? { nil }

/// BF16 weights are read as the file has them.
struct BrainFloatCodes {
    static func pack(
        _ run: UnsafePointer<cabochon_run>, _ host: UnsafePointer<cabochon_host>,
        _ weight: UnsafePointer<cabochon_weight>
    ) -> (status: Int32, prepared: UnsafeMutableRawPointer?) { (OpStatus.declined, nil) }
    init(_ prepared: UnsafeRawPointer) {}
    func unpack(panel: Int, rows: Int, into target: UnsafeMutableRawPointer) {}
    func multiply(panel: Int, rows: Int, by values: UnsafeRawPointer, _ output: UnsafeMutablePointer<Float>) {}
}
