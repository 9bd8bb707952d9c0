// Norm.swift - RMS norm, with the residual that a post-norm is added to.

import CCabochonBackend

func norm(_ run: Run, _ args: cabochon_norm_args) -> Int32 {
    let width = Int(args.width)
    guard let input = args.input, args.output != nil || args.residual != nil else { return CABOCHON_OP_DECLINED }
    var rows = args.output
    if rows == nil {
        rows = scratch(run, count: Int(run.pointee.thread_count) * width)
    }
    guard let rows else { return CABOCHON_OP_FAILED }
    parallel(run, count: Int(args.tokens)) { token, worker in
        let output = rows + (args.output == nil ? worker * width : token * Int(args.output_stride))
        normalize(
            input + token * Int(args.input_stride), gain: args.gain, epsilon: args.epsilon, into: output, width: width)
        guard let residual = args.residual.map({ $0 + token * Int(args.residual_stride) }) else { return }
        for i in 0..<width { residual[i] += output[i] }
    }
    return CABOCHON_OP_DONE
}
