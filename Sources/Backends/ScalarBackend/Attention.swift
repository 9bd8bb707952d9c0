// Attention.swift - causal attention over the KV cache, softcap and window inside.

import CCabochonBackend
import Glibc

func attention(_ run: Run, _ args: cabochon_attention_args) -> Int32 {
    guard let queries = args.queries, let output = args.output, let segments = args.segments else {
        return CABOCHON_OP_DECLINED
    }
    let size = Int(args.head_size)
    let heads = Int(args.heads)
    let group = heads / Int(args.kv_heads)
    let isHalf = args.kv_type == CABOCHON_TYPE_F16
    let bytes = isHalf ? 2 : 4
    let segmentCount = Int(args.segment_count)
    let longest = (0..<segmentCount).map { Int(segments[$0].first_position + segments[$0].row_count) }.max() ?? 0
    let perWorker = longest + size
    guard let buffers = scratch(run, count: Int(run.pointee.thread_count) * perWorker) else {
        return CABOCHON_OP_FAILED
    }
    for index in 0..<segmentCount {
        let segment = segments[index]
        guard let keys = segment.keys, let values = segment.values else { return CABOCHON_OP_DECLINED }
        parallel(run, count: Int(segment.row_count) * heads) { task, worker in
            let offset = task / heads
            let head = task % heads
            let row = Int(segment.first_row) + offset
            let position = Int(segment.first_position) + offset
            let first = args.window == 0 ? 0 : max(0, position - Int(args.window) + 1)
            let query = queries + row * Int(args.query_stride) + head * size  // [size]
            let result = output + row * Int(args.output_stride) + head * size  // [size]
            let scores = buffers + worker * perWorker  // [position + 1 - first]
            let widened = scores + longest  // [size]
            let cacheOffset = head / group * Int(segment.head_stride) * bytes

            var largest = -Float.infinity
            for p in first...position {
                let key = widen(keys + cacheOffset + p * size * bytes, isHalf: isHalf, into: widened, count: size)
                var score = dot(query, key, count: size)
                if args.softcap > 0 { score = softcapped(score, args.softcap) }
                scores[p - first] = score
                largest = max(largest, score)
            }
            var sum: Float = 0
            for i in 0...(position - first) {
                scores[i] = expf(scores[i] - largest)
                sum += scores[i]
            }
            for i in 0..<size { result[i] = 0 }
            for p in first...position {
                let value = widen(values + cacheOffset + p * size * bytes, isHalf: isHalf, into: widened, count: size)
                accumulate(result, value, scale: scores[p - first], count: size)
            }
            for i in 0..<size { result[i] /= sum }
        }
    }
    return CABOCHON_OP_DONE
}

/// A row of a KV cache as float32: the row itself, or `buffer` filled from float16.
private func widen(_ row: UnsafeRawPointer, isHalf: Bool, into buffer: UnsafeMutablePointer<Float>, count: Int)
    -> UnsafePointer<Float>
{
    guard isHalf else { return row.assumingMemoryBound(to: Float.self) }
    let half = row.assumingMemoryBound(to: UInt16.self)
    for i in 0..<count { buffer[i] = floatFromHalf(half[i]) }
    return UnsafePointer(buffer)
}
