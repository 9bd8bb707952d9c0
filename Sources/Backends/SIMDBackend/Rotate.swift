// The rotate op: norm and rotary position of queries and keys, and the filing of keys and values.
//
// A token's heads are independent; the work is shared out by token. Rotated keys pass through a
// head of each worker's scratch, since the caller's keys stay as they are.
import CCabochonBackend

struct RotateTask {
    var args: cabochon_rotate_args
    var queries: UnsafeMutablePointer<Float>
    var keys: UnsafePointer<Float>
    var values: UnsafePointer<Float>
    var cosines: UnsafePointer<Float>
    var sines: UnsafePointer<Float>
    var segments: UnsafePointer<cabochon_segment>
    var buffers: UnsafeMutablePointer<Float>
    var tokensPerIndex: Int

    func run(_ index: Int, _ worker: Int) {
        let tokens = Int(truncatingIfNeeded: args.tokens)
        let first = index * tokensPerIndex
        let last = min(first + tokensPerIndex, tokens)
        let count = Int(truncatingIfNeeded: args.segment_count)
        for number in 0..<count {
            let segment = segments[number]
            let start = Int(truncatingIfNeeded: segment.first_row)
            let end = start + Int(truncatingIfNeeded: segment.row_count)
            for token in max(first, start)..<max(max(first, start), min(last, end)) {
                run(token, segment, Int(truncatingIfNeeded: segment.first_position) + token - start, worker)
            }
        }
    }

    private func run(_ token: Int, _ segment: cabochon_segment, _ position: Int, _ worker: Int) {
        let size = Int(args.head_size)
        let half = size / 2
        let cosines = cosines + token * half
        let sines = sines + token * half
        let scale = broadcast(args.query_scale)
        for head in 0..<Int(args.heads) {
            let query = queries + token * Int(truncatingIfNeeded: args.query_stride) + head * size
            if let gain = args.query_gain { normalize(query, gain, args.epsilon, size, query) }
            rotate(query, query, half, cosines, sines, scale)
        }
        let cachedKeys = segment.keys.unsafelyUnwrapped
        let cachedValues = segment.values.unsafelyUnwrapped
        let buffer = buffers + worker * size
        for head in 0..<Int(args.kv_heads) {
            let element = head * Int(truncatingIfNeeded: segment.head_stride) + position * size
            var key = keys + token * Int(truncatingIfNeeded: args.key_stride) + head * size
            if let gain = args.key_gain {
                normalize(key, gain, args.epsilon, size, buffer)
                key = UnsafePointer(buffer)
            }
            rotate(key, buffer, half, cosines, sines, broadcast(Float(1)))
            store(buffer, cachedKeys, element, size)
            let value = values + token * Int(truncatingIfNeeded: args.value_stride) + head * size
            store(value, cachedValues, element, size)
        }
    }

    /// (a, b) -> (a cos - b sin, b cos + a sin) * scale; target may be source.
    @inline(__always)
    private func rotate(
        _ source: UnsafePointer<Float>, _ target: UnsafeMutablePointer<Float>, _ half: Int,
        _ cosines: UnsafePointer<Float>, _ sines: UnsafePointer<Float>, _ scale: FloatVector
    ) {
        var place = 0
        while place < half {
            let count = min(lanes, half - place)
            let a = loadFloats(source + place, first: count)
            let b = loadFloats(source + half + place, first: count)
            let cosine = loadFloats(cosines + place, first: count)
            let sine = loadFloats(sines + place, first: count)
            let first = subtract(multiply(a, cosine), multiply(b, sine))
            let second = add(multiply(b, cosine), multiply(a, sine))
            storeFloats(multiply(first, scale), target + place, first: count)
            storeFloats(multiply(second, scale), target + half + place, first: count)
            place += lanes
        }
    }

    @inline(__always)
    private func store(
        _ source: UnsafePointer<Float>, _ cache: UnsafeMutableRawPointer, _ element: Int, _ size: Int
    ) {
        switch args.kv_type {
        case WeightType.f16: store(FormatF16.self, source, cache, element, size)
        case WeightType.f32: store(FormatF32.self, source, cache, element, size)
        default: store(CachedBlocks.self, source, cache, element, size)
        }
    }

    @inline(__always)
    private func store<Format: CacheFormat>(
        _: Format.Type, _ source: UnsafePointer<Float>, _ cache: UnsafeMutableRawPointer, _ element: Int, _ size: Int
    ) {
        Format.store(source, cache + Format.bytes(of: element), elements: size)
    }
}

@c(cabochon_simd_rotate)
public func rotate(
    _ self_: UnsafeMutableRawPointer?, _ run: UnsafePointer<cabochon_run>?,
    _ args: UnsafePointer<cabochon_rotate_args>?
) -> Int32 {
    guard let run, let args = args?.pointee, let queries = args.queries, let keys = args.keys,
        let values = args.values, let cosines = args.cosines, let sines = args.sines, let segments = args.segments,
        isCacheType(args.kv_type, headSize: args.head_size)
    else { return OpStatus.declined }
    let tokens = Int(truncatingIfNeeded: args.tokens)
    if tokens == 0 { return OpStatus.done }
    guard haveCaches(segments, count: Int(truncatingIfNeeded: args.segment_count)) else { return OpStatus.declined }
    let size = Int(args.head_size)
    guard let scratch = run.pointee.scratch(run, Int(run.pointee.thread_count) * size * 4) else {
        return OpStatus.failed
    }
    let perToken = max(1, Int(args.heads + 2 * args.kv_heads) * size)
    var task = RotateTask(
        args: args, queries: queries, keys: keys, values: values, cosines: cosines, sines: sines,
        segments: segments, buffers: scratch.assumingMemoryBound(to: Float.self),
        tokensPerIndex: max(1, 16384 / perToken))
    parallel(run, (tokens + task.tokensPerIndex - 1) / task.tokensPerIndex, &task) { context, index, worker in
        context.unsafelyUnwrapped.assumingMemoryBound(to: RotateTask.self).pointee.run(index, worker)
    }
    return OpStatus.done
}
