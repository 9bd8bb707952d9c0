// Kernels.swift - one op at a time: the backend's, or the scalar one where the backend declines.

import CCabochonBackend

struct Kernels {
    /// One weight of a linear op and where its products go; the stride is from token to token.
    typealias Product = (weight: UnsafePointer<cabochon_weight>, output: UnsafeMutablePointer<Float>, stride: Int)

    let binding: WeightBinding
    let execution: Execution

    /// - Parameter op: calls a backend's op, nil where it has none.
    private func call(_ name: StaticString, _ op: (Backend) -> Int32?) throws(CabochonError) {
        switch op(binding.backend) {
        case CABOCHON_OP_DONE: return
        case nil, CABOCHON_OP_DECLINED: break
        case .some(let status): throw failure(binding.backend, name, status)
        }
        let status = op(binding.scalar) ?? CABOCHON_OP_DECLINED
        if status != CABOCHON_OP_DONE { throw failure(binding.scalar, name, status) }
    }

    private func failure(_ backend: Backend, _ name: StaticString, _ status: Int32) -> CabochonError {
        status == CABOCHON_OP_FAILED
            ? CabochonError(.outOfMemory, "backend \"\(backend.name)\" has no scratch memory for \(name)")
            : CabochonError(.backend, "backend \"\(backend.name)\" answered \(status) to \(name)")
    }

    func embed(_ args: inout cabochon_embed_args) throws(CabochonError) {
        args.struct_size = MemoryLayout<cabochon_embed_args>.size
        try call("embed") { backend in backend.ops.embed.map { $0(backend.instance, execution.run, &args) } }
    }

    func norm(_ args: inout cabochon_norm_args) throws(CabochonError) {
        args.struct_size = MemoryLayout<cabochon_norm_args>.size
        try call("norm") { backend in backend.ops.norm.map { $0(backend.instance, execution.run, &args) } }
    }

    func gatedLinear(_ args: inout cabochon_gated_linear_args) throws(CabochonError) {
        args.struct_size = MemoryLayout<cabochon_gated_linear_args>.size
        try call("gated_linear") { backend in
            backend.ops.gated_linear.map { $0(backend.instance, execution.run, &args) }
        }
    }

    func rotate(_ args: inout cabochon_rotate_args, _ segments: [cabochon_segment]) throws(CabochonError) {
        args.struct_size = MemoryLayout<cabochon_rotate_args>.size
        args.segment_count = UInt64(segments.count)
        try segments.withUnsafeBufferPointer { (segments) throws(CabochonError) in
            args.segments = segments.baseAddress
            try call("rotate") { backend in backend.ops.rotate.map { $0(backend.instance, execution.run, &args) } }
        }
    }

    func attention(_ args: inout cabochon_attention_args, _ segments: [cabochon_segment]) throws(CabochonError) {
        args.struct_size = MemoryLayout<cabochon_attention_args>.size
        args.segment_count = UInt64(segments.count)
        try segments.withUnsafeBufferPointer { (segments) throws(CabochonError) in
            args.segments = segments.baseAddress
            try call("attention") { backend in
                backend.ops.attention.map { $0(backend.instance, execution.run, &args) }
            }
        }
    }

    func softcap(_ args: inout cabochon_softcap_args) throws(CabochonError) {
        args.struct_size = MemoryLayout<cabochon_softcap_args>.size
        try call("softcap") { backend in backend.ops.softcap.map { $0(backend.instance, execution.run, &args) } }
    }

    /// - Parameters:
    ///   - args: input, tokens and norm; the rest is filled in here.
    ///   - products: each weight with its output ([tokens, rows], rows `stride` floats apart); at most 4.
    func linear(
        _ args: inout cabochon_linear_args, _ products: [Product]
    ) throws(CabochonError) {
        args.struct_size = MemoryLayout<cabochon_linear_args>.size
        args.weight_count = UInt32(products.count)
        let weights: [UnsafePointer<cabochon_weight>?] = products.map(\.weight)
        let outputs: [UnsafeMutablePointer<Float>?] = products.map(\.output)
        let strides = products.map { UInt64($0.stride) }
        var failure: CabochonError?
        weights.withUnsafeBufferPointer { weights in
            outputs.withUnsafeBufferPointer { outputs in
                strides.withUnsafeBufferPointer { strides in
                    args.weights = weights.baseAddress
                    args.outputs = outputs.baseAddress
                    args.output_strides = strides.baseAddress
                    do throws(CabochonError) {
                        try call("linear") { backend in
                            backend.ops.linear.map { $0(backend.instance, execution.run, &args) }
                        }
                    } catch { failure = error }
                }
            }
        }
        if let failure { throw failure }
    }
}
