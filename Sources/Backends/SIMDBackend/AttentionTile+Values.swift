// Sums of values weighted by exponentials: a few queries by a few vectors of a value at a time.

/// The values of a block whose first key is at `start`, and which of them a few queries take.
private struct ValueRows {
    var start: UnsafeRawPointer
    var keys: Range<Int>
}

extension AttentionTile {
    /// sums = sums * correction + exponentials . values, for those keys of one block that a query sees. The first
    /// block of a span that one of a few queries sees finds no sums. Uses up the corrections.
    ///
    /// - Parameter next: what is read after these values.
    @inline(__always)
    func accumulate<Format: CacheFormat>(
        _: Format.Type, _ values: UnsafeRawPointer, _ block: Range<Int>, next: ReadAhead
    ) {
        var query = 0
        while query < count {
            let left = count - query
            let few = left >= ValueQueries.count ? ValueQueries.count : left >= 4 ? 4 : left >= 2 ? 2 : 1
            let (first, end) = seen(query, few, block)
            var isFirst = max(block.lowerBound / Span.keys * Span.keys, range(query).first) >= block.lowerBound
            var ahead = next.share(query, few, of: count)
            if first >= end {
                query += few
                continue
            }
            // Keys that all of them see, between those that some do: no query's range begins or ends before that of the
            // one in front.
            let firstOfAll = min(end, seen(query + few - 1, 1, block).first)
            let endOfAll = max(firstOfAll, seen(query, 1, block).end)
            if first < firstOfAll {
                accumulateSeen(Format.self, values, block, first..<firstOfAll, query..<query + few, isFirst, &ahead)
                isFirst = false
            }
            let rows = ValueRows(start: values, keys: firstOfAll..<endOfAll)
            if few == ValueQueries.count {
                accumulate(Format.self, ValueQueries.self, ValueVectors.self, rows, query, isFirst, &ahead)
            } else if few == 4 {
                accumulate(Format.self, InlineArray<4, Void>.self, FourValueVectors.self, rows, query, isFirst, &ahead)
            } else if few == 2 {
                accumulate(Format.self, InlineArray<2, Void>.self, PairValueVectors.self, rows, query, isFirst, &ahead)
            } else {
                accumulate(Format.self, InlineArray<1, Void>.self, PairValueVectors.self, rows, query, isFirst, &ahead)
            }
            if endOfAll < end {
                for met in query..<query + few { corrections[met] = 1 }
                accumulateSeen(Format.self, values, block, endOfAll..<end, query..<query + few, false, &ahead)
            }
            query += few
        }
    }

    /// Queries one by one, each with those of the keys that it sees: what it does not see must not even be multiplied by
    /// zero, for it may be infinite. Sums that have met their correction here are corrected by 1 from then on.
    private func accumulateSeen<Format: CacheFormat>(
        _: Format.Type, _ values: UnsafeRawPointer, _ block: Range<Int>, _ keys: Range<Int>, _ queries: Range<Int>,
        _ isFirst: Bool, _ ahead: inout ReadAhead
    ) {
        for query in queries {
            let (first, end) = seen(query, 1, block)
            let lower = max(first, keys.lowerBound)
            let rows = ValueRows(start: values, keys: lower..<max(lower, min(end, keys.upperBound)))
            accumulate(Format.self, InlineArray<1, Void>.self, PairValueVectors.self, rows, query, isFirst, &ahead)
            corrections[query] = 1
        }
    }

    /// Whole values of `few` queries, `parts` vectors at a time: the fewer queries, the more vectors, so that sums need
    /// not wait for each other.
    @inline(__always)
    private func accumulate<Format: CacheFormat, let few: Int, let parts: Int>(
        _: Format.Type, _: InlineArray<few, Void>.Type, _: InlineArray<parts, Void>.Type, _ rows: ValueRows,
        _ query: Int, _ isFirst: Bool, _ ahead: inout ReadAhead
    ) {
        var place = 0
        while place + parts * lanes <= headSize {
            accumulate(
                Format.self, InlineArray<few, Void>.self, InlineArray<parts, Void>.self, rows, query, isFirst, place,
                lanes, &ahead)
            place += parts * lanes
        }
        while place < headSize {
            let elements = min(lanes, headSize - place)
            if elements == lanes {
                accumulate(
                    Format.self, InlineArray<few, Void>.self, InlineArray<1, Void>.self, rows, query, isFirst, place,
                    lanes, &ahead)
            } else {
                accumulate(
                    Format.self, InlineArray<few, Void>.self, InlineArray<1, Void>.self, rows, query, isFirst, place,
                    elements, &ahead)
            }
            place += lanes
        }
    }

    /// For `few` queries and `parts` vectors of `elements` each.
    @inline(__always)
    private func accumulate<Format: CacheFormat, let few: Int, let parts: Int>(
        _: Format.Type, _: InlineArray<few, Void>.Type, _: InlineArray<parts, Void>.Type,
        _ rows: ValueRows, _ query: Int, _ isFirst: Bool, _ place: Int, _ elements: Int, _ ahead: inout ReadAhead
    ) {
        var totals = InlineArray<few, InlineArray<parts, FloatVector>>(
            repeating: InlineArray<parts, FloatVector>(repeating: broadcast(Float(0))))
        let target = sums + query * width + place
        for number in 0..<few where !isFirst {
            let correction = broadcast(corrections[query + number])
            for part in 0..<parts {
                totals[number][part] = multiply(loadFloats(target + number * width + part * lanes), correction)
            }
        }
        let rowBytes = Format.bytes(of: headSize)
        var row = rows.start + rows.keys.lowerBound * rowBytes
        for key in rows.keys {
            var vectors = InlineArray<parts, FloatVector>(repeating: broadcast(Float(0)))
            var scale = broadcast(Float(0))
            for part in 0..<parts {
                ahead.ask(beside: part, of: Format.vectorBytes)
                let place = place + part * lanes
                // Parts make up whole groups, or lie within one: both are powers of two.
                if part * lanes % Format.groupElements == 0 { scale = Format.scale(row, place) }
                vectors[part] = Format.load(row, place, first: elements, scale)
            }
            for number in 0..<few {
                let weight = broadcast(scores[(query + number) * Span.block + key])
                for part in 0..<parts {
                    totals[number][part] = multiplyAdd(weight, vectors[part], totals[number][part])
                }
            }
            row += rowBytes
        }
        for number in 0..<few {
            for part in 0..<parts {
                storeFloats(totals[number][part], target + number * width + part * lanes)
            }
        }
    }
}
