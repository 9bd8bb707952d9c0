// Without products of bfloat16 pairs (AVX2, NEON) BF16 weights are widened to float32; AMX has tiles of them. The
// names that the shared sources use, never called.
import CCabochonBackend

typealias BrainFloatPairs = FormatBF16
func takesBrainFloatPairs(_ host: UnsafePointer<cabochon_host>) -> Bool { false }
func narrowToBrainFloats(_ row: UnsafePointer<Float>, _ columns: Int, _ output: UnsafeMutableRawPointer) {}
