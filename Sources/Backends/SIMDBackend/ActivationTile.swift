// Activations as the byte products take them: signed bytes with a scale for each 32 columns, rounded to nearest even,
// made once per op. Types that have a scale for each 32 columns themselves take largest magnitude / 127.
//
// Those with super-blocks of 256 columns take that of all 256, and of each block how often it can be halved before the
// block's own largest magnitude passes 127. Powers of two are added to the exponents of a weight's integer scales, which
// leaves the multipliers to the byte products, and what scales have in common is multiplied in once for 256 columns.
// One scale for all 256 would do without (llama.cpp's Q8_K), at twice the error on a trained Gemma 3 270M, whose
// activations differ by powers of two between blocks.
//
// Tokens are grouped in tiles, so that a kernel reaches all tokens of a tile at constant offsets. A tile is, block of
// 32 columns after block, one record for each of its tokens; and where scales are for 256, after each eighth block one
// more record for each token (Tile, below). The largest tile is two such parts, one after the other, which two panels
// take by themselves. A record depends on its own token only, never on the tile's size.
import CCabochonBackend

enum Tile {
    /// A block's record: 32 signed bytes; minus their sum, as the instruction set's integer sums start with it
    /// (startOfSums), times a weight's zero point.
    static let blockRecordBytes = 48
    static let sumStart = 32
    /// Then for blocks of 32 the scale, and scale * sum (a weight's minimum takes that).
    static let scale = 36
    static let scaledSum = 40
    /// For super-blocks the same of the first and of the second 16 bytes; and the exponent of a power of two, moved to
    /// where the instruction set adds it (SuperSums.exponentPlace). It is never negative, so that zero stays next to zero.
    @inline(__always) static func halfSumStart(_ half: Int) -> Int { 36 + 4 * half }
    static let exponent = 44
    /// The largest exponent, that of a block with the super-block's own scale.
    static let largestExponent: Int32 = 3

    /// A super-block's record: the scale that exponents are of, and the eight blocks' sums and the sixteen half blocks',
    /// times their powers of two: 32 * 127 * 8 at most, which 16 bits just hold.
    static let superRecordBytes = 52
    static let superScale = 0
    static let sums = 4
    static let halfSums = 20

    @inline(__always) static func blockBytes(_ tokens: Int) -> Int { blockRecordBytes * tokens }

    /// A token's share of a tile.
    @inline(__always) static func tokenBytes(blocks: Int, _ form: InputForms) -> Int {
        blocks * blockRecordBytes + (form == .superBlocks ? blocks / 8 * superRecordBytes : 0)
    }

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

/// The records of one block, or super-block, of a tile.
struct TileRecords {
    /// Those of the tile's first part, how far on the second's lie, and a record's bytes.
    var records: UnsafeRawPointer
    let span: Int
    let stride: Int

    @inline(__always) func float(_ field: Int, _ token: Int) -> Float { load(field, token) }
    @inline(__always) func int(_ field: Int, _ token: Int) -> Int32 { load(field, token) }

    @inline(__always) var secondPart: TileRecords { TileRecords(records: records + span, span: 0, stride: stride) }

    @inline(__always) private func load<Value: BitwiseCopyable>(_ field: Int, _ token: Int) -> Value {
        let part = token < tilePart ? records + token * stride : records + span + (token - tilePart) * stride
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
    /// What `quantize` makes.
    var form = InputForms.blocks
    /// Set where a norm comes first: normalized rows, one for each worker, or all where products read floats.
    var rows: UnsafeMutablePointer<Float>
    var tiles: UnsafeMutableRawPointer
    var superTiles: UnsafeMutableRawPointer

    @inline(__always) var blocks: Int { columns &>> 5 }
    @inline(__always) static func tileBytes(tokens: Int, columns: Int, _ form: InputForms) -> Int {
        (tokens * Tile.tokenBytes(blocks: columns &>> 5, form) + 63) & ~63
    }

    /// The tile that starts at a token.
    @inline(__always) func tile(at token: Int, _ form: InputForms) -> UnsafeMutableRawPointer {
        (form == .superBlocks ? superTiles : tiles) + token * Tile.tokenBytes(blocks: blocks, form)
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
    static func quantize(_ run: UnsafePointer<cabochon_run>, _ activations: inout Activations, _ form: InputForms) {
        activations.form = form
        let rowsPerIndex = max(1, 16384 / max(1, activations.columns))
        parallel(run, (activations.tokens + rowsPerIndex - 1) / rowsPerIndex, &activations) { context, index, worker in
            let activations = context.unsafelyUnwrapped.assumingMemoryBound(to: Activations.self)
            let rowsPerIndex = max(1, 16384 / max(1, activations.pointee.columns))
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
        let start = tile(at: first + place / part * part, form)
        let stride = Tile.blockBytes(part)
        if form == .superBlocks {
            let superStride = 8 * stride + Tile.superRecordBytes * part
            for index in 0..<blocks / 8 {
                let records = start + index * superStride
                quantizeSuperBlock(
                    row + 256 * index, records + Tile.blockRecordBytes * (place % part), stride,
                    records + 8 * stride + Tile.superRecordBytes * (place % part))
            }
            return
        }
        var records = start + Tile.blockRecordBytes * (place % part)
        var index = 0
        while index < blocks {
            let source = row + 32 * index
            if blocks - index >= lanes {
                quantizeBlocks(BlocksOfLanes.self, source, records, stride)
                index += lanes
                records += lanes * stride
            } else if blocks - index >= 4 {
                quantizeBlocks(InlineArray<4, Void>.self, source, records, stride)
                index += 4
                records += 4 * stride
            } else {
                quantizeBlocks(InlineArray<1, Void>.self, source, records, stride)
                index += 1
                records += stride
            }
        }
    }
}

/// Blocks whose largest magnitude is no larger count as zero: 127 / magnitude would overflow. Super-blocks' magnitudes
/// are eight times that, since their blocks' codes are up to eight times as large.
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
            partial[index] = largerMagnitude(partial[index], magnitude(vector))
        }
    }
    let greatest = largestMagnitudesOfLanes(partial)
    // What is no number, or infinite, makes a scale that is none, and so do all products with the block.
    let scales = add(divide(greatest, broadcast(Float(127))), multiply(greatest, zero))
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
    let total = add(sumsOfLanes(firstHalves), sumsOfLanes(secondHalves))
    var fields = InlineArray<3, IntVector>(repeating: ints(total))
    fields[1] = unsafeBitCast(scales, to: IntVector.self)
    fields[2] = unsafeBitCast(multiply(scales, total), to: IntVector.self)
    withUnsafeBytes(of: &fields) { fields in
        for index in 0..<count {
            let target = records + index * stride
            let sum = fields.load(fromByteOffset: 4 * index, as: Int32.self)
            target.storeBytes(
                of: startOfSums(target, count: 32, sum: sum), toByteOffset: Tile.sumStart, as: Int32.self)
            for field in 1..<3 {
                let value = fields.load(fromByteOffset: field * vectorBytes + 4 * index, as: Int32.self)
                target.storeBytes(of: value, toByteOffset: Tile.sumStart + 4 * field, as: Int32.self)
            }
        }
    }
}

/// A super-block of a row: the records of its eight blocks, `stride` apart, and its own.
private func quantizeSuperBlock(
    _ values: UnsafePointer<Float>, _ records: UnsafeMutableRawPointer, _ stride: Int,
    _ superRecord: UnsafeMutableRawPointer
) {
    let source = UnsafeRawPointer(values)
    // Eight, in as many vectors as that takes.
    var largest = InlineArray<16, Float>(repeating: 0)
    var exponents = InlineArray<8, Int32>(repeating: Tile.largestExponent)
    var factors = InlineArray<8, Float>(repeating: 0)
    var halfSums = InlineArray<16, Int32>(repeating: 0)
    withUnsafeMutableBytes(of: &largest) { largest in
        for group in 0..<(8 + lanes - 1) / lanes {
            var partial = LaneSums(repeating: broadcast(Float(0)))
            for index in 0..<min(8, lanes) {
                let block = source + 128 * (group * lanes + index)
                partial[index] = magnitude(loadFloats(block))
                for part in 1..<32 / lanes {
                    let vector = loadFloats(block + part * vectorBytes)
                    partial[index] = largerMagnitude(partial[index], magnitude(vector))
                }
            }
            storeFloats(largestMagnitudesOfLanes(partial), largest.baseAddress.unsafelyUnwrapped + group * vectorBytes)
        }
    }
    var greatest: Float = 0
    // By their bits, as in largerMagnitude.
    for block in 0..<8 where largest[block].bitPattern > greatest.bitPattern { greatest = largest[block] }
    let inverse = greatest > 8 * smallest ? 127 / greatest : 0
    for block in 0..<8 {
        var halvings: Int32 = 0
        if 2 * largest[block] <= greatest { halvings = 1 }
        if 4 * largest[block] <= greatest { halvings = 2 }
        if 8 * largest[block] <= greatest { halvings = 3 }
        exponents[block] -= halvings
        factors[block] = inverse * Float(1 &<< halvings)
    }
    withUnsafeMutableBytes(of: &halfSums) { halfSums in
        for group in 0..<16 / lanes {
            var sums = LaneSums(repeating: broadcast(Float(0)))
            for index in 0..<lanes {
                let half = group * lanes + index
                sums[index] = quantizeHalf(
                    source + 64 * half, broadcast(factors[half / 2]), records + half / 2 * stride + 16 * (half & 1))
            }
            storeInts(ints(sumsOfLanes(sums)), halfSums.baseAddress.unsafelyUnwrapped + group * vectorBytes)
        }
    }
    superRecord.storeBytes(
        of: greatest / Float(127 &<< Tile.largestExponent) + greatest * 0, toByteOffset: Tile.superScale, as: Float.self
    )
    for block in 0..<8 {
        let record = records + block * stride
        let first = halfSums[2 * block]
        let second = halfSums[2 * block + 1]
        record.storeBytes(
            of: startOfSums(record, count: 32, sum: first &+ second), toByteOffset: Tile.sumStart, as: Int32.self)
        record.storeBytes(
            of: startOfSums(record, count: 16, sum: first), toByteOffset: Tile.halfSumStart(0), as: Int32.self)
        record.storeBytes(
            of: startOfSums(record + 16, count: 16, sum: second), toByteOffset: Tile.halfSumStart(1), as: Int32.self)
        record.storeBytes(
            of: exponents[block] &<< SuperSums.exponentPlace, toByteOffset: Tile.exponent, as: Int32.self)
        store((first &+ second) &<< exponents[block], superRecord + Tile.sums + 2 * block)
        store(first &<< exponents[block], superRecord + Tile.halfSums + 4 * block)
        store(second &<< exponents[block], superRecord + Tile.halfSums + 4 * block + 2)
    }
}

@inline(__always) private func store(_ sum: Int32, _ target: UnsafeMutableRawPointer) {
    target.storeBytes(of: Int16(truncatingIfNeeded: sum), as: Int16.self)
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
