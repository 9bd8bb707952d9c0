// BF16 weights in twelve bits each, without loss: a token reads a quarter less memory. F16 and F32 weights that are
// bfloat16's numbers, as files converted from BF16 have them, are coded as well.
//
// A row of a trained matrix uses few of bfloat16's exponents: all but some in ten thousand weights lie within
// sixteen of them. So the low byte, the mantissa and the lowest bit of the exponent, stays as it is, and of the
// high one, the sign and seven bits of the exponent, four bits are left: the sign, and which of eight in a row
// from the row's first on. A row that has many zeros gives the first one up for them. What lies outside is an
// exception, put right from a list. Products are FloatProduct's, in its order and so with its bits: a lone
// token's are made here, and for more of them rows are unpacked.
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

    /// Products of a panel's first rows by one token's values.
    ///
    /// - Parameter pairs: the values are bfloat16, taken in pairs of columns.
    func multiply(
        panel: Int, rows: Int, by values: UnsafeRawPointer, pairs: Bool, _ output: UnsafeMutablePointer<Float>
    ) {
        for row in stride(from: 0, to: rows, by: codedRows) {
            let set = panel * Self.setsPerPanel + row / codedRows
            let sums = pairs ? sums(BrainFloatPairs.self, set, values) : sums(FormatBF16.self, set, values)
            for place in 0..<min(codedRows, rows - row) { output[row + place] = sumOfLanes(sums[place]) }
        }
    }

    private func sums<Format: BrainFloatFormat>(
        _: Format.Type, _ set: Int, _ values: UnsafeRawPointer
    ) -> CodedRows<FloatVector> {
        let record = records[set]
        let tables = Self.tables(record)
        var source = codes + set * groups * Self.groupBytes
        var value = values
        var exception = exceptions + Int(record.firstException)
        let end = exception + Int(record.exceptionCount)
        var nextGroup = exception < end ? exception.pointee.group : groups
        var sums = CodedRows<FloatVector>(repeating: broadcast(Float(0)))
        for group in 0..<groups {
            Self.askAhead(of: source)
            if group == nextGroup {
                let first = exception
                while exception < end && exception.pointee.group == group { exception += 1 }
                nextGroup = exception < end ? exception.pointee.group : groups
                sums = addCorrected(Format.self, source, tables, first..<exception, value, sums)
            } else {
                // Each row by itself: a loop of this size is not unrolled, and keeps its sums in memory.
                sums[0] = Self.add(Format.self, Self.unpack(source, 0, tables), value, to: sums[0])
                sums[1] = Self.add(Format.self, Self.unpack(source, 1, tables), value, to: sums[1])
                if codedRows == 4 {
                    sums[2] = Self.add(Format.self, Self.unpack(source, 2, tables), value, to: sums[2])
                    sums[3] = Self.add(Format.self, Self.unpack(source, 3, tables), value, to: sums[3])
                }
            }
            source += Self.groupBytes
            value += Self.groupColumns * Format.inputBytes
        }
        return sums
    }

    @inline(__always)
    private static func add<Format: BrainFloatFormat>(
        _: Format.Type, _ words: GroupWords, _ values: UnsafeRawPointer, to sum: FloatVector
    ) -> FloatVector {
        var sum = sum
        for vector in 0..<4 {
            sum = Format.addProducts(words[vector], values + vector * 2 * lanes * Format.inputBytes, to: sum)
        }
        return sum
    }

    /// Apart, so that the sums stay in registers where there are no exceptions.
    @inline(never)
    private func addCorrected<Format: BrainFloatFormat>(
        _: Format.Type, _ source: UnsafeRawPointer, _ tables: CodedRows<IntVector>,
        _ exceptions: Range<UnsafePointer<Exception>>, _ values: UnsafeRawPointer, _ start: CodedRows<FloatVector>
    ) -> CodedRows<FloatVector> {
        var sums = start
        var exception = exceptions.lowerBound
        for row in 0..<codedRows {
            var words = Self.unpack(source, row, tables)
            withUnsafeMutablePointer(to: &words) {
                let words = UnsafeMutableRawPointer($0)
                while exception < exceptions.upperBound && exception.pointee.row == row {
                    words.storeBytes(
                        of: UInt16(truncatingIfNeeded: exception.pointee.bits),
                        toByteOffset: 2 * exception.pointee.placeInGroup, as: UInt16.self)
                    exception += 1
                }
            }
            sums[row] = Self.add(Format.self, words, values, to: sums[row])
        }
        return sums
    }

    /// As far ahead as FloatProduct asks.
    @inline(__always)
    private static func askAhead(of source: UnsafeRawPointer) {
        if Prefetch.sparesFirstCache { return Prefetch.askForNextPage(after: source, step: groupBytes) }
        for line in 0..<groupBytes / 64 { cabochon_simd_prefetch(source + (4096 + 64 * line)) }
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
        let tables = Self.tables(record)
        let rowBytes = groups * Self.groupColumns * 2
        var source = codes + set * groups * Self.groupBytes
        for group in 0..<groups {
            Self.askAhead(of: source)
            for row in 0..<codedRows {
                let words = Self.unpack(source, row, tables)
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
    private static func unpack(_ group: UnsafeRawPointer, _ row: Int, _ tables: CodedRows<IntVector>) -> GroupWords {
        let source = group + row * rowGroupBytes
        let codes = loadInts(source)
        let mask = broadcast(Int32(0x0f0f_0f0f))
        let low = (loadInts(source + vectorBytes), loadInts(source + 2 * vectorBytes))
        let high = (lookUp(tables[row], and(codes, mask)), lookUp(tables[row], and(shiftRight(codes, 4), mask)))
        return [
            firstWords(low: low.0, high: high.0), lastWords(low: low.0, high: high.0),
            firstWords(low: low.1, high: high.1), lastWords(low: low.1, high: high.1),
        ]
    }

    @inline(__always)
    private static func tables(_ record: SetRecord) -> CodedRows<IntVector> {
        var tables = CodedRows<IntVector>(repeating: record.windows[0].table)
        for row in 1..<codedRows { tables[row] = record.windows[row].table }
        return tables
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
