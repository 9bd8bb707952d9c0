// The attention op: which pieces of the batch go to which thread.
//
// A prompt's rows are cut in tiles of 32 to 128 queries (rows by heads of a KV head's group), each
// going over its keys alone. A sequence with few rows, decoding, is cut along its keys instead,
// one piece per KV head and span; the spans' results wait in scratch and are merged afterwards in
// the same order as a tile merges its own.
import CCabochonBackend

/// How one segment is cut.
struct AttentionShare {
    var firstIndex: Int
    var indices: Int
    /// Cut along keys: spans firstSpan ..< firstSpan + spans, results from float `partial` on.
    var alongKeys: Bool
    var firstSpan: Int
    var spans: Int
    var partial: Int
}

struct AttentionTask {
    var args: cabochon_attention_args
    var queries: UnsafePointer<Float>
    var output: UnsafeMutablePointer<Float>
    var segments: UnsafePointer<cabochon_segment>
    var shares: UnsafeMutablePointer<AttentionShare>
    var partials: UnsafeMutablePointer<Float>
    var workers: UnsafeMutablePointer<Float>
    var workerFloats: Int
    var rowsPerTile: Int
    var group: Int
    var width: Int

    var headSize: Int { Int(args.head_size) }
    var kvHeads: Int { Int(args.kv_heads) }
    var segmentCount: Int { Int(truncatingIfNeeded: args.segment_count) }
    var totalFloats: Int { AttentionTotal.floats(width: width) }

    func run(_ index: Int, _ worker: Int) {
        var number = segmentCount - 1
        while number > 0 && (shares[number].firstIndex > index || shares[number].indices == 0) { number -= 1 }
        let share = shares[number]
        let segment = segments[number]
        let local = index - share.firstIndex
        let memory = workers + worker * workerFloats
        let rows = Int(truncatingIfNeeded: segment.row_count)
        if share.alongKeys {
            let head = local / share.spans
            let span = local % share.spans
            var tile = gather(memory, segment, head, 0, rows)
            attend(&tile, segment, head, share.firstSpan + span)
            let queries = rows * group
            let target = partials + share.partial + local * queries * totalFloats
            for query in 0..<queries {
                AttentionTotal(target + query * totalFloats, width: width).set(tile, query)
            }
        } else {
            // The last rows see most keys: they go first.
            let tiles = share.indices / kvHeads
            let head = local % kvHeads
            let firstRow = (tiles - 1 - local / kvHeads) * rowsPerTile
            runTile(memory, segment, head, firstRow, min(rowsPerTile, rows - firstRow))
        }
    }

    private func runTile(
        _ memory: UnsafeMutablePointer<Float>, _ segment: cabochon_segment, _ head: Int, _ firstRow: Int, _ rows: Int
    ) {
        var tile = gather(memory, segment, head, firstRow, rows)
        let totals = memory + AttentionTile.floats(queries: rowsPerTile * group, width: width, args)
        let count = rows * group
        let firstSpan = tile.range(0).first / Span.keys
        let lastSpan = (tile.range(count - 1).end - 1) / Span.keys
        func total(_ query: Int) -> AttentionTotal { AttentionTotal(totals + query * totalFloats, width: width) }
        for query in 0..<count { total(query).clear() }
        for span in firstSpan...lastSpan {
            attend(&tile, segment, head, span)
            for query in 0..<count { total(query).merge(tile, query) }
        }
        for query in 0..<count {
            total(query).finish(place(segment, head, firstRow, query), headSize: headSize)
        }
    }

    /// Merges the spans of one KV head of a segment that was cut along its keys.
    func merge(_ number: Int, _ head: Int, _ worker: Int) {
        let share = shares[number]
        let queries = Int(truncatingIfNeeded: segments[number].row_count) * group
        let memory = workers + worker * workerFloats
        for query in 0..<queries {
            let total = AttentionTotal(memory, width: width)
            total.clear()
            for span in 0..<share.spans {
                let piece = ((head * share.spans + span) * queries + query) * totalFloats
                total.merge(AttentionTotal(partials + share.partial + piece, width: width))
            }
            total.finish(place(segments[number], head, 0, query), headSize: headSize)
        }
    }

    /// Where query `query` of a tile has its output.
    private func place(
        _ segment: cabochon_segment, _ head: Int, _ firstRow: Int, _ query: Int
    ) -> UnsafeMutablePointer<Float> {
        let row = Int(truncatingIfNeeded: segment.first_row) + firstRow + query / group
        return output + row * Int(truncatingIfNeeded: args.output_stride) + (head * group + query % group) * headSize
    }

    private func gather(
        _ memory: UnsafeMutablePointer<Float>, _ segment: cabochon_segment, _ head: Int, _ firstRow: Int, _ rows: Int
    ) -> AttentionTile {
        var tile = AttentionTile(memory, queries: rowsPerTile * group, width: width, args)
        tile.count = rows * group
        tile.firstPosition = Int(truncatingIfNeeded: segment.first_position) + firstRow
        for query in 0..<tile.count {
            let row = Int(truncatingIfNeeded: segment.first_row) + firstRow + query / group
            let source =
                queries + row * Int(truncatingIfNeeded: args.query_stride)
                + (head * group + query % group) * headSize
            var place = 0
            while place < headSize {
                let vector = loadFloats(source + place, first: min(lanes, headSize - place))
                storeFloats(vector, tile.queries + query * width + place)
                place += lanes
            }
        }
        return tile
    }

    private func attend(_ tile: inout AttentionTile, _ segment: cabochon_segment, _ head: Int, _ span: Int) {
        let keys = UnsafeRawPointer(segment.keys.unsafelyUnwrapped)
        let values = UnsafeRawPointer(segment.values.unsafelyUnwrapped)
        let element = head * Int(truncatingIfNeeded: segment.head_stride)
        switch args.kv_type {
        case WeightType.f16: attend(FormatF16.self, &tile, keys, values, element, span)
        case WeightType.f32: attend(FormatF32.self, &tile, keys, values, element, span)
        default: attend(CachedBlocks.self, &tile, keys, values, element, span)
        }
    }

    @inline(__always)
    private func attend<Format: CacheFormat>(
        _: Format.Type, _ tile: inout AttentionTile, _ keys: UnsafeRawPointer, _ values: UnsafeRawPointer,
        _ element: Int, _ span: Int
    ) {
        let place = Format.bytes(of: element)
        tile.attend(Format.self, span: span, keys + place, values + place)
    }
}

@c(cabochon_simd_attention)
public func attention(
    _ self_: UnsafeMutableRawPointer?, _ run: UnsafePointer<cabochon_run>?,
    _ args: UnsafePointer<cabochon_attention_args>?
) -> Int32 {
    guard let run, let args = args?.pointee, let queries = args.queries, let output = args.output,
        let segments = args.segments, args.kv_heads > 0, args.heads >= args.kv_heads,
        isCacheType(args.kv_type, headSize: args.head_size)
    else { return OpStatus.declined }
    let segmentCount = Int(truncatingIfNeeded: args.segment_count)
    if args.tokens == 0 || segmentCount == 0 { return OpStatus.done }
    guard haveCaches(segments, count: segmentCount) else { return OpStatus.declined }
    let group = Int(args.heads / args.kv_heads)
    let width = (Int(args.head_size) + lanes - 1) / lanes * lanes
    let rowsPerTile = max(1, queriesPerTile(args, threads: Int(run.pointee.thread_count)) / group)
    let totalFloats = AttentionTotal.floats(width: width)
    let workerFloats =
        AttentionTile.floats(queries: rowsPerTile * group, width: width, args)
        + rowsPerTile * group * totalFloats

    // The shares are counted before there is memory to note them in.
    var indices = 0
    var partialTotal = 0
    for number in 0..<segmentCount {
        let share = attentionShare(
            segments[number], args, rowsPerTile, index: indices, partial: partialTotal)
        indices += share.indices
        if share.alongKeys {
            partialTotal += share.indices * Int(truncatingIfNeeded: segments[number].row_count) * group * totalFloats
        }
    }
    let shareBytes = (segmentCount * MemoryLayout<AttentionShare>.stride + 63) & ~63
    let workerBytes = Int(run.pointee.thread_count) * workerFloats * 4
    guard let scratch = run.pointee.scratch(run, shareBytes + workerBytes + partialTotal * 4) else {
        return OpStatus.failed
    }
    let shares = scratch.assumingMemoryBound(to: AttentionShare.self)
    var index = 0
    var partial = 0
    var cut = false
    for number in 0..<segmentCount {
        let share = attentionShare(segments[number], args, rowsPerTile, index: index, partial: partial)
        shares[number] = share
        index += share.indices
        if share.alongKeys {
            cut = true
            partial += share.indices * Int(truncatingIfNeeded: segments[number].row_count) * group * totalFloats
        }
    }
    var task = AttentionTask(
        args: args, queries: queries, output: output, segments: segments, shares: shares,
        partials: (scratch + shareBytes + workerBytes).assumingMemoryBound(to: Float.self),
        workers: (scratch + shareBytes).assumingMemoryBound(to: Float.self), workerFloats: workerFloats,
        rowsPerTile: rowsPerTile, group: group, width: width)
    parallel(run, indices, &task) { context, index, worker in
        context.unsafelyUnwrapped.assumingMemoryBound(to: AttentionTask.self).pointee.run(index, worker)
    }
    if cut {
        parallel(run, segmentCount * Int(args.kv_heads), &task) { context, index, worker in
            let task = context.unsafelyUnwrapped.assumingMemoryBound(to: AttentionTask.self)
            let number = index / task.pointee.kvHeads
            if task.pointee.shares[number].alongKeys {
                task.pointee.merge(number, index % task.pointee.kvHeads, worker)
            }
        }
    }
    return OpStatus.done
}

/// As many as a second-level cache of a megabyte holds with their sums, so that memory is read for few tiles, but
/// four tiles for each thread.
private func queriesPerTile(_ args: cabochon_attention_args, threads: Int) -> Int {
    min(128, max(32, Int(truncatingIfNeeded: args.tokens) * Int(args.heads) / (4 * max(1, threads))))
}

private func attentionShare(
    _ segment: cabochon_segment, _ args: cabochon_attention_args, _ rowsPerTile: Int, index: Int, partial: Int
) -> AttentionShare {
    let rows = Int(truncatingIfNeeded: segment.row_count)
    let kvHeads = Int(args.kv_heads)
    let position = Int(truncatingIfNeeded: segment.first_position)
    let window = Int(truncatingIfNeeded: args.window)
    let firstSpan = (window > 0 ? max(0, position + 1 - window) : 0) / Span.keys
    let spans = rows == 0 ? 0 : (position + rows - 1) / Span.keys + 1 - firstSpan
    let alongKeys = rows > 0 && rows <= min(8, rowsPerTile) && spans > 1
    return AttentionShare(
        firstIndex: index, indices: kvHeads * (alongKeys ? spans : (rows + rowsPerTile - 1) / rowsPerTile),
        alongKeys: alongKeys, firstSpan: firstSpan, spans: spans, partial: partial)
}
