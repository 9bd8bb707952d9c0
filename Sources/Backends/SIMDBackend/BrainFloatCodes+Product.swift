// The products of twelve-bit codes by a lone token and by a few, which undo the codes while memory brings the next.
//
// A tile is some rows of a set by some tokens: a lone token's and two tokens' take all rows of a set, so that one stream
// is read, and three and four tokens' as many as the registers have sums for.
import CCabochonBackend
import SIMDIntrinsics

extension BrainFloatCodes {
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
}
