// The product of F32, F16 and BF16 weights by many tokens, with rows side by side in the lanes.
//
// The order is FloatProduct's, which suits a lone token: lane l of a dot product sums every `lanes`-th column (or pair
// of columns) from l on, one for each step, and the lanes are added in a tree. With many tokens that spends a tenth of
// the time on adding lanes and more on rows that come from the second-level cache for every few tokens. So four panels
// of `lanes` rows are rearranged once per call (unpacked first where they are coded), the activations too, and one lane
// is taken after the other (LaneTree): the sums of a part of the panels by six tokens stay in registers over the steps of
// a lane, its rows in a near cache over all tokens of a chunk. With fewer panels the activations, which pass once for
// every group of them, would come from memory as fast as they are multiplied.
import CCabochonBackend
import SIMDIntrinsics

/// What one worker multiplies: some panels, and the sums of a chunk of tokens.
struct FloatPanels {
    static let count = 4
    static let rows = count * lanes
    /// Panels of a part: as many as a tile takes.
    private static var part: Int { floatPanels }
    /// The lane sums of a chunk stay in the second-level cache, and its activations with them.
    static let chunkTokens = 48
    private static let tileTokens = 6
    private static let levels = lanes.trailingZeroBitCount + 1
    private static let levelFloats = (chunkTokens + tileTokens) * rows

    /// [lane][part][step][panel], a column or pair of columns of each of a panel's rows.
    private var elements: UnsafeMutableRawPointer
    /// [level][token][panel], `lanes` rows each.
    private var sums: UnsafeMutablePointer<Float>
    private var columns: Int
    private var pairs: Bool
    private var steps: Int
    /// The rows of a coded panel as bfloat16.
    private var unpacked: UnsafeMutableRawPointer

    /// - Parameter pairs: the weights are BF16 and the activations bfloat16, taken in pairs of columns.
    init(_ memory: UnsafeMutableRawPointer, columns: Int, pairs: Bool) {
        sums = memory.assumingMemoryBound(to: Float.self)
        elements = memory + Self.levels * Self.levelFloats * 4
        steps = Self.steps(columns, pairs: pairs)
        unpacked = elements + lanes * Self.laneStride(steps)
        self.columns = columns
        self.pairs = pairs
    }

    static func bytes(columns: Int, pairs: Bool) -> Int {
        let steps = steps(columns, pairs: pairs)
        return levels * levelFloats * 4 + lanes * laneStride(steps) + ((lanes * columns * 2 + 63) & ~63)
    }

    /// A cache line more than the elements of a lane: a multiple of 4,096 would give all lanes one set of the
    /// first-level cache.
    @inline(__always) private static func laneStride(_ steps: Int) -> Int { steps * rows * 4 + 64 }
    private var laneStride: Int { Self.laneStride(steps) }

    /// Steps of a lane, of four bytes each.
    @inline(__always) static func steps(_ columns: Int, pairs: Bool) -> Int {
        let columnsPerStep = pairs ? 2 * lanes : lanes
        return (columns + columnsPerStep - 1) / columnsPerStep
    }

    /// The first token of a chunk and how many it has: the last takes what would not fill a tile.
    @inline(__always) static func chunk(_ number: Int, of tokens: Int) -> (first: Int, tokens: Int) {
        let first = number * chunkTokens
        return (first, number == chunks(tokens) - 1 ? tokens - first : chunkTokens)
    }
    /// The chunk of a token.
    @inline(__always) static func chunk(of token: Int, _ tokens: Int) -> (first: Int, tokens: Int) {
        chunk(min(token / chunkTokens, chunks(tokens) - 1), of: tokens)
    }
    @inline(__always) static func chunks(_ tokens: Int) -> Int { (tokens + chunkTokens - tileTokens) / chunkTokens }

    /// Rearranges a panel's rows (fewer at a weight's end: what the rows beyond leave is nobody's).
    func take(_ weight: LinearWeight, row: Int, as panel: Int) {
        let rows = weight.packed.rows - row
        if rows <= 0 { return }
        var data = weight.data + row * weight.rowBytes
        if weight.isCoded {
            let codes = BrainFloatCodes(weight.data)
            codes.unpack(panel: row / lanes, rows: min(rows, lanes), pairs: pairs, into: unpacked)
            data = UnsafeRawPointer(unpacked)
        }
        switch weight.rowType {
        case WeightType.f32: take(FormatF32.self, data, weight.rowBytes, last: rows - 1, panel)
        case WeightType.f16: take(FormatF16.self, data, weight.rowBytes, last: rows - 1, panel)
        default:
            if pairs {
                take(BrainFloatPairs.self, data, weight.rowBytes, last: rows - 1, panel)
            } else {
                take(FormatBF16.self, data, weight.rowBytes, last: rows - 1, panel)
            }
        }
    }

    private func take<Format: ProductFormat>(
        _: Format.Type, _ data: UnsafeRawPointer, _ rowBytes: Int, last: Int, _ panel: Int
    ) {
        // The last row again where there are fewer.
        var offsets = InlineArray<16, Int>(repeating: 0)
        for row in 0..<lanes { offsets[row] = min(row, last) * rowBytes }
        let whole = columns / Format.columnsPerStep
        for step in 0..<whole {
            let source = data + step * Format.columnsPerStep * Format.bytes
            store(step, panel) {
                cabochon_simd_prefetch(source + offsets[$0] + 512)
                return Format.bits(Format.load(source + offsets[$0]))
            }
        }
        if whole == steps { return }
        let source = data + whole * Format.columnsPerStep * Format.bytes
        store(whole, panel) {
            Format.bits(Format.load(source + offsets[$0], first: columns - whole * Format.columnsPerStep))
        }
    }

    @inline(__always)
    private func store(_ step: Int, _ panel: Int, _ row: (Int) -> FloatVector) {
        let vector = panel / Self.part * Self.part * steps + step * Self.part + panel % Self.part
        let place = elements + vector * lanes * 4
        storeTransposed(vectorOfEachLane(row), place, stride: laneStride)
    }

    /// The products of a chunk: [token][panel], `lanes` rows each.
    func multiply(_ input: LinearInput, first: Int, tokens: Int) -> UnsafePointer<Float> {
        if pairs {
            multiply(BrainFloatPairs.self, input, first, tokens)
        } else {
            multiply(FormatF32.self, input, first, tokens)
        }
        return UnsafePointer(sums + (Self.levels - 1) * Self.levelFloats)
    }

    private func multiply<Format: ProductFormat>(_: Format.Type, _ input: LinearInput, _ first: Int, _ tokens: Int) {
        let values = input.elements + first * input.elementStride
        for place in 0..<lanes {
            let lane = LaneTree.lane(place)
            let weights = UnsafeRawPointer(elements) + lane * laneStride
            let laneValues = values + lane * tokens * steps * 4
            var token = 0
            while token < tokens {
                // A tile that ends at the last token may begin with some that have been multiplied: the same again.
                let rest = tokens - token
                if rest > 8 || rest == 5 || rest == 6 {
                    tiles(Format.self, InlineArray<6, Void>.self, weights, laneValues, min(token, tokens - 6), place)
                    token += 6
                } else {
                    tiles(Format.self, InlineArray<4, Void>.self, weights, laneValues, min(token, tokens - 4), place)
                    token += 4
                }
            }
        }
    }

    /// The tiles of all parts by the same tokens.
    @inline(__always)
    private func tiles<Format: ProductFormat, let tokens: Int>(
        _: Format.Type, _: InlineArray<tokens, Void>.Type, _ weights: UnsafeRawPointer, _ values: UnsafeRawPointer,
        _ token: Int, _ place: Int
    ) {
        for first in stride(from: 0, to: Self.count, by: Self.part) {
            tile(
                Format.self, InlineArray<tokens, Void>.self, weights + first * steps * lanes * 4,
                values + token * steps * 4, sums + token * Self.rows + first * lanes, place)
        }
    }

    /// One lane's sums of a part by some tokens, added to those that have waited for them.
    ///
    /// - Parameter sums: the tile's in the first level.
    private func tile<Format: ProductFormat, let tokens: Int>(
        _: Format.Type, _: InlineArray<tokens, Void>.Type, _ weights: UnsafeRawPointer, _ values: UnsafeRawPointer,
        _ sums: UnsafeMutablePointer<Float>, _ place: Int
    ) {
        var total = FloatPanelVectors<InlineArray<tokens, FloatVector>>(
            repeating: InlineArray<tokens, FloatVector>(repeating: broadcast(Float(0))))
        var source = weights
        var value = values
        for _ in 0..<steps {
            var vectors = FloatPanelVectors<Format.Operand>(repeating: Format.loadInput(source))
            for panel in 1..<Self.part { vectors[panel] = Format.loadInput(source + panel * lanes * 4) }
            for token in 0..<tokens {
                let element = Format.broadcastInput(value + token * steps * 4)
                for panel in 0..<Self.part {
                    total[panel][token] = Format.addProduct(vectors[panel], element, to: total[panel][token])
                }
            }
            source += Self.part * lanes * 4
            value += 4
        }
        var level = sums
        for _ in 0..<LaneTree.waitingLevels(place) {
            for token in 0..<tokens {
                for panel in 0..<Self.part {
                    let waiting = loadFloats(level + token * Self.rows + panel * lanes)
                    total[panel][token] = add(waiting, total[panel][token])
                }
            }
            level += Self.levelFloats
        }
        for token in 0..<tokens {
            for panel in 0..<Self.part {
                storeFloats(total[panel][token], level + token * Self.rows + panel * lanes)
            }
        }
    }
}

/// A token's activations in its chunk: [lane][token][step], a column or pair of columns each.
func arrangeByLane<Format: ProductFormat>(
    _: Format.Type, _ row: UnsafePointer<Float>, _ columns: Int, _ token: Int, of tokens: Int,
    _ output: UnsafeMutableRawPointer
) {
    let chunk = FloatPanels.chunk(of: token, tokens)
    let steps = (columns + Format.columnsPerStep - 1) / Format.columnsPerStep
    let place = output + (chunk.first * lanes + token - chunk.first) * steps * 4
    for first in stride(from: 0, to: steps, by: lanes) {
        let rows = vectorOfEachLane { Format.bits(Format.input(row, columns, step: first + $0)) }
        storeTransposed(rows, place + first * 4, stride: chunk.tokens * steps * 4, count: min(lanes, steps - first))
    }
}
