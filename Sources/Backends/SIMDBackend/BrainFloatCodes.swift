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

    var codes: UnsafeRawPointer
    var groups: Int
    var records: UnsafePointer<SetRecord>
    var exceptions: UnsafePointer<Exception>

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

    /// How far ahead memory is asked for. On Zen 3 a lone token of 2B in BF16 takes 1.07 times as long with 4 KiB, at
    /// the same place of another page, and 1.03 with 8.
    private static let aheadBytes = lanes == 8 ? 2048 : 4096

    @inline(__always)
    static func askAhead(of source: UnsafeRawPointer) {
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
    typealias GroupWords = InlineArray<4, IntVector>

    @inline(__always)
    static func unpack(_ first: UnsafeRawPointer, _ row: Int, _ table: IntVector) -> GroupWords {
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
