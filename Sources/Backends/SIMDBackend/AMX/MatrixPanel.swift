// Products of super-blocks by AMX's tiles: sixteen tokens by a panel's sixteen rows and 64 columns in one instruction.
//
// A super-block of a panel is unpacked once for all tokens of an op, into digits (MatrixDigits) of codes times integer
// scales: its sum over 256 columns needs no scale but those in common, and stays in tiles until it is whole. Scaling
// each 32 columns' sums, as byte products do, and as types without super-blocks would have to, stores tiles as often as
// it multiplies them: that was tried, and is no faster than byte products (0.93 to 1.12).
//
// While a tile of tokens is multiplied, the sums of the one before are scaled: in turns, not side by side, the same takes
// 1.45 times as long on a Xeon of the fifth generation.
import SIMDIntrinsics

/// Fewer tokens are taken by byte products, for which a panel need not be unpacked.
let matrixTokens = 24
/// Panels that share a pass over the activations, part of the columns after part.
let matrixPanels = 8
/// Bytes of the activations' columns that stay in the second-level cache while panels are multiplied with them.
private let partBytes = 512 &<< 10

/// Whether the system lets this process have tiles, which it then saves with each of its threads that has taken them.
func mayMultiplyMatrices() -> Bool { cabochon_x86_ask_for_tiles() == 0 }

enum MatrixPanel<Format: PackedFormat> {
    @inline(__always) static func pays(tokens: Int) -> Bool { Format.Scales.isSuper && tokens >= matrixTokens }

    /// A super-block's digits; then vectors of scales and minima in common, and pairs of integer minima.
    private static var superBytes: Int { MatrixDigits.superBytes + 10 * vectorBytes }
    private static var productBytes: Int { 2 * 3 * MatrixDigits.tileBytes }

    /// Bytes of memory for the products of `matrixPanels`: sums on their way, two super-blocks unpacked, one of which
    /// sums are scaled by while the other is multiplied, and totals.
    static func bytes(tokens: Int) -> Int {
        let tiles = (tokens + MatrixDigits.tokens - 1) / MatrixDigits.tokens
        return productBytes + 2 * superBytes + (1 + matrixPanels * tiles) * MatrixDigits.tileBytes
    }

    /// output[token, 0 ..< rows] for all tokens of an op, by the panels that these rows fill.
    static func multiplyPanels(
        _ panels: UnsafeRawPointer, panelBytes: Int, blocks: Int, _ input: UnsafeRawPointer, tokens: Int,
        memory: UnsafeMutableRawPointer, _ output: UnsafeMutablePointer<Float>, _ stride: Int, rows: Int
    ) {
        let count = blocks / 8
        let panelCount = (rows + lanes - 1) / lanes
        let tiles = (tokens + MatrixDigits.tokens - 1) / MatrixDigits.tokens
        let part = max(1, partBytes / (tiles * MatrixInput.superBytes))
        let places = memory + productBytes
        // Totals lie together, since rows of an output can be a multiple of pages apart; what has no sums before it
        // goes to a tile in front of them.
        let spare = places + 2 * superBytes
        let totals = spare + MatrixDigits.tileBytes
        for vector in 0..<panelCount * tiles * MatrixDigits.tokens {
            storeFloats(broadcast(Float(0)), totals + vector * vectorBytes)
        }
        var pending = PendingSums(common: spare, activations: input, totals: spare, products: memory)
        var isOdd = false
        var place = 0
        cabochon_x86_take_tiles()
        for first in Swift.stride(from: 0, to: count, by: part) {
            for panel in 0..<panelCount {
                for index in first..<min(first + part, count) {
                    place = 1 - place
                    let weights = places + place * superBytes
                    unpack(panels + panel * panelBytes + index * Format.chunkBytes, to: weights)
                    for tile in 0..<tiles {
                        let activations = input + (tile * count + index) * MatrixInput.superBytes
                        let products = memory + (isOdd ? productBytes / 2 : 0)
                        cabochon_x86_clear_sums()
                        addProducts(0, activations, weights, pending)
                        addProducts(1, activations, weights, pending)
                        addProducts(2, activations, weights, pending)
                        addProducts(3, activations, weights, pending)
                        cabochon_x86_store_sums(products)
                        pending = PendingSums(
                            common: weights + MatrixDigits.superBytes, activations: activations,
                            totals: totals + (panel * tiles + tile) * MatrixDigits.tileBytes, products: products)
                        isOdd = !isOdd
                    }
                }
            }
        }
        for quarter in 0..<4 { finish(quarter, pending) }
        cabochon_x86_let_go_of_tiles()
        for panel in 0..<panelCount {
            for token in 0..<tokens {
                let total = loadFloats(totals + panel * tiles * MatrixDigits.tileBytes + token * vectorBytes)
                storeFloats(total, output + token * stride + panel * lanes, first: min(lanes, rows - panel * lanes))
            }
        }
    }

    /// 64 columns' products, and meanwhile a quarter of the tokens of the sums before.
    @inline(__always)
    private static func addProducts(
        _ step: Int, _ activations: UnsafeRawPointer, _ weights: UnsafeRawPointer, _ pending: PendingSums
    ) {
        cabochon_x86_add_products(
            activations + step * MatrixDigits.stepBytes, weights + step * MatrixDigits.stepBytes)
        finish(step, pending)
    }

    /// Adds what the super-block's blocks have in common to a quarter of a tile's tokens.
    @inline(__always)
    private static func finish(_ quarter: Int, _ pending: PendingSums) {
        for place in 0..<4 { finish(token: 4 * quarter + place, pending) }
    }

    /// The same operations in the same order as SuperBlock's.
    @inline(__always)
    private static func finish(token: Int, _ pending: PendingSums) {
        let products = pending.products + token * vectorBytes
        let record = pending.activations + MatrixDigits.superBytes + token * MatrixInput.recordBytes
        let integer = MatrixDigits.sum(
            high: loadInts(products), mixed: loadInts(products + MatrixDigits.tileBytes),
            low: loadInts(products + 2 * MatrixDigits.tileBytes))
        let sum = SuperSums.floats(integer, shift: Format.shift)
        let target = pending.totals + token * vectorBytes
        let total = loadFloats(target)
        let scale = loadFloats(pending.common)
        let superScale = broadcast(record.load(fromByteOffset: Tile.superScale, as: Float.self))
        if Format.Scales.minimumPairs == 0 {
            return storeFloats(multiplyAdd(sum, multiply(scale, superScale), total), target)
        }
        let field = Format.Scales.halves ? Tile.halfSums : Tile.sums
        var product = broadcast(Int32(0))
        for pair in 0..<Format.Scales.minimumPairs {
            let sums = broadcast(record.load(fromByteOffset: field + 4 * pair, as: Int32.self))
            product = addPairs(loadInts(pending.common + (2 + pair) * vectorBytes), sums, to: product)
        }
        let minimum = loadFloats(pending.common + vectorBytes)
        let value = subtractProduct(floats(product), minimum, from: multiply(sum, scale))
        storeFloats(multiplyAdd(value, superScale, total), target)
    }

    /// A super-block of a panel as its digits, and what its blocks have in common.
    private static func unpack(_ chunk: UnsafeRawPointer, to target: UnsafeMutableRawPointer) {
        var spread = InlineArray<5, IntVector>(repeating: broadcast(Int32(0)))
        withUnsafeMutableBytes(of: &spread) { spread in
            let place = spread.baseAddress.unsafelyUnwrapped
            var record = chunk + Format.chunkCodeBytes
            if Format.Scales.isSpread {
                Format.Scales.spread(record, to: place)
                record = UnsafeRawPointer(place)
            }
            for index in 0..<8 {
                let block = PanelBlock<Format>(chunk, index, panelBytes: 0, spread: record)
                block.prefetch(countingScales: true, isFar: false)
                let step = target + index / 2 * MatrixDigits.stepBytes + (index & 1) * 8 * vectorBytes
                for half in 0..<2 {
                    let scale = inBothWords(Format.Scales.integerScale(record, index, half))
                    for group in 4 * half..<4 * half + 4 {
                        unpackGroup(block.codes, group, scale, step + group * vectorBytes)
                    }
                }
            }
            let common = target + MatrixDigits.superBytes
            storeFloats(Format.unshifted(Format.Scales.superScale(record)), common)
            if Format.Scales.minimumPairs > 0 {
                storeFloats(Format.Scales.superMinimum(record), common + vectorBytes)
                for pair in 0..<Format.Scales.minimumPairs {
                    storeInts(Format.Scales.minimumPair(record, pair), common + (2 + pair) * vectorBytes)
                }
            }
        }
    }

    /// Four columns of each row.
    @inline(__always)
    private static func unpackGroup(
        _ codes: UnsafeRawPointer, _ group: Int, _ scale: IntVector, _ target: UnsafeMutableRawPointer
    ) {
        var four = Format.Codes.group(codes, group, 0)
        if Format.usesTable { four = withUnsafePointer(to: iq4Table) { lookUp(loadTable($0), four) } }
        let byte = _mm512_set1_epi16(0xff)
        let even = number(and(four, byte), scale)
        let odd = number(shiftRight(four, 8), scale)
        let high = or(and(MatrixDigits.high(even), byte), shiftLeft(MatrixDigits.high(odd), 8))
        let low = or(MatrixDigits.raisedLow(even), shiftLeft(MatrixDigits.raisedLow(odd), 8))
        storeInts(high, target)
        storeInts(_mm512_sub_epi8(low, _mm512_set1_epi8(64)), target + MatrixDigits.tileBytes)
    }

    @inline(__always)
    private static func number(_ codes: IntVector, _ scale: IntVector) -> IntVector {
        let zero = Format.zeroShift < 0 ? 0 : Int16(1) &<< Int16(truncatingIfNeeded: Format.zeroShift)
        return _mm512_mullo_epi16(_mm512_sub_epi16(codes, _mm512_set1_epi16(zero)), scale)
    }

    /// The lower word of each lane in both words.
    @inline(__always) private static func inBothWords(_ values: IntVector) -> IntVector {
        or(and(values, broadcast(Int32(0xffff))), shiftLanesLeft(values, 16))
    }
}

/// Sums of a super-block and a tile of tokens that are yet to be scaled.
private struct PendingSums {
    /// What the super-block's blocks have in common.
    var common: UnsafeRawPointer
    var activations: UnsafeRawPointer
    /// What the super-blocks before have come to.
    var totals: UnsafeMutableRawPointer
    var products: UnsafeRawPointer
}
