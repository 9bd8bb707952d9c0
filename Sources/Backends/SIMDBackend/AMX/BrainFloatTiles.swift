// Products of BF16 weights by AMX's tiles of bfloat16, and by lanes in the order of tiles.
//
// A tile takes sixteen rows of a weight side by side: [16][16 rows][2 columns], 32 columns. One instruction sums
// sixteen tokens' products with it in an order of its own: for each token and row two chains of multiply-adds, one of
// the even and one of the odd columns, numbers below the normal ones taken for zero; both together are added to the sum
// so far. Lanes of float32, one for each row, do the same for a few tokens (FewTokens), with the same bits.
//
// Rows become tiles when they are needed, since a tile of them lies in the first-level cache: those of codes of twelve
// bits (BrainFloatCodes.swift has their meaning) and those of a file. Codes lie in panels of sixteen rows, two tiles'
// one after the other, in each 192 bytes two rows of both tiles. Four rows share a window of exponents.
import CCabochonBackend
import SIMDIntrinsics

struct BrainFloatTiles {
    static let tileColumns = 32
    static let tileBytes = 1024
    /// Rows become tiles by twos.
    static let stepColumns = 2 * tileColumns
    static let stepBytes = 2 * tileBytes
    static let groupBytes = 192
    static let stepCodeBytes = 8 * groupBytes
    /// Panels that share a pass over the activations, part of the columns after part, and steps of a part: two panels'
    /// tiles, 16 KiB, stay in the first-level cache, and the tokens' in the second-level one.
    static let panels = 8
    static let partSteps = 4
    static let tokens = 16

    /// What a panel has beside its codes.
    struct PanelRecord {
        var firstException: UInt32 = 0
        var exceptionCount: UInt32 = 0
        var windows = InlineArray<4, ExponentWindow>(repeating: ExponentWindow())

        /// High bytes by code: in each quarter of a vector those of its four rows.
        var table: IntVector {
            let tables: InlineArray<4, InlineArray<2, UInt64>> = [
                windows[0].bytes, windows[1].bytes, windows[2].bytes, windows[3].bytes,
            ]
            return withUnsafePointer(to: tables) { loadInts($0) }
        }
    }

    /// A weight that its code does not give.
    struct Exception {
        /// Its word in the panel's tiles, ascending from step to step.
        var place: UInt32
        var bits: UInt32
        @inline(__always) var step: Int { Int(place) / (stepBytes / 2) }
        @inline(__always) var placeInStep: Int { Int(place) % (stepBytes / 2) }
    }

    /// Whether a type's products are these.
    @inline(__always) static func take(_ type: UInt32) -> Bool { type == WeightType.bf16 }
    /// More tokens are multiplied by tiles.
    static let fewTokens = 4

    private let isCoded: Bool
    /// The first panel's codes, or the first row.
    private let source: UnsafeRawPointer
    private let sourceBytes: Int
    private let records: UnsafePointer<PanelRecord>
    private let exceptions: UnsafePointer<Exception>
    private let rows: Int
    private let columns: Int

    init(_ weight: LinearWeight, columns: Int) {
        isCoded = weight.isCoded
        rows = weight.packed.rows
        self.columns = columns
        source = isCoded ? weight.data + PackedWeight.headerBytes : weight.data
        sourceBytes = isCoded ? weight.packed.panelBytes : weight.rowBytes
        let end = source + (isCoded ? weight.packed.panels * sourceBytes : 0)
        records = end.assumingMemoryBound(to: PanelRecord.self)
        exceptions = (end + weight.packed.panels * MemoryLayout<PanelRecord>.stride)
            .assumingMemoryBound(to: Exception.self)
    }

    static func steps(_ columns: Int) -> Int { (columns + stepColumns - 1) / stepColumns }
    private static func tiles(_ tokens: Int) -> Int { (tokens + Self.tokens - 1) / Self.tokens }

    /// Bytes that a worker's products need.
    static func memoryBytes(tokens: Int) -> Int {
        if tokens <= fewTokens { return stepBytes }
        return 2 * partSteps * stepBytes + panels * (tiles(tokens) + 1) * tileBytes
    }

    // MARK: Rows as tiles

    /// The way through a panel's steps.
    private struct Reader {
        var panel: Int
        var exception: Int = 0
        var table: IntVector = broadcast(Int32(0))
    }

    private func reader(_ panel: Int) -> Reader {
        if !isCoded { return Reader(panel: panel) }
        return Reader(panel: panel, exception: Int(records[panel].firstException), table: records[panel].table)
    }

    /// [tile][16][16 rows][2 columns], zero beyond the last column. Steps are taken in order.
    @inline(__always)
    private func unpack(_ step: Int, _ reader: inout Reader, to target: UnsafeMutableRawPointer) {
        if !isCoded {
            let first = source + reader.panel * lanes * sourceBytes
            let last = min(lanes, rows - reader.panel * lanes) - 1
            return Self.arrange(first, rowBytes: sourceBytes, lastRow: last, columns, step, to: target)
        }
        let codes = source + reader.panel * sourceBytes + step * Self.stepCodeBytes
        for line in 0..<Self.stepCodeBytes / 64 { cabochon_simd_prefetch(codes + (4096 + 64 * line)) }
        for group in 0..<8 {
            let words = BrainFloatCodes.unpack(codes + group * Self.groupBytes, 0, reader.table)
            let place = target + 2 * group * vectorBytes
            storeInts(words[0], place)
            storeInts(words[1], place + vectorBytes)
            storeInts(words[2], place + Self.tileBytes)
            storeInts(words[3], place + (Self.tileBytes + vectorBytes))
        }
        let record = records[reader.panel]
        let end = Int(record.firstException) + Int(record.exceptionCount)
        while reader.exception < end && exceptions[reader.exception].step == step {
            let exception = exceptions[reader.exception]
            target.storeBytes(
                of: UInt16(truncatingIfNeeded: exception.bits), toByteOffset: 2 * exception.placeInStep,
                as: UInt16.self)
            reader.exception += 1
        }
    }

    /// A step's columns of a file's rows, the last of which again where they are fewer than sixteen.
    static func arrange(
        _ first: UnsafeRawPointer, rowBytes: Int, lastRow: Int, _ columns: Int, _ step: Int,
        to target: UnsafeMutableRawPointer
    ) {
        for tile in 0..<2 {
            let column = step * stepColumns + tile * tileColumns
            let count = max(0, min(tileColumns, columns - column))
            let mask = __mmask32(truncatingIfNeeded: (1 &<< count) - 1)
            let words = vectorOfEachLane { row in
                let place = first + (min(row, lastRow) * rowBytes + 2 * column)
                return floatsOfBits(count == tileColumns ? loadInts(place) : _mm512_maskz_loadu_epi16(mask, place))
            }
            storeTransposed(words, target + tile * tileBytes, stride: vectorBytes)
        }
    }

    /// output[token, 0 ..< rows] by the panels, one or `panels` at most where all tokens of an op are taken together, that
    /// these rows fill.
    ///
    /// - Parameters:
    ///   - values: what `fill` made of all tokens of the op.
    ///   - tokens: from `token` on; all of them if they are more than `fewTokens`.
    func multiply(
        panel: Int, rows: Int, by values: UnsafeRawPointer, from token: Int, tokens: Int, of allTokens: Int,
        memory: UnsafeMutableRawPointer, _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        if allTokens > Self.fewTokens {
            return multiplyMany(panel, rows: rows, by: values, tokens: tokens, memory: memory, output, stride)
        }
        let rowBytes = Self.steps(columns) * Self.stepColumns * 4
        multiplyFew(
            panel, rows: rows, by: (values + token * rowBytes).assumingMemoryBound(to: Float.self), tokens: tokens,
            memory: memory, output, stride)
    }

    // MARK: Few tokens

    private func multiplyFew(
        _ panel: Int, rows: Int, by values: UnsafePointer<Float>, tokens: Int, memory: UnsafeMutableRawPointer,
        _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        let before = cabochon_x86_take_small_for_zero()
        switch tokens {
        case 1: multiplyFew(InlineArray<1, Void>.self, panel, rows, values, memory, output, stride)
        case 2: multiplyFew(InlineArray<2, Void>.self, panel, rows, values, memory, output, stride)
        case 3: multiplyFew(InlineArray<3, Void>.self, panel, rows, values, memory, output, stride)
        default: multiplyFew(InlineArray<4, Void>.self, panel, rows, values, memory, output, stride)
        }
        cabochon_x86_take_small_as_before(before)
    }

    /// Apart from where the processor is told how to take small numbers, past which no sum may move.
    @inline(never)
    private func multiplyFew<let tokens: Int>(
        _: InlineArray<tokens, Void>.Type, _ panel: Int, _ rows: Int, _ values: UnsafePointer<Float>,
        _ memory: UnsafeMutableRawPointer, _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        typealias Sums = InlineArray<tokens, FloatVector>
        let zero = Sums(repeating: broadcast(Float(0)))
        let upper = broadcast(Int32(bitPattern: 0xffff_0000))
        let steps = Self.steps(columns)
        let valueStride = steps * Self.stepColumns
        var reader = reader(panel)
        var totals = zero
        for step in 0..<steps {
            unpack(step, &reader, to: memory)
            var (even, odd, nextEven, nextOdd) = (zero, zero, zero, zero)
            for pair in 0..<16 {
                let words = loadInts(memory + pair * vectorBytes)
                let nextWords = loadInts(memory + (Self.tileBytes + pair * vectorBytes))
                let value = values + (step * Self.stepColumns + 2 * pair)
                for token in 0..<tokens {
                    let value = value + token * valueStride
                    even[token] = multiplyAdd(
                        floatsOfBits(shiftLanesLeft(words, 16)), broadcast(value[0]), even[token])
                    odd[token] = multiplyAdd(floatsOfBits(and(words, upper)), broadcast(value[1]), odd[token])
                    nextEven[token] = multiplyAdd(
                        floatsOfBits(shiftLanesLeft(nextWords, 16)), broadcast(value[Self.tileColumns]),
                        nextEven[token])
                    nextOdd[token] = multiplyAdd(
                        floatsOfBits(and(nextWords, upper)), broadcast(value[Self.tileColumns + 1]), nextOdd[token])
                }
            }
            for token in 0..<tokens {
                let total = add(totals[token], add(even[token], odd[token]))
                totals[token] = add(total, add(nextEven[token], nextOdd[token]))
            }
        }
        for token in 0..<tokens { storeFloats(totals[token], output + token * stride, first: rows) }
    }

    // MARK: Many tokens

    private func multiplyMany(
        _ first: Int, rows: Int, by values: UnsafeRawPointer, tokens: Int, memory: UnsafeMutableRawPointer,
        _ output: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        let panelCount = (rows + lanes - 1) / lanes
        let steps = Self.steps(columns)
        let tiles = Self.tiles(tokens)
        let weights = memory
        let partBytes = Self.partSteps * Self.stepBytes
        // [two panels][tile of tokens][panel]
        let totals = memory + 2 * partBytes
        var readers = InlineArray<8, Reader>(repeating: reader(first))
        for panel in 1..<panelCount { readers[panel] = reader(first + panel) }
        cabochon_x86_take_tiles()
        for part in Swift.stride(from: 0, to: steps, by: Self.partSteps) {
            let partSteps = min(Self.partSteps, steps - part)
            let tileValues = values + part * tiles * Self.stepBytes
            for panel in Swift.stride(from: 0, to: panelCount, by: 2) {
                for number in 0..<min(2, panelCount - panel) {
                    for step in 0..<partSteps {
                        unpack(
                            part + step, &readers[panel + number],
                            to: weights + number * partBytes + step * Self.stepBytes)
                    }
                }
                let pairTotals = totals + panel * tiles * Self.tileBytes
                for tile in Swift.stride(from: 0, to: tiles, by: 2) {
                    let place = pairTotals + 2 * tile * Self.tileBytes
                    let activations = tileValues + tile * partSteps * Self.stepBytes
                    let isFirst = part == 0
                    if tiles - tile == 1 {
                        addPart(to: place, activations, weights, partSteps, tiles: 1, isFirst: isFirst)
                    } else {
                        addPart(to: place, activations, weights, partSteps, tiles: 2, isFirst: isFirst)
                    }
                }
            }
        }
        cabochon_x86_let_go_of_tiles()
        for panel in 0..<panelCount {
            let count = min(lanes, rows - panel * lanes)
            let place = totals + ((panel & ~1) * tiles + (panel & 1)) * Self.tileBytes
            for token in 0..<tokens {
                let total = loadFloats(
                    place + token / Self.tokens * 2 * Self.tileBytes + token % Self.tokens * vectorBytes)
                storeFloats(total, output + token * stride + panel * lanes, first: count)
            }
        }
    }

    /// A part of two panels by one or two tiles of tokens.
    @inline(__always)
    private func addPart(
        to totals: UnsafeMutableRawPointer, _ activations: UnsafeRawPointer, _ weights: UnsafeRawPointer,
        _ steps: Int, tiles: Int32, isFirst: Bool
    ) {
        if isFirst { cabochon_x86_clear_totals() } else { cabochon_x86_load_totals(totals, tiles) }
        var values = activations
        var panel = weights
        for _ in 0..<2 * steps {
            cabochon_x86_add_brain_float_tiles(
                values, values + steps * Self.stepBytes, panel, panel + Self.partSteps * Self.stepBytes, tiles)
            values += Self.tileBytes
            panel += Self.tileBytes
        }
        cabochon_x86_store_totals(totals, tiles)
    }

    // MARK: Activations

    /// Of a few tokens: [tokens, columns] of float32, rounded to bfloat16; of more: [part][tile of tokens][32 columns of
    /// the part][16 tokens][32] of bfloat16. Zero beyond the last column and token.
    static func inputBytes(tokens: Int, columns: Int) -> Int {
        let steps = steps(columns)
        return tokens <= fewTokens ? tokens * steps * stepColumns * 4 : tiles(tokens) * steps * stepBytes
    }

    static func fill(
        _ run: UnsafePointer<cabochon_run>, _ activations: Activations, _ memory: UnsafeMutableRawPointer
    ) {
        var task = FillingTask(activations: activations, memory: memory, tiles: tiles(activations.tokens))
        let rows = activations.tokens <= fewTokens ? activations.tokens : task.tiles * tokens
        parallel(run, rows, &task) { context, token, worker in
            let task = context.unsafelyUnwrapped.assumingMemoryBound(to: FillingTask.self).pointee
            if task.activations.tokens <= BrainFloatTiles.fewTokens {
                task.fillRow(token, worker)
            } else {
                task.fillTiles(token, worker)
            }
        }
    }

    private struct FillingTask {
        var activations: Activations
        var memory: UnsafeMutableRawPointer
        var tiles: Int

        func fillRow(_ token: Int, _ worker: Int) {
            let columns = activations.columns
            let row = activations.normalizedRow(token, worker)
            let width = steps(columns) * stepColumns
            let target = memory + token * width * 4
            for column in stride(from: 0, to: width, by: lanes) {
                let values = loadFloats(row + column, first: max(0, min(lanes, columns - column)))
                storeFloats(widenBrainFloats(cabochon_x86_brain_floats_from_512(values)), target + 4 * column)
            }
        }

        func fillTiles(_ token: Int, _ worker: Int) {
            let steps = steps(activations.columns)
            let columns = token < activations.tokens ? activations.columns : 0
            let row = columns > 0 ? activations.normalizedRow(token, worker) : activations.input
            for part in stride(from: 0, to: steps, by: partSteps) {
                let partTiles = 2 * min(partSteps, steps - part)
                let first = memory + part * tiles * stepBytes + token / tokens * partTiles * tileBytes
                for tile in 0..<partTiles {
                    let column = part * stepColumns + tile * tileColumns
                    let low = loadFloats(row + column, first: max(0, min(lanes, columns - column)))
                    let high = loadFloats(row + column + lanes, first: max(0, min(lanes, columns - column - lanes)))
                    storeInts(
                        cabochon_x86_brain_floats_from_both_512(low, high),
                        first + tile * tileBytes + token % tokens * vectorBytes)
                }
            }
        }
    }
}
