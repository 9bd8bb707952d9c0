// Attention of a few queries that share a KV head over a stretch of its cache.
//
// The queries (some rows of one sequence, every head of the group) go over the keys in blocks of
// 64 that start at multiples of 64, each with an online softmax, and blocks are gathered in spans
// of 256 that start at multiples of 256; spans are merged in order. So the order of every sum
// depends on positions alone, and a single token over a long cache can still be shared out, span
// by span, with the bits that a prompt gets.
import CCabochonBackend
import SIMDIntrinsics

enum Span {
    static let keys = 256
    static let block = 64
}

/// Below every score; finite, so that differences are no NaN.
let lowest: Float = -3.402_823_4e38
/// In the place of a score that does not count: its exponential is 0 even beside `lowest`.
private let masked = -Float.infinity

/// A worker's memory: for M queries of `width` floats (head_size rounded up to whole vectors).
struct AttentionTile {
    var columns: UnsafeMutablePointer<Float>  // [width, columnKeys]
    var waiting: UnsafeMutablePointer<Float>  // [log2 of lanes, ColumnQueries, columnKeys]
    var queries: UnsafeMutablePointer<Float>  // [M, width], zero beyond head_size
    var sums: UnsafeMutablePointer<Float>  // [M, width] of the span
    var scores: UnsafeMutablePointer<Float>  // [M, 64]
    var largest: UnsafeMutablePointer<Float>  // [M] of the span
    var weights: UnsafeMutablePointer<Float>  // [M] sum of exponentials of the span
    var corrections: UnsafeMutablePointer<Float>  // [M]
    var count: Int
    var width: Int
    var headSize: Int
    var window: Int
    var softcap: Float
    /// Query m belongs to position firstPosition + m / group.
    var group: Int
    var firstPosition: Int
    var widened: UnsafeMutablePointer<Float>  // [64, headSize], keys or values of a cache in blocks

    private static func columnFloats(width: Int) -> Int {
        columnKeys * (width + ColumnQueries.count * lanes.trailingZeroBitCount)
    }

    /// Floats that a tile takes.
    static func floats(queries: Int, width: Int, _ args: cabochon_attention_args) -> Int {
        let widened = args.kv_type == WeightType.q8_0 ? Span.block * Int(args.head_size) : 0
        return (columnFloats(width: width) + queries * (2 * width + Span.block + 3) + widened + 15) & ~15
    }

    init(_ memory: UnsafeMutablePointer<Float>, queries maximum: Int, width: Int, _ args: cabochon_attention_args) {
        columns = memory
        waiting = memory + Self.columnKeys * width
        queries = memory + Self.columnFloats(width: width)
        sums = queries + maximum * width
        scores = sums + maximum * width
        largest = scores + maximum * Span.block
        weights = largest + maximum
        corrections = weights + maximum
        widened = corrections + maximum
        count = maximum
        self.width = width
        headSize = Int(args.head_size)
        window = Int(truncatingIfNeeded: args.window)
        softcap = args.softcap
        group = Int(args.heads) / Int(args.kv_heads)
        firstPosition = 0
    }

    /// Keys that query m sees.
    @inline(__always) func range(_ query: Int) -> (first: Int, end: Int) {
        let position = firstPosition + query / group
        return (window > 0 ? max(0, position + 1 - window) : 0, position + 1)
    }

    /// The keys, counted from the block's first, that any of `few` queries sees; none where end <= first.
    @inline(__always) func seen(_ query: Int, _ few: Int, _ block: Range<Int>) -> (first: Int, end: Int) {
        (
            max(0, range(query).first - block.lowerBound),
            min(block.upperBound, range(query + few - 1).end) - block.lowerBound
        )
    }

    /// One span: leaves largest and weights, and sums where there is any weight: a query that sees nothing of the
    /// span has none.
    func attend<Format: CacheFormat>(
        _: Format.Type, span: Int, _ keys: UnsafeRawPointer, _ values: UnsafeRawPointer
    ) {
        for query in 0..<count {
            largest[query] = lowest
            weights[query] = 0
        }
        let first = max(span * Span.keys, range(0).first)
        let end = min((span + 1) * Span.keys, range(count - 1).end)
        var start = first / Span.block * Span.block
        while start < end {
            let block = start..<min(start + Span.block, end)
            let place = Format.bytes(of: start * headSize)
            let blockBytes = Format.bytes(of: Span.block * headSize)
            let nextValues = ReadAhead(values + place, bytes: blockBytes)
            let nextKeys = ReadAhead(keys + (place + blockBytes), bytes: blockBytes)
            if count < Format.leastQueriesOfRows {
                score(Format.self, keys + place, block, next: nextValues)
                exponentiate(block)
                accumulate(Format.self, values + place, block, next: nextKeys)
            } else {
                let elements = block.count * headSize
                let keys = Format.rows(keys + place, elements: elements, buffer: widened)
                if count < Self.leastQueriesOfColumns {
                    score(Format.Rows.self, keys, block, next: nextValues)
                } else {
                    scoreColumns(Format.Rows.self, keys, block, next: nextValues)
                }
                exponentiate(block)
                let values = Format.rows(values + place, elements: elements, buffer: widened)
                accumulate(Format.Rows.self, values, block, next: nextKeys)
            }
            start += Span.block
        }
    }

    /// Scores of one block to exponentials, masked ones to zero. As many queries as a vector has lanes take each
    /// step before the next: a query's own steps wait for each other, and those across lanes are shared.
    @inline(__always)
    private func exponentiate(_ block: Range<Int>) {
        var query = 0
        while query < count {
            let some = min(lanes, count - query)
            var greatest = LaneSums(repeating: broadcast(masked))
            for number in 0..<some { greatest[number] = cap(query + number, block) }
            let before = loadFloats(largest + query, first: some)
            let now = maximum(before, largestOfLanes(greatest))
            let correction = exponential(subtract(before, now))
            storeFloats(now, largest + query, first: some)
            storeFloats(correction, corrections + query, first: some)
            var totals = LaneSums(repeating: broadcast(Float(0)))
            for number in 0..<some { totals[number] = exponentials(query + number) }
            let weight = multiply(loadFloats(weights + query, first: some), correction)
            storeFloats(add(weight, sumsOfLanes(totals)), weights + query, first: some)
            query += lanes
        }
    }

    /// Caps the scores of a query, masks those of keys that it doesn't see, and returns the largest, lane by lane.
    @inline(__always)
    private func cap(_ query: Int, _ block: Range<Int>) -> FloatVector {
        let (first, end) = seen(query, 1, block)
        let row = scores + query * Span.block
        let none = broadcast(masked)
        var greatest = none
        for part in 0..<Span.block / lanes {
            var score = loadFloats(row + part * lanes)
            if softcap > 0 {
                // Not a quotient, which takes as long as all of the tangent.
                let part = multiply(score, broadcast(1 / softcap))
                score = multiply(broadcast(softcap), hyperbolicTangent(part))
            }
            if first > 0 || end < Span.block {
                let number = add(laneNumbers(), broadcast(Float(part * lanes)))
                let some = select(number, below: broadcast(Float(first)), none, else: score)
                score = select(number, below: broadcast(Float(end)), some, else: none)
            }
            storeFloats(score, row + part * lanes)
            greatest = maximum(greatest, score)
        }
        return greatest
    }

    /// Scores of a query to exponentials, and their sum, lane by lane.
    @inline(__always)
    private func exponentials(_ query: Int) -> FloatVector {
        let row = scores + query * Span.block
        let now = broadcast(largest[query])
        var total = broadcast(Float(0))
        for part in 0..<Span.block / lanes {
            let value = exponential(subtract(loadFloats(row + part * lanes), now))
            storeFloats(value, row + part * lanes)
            total = add(total, value)
        }
        return total
    }
}
