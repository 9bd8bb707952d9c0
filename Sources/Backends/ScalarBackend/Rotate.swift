// Rotate.swift - norm and rotary position of queries and keys, and the KV cache's new rows.

import CCabochonBackend

func rotate(_ run: Run, _ args: cabochon_rotate_args) -> Int32 {
    guard let queries = args.queries, let keys = args.keys, let values = args.values, let segments = args.segments,
        let cosines = args.cosines, let sines = args.sines
    else { return CABOCHON_OP_DECLINED }
    let size = Int(args.head_size)
    guard let cached = CachedRow(type: args.kv_type, size: size), haveCaches(segments, count: args.segment_count)
    else { return CABOCHON_OP_DECLINED }
    guard let buffers = scratch(run, count: Int(run.pointee.thread_count) * size) else { return CABOCHON_OP_FAILED }
    for index in 0..<Int(args.segment_count) {
        let segment = segments[index]
        let cachedKeys = segment.keys.unsafelyUnwrapped
        let cachedValues = segment.values.unsafelyUnwrapped
        parallel(run, count: Int(segment.row_count)) { offset, worker in
            let row = Int(segment.first_row) + offset
            let cosine = cosines + row * size / 2  // [size / 2]
            let sine = sines + row * size / 2
            for head in 0..<Int(args.heads) {
                let query = queries + row * Int(args.query_stride) + head * size  // [size]
                if let gain = args.query_gain {
                    normalize(query, gain: gain, epsilon: args.epsilon, into: query, width: size)
                }
                rotateHalves(query, cosine, sine, size: size)
                for i in 0..<size { query[i] *= args.query_scale }
            }
            let key = buffers + worker * size  // [size]
            for head in 0..<Int(args.kv_heads) {
                let source = keys + row * Int(args.key_stride) + head * size
                if let gain = args.key_gain {
                    normalize(source, gain: gain, epsilon: args.epsilon, into: key, width: size)
                } else {
                    key.update(from: source, count: size)
                }
                rotateHalves(key, cosine, sine, size: size)
                let place = head * Int(segment.head_stride) / size + Int(segment.first_position) + offset
                cached.store(key, in: cachedKeys, at: place)
                let value = values + row * Int(args.value_stride) + head * size
                cached.store(value, in: cachedValues, at: place)
            }
        }
    }
    return CABOCHON_OP_DONE
}

/// (a, b) -> (a cos - b sin, b cos + a sin), where a and b are the two halves of a head.
private func rotateHalves(_ head: Floats, _ cosine: UnsafePointer<Float>, _ sine: UnsafePointer<Float>, size: Int) {
    for i in 0..<size / 2 {
        let a = head[i]
        let b = head[i + size / 2]
        head[i] = a * cosine[i] - b * sine[i]
        head[i + size / 2] = b * cosine[i] + a * sine[i]
    }
}
