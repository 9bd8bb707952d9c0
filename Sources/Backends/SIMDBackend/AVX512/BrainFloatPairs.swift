// BF16 weights where the processor has AVX512_BF16: each lane adds the products of two neighbouring
// columns, weights as the file has them and activations rounded to bfloat16 (to nearest even).
//
// Intel's processors make half as many products so as with float32 (82 GFLOPS beside 172, one thread of a Xeon of the
// fifth generation), to which BF16 is widened there; AMD's twice as many.
import CCabochonBackend
import SIMDIntrinsics

func takesBrainFloatPairs(_ host: UnsafePointer<cabochon_host>) -> Bool {
    host.pointee.cpu_features & CABOCHON_CPU_AVX512_BF16 != 0 && Processor.amdFamily != 0
}

enum BrainFloatPairs: BrainFloatFormat {
    @inline(__always) static var bytes: Int { 2 }
    @inline(__always) static var inputBytes: Int { 2 }
    @inline(__always) static var columnsPerStep: Int { 2 * lanes }
    @inline(__always) static func load(_ source: UnsafeRawPointer) -> IntVector { loadInts(source) }
    @inline(__always) static func load(_ source: UnsafeRawPointer, first count: Int) -> IntVector {
        _mm512_maskz_loadu_epi16(__mmask32(truncatingIfNeeded: (1 &<< count) - 1), source)
    }
    @inline(__always) static func loadInput(_ source: UnsafeRawPointer) -> IntVector { load(source) }
    @inline(__always) static func loadInput(_ source: UnsafeRawPointer, first count: Int) -> IntVector {
        load(source, first: count)
    }
    @inline(__always) static func broadcastInput(_ source: UnsafeRawPointer) -> IntVector {
        broadcast(source.load(as: Int32.self))
    }
    @inline(__always) static func bits(_ operand: IntVector) -> FloatVector { _mm512_castsi512_ps(operand) }
    @inline(__always) static func input(_ row: UnsafePointer<Float>, _ columns: Int, step: Int) -> IntVector {
        let column = step * 2 * lanes
        let low = loadFloats(row + column, first: min(lanes, max(0, columns - column)))
        let high = loadFloats(row + column + lanes, first: min(lanes, max(0, columns - column - lanes)))
        return cabochon_x86_brain_floats_from_both_512(low, high)
    }
    @inline(__always)
    static func addProduct(_ weight: IntVector, _ input: IntVector, to sum: FloatVector) -> FloatVector {
        cabochon_x86_add_brain_float_products_512(sum, weight, input)
    }

    // Codes keep the columns' order.
    @inline(__always) static func words(_ coded: IntVector) -> IntVector { coded }
    @inline(__always) static func column(ofPlace place: Int) -> Int { place }
    @inline(__always)
    static func addProducts(_ coded: IntVector, _ values: UnsafeRawPointer, to sum: FloatVector) -> FloatVector {
        addProduct(coded, loadInts(values), to: sum)
    }
}

/// output[columns] = row as bfloat16.
func narrowToBrainFloats(_ row: UnsafePointer<Float>, _ columns: Int, _ output: UnsafeMutableRawPointer) {
    var column = 0
    while column < columns {
        let count = min(lanes, columns - column)
        let narrow = cabochon_x86_brain_floats_from_512(loadFloats(row + column, first: count))
        _mm256_mask_storeu_epi16(output + 2 * column, mask(first: count), narrow)
        column += lanes
    }
}
