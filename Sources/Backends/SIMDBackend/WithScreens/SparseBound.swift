// The bound of the screen of sparse_encode: which features a product of bytes cannot rule out. See backend.h.
import CCabochonBackend

let screensFeatures = true

/// Appends to a token's indices those of `lanes` features that may fire.
///
/// - Parameters:
///   - first: the first of them, in the block.
///   - dot: their products of codes and input, as integers.
@inline(__always)
func noteFeatures(_ args: cabochon_sparse_encode_args, _ first: Int, _ token: Int, _ dot: FloatVector) {
    let features = Int(truncatingIfNeeded: args.features)
    guard first < features else { return }
    let scale = multiply(loadFloats(args.scale + first), broadcast(args.input_scale[token]))
    var bound = multiply(loadFloats(args.error + first), broadcast(args.input_norm[token]))
    bound = multiplyAdd(loadFloats(args.norm + first), broadcast(args.input_error[token]), bound)
    bound = multiplyAdd(dot, scale, bound)
    var bits = lanesNotAtMost(bound, loadFloats(args.bar + first))
    bits &= UInt32.max &>> UInt32(truncatingIfNeeded: 32 - min(lanes, features - first))
    let indices = args.indices + token * features
    var count = Int(args.counts[token])
    while bits != 0 {
        indices[count] = UInt32(truncatingIfNeeded: first + bits.trailingZeroBitCount)
        count += 1
        bits &= bits &- 1
    }
    args.counts[token] = UInt32(truncatingIfNeeded: count)
}
