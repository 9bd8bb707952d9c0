// Attention.swift - causal attention over the KV cache, softcap and window inside.

import CCabochonBackend
import Glibc

func attention(_ run: Run, _ args: cabochon_attention_args) -> Int32 {
    guard let queries = args.queries, let output = args.output, let segments = args.segments, args.kv_heads > 0
    else { return CABOCHON_OP_DECLINED }
    let size = Int(args.head_size)
    let heads = Int(args.heads)
    let group = heads / Int(args.kv_heads)
    guard let row = CachedRow(type: args.kv_type, size: size), haveCaches(segments, count: args.segment_count)
    else { return CABOCHON_OP_DECLINED }
    let segmentCount = Int(args.segment_count)
    let longest = (0..<segmentCount).map { Int(segments[$0].first_position + segments[$0].row_count) }.max() ?? 0
    let perWorker = longest + size
    guard let buffers = scratch(run, count: Int(run.pointee.thread_count) * perWorker) else {
        return CABOCHON_OP_FAILED
    }
    for index in 0..<segmentCount {
        let segment = segments[index]
        let keys = UnsafeRawPointer(segment.keys.unsafelyUnwrapped)
        let values = UnsafeRawPointer(segment.values.unsafelyUnwrapped)
        parallel(run, count: Int(segment.row_count) * heads) { task, worker in
            let offset = task / heads
            let head = task % heads
            let token = Int(segment.first_row) + offset
            let position = Int(segment.first_position) + offset
            let first = args.window == 0 ? 0 : max(0, position - Int(args.window) + 1)
            let query = queries + token * Int(args.query_stride) + head * size  // [size]
            let result = output + token * Int(args.output_stride) + head * size  // [size]
            let scores = buffers + worker * perWorker  // [position + 1 - first]
            let widened = scores + longest  // [size]
            let firstRow = head / group * Int(segment.head_stride) / size

            var largest = -Float.infinity
            for p in first...position {
                let key = row.floats(keys, at: firstRow + p, buffer: widened)
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
                let value = row.floats(values, at: firstRow + p, buffer: widened)
                accumulate(result, value, scale: scores[p - first], count: size)
            }
            for i in 0..<size { result[i] /= sum }
        }
    }
    return CABOCHON_OP_DONE
}
