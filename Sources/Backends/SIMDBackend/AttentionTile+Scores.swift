// Products of queries and keys: a few queries by a few keys at a time, so many that their sums fill
// one vector and are added across lanes together.

extension AttentionTile {
    /// scores = queries . keys, for those keys of one block that a query sees.
    ///
    /// - Parameter next: what is read after these keys.
    @inline(__always)
    func score<Format: CacheFormat>(
        _: Format.Type, _ keys: UnsafeRawPointer, _ block: Range<Int>, next: ReadAhead
    ) {
        var query = 0
        while query < count {
            let few = attentionQueries >= 4 && count - query >= 4 ? 4 : count - query >= 2 ? 2 : 1
            let (first, end) = seen(query, few, block)
            let ahead = next.share(query, few, of: count)
            if few == 4 {
                score(Format.self, InlineArray<4, Void>.self, keys, first, end, query, ahead)
            } else if few == 2 {
                score(Format.self, InlineArray<2, Void>.self, keys, first, end, query, ahead)
            } else {
                score(Format.self, InlineArray<1, Void>.self, keys, first, end, query, ahead)
            }
            query += few
        }
    }

    /// `few` queries by lanes / few keys at a time; keys beyond the last repeat it, and their scores
    /// are masked later.
    private func score<Format: CacheFormat, let few: Int>(
        _: Format.Type, _: InlineArray<few, Void>.Type, _ keys: UnsafeRawPointer, _ first: Int, _ end: Int,
        _ query: Int, _ ahead: ReadAhead
    ) {
        var ahead = ahead
        let keysAtOnce = lanes / few
        let source = queries + query * width
        var key = first / keysAtOnce * keysAtOnce
        while key < end {
            var products = LaneSums(repeating: broadcast(Float(0)))
            var place = 0
            while place + Format.groupElements <= headSize {
                addProducts(
                    Format.self, &products, source, keys, key, end - 1, place, Format.groupElements,
                    InlineArray<few, Void>.self, &ahead)
                place += Format.groupElements
            }
            if place < headSize {
                addProducts(
                    Format.self, &products, source, keys, key, end - 1, place, headSize - place,
                    InlineArray<few, Void>.self, &ahead)
            }
            var totals = InlineArray<1, FloatVector>(repeating: sumsOfLanes(products))
            withUnsafePointer(to: &totals) { pointer in
                let total = UnsafeRawPointer(pointer).assumingMemoryBound(to: Float.self)
                for other in 0..<few {
                    for number in 0..<keysAtOnce {
                        scores[(query + other) * Span.block + key + number] = total[other * keysAtOnce + number]
                    }
                }
            }
            key += keysAtOnce
        }
    }

    /// A group of each query's elements by one of each key's; `elements` is a constant where they are whole.
    @inline(__always)
    private func addProducts<Format: CacheFormat, let few: Int>(
        _: Format.Type, _ products: inout LaneSums, _ source: UnsafePointer<Float>, _ keys: UnsafeRawPointer,
        _ key: Int, _ lastKey: Int, _ place: Int, _ elements: Int, _: InlineArray<few, Void>.Type,
        _ ahead: inout ReadAhead
    ) {
        let keysAtOnce = lanes / few
        let isWhole = elements == Format.groupElements
        var scales = LaneSums(repeating: broadcast(Float(0)))
        for number in 0..<keysAtOnce where isWhole {
            scales[number] = Format.scale(keys + Format.bytes(of: min(key + number, lastKey) * headSize), place)
        }
        for part in 0..<(isWhole ? Format.groupElements / lanes : 1) {
            let place = place + part * lanes
            var vectors = InlineArray<few, FloatVector>(repeating: broadcast(Float(0)))
            for number in 0..<few { vectors[number] = loadFloats(source + number * width + place) }
            for number in 0..<keysAtOnce {
                ahead.ask(beside: number, of: Format.vectorBytes)
                let row = keys + Format.bytes(of: min(key + number, lastKey) * headSize)
                let vector = Format.load(row, place, first: isWhole ? lanes : elements, scales[number])
                for other in 0..<few {
                    let index = other * keysAtOnce + number
                    products[index] = multiplyAdd(vectors[other], vector, products[index])
                }
            }
        }
    }
}
