// From the file's rows to twelve-bit codes.
import CCabochonBackend
import SIMDIntrinsics

extension BrainFloatCodes {
    /// A matrix with more exceptions than one weight in so many stays as its file has it.
    static let weightsPerException = 128

    /// Makes the codes, in parallel. Declined: another shape, exponents too far apart, numbers that bfloat16 has not.
    static func pack(
        _ run: UnsafePointer<cabochon_run>, _ host: UnsafePointer<cabochon_host>,
        _ weight: UnsafePointer<cabochon_weight>
    ) -> (status: Int32, prepared: UnsafeMutableRawPointer?) {
        let rows = Int(truncatingIfNeeded: weight.pointee.rows)
        let columns = Int(truncatingIfNeeded: weight.pointee.columns)
        let capacity = rows * columns / weightsPerException
        guard rows > 0, columns % groupColumns == 0, codedRows * columns <= Int(UInt32.max),
            capacity <= Int(UInt32.max), let source = weight.pointee.data
        else { return (OpStatus.declined, nil) }
        let threads = Int(run.pointee.thread_count)
        let listBytes = codedRows * columns * MemoryLayout<Exception>.stride
        guard let scratch = run.pointee.scratch(run, threads * (listBytes + 2 * columns)) else {
            return (OpStatus.failed, nil)
        }
        let rowBytes = Int(truncatingIfNeeded: weight.pointee.row_bytes)
        let row = RowSource(type: weight.pointee.type, pairs: pairs(weight.pointee.type, host), columns: columns)
        // What the first row tells needs no memory for the others.
        guard row.arrange(source, scratch) else { return (OpStatus.declined, nil) }
        let panels = (rows + lanes - 1) / lanes
        let groups = columns / groupColumns
        let panelBytes = lanes * groups * rowGroupBytes
        let recordBytes = panels * setsPerPanel * MemoryLayout<SetRecord>.stride
        let totalBytes =
            PackedWeight.headerBytes + panels * panelBytes + recordBytes + capacity * MemoryLayout<Exception>.stride
        guard let memory = host.pointee.allocate(totalBytes) else { return (OpStatus.failed, nil) }
        let packed = PackedWeight(
            type: weight.pointee.type, rows: rows, blocks: columns / 32, panels: panels, panelBytes: panelBytes,
            totalBytes: totalBytes)
        memory.storeBytes(of: packed, as: PackedWeight.self)
        let codes = memory + PackedWeight.headerBytes
        let records = codes + panels * panelBytes
        let sets = (rows + codedRows - 1) / codedRows
        var exceptionCount: UInt64 = 0
        withUnsafeMutablePointer(to: &exceptionCount) { exceptionCount in
            var task = CodingTask(
                source: source, rowBytes: rowBytes, row: row, rows: rows, groups: groups, codes: codes,
                records: records.assumingMemoryBound(to: SetRecord.self),
                exceptions: (records + recordBytes).assumingMemoryBound(to: Exception.self),
                capacity: UInt64(capacity), exceptionCount: exceptionCount,
                lists: scratch.assumingMemoryBound(to: Exception.self), words: scratch + threads * listBytes,
                setsPerIndex: max(1, (1 &<< 18) / (2 * codedRows * columns)))
            parallel(run, (sets + task.setsPerIndex - 1) / task.setsPerIndex, &task) { context, index, worker in
                context.unsafelyUnwrapped.assumingMemoryBound(to: CodingTask.self).pointee.run(index, worker)
            }
        }
        guard exceptionCount <= UInt64(capacity) else {
            host.pointee.release(memory, totalBytes)
            return (OpStatus.declined, nil)
        }
        return (OpStatus.done, memory)
    }
}

/// The rows of a weight as words of bfloat16.
private struct RowSource {
    var type: UInt32
    /// Whether products take the columns in pairs.
    var pairs: Bool
    var columns: Int

    /// Brings a row's words into the order of codes. False where one of its numbers is not bfloat16's.
    func arrange(_ row: UnsafeRawPointer, _ words: UnsafeMutableRawPointer) -> Bool {
        switch type {
        case WeightType.f32: return arrange(FormatF32.self, row, words)
        case WeightType.f16: return arrange(FormatF16.self, row, words)
        default:
            if !pairs { return arrange(FormatBF16.self, row, words) }
            words.copyMemory(from: row, byteCount: 2 * columns)
            return true
        }
    }

    private func arrange<Format: FloatFormat>(
        _: Format.Type, _ row: UnsafeRawPointer, _ words: UnsafeMutableRawPointer
    ) -> Bool {
        let upper = broadcast(Int32(bitPattern: 0xffff_0000))
        var all = broadcast(Int32(0))
        for column in stride(from: 0, to: columns, by: 2 * lanes) {
            let first = bitsOfFloats(Format.load(row + column * Format.bytes))
            let second = bitsOfFloats(Format.load(row + (column + lanes) * Format.bytes))
            all = or(all, or(first, second))
            storeInts(or(shiftLanesRight(first, 16), and(second, upper)), words + 2 * column)
        }
        return isEqual(and(all, upper), all)
    }
}

private struct CodingTask {
    var source: UnsafeRawPointer
    var rowBytes: Int
    var row: RowSource
    var rows: Int
    var groups: Int
    var codes: UnsafeMutableRawPointer
    var records: UnsafeMutablePointer<BrainFloatCodes.SetRecord>
    var exceptions: UnsafeMutablePointer<BrainFloatCodes.Exception>
    var capacity: UInt64
    /// Of all sets so far; beyond capacity the weight is given up.
    var exceptionCount: UnsafeMutablePointer<UInt64>
    /// For each worker a list as long as a set has weights.
    var lists: UnsafeMutablePointer<BrainFloatCodes.Exception>
    /// For each worker a row, in the order of codes.
    var words: UnsafeMutableRawPointer
    var setsPerIndex: Int

    private var columns: Int { row.columns }

    func run(_ index: Int, _ worker: Int) {
        let list = lists + worker * codedRows * columns
        let words = words + worker * 2 * columns
        let sets = (rows + codedRows - 1) / codedRows
        // As the row before: neighbours are alike.
        var hasZero = false
        for set in index * setsPerIndex..<min((index + 1) * setsPerIndex, sets) {
            var record = BrainFloatCodes.SetRecord()
            var counts = CodedRows<Int>(repeating: 0)
            // Given up by another thread, if not by this one.
            guard cabochon_simd_take(exceptionCount, 0) <= capacity else { return }
            for row in 0..<min(codedRows, rows - set * codedRows) {
                guard self.row.arrange(source + (set * codedRows + row) * rowBytes, words) else {
                    _ = cabochon_simd_take(exceptionCount, capacity + 1)
                    return
                }
                let place = codes + set * groups * BrainFloatCodes.groupBytes + row * BrainFloatCodes.rowGroupBytes
                (record.windows[row], counts[row]) = code(words, row, hasZero, place, list + row * columns)
                hasZero = record.windows[row].hasZero
            }
            guard note(list, counts, &record) else { return }
            records[set] = record
        }
    }

    /// Codes a row's words. Its window ends with the row's largest exponent; where that leaves out many, it is the one
    /// that leaves out fewest.
    private func code(
        _ words: UnsafeRawPointer, _ number: Int, _ hasZero: Bool, _ target: UnsafeMutableRawPointer,
        _ list: UnsafeMutablePointer<BrainFloatCodes.Exception>
    ) -> (ExponentWindow, Int) {
        let window = ExponentWindow(first: max(0, largestExponent(words) - 7), hasZero: hasZero)
        let count = code(words, number, window, target, list)
        if count <= columns / 512 { return (window, count) }
        let best = bestWindow(words)
        return (best, best == window ? count : code(words, number, best, target, list))
    }

    /// The exponent's upper seven bits.
    private func largestExponent(_ words: UnsafeRawPointer) -> Int {
        let mask = broadcast(Int32(0x7f00_0000))
        var largest = broadcast(Float(0))
        for column in stride(from: 0, to: columns, by: 2 * lanes) {
            let pairs = loadInts(words + 2 * column)
            largest = largerMagnitude(largest, floatsOfBits(and(pairs, mask)))
            largest = largerMagnitude(largest, floatsOfBits(and(shiftLanesLeft(pairs, 16), mask)))
        }
        var bits = InlineArray<16, UInt32>(repeating: 0)
        withUnsafeMutablePointer(to: &bits) { storeFloats(largest, $0) }
        var exponent: UInt32 = 0
        for lane in 0..<lanes { exponent = max(exponent, bits[lane] &>> 24) }
        return Int(exponent)
    }

    private func bestWindow(_ words: UnsafeRawPointer) -> ExponentWindow {
        var counts = InlineArray<128, Int>(repeating: 0)
        for place in 0..<columns { counts[Int(words.load(fromByteOffset: 2 * place + 1, as: UInt8.self) & 0x7f)] += 1 }
        return ExponentWindow(coveringMost: counts)
    }

    /// One row's part of each group; exceptions go on the list, whose length is the result.
    private func code(
        _ words: UnsafeRawPointer, _ number: Int, _ window: ExponentWindow, _ target: UnsafeMutableRawPointer,
        _ list: UnsafeMutablePointer<BrainFloatCodes.Exception>
    ) -> Int {
        let vectorBytes = BrainFloatCodes.vectorBytes
        let lowBytes = broadcast(Int32(0x00ff_00ff))
        let table = window.table
        var count = 0
        for group in 0..<groups {
            let source = words + group * 2 * BrainFloatCodes.groupColumns
            let target = target + group * BrainFloatCodes.groupBytes
            var halves = InlineArray<2, IntVector>(repeating: table)
            for half in 0..<2 {
                let first = loadInts(source + 2 * half * vectorBytes)
                let last = loadInts(source + (2 * half + 1) * vectorBytes)
                let low = bytes(ofFirst: and(first, lowBytes), last: and(last, lowBytes))
                let high = bytes(ofFirst: shiftRight(first, 8), last: shiftRight(last, 8))
                halves[half] = window.codes(of: high)
                storeInts(low, target + (1 + half) * vectorBytes)
                let given = lookUp(table, halves[half])
                if isEqual(given, high) { continue }
                let place = ((group * codedRows + number) * 2 + half) * vectorBytes
                count = append(
                    [first, last], [firstWords(low: low, high: given), lastWords(low: low, high: given)], place,
                    list, count)
            }
            storeInts(or(halves[0], shiftLeft(halves[1], 4)), target)
        }
        return count
    }

    /// Adds the words that differ from what their codes give, and returns the list's length.
    private func append(
        _ words: InlineArray<2, IntVector>, _ given: InlineArray<2, IntVector>, _ place: Int,
        _ list: UnsafeMutablePointer<BrainFloatCodes.Exception>, _ start: Int
    ) -> Int {
        var count = start
        withUnsafePointer(to: words) { words in
            withUnsafePointer(to: given) { given in
                for index in 0..<BrainFloatCodes.vectorBytes {
                    let word = UnsafeRawPointer(words).load(fromByteOffset: 2 * index, as: UInt16.self)
                    if word == UnsafeRawPointer(given).load(fromByteOffset: 2 * index, as: UInt16.self) { continue }
                    list[count] = BrainFloatCodes.Exception(
                        place: UInt32(truncatingIfNeeded: place + index), bits: UInt32(word))
                    count += 1
                }
            }
        }
        return count
    }

    /// Moves the rows' lists behind those of other sets, group by group. False where there is no room.
    private func note(
        _ lists: UnsafeMutablePointer<BrainFloatCodes.Exception>, _ counts: CodedRows<Int>,
        _ record: inout BrainFloatCodes.SetRecord
    ) -> Bool {
        var total = 0
        for row in 0..<codedRows { total += counts[row] }
        let first = cabochon_simd_take(exceptionCount, UInt64(total))
        guard first + UInt64(total) <= capacity else { return false }
        record.firstException = UInt32(truncatingIfNeeded: first)
        record.exceptionCount = UInt32(truncatingIfNeeded: total)
        var next = exceptions + Int(first)
        let end = next + total
        var taken = CodedRows<Int>(repeating: 0)
        while next < end {
            // The lowest place of those that the rows have left.
            var lowest = -1
            for row in 0..<codedRows where taken[row] < counts[row] {
                let place = lists[row * columns + taken[row]].place
                if lowest < 0 || place < lists[lowest * columns + taken[lowest]].place { lowest = row }
            }
            next.pointee = lists[lowest * columns + taken[lowest]]
            taken[lowest] += 1
            next += 1
        }
        return true
    }
}
