// BF16 weights in twelve bits each, without loss: a token reads a quarter less memory. F16 and F32 weights that are
// bfloat16's numbers, as files converted from BF16 have them, are coded as well.
//
// A row of a trained matrix uses few of bfloat16's exponents: all but some in ten thousand weights lie within
// sixteen of them. So the low byte, the mantissa and the lowest bit of the exponent, stays as it is, and of the
// high one, the sign and seven bits of the exponent, four bits are left: the sign, and which of eight in a row
// from the row's first on. A row that has many zeros gives the first one up for them. What lies outside is an
// exception, put right from a list. Products are FloatProduct's, in its order and so with its bits: a lone
// token's are made here, and those of a few, while memory brings the next; for more of them rows are unpacked.
//
// A few rows lie together, so that their sums hide each other's latency while one stream is read: for each row of
// a group in turn, a vector of codes, half a byte each, and two of low bytes. Which column has which place is the
// product's: four vectors of words come of them in the order that it takes (BrainFloatFormat).
import CCabochonBackend
import SIMDIntrinsics

/// Products of BF16 weights by vectors of words.
protocol BrainFloatFormat: ProductFormat {
    /// A vector of words, 2 * `lanes` columns of a row in the order of codes, in the columns' own.
    static func words(_ coded: IntVector) -> IntVector
    /// The column whose word has that place.
    static func column(ofPlace place: Int) -> Int
    /// - Parameter values: 2 * `lanes` columns of the input.
    static func addProducts(_ coded: IntVector, _ values: UnsafeRawPointer, to sum: FloatVector) -> FloatVector
}

extension FormatBF16: BrainFloatFormat {
    // Two steps: words that become float32 in the lanes where they are, columns of the second step above those of
    // the first.
    @inline(__always) static func words(_ coded: IntVector) -> IntVector { stepsOfPairs(coded) }
    @inline(__always) static func column(ofPlace place: Int) -> Int {
        let word = place % (2 * lanes)
        return place - word + word % 2 * lanes + word / 2
    }
    @inline(__always)
    static func addProducts(_ coded: IntVector, _ values: UnsafeRawPointer, to sum: FloatVector) -> FloatVector {
        let first = floatsOfBits(shiftLanesLeft(coded, 16))
        let second = floatsOfBits(and(coded, broadcast(Int32(bitPattern: 0xffff_0000))))
        let sum = addProduct(first, loadFloats(values), to: sum)
        return addProduct(second, loadFloats(values + 4 * lanes), to: sum)
    }
}

/// A packed weight: PackedWeight's record, panels of sets of rows, a record for each set, exceptions.
struct BrainFloatCodes {
    static let vectorBytes = 4 * lanes
    static let groupColumns = 2 * vectorBytes
    static let rowGroupBytes = 3 * vectorBytes
    static let groupBytes = codedRows * rowGroupBytes
    static let setsPerPanel = lanes / codedRows

    /// What a set of rows has beside its codes.
    struct SetRecord {
        var firstException: UInt32 = 0
        var exceptionCount: UInt32 = 0
        var windows = CodedRows<ExponentWindow>(repeating: ExponentWindow())
    }

    /// A weight that its code does not give.
    struct Exception {
        /// (group * codedRows + row of the set) * groupColumns + place in the group: ascending.
        var place: UInt32
        var bits: UInt32
        @inline(__always) var group: Int { Int(place) / (codedRows * groupColumns) }
        @inline(__always) var row: Int { Int(place) / groupColumns % codedRows }
        @inline(__always) var placeInGroup: Int { Int(place) % groupColumns }
    }

    private var codes: UnsafeRawPointer
    private var groups: Int
    private var records: UnsafePointer<SetRecord>
    private var exceptions: UnsafePointer<Exception>

    /// Whether products take a type's columns in pairs.
    @inline(__always) static func pairs(_ type: UInt32, _ host: UnsafePointer<cabochon_host>) -> Bool {
        type == WeightType.bf16 && takesBrainFloatPairs(host)
    }

    init(_ prepared: UnsafeRawPointer) {
        let weight = PackedWeight.at(prepared)
        codes = prepared + PackedWeight.headerBytes
        groups = weight.blocks / (Self.groupColumns / 32)
        let end = codes + weight.panels * weight.panelBytes
        records = end.assumingMemoryBound(to: SetRecord.self)
        exceptions = (end + weight.panels * Self.setsPerPanel * MemoryLayout<SetRecord>.stride)
            .assumingMemoryBound(to: Exception.self)
    }

    /// Products of a panel's first rows by some tokens' values.
    ///
    /// - Parameters:
    ///   - values: [tokens, columns], `stride` bytes apart.
    ///   - pairs: the values are bfloat16, taken in pairs of columns.
    ///   - output: [tokens, rows], `outputStride` apart.
    func multiply(
        panel: Int, rows: Int, by values: UnsafeRawPointer, stride: Int, tokens: Int, pairs: Bool,
        _ output: UnsafeMutablePointer<Float>, _ outputStride: Int
    ) {
        for row in Swift.stride(from: 0, to: rows, by: codedRows) {
            let set = panel * Self.setsPerPanel + row / codedRows
            let last = min(codedRows, rows - row)
            var token = 0
            while token < tokens {
                let rest = tokens - token
                let place = Place(
                    values: values + token * stride, stride: stride, pairs: pairs,
                    output: output + token * outputStride + row, outputStride: outputStride)
                // Five and six as three and some: each tile takes undoing the codes anew.
                let size = rest > 6 || rest == 4 ? 4 : min(rest, 3)
                switch size {
                case 4: multiplyTiles(InlineArray<4, Void>.self, set, last, place)
                case 3: multiplyTiles(InlineArray<3, Void>.self, set, last, place)
                case 2: multiply(CodedRows<InlineArray<2, Void>>.self, set, 0, last, place)
                default: multiply(CodedRows<InlineArray<1, Void>>.self, set, 0, last, place)
                }
                token += size
            }
        }
    }

    /// Some tokens' values, and where their products with a set of rows go.
    private struct Place {
        var values: UnsafeRawPointer
        var stride: Int
        var pairs: Bool
        var output: UnsafeMutablePointer<Float>
        var outputStride: Int
    }

    @inline(__always)
    private func multiplyTiles<let tokens: Int>(
        _: InlineArray<tokens, Void>.Type, _ set: Int, _ lastRow: Int, _ place: Place
    ) {
        for row in stride(from: 0, to: lastRow, by: codedTileRows) {
            multiply(CodedTile<InlineArray<tokens, Void>>.self, set, row, lastRow, place)
        }
    }

    @inline(__always)
    private func multiply<let rows: Int, let tokens: Int>(
        _: InlineArray<rows, InlineArray<tokens, Void>>.Type, _ set: Int, _ firstRow: Int, _ lastRow: Int,
        _ place: Place
    ) {
        let sums: Sums<rows, tokens> =
            place.pairs
            ? sums(BrainFloatPairs.self, set, firstRow, place.values, place.stride)
            : sums(FormatBF16.self, set, firstRow, place.values, place.stride)
        for row in 0..<min(rows, lastRow - firstRow) {
            for token in 0..<tokens {
                place.output[token * place.outputStride + firstRow + row] = sumOfLanes(sums[row][token])
            }
        }
    }

    private typealias Sums<let rows: Int, let tokens: Int> = InlineArray<rows, InlineArray<tokens, FloatVector>>

    private func sums<Format: BrainFloatFormat, let rows: Int, let tokens: Int>(
        _: Format.Type, _ set: Int, _ firstRow: Int, _ values: UnsafeRawPointer, _ stride: Int
    ) -> Sums<rows, tokens> {
        let record = records[set]
        var tables = InlineArray<rows, IntVector>(repeating: record.windows[firstRow].table)
        for row in 1..<rows { tables[row] = record.windows[firstRow + row].table }
        var source = codes + set * groups * Self.groupBytes
        var value = values
        var exception = exceptions + Int(record.firstException)
        let end = exception + Int(record.exceptionCount)
        var nextGroup = exception < end ? exception.pointee.group : groups
        var sums = Sums<rows, tokens>(repeating: InlineArray<tokens, FloatVector>(repeating: broadcast(Float(0))))
        for group in 0..<groups {
            if firstRow == 0 { Self.askAhead(of: source) }
            let first = source + firstRow * Self.rowGroupBytes
            if group == nextGroup {
                let start = exception
                while exception < end && exception.pointee.group == group { exception += 1 }
                nextGroup = exception < end ? exception.pointee.group : groups
                sums = addCorrected(Format.self, first, tables, firstRow, start..<exception, value, stride, sums)
            } else {
                // Each row by itself: a loop of this size is not unrolled, and keeps its sums in memory.
                sums[0] = Self.add(Format.self, Self.unpack(first, 0, tables[0]), value, stride, to: sums[0])
                if rows > 1 {
                    sums[1] = Self.add(Format.self, Self.unpack(first, 1, tables[1]), value, stride, to: sums[1])
                }
                if rows > 2 {
                    sums[2] = Self.add(Format.self, Self.unpack(first, 2, tables[2]), value, stride, to: sums[2])
                    sums[3] = Self.add(Format.self, Self.unpack(first, 3, tables[3]), value, stride, to: sums[3])
                }
            }
            source += Self.groupBytes
            value += Self.groupColumns * Format.inputBytes
        }
        return sums
    }

    @inline(__always)
    private static func add<Format: BrainFloatFormat, let tokens: Int>(
        _: Format.Type, _ words: GroupWords, _ values: UnsafeRawPointer, _ stride: Int,
        to start: InlineArray<tokens, FloatVector>
    ) -> InlineArray<tokens, FloatVector> {
        let vectorBytes = 2 * lanes * Format.inputBytes
        var sums = start
        for token in 0..<tokens { sums[token] = Format.addProducts(words[0], values + token * stride, to: sums[token]) }
        let second = values + vectorBytes
        for token in 0..<tokens { sums[token] = Format.addProducts(words[1], second + token * stride, to: sums[token]) }
        let third = second + vectorBytes
        for token in 0..<tokens { sums[token] = Format.addProducts(words[2], third + token * stride, to: sums[token]) }
        let fourth = third + vectorBytes
        for token in 0..<tokens { sums[token] = Format.addProducts(words[3], fourth + token * stride, to: sums[token]) }
        return sums
    }

    /// Apart, so that the sums stay in registers where there are no exceptions.
    @inline(never)
    private func addCorrected<Format: BrainFloatFormat, let rows: Int, let tokens: Int>(
        _: Format.Type, _ source: UnsafeRawPointer, _ tables: InlineArray<rows, IntVector>, _ firstRow: Int,
        _ exceptions: Range<UnsafePointer<Exception>>, _ values: UnsafeRawPointer, _ stride: Int,
        _ start: Sums<rows, tokens>
    ) -> Sums<rows, tokens> {
        var sums = start
        var exception = exceptions.lowerBound
        for row in 0..<rows {
            var words = Self.unpack(source, row, tables[row])
            withUnsafeMutablePointer(to: &words) {
                let words = UnsafeMutableRawPointer($0)
                while exception < exceptions.upperBound && exception.pointee.row <= firstRow + row {
                    if exception.pointee.row == firstRow + row {
                        words.storeBytes(
                            of: UInt16(truncatingIfNeeded: exception.pointee.bits),
                            toByteOffset: 2 * exception.pointee.placeInGroup, as: UInt16.self)
                    }
                    exception += 1
                }
            }
            sums[row] = Self.add(Format.self, words, values, stride, to: sums[row])
        }
        return sums
    }

    /// How far ahead memory is asked for. On Zen 3 a lone token of 2B in BF16 takes 1.07 times as long with 4 KiB, at
    /// the same place of another page, and 1.03 with 8.
    private static let aheadBytes = lanes == 8 ? 2048 : 4096

    @inline(__always)
    private static func askAhead(of source: UnsafeRawPointer) {
        if Prefetch.sparesFirstCache { return Prefetch.askForNextPage(after: source, step: groupBytes) }
        for line in 0..<groupBytes / 64 { cabochon_simd_prefetch(source + (aheadBytes + 64 * line)) }
    }

    /// Rows one after the other.
    ///
    /// - Parameter target: [rows, columns] of bfloat16; room for a whole number of sets.
    func unpack(panel: Int, rows: Int, pairs: Bool, into target: UnsafeMutableRawPointer) {
        for row in stride(from: 0, to: rows, by: codedRows) {
            let set = panel * Self.setsPerPanel + row / codedRows
            let place = target + row * groups * Self.groupColumns * 2
            if pairs { unpack(BrainFloatPairs.self, set, place) } else { unpack(FormatBF16.self, set, place) }
        }
    }

    private func unpack<Format: BrainFloatFormat>(_: Format.Type, _ set: Int, _ target: UnsafeMutableRawPointer) {
        let record = records[set]
        let rowBytes = groups * Self.groupColumns * 2
        var source = codes + set * groups * Self.groupBytes
        for group in 0..<groups {
            Self.askAhead(of: source)
            for row in 0..<codedRows {
                let words = Self.unpack(source, row, record.windows[row].table)
                let place = target + row * rowBytes + group * Self.groupColumns * 2
                for vector in 0..<4 { storeInts(Format.words(words[vector]), place + vector * Self.vectorBytes) }
            }
            source += Self.groupBytes
        }
        for index in 0..<Int(record.exceptionCount) {
            let exception = exceptions[Int(record.firstException) + index]
            let column = exception.group * Self.groupColumns + Format.column(ofPlace: exception.placeInGroup)
            (target + exception.row * rowBytes + 2 * column).storeBytes(
                of: UInt16(truncatingIfNeeded: exception.bits), as: UInt16.self)
        }
    }

    /// A row's part of a group, in the order of codes.
    private typealias GroupWords = InlineArray<4, IntVector>

    @inline(__always)
    private static func unpack(_ first: UnsafeRawPointer, _ row: Int, _ table: IntVector) -> GroupWords {
        let source = first + row * rowGroupBytes
        let codes = loadInts(source)
        let mask = broadcast(Int32(0x0f0f_0f0f))
        let low = (loadInts(source + vectorBytes), loadInts(source + 2 * vectorBytes))
        let high = (lookUp(table, and(codes, mask)), lookUp(table, and(shiftRight(codes, 4), mask)))
        return [
            firstWords(low: low.0, high: high.0), lastWords(low: low.0, high: high.0),
            firstWords(low: low.1, high: high.1), lastWords(low: low.1, high: high.1),
        ]
    }
}

/// Which high bytes the codes of a row stand for: a sign, and one of eight values of the exponent's upper seven bits.
struct ExponentWindow: Equatable {
    private var bits: UInt8 = 0

    init() {}
    /// - Parameters:
    ///   - first: what code 0 stands for, and those that follow for the next; at most 120.
    ///   - hasZero: code 0 stands for 0 instead.
    init(first: Int, hasZero: Bool) { bits = UInt8(truncatingIfNeeded: first) | (hasZero ? 0x80 : 0) }

    @inline(__always) var first: Int { Int(bits & 0x7f) }
    @inline(__always) var hasZero: Bool { bits & 0x80 != 0 }

    /// High bytes by code.
    @inline(__always) var table: IntVector {
        var magnitudes = 0x0706_0504_0302_0100 &+ UInt64(bits & 0x7f) &* 0x0101_0101_0101_0101
        if hasZero { magnitudes &= ~0xff }
        let table: InlineArray<2, UInt64> = [magnitudes, magnitudes | 0x8080_8080_8080_8080]
        return withUnsafePointer(to: table) { loadTable($0) }
    }

    /// For high bytes, codes that stand for them if any do.
    @inline(__always) func codes(of high: IntVector) -> IntVector {
        let first = broadcast(Int32(truncatingIfNeeded: UInt32(bits & 0x7f) &* 0x0101_0101))
        let place = subtractBytes(and(high, broadcast(Int32(0x7f7f_7f7f))), first)
        let sign = and(shiftRight(high, 4), broadcast(Int32(0x0808_0808)))
        return or(and(place, broadcast(Int32(0x0707_0707))), sign)
    }
}
