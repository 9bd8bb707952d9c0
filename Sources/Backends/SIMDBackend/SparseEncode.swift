// The sparse_encode op: which features of a sparse autoencoder fire.
//
// Two steps. First candidates: all features, or where the instruction set has a screen (a product of
// bytes with a proven bound) those that may fire; they are noted in the op's own output. Then each
// candidate's exact product, four at a time because one alone waits for its own additions, and what
// does not fire is dropped in place. The exact product rounds every step alike on all backends.
import CCabochonBackend

struct SparseEncodeTask {
    var args: cabochon_sparse_encode_args

    var tokens: Int { Int(truncatingIfNeeded: args.tokens) }
    var columns: Int { Int(truncatingIfNeeded: args.columns) }
    var features: Int { Int(truncatingIfNeeded: args.features) }

    func run() {
        if args.codes != nil, screensFeatures {
            for token in 0..<tokens { args.counts[token] = 0 }
            screen(args)
        } else {
            for token in 0..<tokens {
                let indices = args.indices + token * features
                for feature in 0..<features { indices[feature] = UInt32(truncatingIfNeeded: feature) }
                args.counts[token] = UInt32(truncatingIfNeeded: features)
            }
        }
        for token in 0..<tokens { decide(token) }
    }

    /// Keeps the candidates of one token that fire.
    private func decide(_ token: Int) {
        let input = args.input + token * columns
        let indices = args.indices + token * features
        let values = args.values + token * features
        let count = Int(args.counts[token])
        var kept = 0
        var place = 0
        while place < count {
            let some = min(4, count - place)
            // Fewer than four: the last one again, and only the wanted ones are looked at.
            var rows = InlineArray<4, UnsafePointer<Float>>(repeating: args.rows)
            for i in 0..<4 { rows[i] = i < some ? row(Int(indices[place + i]), i) : rows[some - 1] }
            let sums = products(rows, input)
            for i in 0..<some {
                let feature = Int(indices[place + i])
                let pre = sums[i] + args.bias[feature]
                if pre > args.threshold[feature] {
                    indices[kept] = UInt32(truncatingIfNeeded: feature)
                    values[kept] = pre
                    kept += 1
                }
            }
            place += some
        }
        args.counts[token] = UInt32(truncatingIfNeeded: kept)
    }

    /// A feature's row: where it lies, or in one of the host's four buffers.
    @inline(__always)
    private func row(_ feature: Int, _ buffer: Int) -> UnsafePointer<Float> {
        guard let read = args.read_row, let buffers = args.row_buffers else { return args.rows + feature * columns }
        return read(args.row_context, UInt64(truncatingIfNeeded: feature), buffers + buffer * columns)
            ?? args.rows + feature * columns
    }

    /// Sixteen partial sums each, held in 16 / lanes vectors.
    @inline(__always)
    private func products(_ rows: InlineArray<4, UnsafePointer<Float>>, _ input: UnsafePointer<Float>) -> InlineArray<
        4, Float
    > {
        var sums = InlineArray<4, PartialSums>(repeating: PartialSums(repeating: broadcast(Float(0))))
        let (first, second, third, fourth) = (rows[0], rows[1], rows[2], rows[3])
        var column = 0
        while column < columns {
            for part in 0..<partsOfSixteen {
                let at = column + part * lanes
                let x = loadFloats(input + at)
                sums[0][part] = add(sums[0][part], multiply(loadFloats(first + at), x))
                sums[1][part] = add(sums[1][part], multiply(loadFloats(second + at), x))
                sums[2][part] = add(sums[2][part], multiply(loadFloats(third + at), x))
                sums[3][part] = add(sums[3][part], multiply(loadFloats(fourth + at), x))
            }
            column += 16
        }
        var result = InlineArray<4, Float>(repeating: 0)
        for i in 0..<4 { result[i] = sumOfSixteen(sums[i]) }
        return result
    }
}

@c(cabochon_simd_sparse_encode)
public func sparseEncode(_ self_: UnsafeMutableRawPointer?, _ args: UnsafePointer<cabochon_sparse_encode_args>?)
    -> Int32
{
    guard let args, args.pointee.struct_size >= MemoryLayout<cabochon_sparse_encode_args>.size else {
        return OpStatus.declined
    }
    SparseEncodeTask(args: args.pointee).run()
    return OpStatus.done
}
