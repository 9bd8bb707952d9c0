// Activations as the byte products take them: signed bytes in blocks of 32 with a float scale each
// (largest magnitude / 127, rounded to nearest even), made once per op whatever the weights.
//
// Tokens are grouped in tiles, so that a kernel reaches all tokens of a tile at constant offsets. A
// tile is, block after block, one record for each of its tokens: 32 bytes; the scale; minus the sum
// of the bytes, over 32, over the first and over the second 16 columns, times 128 where zeroIs128 (a
// weight's zero point times the sum starts the integer accumulator); scale * sum (a weight's
// minimum takes that). The largest tile is two such parts, one after the other, which two panels
// take by themselves. A record depends on its own token only, never on the tile's size.
import CCabochonBackend

enum Tile {
    /// Bytes of a record, and where its fields lie.
    static let bytesPerToken = 52
    static let scale = 32
    static let negatedSum = 36
    @inline(__always) static func negatedHalfSum(_ half: Int) -> Int { 40 + 4 * half }
    static let scaledSum = 48

    @inline(__always) static func blockBytes(_ tokens: Int) -> Int { bytesPerToken * tokens }

    /// Sizes for which kernels exist; the largest that fits comes next.
    @inline(__always) static func size(remaining: Int) -> Int {
        if remaining >= largestTile { return largestTile }
        if remaining >= 8 { return 8 }
        if remaining >= 4 { return 4 }
        return remaining >= 2 ? 2 : 1
    }

    /// Tokens of a part of such a tile.
    @inline(__always) static func part(of size: Int) -> Int { size == largestTile ? tilePart : size }
}

/// The records of one block of a tile.
struct TileBlock {
    /// Those of the tile's first part, and how far on the second's lie.
    var records: UnsafeRawPointer
    let span: Int

    @inline(__always) func float(_ field: Int, _ token: Int) -> Float { load(field, token) }
    @inline(__always) func int(_ field: Int, _ token: Int) -> Int32 { load(field, token) }

    @inline(__always) var secondPart: TileBlock { TileBlock(records: records + span, span: 0) }

    @inline(__always) private func load<Value: BitwiseCopyable>(_ field: Int, _ token: Int) -> Value {
        let part =
            token < tilePart
            ? records + token * Tile.bytesPerToken
            : records + span + (token - tilePart) * Tile.bytesPerToken
        return part.loadUnaligned(fromByteOffset: field, as: Value.self)
    }
}

/// The activations of one call: where tiles and row buffers lie in the op's scratch.
struct Activations {
    var input: UnsafePointer<Float>
    var inputStride: Int
    var tokens: Int
    var columns: Int
    var gain: UnsafePointer<Float>?
    var epsilon: Float
    /// Set where a norm comes first: one normalized row for each worker.
    var rows: UnsafeMutablePointer<Float>
    var tiles: UnsafeMutableRawPointer

    @inline(__always) var blocks: Int { columns &>> 5 }
    @inline(__always) static func tileBytes(tokens: Int, columns: Int) -> Int {
        (tokens * (columns &>> 5) * Tile.bytesPerToken + 63) & ~63
    }

    /// The tile that starts at a token.
    @inline(__always) func tile(at token: Int) -> UnsafeMutableRawPointer {
        tiles + token * blocks * Tile.bytesPerToken
    }

    /// First token and size of the tile that holds a token.
    @inline(__always) func tile(of token: Int) -> (first: Int, size: Int) {
        var first = token / largestTile * largestTile
        var size = Tile.size(remaining: tokens - first)
        while token >= first + size {
            first += size
            size = Tile.size(remaining: tokens - first)
        }
        return (first, size)
    }

    /// Quantizes every row, several threads sharing the work where there is enough of it.
    static func quantize(_ run: UnsafePointer<cabochon_run>, _ activations: inout Activations) {
        let rowsPerIndex = max(1, 16384 / activations.columns)
        parallel(run, (activations.tokens + rowsPerIndex - 1) / rowsPerIndex, &activations) { context, index, worker in
            let activations = context.unsafelyUnwrapped.assumingMemoryBound(to: Activations.self)
            let rowsPerIndex = max(1, 16384 / activations.pointee.columns)
            let first = index * rowsPerIndex
            for token in first..<min(first + rowsPerIndex, activations.pointee.tokens) {
                activations.pointee.quantize(token, worker)
            }
        }
    }

    /// A token's row after the norm, which is left in the worker's memory.
    @inline(__always) func normalizedRow(_ token: Int, _ worker: Int) -> UnsafePointer<Float> {
        let row = input + token * inputStride
        guard let gain else { return row }
        let normalized = rows + worker * columns
        normalize(row, gain, epsilon, columns, normalized)
        return UnsafePointer(normalized)
    }

    private func quantize(_ token: Int, _ worker: Int) {
        let row = normalizedRow(token, worker)
        let (first, size) = tile(of: token)
        let part = Tile.part(of: size)
        let place = token - first
        var records = tile(at: first + place / part * part) + Tile.bytesPerToken * (place % part)
        var index = 0
        while index < blocks {
            let source = row + 32 * index
            if blocks - index >= lanes {
                quantizeBlocks(BlocksOfLanes.self, source, records, Tile.blockBytes(part))
                index += lanes
                records += lanes * Tile.blockBytes(part)
            } else if blocks - index >= 4 {
                quantizeBlocks(InlineArray<4, Void>.self, source, records, Tile.blockBytes(part))
                index += 4
                records += 4 * Tile.blockBytes(part)
            } else {
                quantizeBlocks(InlineArray<1, Void>.self, source, records, Tile.blockBytes(part))
                index += 1
                records += Tile.blockBytes(part)
            }
        }
    }
}

/// Blocks whose largest magnitude is no larger count as zero: 127 / magnitude would overflow.
private let smallest: Float = 4e-37

/// A few blocks of a row, at most `lanes`: what a block is reduced to (its largest magnitude, its two
/// sums) is reduced for all of them together, one block a lane.
private func quantizeBlocks<let count: Int>(
    _: InlineArray<count, Void>.Type, _ values: UnsafePointer<Float>, _ records: UnsafeMutableRawPointer, _ stride: Int
) {
    let source = UnsafeRawPointer(values)
    let zero = broadcast(Float(0))
    var partial = LaneSums(repeating: zero)
    for index in 0..<count {
        partial[index] = magnitude(loadFloats(source + 128 * index))
        for part in 1..<32 / lanes {
            let vector = loadFloats(source + 128 * index + part * vectorBytes)
            partial[index] = maximum(partial[index], magnitude(vector))
        }
    }
    let greatest = largestOfLanes(partial)
    let scales = divide(greatest, broadcast(Float(127)))
    var inverses = InlineArray<1, FloatVector>(
        repeating: select(
            broadcast(smallest), below: greatest, divide(broadcast(Float(127)), greatest), else: zero))

    var firstHalves = LaneSums(repeating: zero)
    var secondHalves = LaneSums(repeating: zero)
    withUnsafeBytes(of: &inverses) { inverses in
        for index in 0..<count {
            let inverse = broadcast(inverses.load(fromByteOffset: 4 * index, as: Float.self))
            let target = records + index * stride
            firstHalves[index] = quantizeHalf(source + 128 * index, inverse, target)
            secondHalves[index] = quantizeHalf(source + 128 * index + 64, inverse, target + 16)
        }
    }
    let first = sumsOfLanes(firstHalves)
    let second = sumsOfLanes(secondHalves)
    let total = add(first, second)
    let negated = broadcast(Float(zeroIs128 ? -128 : -1))
    var fields = InlineArray<5, IntVector>(repeating: unsafeBitCast(scales, to: IntVector.self))
    fields[1] = ints(multiply(total, negated))
    fields[2] = ints(multiply(first, negated))
    fields[3] = ints(multiply(second, negated))
    fields[4] = unsafeBitCast(multiply(scales, total), to: IntVector.self)
    withUnsafeBytes(of: &fields) { fields in
        for index in 0..<count {
            let target = records + index * stride + Tile.scale
            for field in 0..<5 {
                let value = fields.load(fromByteOffset: field * vectorBytes + 4 * index, as: Int32.self)
                target.storeBytes(of: value, toByteOffset: 4 * field, as: Int32.self)
            }
        }
    }
}

/// Sixteen columns; returns their sum, spread over lanes, as floats: small integers, so exact.
@inline(__always)
private func quantizeHalf(
    _ source: UnsafeRawPointer, _ inverse: FloatVector, _ target: UnsafeMutableRawPointer
) -> FloatVector {
    var sum = broadcast(Float(0))
    for part in 0..<16 / lanes {
        let codes = ints(multiply(loadFloats(source + part * vectorBytes), inverse))
        storeLowBytes(codes, target + part * lanes)
        sum = add(sum, floats(codes))
    }
    return sum
}
