// Products of many queries and keys: keys are turned into columns, the same element of as many keys as a vector has
// lanes, so that no sum has to be added across lanes.
//
// The bits are those of AttentionTile+Scores, which serves few queries: what a lane sums there, every `lanes`-th
// element, is a sum of its own here, and these are added in the order of LaneTree.

/// Lanes, or where two are summed at a time, pairs of lanes half a vector apart.
private let steps = lanes / columnLanes

extension AttentionTile {
    /// Turning keys pays from so many queries on.
    static let leastQueriesOfColumns = 48
    /// Keys whose columns are there at a time: those of two vectors, whose 256 elements the first-level cache holds.
    static let columnKeys = 2 * lanes

    /// scores = queries . keys, for those keys of one block that a query sees.
    ///
    /// - Parameter next: what is read after these keys.
    @inline(__always)
    func scoreColumns<Format: FloatFormat>(
        _: Format.Type, _ keys: UnsafeRawPointer, _ block: Range<Int>, next: ReadAhead
    ) {
        let (firstSeen, endSeen) = seen(0, count, block)
        var next = next
        let linesPerStep = next.lines / (count / ColumnQueries.count * (Span.block / Self.columnKeys) * steps) + 1
        var first = firstSeen / Self.columnKeys * Self.columnKeys
        while first < endSeen {
            turn(Format.self, keys, first, endSeen - 1)
            var query = 0
            while query < count {
                let few = count - query >= ColumnQueries.count ? ColumnQueries.count : 1
                let (start, end) = seen(query, few, block)
                if start < end && start < first + Self.columnKeys && first < end {
                    let both = end > first + lanes
                    if few == ColumnQueries.count && both {
                        score(InlineArray<2, Void>.self, ColumnQueries.self, first, query, linesPerStep, &next)
                    } else if few == ColumnQueries.count {
                        score(InlineArray<1, Void>.self, ColumnQueries.self, first, query, linesPerStep, &next)
                    } else if both {
                        score(InlineArray<2, Void>.self, InlineArray<1, Void>.self, first, query, linesPerStep, &next)
                    } else {
                        score(InlineArray<1, Void>.self, InlineArray<1, Void>.self, first, query, linesPerStep, &next)
                    }
                }
                query += few
            }
            first += Self.columnKeys
        }
    }

    /// columns = keys `first` on, transposed; keys beyond the last repeat it, and their scores are masked later.
    @inline(__always)
    private func turn<Format: FloatFormat>(_: Format.Type, _ keys: UnsafeRawPointer, _ first: Int, _ last: Int) {
        for part in 0..<2 where first + part * lanes <= last {
            let firstKey = first + part * lanes
            let start = keys + firstKey * headSize * Format.bytes
            var place = 0
            while place < headSize {
                let elements = min(lanes, headSize - place)
                if elements == lanes && firstKey + lanes - 1 <= last {
                    turn(Format.self, start, last: .max, place, lanes, part)
                } else {
                    turn(Format.self, start, last: last - firstKey, place, elements, part)
                }
                place += lanes
            }
        }
    }

    /// One vector of each key; `last` and `elements` are constants where keys and elements are whole.
    @inline(__always)
    private func turn<Format: FloatFormat>(
        _: Format.Type, _ keys: UnsafeRawPointer, last: Int, _ place: Int, _ elements: Int, _ part: Int
    ) {
        let rows = vectorOfEachLane { key in
            let row = keys + (min(key, last) * headSize + place) * Format.bytes
            return elements == lanes ? Format.load(row) : Format.load(row, first: elements)
        }
        storeTransposed(rows, columns + place * Self.columnKeys + part * lanes, stride: Self.columnKeys * 4)
    }

    /// `few` queries by the keys of `parts` vectors.
    private func score<let parts: Int, let few: Int>(
        _: InlineArray<parts, Void>.Type, _: InlineArray<few, Void>.Type, _ first: Int, _ query: Int,
        _ linesPerStep: Int, _ next: inout ReadAhead
    ) {
        let source = queries + query * width
        for step in 0..<steps {
            next.ask(lines: linesPerStep)
            var totals = sumsOfColumns(
                InlineArray<parts, Void>.self, InlineArray<few, Void>.self, source, LaneTree.lane(step * columnLanes))
            let levels = LaneTree.waitingLevels(step)
            for level in 0..<levels {
                let sums = waiting + level * few * parts * lanes
                for number in 0..<few {
                    for part in 0..<parts {
                        let sum = loadFloats(sums + (number * parts + part) * lanes)
                        totals[number][part] = add(sum, totals[number][part])
                    }
                }
            }
            let isLast = step == steps - 1
            let target = isLast ? scores + query * Span.block + first : waiting + levels * few * parts * lanes
            let stride = isLast ? Span.block : parts * lanes
            for number in 0..<few {
                for part in 0..<parts {
                    storeFloats(totals[number][part], target + number * stride + part * lanes)
                }
            }
        }
    }

    /// What lane `lane`, or it and the one half a vector away together, would sum.
    @inline(__always)
    private func sumsOfColumns<let parts: Int, let few: Int>(
        _: InlineArray<parts, Void>.Type, _: InlineArray<few, Void>.Type, _ source: UnsafePointer<Float>, _ lane: Int
    ) -> InlineArray<few, InlineArray<parts, FloatVector>> {
        typealias Sums = InlineArray<few, InlineArray<parts, FloatVector>>
        var totals = Sums(repeating: InlineArray(repeating: broadcast(Float(0))))
        var others = Sums(repeating: InlineArray(repeating: broadcast(Float(0))))
        var column = columns + lane * Self.columnKeys
        var element = source + lane
        for _ in 0..<width / lanes {
            addProducts(&totals, element, column)
            if columnLanes == 2 { addProducts(&others, element + lanes / 2, column + lanes / 2 * Self.columnKeys) }
            column += lanes * Self.columnKeys
            element += lanes
        }
        if columnLanes == 2 {
            for number in 0..<few {
                for part in 0..<parts { totals[number][part] = add(totals[number][part], others[number][part]) }
            }
        }
        return totals
    }

    /// An element of each query by its column.
    @inline(__always)
    private func addProducts<let parts: Int, let few: Int>(
        _ totals: inout InlineArray<few, InlineArray<parts, FloatVector>>, _ element: UnsafePointer<Float>,
        _ column: UnsafePointer<Float>
    ) {
        var keys = InlineArray<parts, FloatVector>(repeating: broadcast(Float(0)))
        for part in 0..<parts { keys[part] = loadFloats(column + part * lanes) }
        for number in 0..<few {
            let query = broadcast(element[number * width])
            for part in 0..<parts { totals[number][part] = multiplyAdd(query, keys[part], totals[number][part]) }
        }
    }
}
