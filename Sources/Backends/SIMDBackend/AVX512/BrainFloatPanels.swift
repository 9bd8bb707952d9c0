// The product of BF16 weights by many tokens, with rows side by side in the lanes.
//
// The order is FloatProduct's, which suits a lone token: lane l of a dot product sums the pairs of columns
// l, l + 16, l + 32, ..., one for each step, and the lanes are added in a tree: l and l + 8 first, then + 4,
// + 2, + 1. With many tokens that spends a tenth of the time on adding lanes and more on rows that come from the
// second-level cache for every six tokens. So four panels of sixteen rows are rearranged once per call (unpacked
// first where they are coded), the activations too, and one lane is taken after the other (LaneTree): the sums of
// 64 rows by six tokens stay in registers over the steps of a lane, its rows in the first-level cache over all
// tokens of a chunk.
import CCabochonBackend
import SIMDIntrinsics

/// What one worker multiplies: four panels, and the sums of a chunk of tokens.
struct BrainFloatPanels {
    static let count = 4
    static let rows = count * lanes
    /// The lane sums of a chunk stay in the second-level cache, and its activations with them.
    static let chunkTokens = 48
    private static let tileTokens = 6
    private static let levels = 5
    private static let levelFloats = (chunkTokens + tileTokens) * rows

    /// A panel's vector of a lane and step: [lane][step][panel], sixteen pairs of columns, one of each row.
    private var pairs: UnsafeMutableRawPointer
    /// [level][token][panel], sixteen rows each.
    private var sums: UnsafeMutablePointer<Float>
    private var columns: Int
    /// Sixteen rows of a coded weight as bfloat16.
    private var unpacked: UnsafeMutableRawPointer

    init(_ memory: UnsafeMutableRawPointer, columns: Int) {
        sums = memory.assumingMemoryBound(to: Float.self)
        pairs = memory + Self.levels * Self.levelFloats * 4
        unpacked = pairs + Self.steps(columns) * lanes * Self.rows * 4
        self.columns = columns
    }

    static func bytes(columns: Int) -> Int {
        levels * levelFloats * 4 + steps(columns) * lanes * rows * 4 + steps(columns) * lanes * lanes * 4
    }

    @inline(__always) static func steps(_ columns: Int) -> Int { (columns + 2 * lanes - 1) / (2 * lanes) }

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

    /// Rearranges sixteen rows (fewer at a weight's end: what the rows beyond leave is nobody's).
    func take(_ weight: LinearWeight, row: Int, as panel: Int) {
        let rows = weight.packed.rows - row
        if rows <= 0 { return }
        var data = weight.data + row * weight.rowBytes
        if weight.isCoded {
            BrainFloatCodes(weight.data).unpack(panel: row / lanes, rows: min(rows, lanes), into: unpacked)
            data = UnsafeRawPointer(unpacked)
        }
        let last = rows - 1
        let steps = Self.steps(columns)
        for step in 0..<steps {
            let source = data + step * 64
            let count = min(2 * lanes, columns - step * 2 * lanes)
            let rows = vectorOfEachLane { pairs(source, $0, last, weight, count) }
            let place = pairs + step * Self.rows * 4 + panel * 64
            storeTransposed(rows, place, stride: steps * Self.rows * 4)
        }
    }

    /// One step of a row, or of the last row where there are fewer.
    @inline(__always)
    private func pairs(
        _ source: UnsafeRawPointer, _ row: Int, _ last: Int, _ weight: LinearWeight, _ count: Int
    ) -> FloatVector {
        let place = source + min(row, last) * weight.rowBytes
        cabochon_simd_prefetch(place + 512)
        return _mm512_castsi512_ps(BrainFloatPairs.load(place, first: count))
    }

    /// The products of a chunk: [token][panel], sixteen rows each.
    func multiply(_ input: LinearInput, first: Int, tokens: Int) -> UnsafePointer<Float> {
        let steps = Self.steps(columns)
        let values = input.brainFloats + first * input.brainFloatStride
        for place in 0..<lanes {
            let lane = LaneTree.lane(place)
            let weights = UnsafeRawPointer(pairs) + lane * steps * Self.rows * 4
            let laneValues = values + lane * tokens * steps * 4
            var token = 0
            while token < tokens {
                // A tile that ends at the last token may begin with some that have been multiplied: the same again.
                let rest = tokens - token
                if rest > 8 || rest == 5 || rest == 6 {
                    tile(InlineArray<6, Void>.self, weights, laneValues, min(token, tokens - 6), steps, place)
                    token += 6
                } else {
                    tile(InlineArray<4, Void>.self, weights, laneValues, min(token, tokens - 4), steps, place)
                    token += 4
                }
            }
        }
        return UnsafePointer(sums + (Self.levels - 1) * Self.levelFloats)
    }

    /// One lane's sums of four panels by some tokens, added to those that have waited for them.
    private func tile<let tokens: Int>(
        _: InlineArray<tokens, Void>.Type, _ weights: UnsafeRawPointer, _ values: UnsafeRawPointer, _ token: Int,
        _ steps: Int, _ place: Int
    ) {
        var total = InlineArray<4, InlineArray<tokens, FloatVector>>(
            repeating: InlineArray<tokens, FloatVector>(repeating: broadcast(Float(0))))
        var source = weights
        var value = values + token * steps * 4
        for _ in 0..<steps {
            var vectors = InlineArray<4, IntVector>(repeating: loadInts(source))
            for panel in 1..<4 { vectors[panel] = loadInts(source + panel * 64) }
            for token in 0..<tokens {
                let pair = broadcast((value + token * steps * 4).load(as: Int32.self))
                for panel in 0..<4 {
                    total[panel][token] = BrainFloatPairs.addProduct(vectors[panel], pair, to: total[panel][token])
                }
            }
            source += 4 * 64
            value += 4
        }
        var level = sums + token * Self.rows
        for _ in 0..<LaneTree.waitingLevels(place) {
            for token in 0..<tokens {
                for panel in 0..<4 {
                    let waiting = loadFloats(level + token * Self.rows + panel * lanes)
                    total[panel][token] = add(waiting, total[panel][token])
                }
            }
            level += Self.levelFloats
        }
        for token in 0..<tokens {
            for panel in 0..<4 { storeFloats(total[panel][token], level + token * Self.rows + panel * lanes) }
        }
    }
}

/// A token's activations as bfloat16, in its chunk: [lane][token][step], a pair of columns each.
func narrowToBrainFloatsByLane(
    _ row: UnsafePointer<Float>, _ columns: Int, _ token: Int, of tokens: Int, _ output: UnsafeMutableRawPointer
) {
    let chunk = BrainFloatPanels.chunk(of: token, tokens)
    let steps = BrainFloatPanels.steps(columns)
    let place = output + (chunk.first * lanes + token - chunk.first) * steps * 4
    for first in stride(from: 0, to: steps, by: lanes) {
        let rows = vectorOfEachLane { narrowPairs(row, columns, first + $0) }
        storeTransposed(rows, place + first * 4, stride: chunk.tokens * steps * 4, count: min(lanes, steps - first))
    }
}

/// A step's pairs of columns; zero beyond the last.
@inline(__always)
private func narrowPairs(_ row: UnsafePointer<Float>, _ columns: Int, _ step: Int) -> FloatVector {
    let column = step * 2 * lanes
    let low = loadFloats(row + column, first: min(lanes, max(0, columns - column)))
    let high = loadFloats(row + column + lanes, first: min(lanes, max(0, columns - column - lanes)))
    return _mm512_castsi512_ps(cabochon_x86_brain_floats_from_both_512(low, high))
}
