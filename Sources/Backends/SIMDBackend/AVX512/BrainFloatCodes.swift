// BF16 weights in twelve bits each, without loss: a token reads a quarter less memory.
//
// A row of a trained matrix uses few of bfloat16's 256 exponents: all but some in ten thousand weights lie
// within fifteen of the largest. So sign and mantissa stay a byte, and the exponent becomes four bits: 1 to 15
// above the row's base, 0 for zeros and subnormals. What lies outside is an exception, put right from a list.
// Products are FloatProduct's, in its order and so with its bits: a lone token's are made here, and for more of
// them rows are unpacked into what the file had.
//
// Two rows lie together, so that two sums hide each other's latency while one stream is read. A group, 128
// columns of both: for each row, one word of four exponents for columns i, i + 32, i + 64 and i + 96, lowest
// bits first, then sign and mantissa of i and i + 32, then of i + 64 and i + 96, as bytes of one word: sign
// and mantissa where bfloat16 has them for the first, and in a word of swapped bytes for the second.
import CCabochonBackend
import SIMDIntrinsics

/// A packed weight: PackedWeight's record, panels of eight pairs of rows, a record for each pair, exceptions.
struct BrainFloatCodes {
    static let groupColumns = 128
    static let pairsPerPanel = lanes / 2
    private static let stepsPerGroup = 4
    private static let rowGroupBytes = 192
    static let groupBytes = 2 * rowGroupBytes

    /// What a pair of rows has beside its codes.
    struct PairRecord {
        var firstException: UInt32 = 0
        var exceptionCount: UInt32 = 0
        /// The exponent that code 0 would be, if it were not for zeros.
        var firstBase: UInt32 = 0
        var secondBase: UInt32 = 0
    }

    /// A weight that its code does not give.
    struct Exception {
        /// group * 256 + row of the pair * 128 + column of the group: ascending.
        var place: UInt32
        var bits: UInt32
        @inline(__always) var group: Int { Int(place &>> 8) }
    }

    private var panels: UnsafeRawPointer
    private var panelBytes: Int
    private var groups: Int
    private var pairs: UnsafePointer<PairRecord>
    private var exceptions: UnsafePointer<Exception>

    init(_ prepared: UnsafeRawPointer) {
        let weight = PackedWeight.at(prepared)
        panels = prepared + PackedWeight.headerBytes
        panelBytes = weight.panelBytes
        groups = weight.blocks / (Self.groupColumns / 32)
        let records = panels + weight.panels * weight.panelBytes
        pairs = records.assumingMemoryBound(to: PairRecord.self)
        let pairCount = weight.panels * Self.pairsPerPanel
        exceptions = (records + pairCount * MemoryLayout<PairRecord>.stride)
            .assumingMemoryBound(to: Exception.self)
    }

    /// Products of a panel's first rows by one token's bfloat16 values.
    func multiply(
        panel: Int, rows: Int, by values: UnsafeRawPointer, _ output: UnsafeMutablePointer<Float>
    ) {
        for pair in 0..<(rows + 1) / 2 {
            let sums = sums(panel, pair, values)
            output[2 * pair] = sumOfLanes(sums.0)
            if 2 * pair + 1 < rows { output[2 * pair + 1] = sumOfLanes(sums.1) }
        }
    }

    @inline(__always)
    private func sums(_ panel: Int, _ pair: Int, _ values: UnsafeRawPointer) -> (FloatVector, FloatVector) {
        let record = pairs[panel * Self.pairsPerPanel + pair]
        let tables = (Self.exponents(above: record.firstBase), Self.exponents(above: record.secondBase))
        var source = panels + panel * panelBytes + pair * groups * Self.groupBytes
        var exception = exceptions + Int(record.firstException)
        let end = exception + Int(record.exceptionCount)
        var nextGroup = exception < end ? exception.pointee.group : groups
        var sums = (broadcast(Float(0)), broadcast(Float(0)))
        for group in 0..<groups {
            if Prefetch.sparesFirstCache {
                Prefetch.askForNextPage(after: source, step: Self.groupBytes)
            } else {
                Self.askAhead(of: source)
            }
            var weights = Self.unpack(source, tables)
            if group == nextGroup {
                while exception < end && exception.pointee.group == group {
                    Self.put(exception.pointee, into: &weights)
                    exception += 1
                }
                nextGroup = exception < end ? exception.pointee.group : groups
            }
            for step in 0..<Self.stepsPerGroup {
                let value = loadInts(values + (group * Self.stepsPerGroup + step) * 64)
                sums.0 = BrainFloatPairs.addProduct(weights[step], value, to: sums.0)
                sums.1 = BrainFloatPairs.addProduct(weights[Self.stepsPerGroup + step], value, to: sums.1)
            }
            source += Self.groupBytes
        }
        return sums
    }

    /// For a group, as far ahead as FloatProduct asks.
    @inline(__always)
    private static func askAhead(of source: UnsafeRawPointer) {
        for line in 0..<groupBytes / 64 { cabochon_simd_prefetch(source + (4096 + 64 * line)) }
    }

    /// Rows as the file had them, one after the other.
    ///
    /// - Parameter target: [rows, columns] of bfloat16; an odd last row takes room for two.
    func unpack(panel: Int, rows: Int, into target: UnsafeMutableRawPointer) {
        let rowBytes = groups * Self.groupColumns * 2
        for pair in 0..<(rows + 1) / 2 {
            let record = pairs[panel * Self.pairsPerPanel + pair]
            let tables = (Self.exponents(above: record.firstBase), Self.exponents(above: record.secondBase))
            let source = panels + panel * panelBytes + pair * groups * Self.groupBytes
            let first = target + 2 * pair * rowBytes
            for group in 0..<groups {
                Self.askAhead(of: source + group * Self.groupBytes)
                let weights = Self.unpack(source + group * Self.groupBytes, tables)
                for step in 0..<Self.stepsPerGroup {
                    let place = first + (group * Self.stepsPerGroup + step) * 64
                    storeInts(weights[step], place)
                    storeInts(weights[Self.stepsPerGroup + step], place + rowBytes)
                }
            }
            for index in 0..<Int(record.exceptionCount) {
                let exception = exceptions[Int(record.firstException) + index]
                let row = Int(exception.place &>> 7) & 1
                let column = exception.group * Self.groupColumns + Int(exception.place & 127)
                (first + row * rowBytes + 2 * column).storeBytes(
                    of: UInt16(truncatingIfNeeded: exception.bits), as: UInt16.self)
            }
        }
    }

    private typealias GroupWeights = InlineArray<8, IntVector>

    /// A group's weights: four vectors of the first row, four of the second.
    @inline(__always)
    private static func unpack(_ source: UnsafeRawPointer, _ tables: (IntVector, IntVector)) -> GroupWeights {
        let first = unpackRow(source, tables.0)
        let second = unpackRow(source + rowGroupBytes, tables.1)
        return [first.0, first.1, first.2, first.3, second.0, second.1, second.2, second.3]
    }

    @inline(__always)
    private static func unpackRow(
        _ source: UnsafeRawPointer, _ table: IntVector
    ) -> (IntVector, IntVector, IntVector, IntVector) {
        let codes = loadInts(source)
        let low = loadInts(source + 64)
        let high = loadInts(source + 128)
        return (
            weights(low, codes, table),
            weights(swapBytes(low), _mm512_srli_epi16(codes, 4), table),
            weights(high, _mm512_srli_epi16(codes, 8), table),
            weights(swapBytes(high), _mm512_srli_epi16(codes, 12), table)
        )
    }

    /// Lanes are words of sign and mantissa, and words whose lowest four bits are codes.
    @inline(__always)
    private static func weights(_ rest: IntVector, _ codes: IntVector, _ table: IntVector) -> IntVector {
        let exponents = _mm512_permutexvar_epi16(codes, table)
        return _mm512_or_si512(_mm512_and_si512(rest, _mm512_set1_epi16(Int16(bitPattern: 0x807f))), exponents)
    }

    @inline(__always)
    static func swapBytes(_ words: IntVector) -> IntVector {
        let order = _mm512_set4_epi32(0x0e0f_0c0d, 0x0a0b_0809, 0x0607_0405, 0x0203_0001)
        return _mm512_shuffle_epi8(words, order)
    }

    /// Exponents in their place, by code: twice sixteen, since the bit above a code is another's.
    @inline(__always)
    private static func exponents(above base: UInt32) -> IntVector {
        let codes = _mm512_set_epi32(
            0x000f_000e, 0x000d_000c, 0x000b_000a, 0x0009_0008, 0x0007_0006, 0x0005_0004, 0x0003_0002, 0x0001_0000,
            0x000f_000e, 0x000d_000c, 0x000b_000a, 0x0009_0008, 0x0007_0006, 0x0005_0004, 0x0003_0002, 0x0001_0000)
        let all = _mm512_add_epi16(codes, _mm512_set1_epi16(Int16(truncatingIfNeeded: base)))
        return _mm512_maskz_slli_epi16(_mm512_test_epi16_mask(codes, codes), all, 7)
    }

    @inline(__always)
    private static func put(_ exception: Exception, into weights: inout GroupWeights) {
        let place = Int(exception.place & 255)
        let bits = Int16(truncatingIfNeeded: exception.bits)
        let lane = UInt32(1) &<< UInt32(truncatingIfNeeded: place & 31)
        // All of them, so that they stay in registers.
        for vector in 0..<8 {
            weights[vector] = _mm512_mask_set1_epi16(weights[vector], vector == place / 32 ? lane : 0, bits)
        }
    }
}
