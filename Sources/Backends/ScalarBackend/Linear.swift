// Linear.swift - products of weight matrices with rows of activations.
//
// A row of the weight is dequantised once and then met by every token's activations, so a prompt
// pays for dequantisation once.

import CCabochonBackend

/// Rows of a weight that one task computes: enough to be worth handing out.
private let rowsPerTask = 16

/// Where a weight's rows are, or nil where they cannot be decoded. Asked of all before anything is written.
private func data(_ weight: UnsafePointer<cabochon_weight>?, columns: Int) -> UnsafeRawPointer? {
    var nothing: Float = 0
    guard let weight = weight?.pointee, let data = weight.data, weight.columns == UInt64(columns),
        dequantize(type: weight.type, from: data, to: &nothing, count: 0)
    else { return nil }
    return data
}

/// x: [tokens, columns], the input itself or its norm in `buffer`.
private struct Activations {
    let rows: UnsafePointer<Float>
    let stride: Int

    init(
        _ run: Run, input: UnsafePointer<Float>, stride: Int, tokens: Int, columns: Int,
        gain: UnsafePointer<Float>?, epsilon: Float, buffer: Floats
    ) {
        guard let gain else {
            self.rows = input
            self.stride = stride
            return
        }
        parallel(run, count: tokens) { token, _ in
            normalize(
                input + token * stride, gain: gain, epsilon: epsilon, into: buffer + token * columns, width: columns)
        }
        self.rows = UnsafePointer(buffer)
        self.stride = columns
    }
}

func linear(_ run: Run, _ args: cabochon_linear_args) -> Int32 {
    guard let input = args.input, let weights = args.weights, let outputs = args.outputs,
        let strides = args.output_strides, args.weight_count > 0, let first = weights[0]?.pointee,
        (0..<Int(args.weight_count)).allSatisfy({
            data(weights[$0], columns: Int(first.columns)) != nil && outputs[$0] != nil
        })
    else { return CABOCHON_OP_DECLINED }
    let tokens = Int(args.tokens)
    let columns = Int(first.columns)
    let threads = Int(run.pointee.thread_count)
    let normalized = args.norm_gain == nil ? 0 : tokens * columns
    guard let buffer = scratch(run, count: normalized + threads * columns) else { return CABOCHON_OP_FAILED }
    let x = Activations(
        run, input: input, stride: Int(args.input_stride), tokens: tokens, columns: columns,
        gain: args.norm_gain, epsilon: args.norm_epsilon, buffer: buffer)
    for index in 0..<Int(args.weight_count) {
        let weight = weights[index].unsafelyUnwrapped.pointee
        let data = weight.data.unsafelyUnwrapped
        let output = outputs[index].unsafelyUnwrapped
        let rows = Int(weight.rows)
        parallel(run, count: (rows + rowsPerTask - 1) / rowsPerTask) { task, worker in
            let values = buffer + normalized + worker * columns  // [columns]
            for row in task * rowsPerTask..<min(rows, (task + 1) * rowsPerTask) {
                _ = dequantize(type: weight.type, from: data + row * Int(weight.row_bytes), to: values, count: columns)
                for token in 0..<tokens {
                    output[token * Int(strides[index]) + row] = dot(values, x.rows + token * x.stride, count: columns)
                }
            }
        }
    }
    return CABOCHON_OP_DONE
}

func gatedLinear(_ run: Run, _ args: cabochon_gated_linear_args) -> Int32 {
    guard let input = args.input, let output = args.output, let gate = args.gate?.pointee, let up = args.up?.pointee,
        let gateData = data(args.gate, columns: Int(gate.columns)),
        let upData = data(args.up, columns: Int(gate.columns))
    else { return CABOCHON_OP_DECLINED }
    let tokens = Int(args.tokens)
    let columns = Int(gate.columns)
    let rows = Int(gate.rows)
    let normalized = args.norm_gain == nil ? 0 : tokens * columns
    guard let buffer = scratch(run, count: normalized + Int(run.pointee.thread_count) * 2 * columns) else {
        return CABOCHON_OP_FAILED
    }
    let x = Activations(
        run, input: input, stride: Int(args.input_stride), tokens: tokens, columns: columns,
        gain: args.norm_gain, epsilon: args.norm_epsilon, buffer: buffer)
    parallel(run, count: (rows + rowsPerTask - 1) / rowsPerTask) { task, worker in
        let gateRow = buffer + normalized + worker * 2 * columns  // [columns]
        let upRow = gateRow + columns  // [columns]
        for row in task * rowsPerTask..<min(rows, (task + 1) * rowsPerTask) {
            _ = dequantize(type: gate.type, from: gateData + row * Int(gate.row_bytes), to: gateRow, count: columns)
            _ = dequantize(type: up.type, from: upData + row * Int(up.row_bytes), to: upRow, count: columns)
            for token in 0..<tokens {
                let activations = x.rows + token * x.stride
                output[token * Int(args.output_stride) + row] =
                    geluTanh(dot(gateRow, activations, count: columns)) * dot(upRow, activations, count: columns)
            }
        }
    }
    return CABOCHON_OP_DONE
}
