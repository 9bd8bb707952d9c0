// BLASBackend.swift - linear and gated_linear by OpenBLAS's float32 matrix product.
//
// For processors that no SIMD backend fits, whose own product is the scalar one: the weight is
// dequantised a panel of rows at a time by the host, and the panel multiplied with all rows of
// activations at once. That pays for prompts; single tokens are declined. The host's threads take
// a panel each, and OpenBLAS is told to start none of its own. It picks its order of sums by
// shape, so the same bits are not promised.

import CCabochonBackend
import OpenBLAS

/// `self` of every op is a `cabochon_openblas`, made once for the process.
@c(cabochon_blas_create)
public func create(
    _ host: UnsafePointer<cabochon_host>?, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    guard let host, let out else { return -1 }
    var blas = cabochon_openblas()
    guard cabochon_openblas_open(&blas) == 0,
        let memory = host.pointee.allocate(MemoryLayout<cabochon_openblas>.size)
    else { return -1 }
    blas.host = UnsafeRawPointer(host)
    memory.storeBytes(of: blas, as: cabochon_openblas.self)
    out.pointee = memory
    return 0
}

private struct LinearTask {
    let product: Product
    let weight: cabochon_weight
    let output: UnsafeMutablePointer<Float>
    let stride: Int

    func compute(panel: Int, worker: Int) {
        let rows = product.rows(weight, panel: panel)
        product.multiply(weight, rows, worker, into: output + rows.lowerBound, stride: stride)
    }
}

@c(cabochon_blas_linear)
public func linear(
    _ context: UnsafeMutableRawPointer?, _ run: UnsafePointer<cabochon_run>?,
    _ args: UnsafePointer<cabochon_linear_args>?
) -> Int32 {
    guard let run, let args = args?.pointee, let input = args.input, let weights = args.weights,
        let outputs = args.outputs, let strides = args.output_strides, args.weight_count > 0,
        let columns = weights[0]?.pointee.columns,
        var product = Product(
            context, run, input: input, stride: args.input_stride, tokens: args.tokens, columns: columns)
    else { return CABOCHON_OP_DECLINED }
    var mostRows: UInt64 = 0
    for index in 0..<Int(args.weight_count) {
        guard let weight = weights[index]?.pointee, outputs[index] != nil,
            product.takes(weight, outputStride: strides[index])
        else { return CABOCHON_OP_DECLINED }
        mostRows = max(mostRows, weight.rows)
    }
    guard product.begin(rows: mostRows, gain: args.norm_gain, epsilon: args.norm_epsilon, isGated: false) else {
        return CABOCHON_OP_FAILED
    }
    for index in 0..<Int(args.weight_count) {
        var task = LinearTask(
            product: product, weight: weights[index].unsafelyUnwrapped.pointee,
            output: outputs[index].unsafelyUnwrapped, stride: Int(truncatingIfNeeded: strides[index]))
        run.pointee.parallel_for(
            run, product.panelCount(task.weight),
            { context, panel, worker in
                context.unsafelyUnwrapped.load(as: LinearTask.self).compute(panel: panel, worker: worker)
            }, &task)
    }
    return CABOCHON_OP_DONE
}

private struct GatedLinearTask {
    let product: Product
    let gate: cabochon_weight
    let up: cabochon_weight
    let output: UnsafeMutablePointer<Float>
    let stride: Int

    func compute(panel: Int, worker: Int) {
        let rows = product.rows(gate, panel: panel)
        let gates = product.gates(worker)  // [tokens, rows.count]
        product.multiply(gate, rows, worker, into: gates, stride: rows.count)
        product.multiply(up, rows, worker, into: output + rows.lowerBound, stride: stride)
        for token in 0..<product.tokens {
            let row = output + (token &* stride &+ rows.lowerBound)
            for i in 0..<rows.count { row[i] *= geluTanh(gates[token &* rows.count &+ i]) }
        }
    }
}

@c(cabochon_blas_gated_linear)
public func gatedLinear(
    _ context: UnsafeMutableRawPointer?, _ run: UnsafePointer<cabochon_run>?,
    _ args: UnsafePointer<cabochon_gated_linear_args>?
) -> Int32 {
    guard let run, let args = args?.pointee, let input = args.input, let output = args.output,
        let gate = args.gate?.pointee, let up = args.up?.pointee,
        var product = Product(
            context, run, input: input, stride: args.input_stride, tokens: args.tokens, columns: gate.columns),
        gate.rows == up.rows, product.takes(gate, outputStride: args.output_stride),
        product.takes(up, outputStride: args.output_stride)
    else { return CABOCHON_OP_DECLINED }
    guard product.begin(rows: gate.rows, gain: args.norm_gain, epsilon: args.norm_epsilon, isGated: true) else {
        return CABOCHON_OP_FAILED
    }
    var task = GatedLinearTask(
        product: product, gate: gate, up: up, output: output, stride: Int(truncatingIfNeeded: args.output_stride))
    run.pointee.parallel_for(
        run, product.panelCount(gate),
        { context, panel, worker in
            context.unsafelyUnwrapped.load(as: GatedLinearTask.self).compute(panel: panel, worker: worker)
        }, &task)
    return CABOCHON_OP_DONE
}
