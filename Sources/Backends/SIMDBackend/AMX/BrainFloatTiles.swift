// Products of BF16 weights by AMX's tiles of bfloat16, and by lanes in the order of tiles.
//
// A tile takes sixteen rows of a weight side by side: [16][16 rows][2 columns], 32 columns. One instruction sums
// sixteen tokens' products with it in an order of its own: for each token and row two chains of multiply-adds, one of
// the even and one of the odd columns, numbers below the normal ones taken for zero; both together are added to the sum
// so far. Lanes of float32, one for each row, do the same for a few tokens, with the same bits.
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

    let isCoded: Bool
    /// The first panel's codes, or the first row.
    private let source: UnsafeRawPointer
    private let sourceBytes: Int
    private let records: UnsafePointer<PanelRecord>
    private let exceptions: UnsafePointer<Exception>
    private let rows: Int
    let columns: Int

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
    static func tiles(_ tokens: Int) -> Int { (tokens + Self.tokens - 1) / Self.tokens }

    /// Bytes that a worker's products need.
    static func memoryBytes(tokens: Int) -> Int {
        if tokens <= fewTokens { return stepBytes }
        return 2 * partSteps * stepBytes + panels * (tiles(tokens) + 1) * tileBytes
    }

    // MARK: Rows as tiles

    /// The way through a panel's steps.
    struct Reader {
        var panel: Int
        var table: IntVector = broadcast(Int32(0))
        /// Those that are yet to come.
        var exceptions: UnsafePointer<Exception>
        var end: UnsafePointer<Exception>
        /// The step of the next, or none.
        @inline(__always) var exceptionStep: Int { exceptions < end ? exceptions.pointee.step : -1 }
    }

    func reader(_ panel: Int) -> Reader {
        if !isCoded { return Reader(panel: panel, exceptions: exceptions, end: exceptions) }
        let first = exceptions + Int(records[panel].firstException)
        return Reader(
            panel: panel, table: records[panel].table, exceptions: first,
            end: first + Int(records[panel].exceptionCount))
    }

    /// [tile][16][16 rows][2 columns], zero beyond the last column. Steps are taken in order.
    @inline(__always)
    func unpack(_ step: Int, _ reader: inout Reader, to target: UnsafeMutableRawPointer) {
        if !isCoded {
            let first = source + reader.panel * lanes * sourceBytes
            let last = min(lanes, rows - reader.panel * lanes) - 1
            return Self.arrange(first, rowBytes: sourceBytes, lastRow: last, columns, step, to: target)
        }
        let codes = stepCodes(step, reader)
        for group in 0..<8 {
            let words = Self.words(codes, group, reader.table)
            let place = target + 2 * group * vectorBytes
            storeInts(words[0], place)
            storeInts(words[1], place + vectorBytes)
            storeInts(words[2], place + Self.tileBytes)
            storeInts(words[3], place + (Self.tileBytes + vectorBytes))
        }
        while reader.exceptionStep == step {
            target.storeBytes(
                of: UInt16(truncatingIfNeeded: reader.exceptions.pointee.bits),
                toByteOffset: 2 * reader.exceptions.pointee.placeInStep, as: UInt16.self)
            reader.exceptions += 1
        }
    }

    @inline(__always) func stepCodes(_ step: Int, _ reader: Reader) -> UnsafeRawPointer {
        source + reader.panel * sourceBytes + step * Self.stepCodeBytes
    }

    /// Two rows of each of a step's tiles, those of the first before those of the second.
    @inline(__always)
    static func words(_ codes: UnsafeRawPointer, _ group: Int, _ table: IntVector) -> BrainFloatCodes.GroupWords {
        let place = codes + group * groupBytes
        for line in 0..<groupBytes / 64 { cabochon_simd_prefetch(place + (4096 + 64 * line)) }
        return BrainFloatCodes.unpack(place, 0, table)
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
}
