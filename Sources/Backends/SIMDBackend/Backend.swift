// The backend's hold on its host. It keeps no state but the host's record, which outlives it, so
// `self` of every op is that record.
import CCabochonBackend

/// backend.h's CABOCHON_OP_ values, by names that read well in a kernel.
enum OpStatus {
    @inline(__always) static var done: Int32 { CABOCHON_OP_DONE }
    @inline(__always) static var declined: Int32 { CABOCHON_OP_DECLINED }
    @inline(__always) static var failed: Int32 { CABOCHON_OP_FAILED }
}

/// backend.h's CABOCHON_TYPE_ values.
enum WeightType {
    @inline(__always) static var f32: UInt32 { CABOCHON_TYPE_F32 }
    @inline(__always) static var f16: UInt32 { CABOCHON_TYPE_F16 }
    @inline(__always) static var bf16: UInt32 { CABOCHON_TYPE_BF16 }
    @inline(__always) static func isFloat(_ type: UInt32) -> Bool { type == f32 || type == f16 || type == bf16 }
    @inline(__always) static var q4_0: UInt32 { CABOCHON_TYPE_Q4_0 }
    @inline(__always) static var q4_1: UInt32 { CABOCHON_TYPE_Q4_1 }
    @inline(__always) static var q5_0: UInt32 { CABOCHON_TYPE_Q5_0 }
    @inline(__always) static var q5_1: UInt32 { CABOCHON_TYPE_Q5_1 }
    @inline(__always) static var q8_0: UInt32 { CABOCHON_TYPE_Q8_0 }
    @inline(__always) static var q2_K: UInt32 { CABOCHON_TYPE_Q2_K }
    @inline(__always) static var q3_K: UInt32 { CABOCHON_TYPE_Q3_K }
    @inline(__always) static var q4_K: UInt32 { CABOCHON_TYPE_Q4_K }
    @inline(__always) static var q5_K: UInt32 { CABOCHON_TYPE_Q5_K }
    @inline(__always) static var q6_K: UInt32 { CABOCHON_TYPE_Q6_K }
    @inline(__always) static var iq4_NL: UInt32 { CABOCHON_TYPE_IQ4_NL }
    @inline(__always) static var iq4_XS: UInt32 { CABOCHON_TYPE_IQ4_XS }
}

@c(cabochon_simd_create)
public func create(
    _ host: UnsafePointer<cabochon_host>?, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    guard let host, let out, mayMultiplyMatrices() else { return -1 }
    Processor.identify()
    out.pointee = UnsafeMutableRawPointer(mutating: host)
    return 0
}

/// Runs `body` for each index below `count` over the host's threads; a single one on this thread.
@inline(__always)
func parallel<Context>(
    _ run: UnsafePointer<cabochon_run>, _ count: Int, _ context: inout Context,
    _ body: @convention(c) (UnsafeMutableRawPointer?, Int, Int) -> Void
) {
    withUnsafeMutablePointer(to: &context) { pointer in
        if count == 1 {
            body(pointer, 0, 0)
        } else if count > 1 {
            run.pointee.parallel_for(run, count, body, pointer)
        }
    }
}
