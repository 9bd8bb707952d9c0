// From a file's rows to the codes of tiles.
import CCabochonBackend
import SIMDIntrinsics

extension BrainFloatTiles {
    /// Makes the codes, in parallel. Declined: another shape, exponents too far apart.
    static func pack(
        _ run: UnsafePointer<cabochon_run>, _ host: UnsafePointer<cabochon_host>,
        _ weight: UnsafePointer<cabochon_weight>
    ) -> (status: Int32, prepared: UnsafeMutableRawPointer?) {
        let rows = Int(truncatingIfNeeded: weight.pointee.rows)
        let columns = Int(truncatingIfNeeded: weight.pointee.columns)
        let capacity = rows * columns / BrainFloatCodes.weightsPerException
        guard rows > 0, columns > 0, columns % stepColumns == 0, lanes * columns <= Int(UInt32.max),
            capacity <= Int(UInt32.max), let source = weight.pointee.data
        else { return (OpStatus.declined, nil) }
        let threads = Int(run.pointee.thread_count)
        let steps = steps(columns)
        let workerBytes = steps * stepBytes + lanes * columns * MemoryLayout<Exception>.stride
        guard let scratch = run.pointee.scratch(run, threads * workerBytes) else { return (OpStatus.failed, nil) }
        let panels = (rows + lanes - 1) / lanes
        let panelBytes = steps * stepCodeBytes
        let recordBytes = panels * MemoryLayout<PanelRecord>.stride
        let totalBytes =
            PackedWeight.headerBytes + panels * panelBytes + recordBytes + capacity * MemoryLayout<Exception>.stride
        guard let memory = host.pointee.allocate(totalBytes) else { return (OpStatus.failed, nil) }
        let packed = PackedWeight(
            type: weight.pointee.type, rows: rows, blocks: columns / 32, panels: panels, panelBytes: panelBytes,
            totalBytes: totalBytes)
        memory.storeBytes(of: packed, as: PackedWeight.self)
        let codes = memory + PackedWeight.headerBytes
        let records = codes + panels * panelBytes
        var exceptionCount: UInt64 = 0
        withUnsafeMutablePointer(to: &exceptionCount) { exceptionCount in
            var task = TileCodingTask(
                source: source, rowBytes: Int(truncatingIfNeeded: weight.pointee.row_bytes), rows: rows,
                columns: columns, codes: codes, records: records.assumingMemoryBound(to: PanelRecord.self),
                exceptions: (records + recordBytes).assumingMemoryBound(to: Exception.self),
                capacity: UInt64(capacity), exceptionCount: exceptionCount, scratch: scratch, workerBytes: workerBytes,
                panelsPerIndex: max(1, (1 &<< 18) / (steps * stepBytes)))
            parallel(run, (panels + task.panelsPerIndex - 1) / task.panelsPerIndex, &task) { context, index, worker in
                context.unsafelyUnwrapped.assumingMemoryBound(to: TileCodingTask.self).pointee.run(index, worker)
            }
        }
        guard exceptionCount <= UInt64(capacity) else {
            host.pointee.release(memory, totalBytes)
            return (OpStatus.declined, nil)
        }
        return (OpStatus.done, memory)
    }
}

private struct TileCodingTask {
    typealias Tiles = BrainFloatTiles

    var source: UnsafeRawPointer
    var rowBytes: Int
    var rows: Int
    var columns: Int
    var codes: UnsafeMutableRawPointer
    var records: UnsafeMutablePointer<Tiles.PanelRecord>
    var exceptions: UnsafeMutablePointer<Tiles.Exception>
    var capacity: UInt64
    /// Of all panels so far; beyond capacity the weight is given up.
    var exceptionCount: UnsafeMutablePointer<UInt64>
    /// For each worker a panel's tiles, and a list as long as a panel has weights.
    var scratch: UnsafeMutableRawPointer
    var workerBytes: Int
    var panelsPerIndex: Int

    func run(_ index: Int, _ worker: Int) {
        // As the panel before: neighbours are alike.
        var hasZero = InlineArray<4, Bool>(repeating: false)
        let panels = (rows + lanes - 1) / lanes
        for panel in index * panelsPerIndex..<min((index + 1) * panelsPerIndex, panels) {
            guard code(panel, worker, &hasZero) else { return }
        }
    }

    /// False where the weight is given up.
    private func code(_ panel: Int, _ worker: Int, _ hasZero: inout InlineArray<4, Bool>) -> Bool {
        // By another thread, if not by this one.
        guard cabochon_simd_take(exceptionCount, 0) <= capacity else { return false }
        let steps = Tiles.steps(columns)
        let tiles = scratch + worker * workerBytes
        let list = (tiles + steps * Tiles.stepBytes).assumingMemoryBound(to: Tiles.Exception.self)
        let first = source + panel * lanes * rowBytes
        let lastRow = min(lanes, rows - panel * lanes) - 1
        for step in 0..<steps {
            Tiles.arrange(
                first, rowBytes: rowBytes, lastRow: lastRow, columns, step, to: tiles + step * Tiles.stepBytes)
        }
        let target = codes + panel * steps * Tiles.stepCodeBytes
        let vectors = steps * Tiles.stepBytes / vectorBytes
        // Windows end with their rows' largest exponent; where that leaves out many, they are those that leave out fewest.
        var record = Tiles.PanelRecord()
        record.windows = highestWindows(tiles, vectors, hasZero)
        var count = code(tiles, steps, record, target, list)
        if count > lanes * columns / 512 {
            let best = bestWindows(tiles, vectors)
            if (0..<4).contains(where: { best[$0] != record.windows[$0] }) {
                record.windows = best
                count = code(tiles, steps, record, target, list)
            }
        }
        for quarter in 0..<4 { hasZero[quarter] = record.windows[quarter].hasZero }
        let place = cabochon_simd_take(exceptionCount, UInt64(count))
        guard place + UInt64(count) <= capacity else { return false }
        record.firstException = UInt32(truncatingIfNeeded: place)
        record.exceptionCount = UInt32(truncatingIfNeeded: count)
        (exceptions + Int(place)).update(from: list, count: count)
        records[panel] = record
        return true
    }

    private func highestWindows(
        _ tiles: UnsafeRawPointer, _ vectors: Int, _ hasZero: InlineArray<4, Bool>
    ) -> InlineArray<4, ExponentWindow> {
        let mask = broadcast(Int32(0x7f00_7f00))
        var largest = broadcast(Int32(0))
        for vector in 0..<vectors {
            largest = _mm512_max_epu16(largest, and(loadInts(tiles + vector * vectorBytes), mask))
        }
        var words = InlineArray<32, UInt16>(repeating: 0)
        withUnsafeMutablePointer(to: &words) { storeInts(largest, $0) }
        var result = InlineArray<4, ExponentWindow>(repeating: ExponentWindow())
        for quarter in 0..<4 {
            var exponent = 0
            for word in 8 * quarter..<8 * quarter + 8 { exponent = max(exponent, Int(words[word] &>> 8)) }
            result[quarter] = ExponentWindow(first: max(0, exponent - 7), hasZero: hasZero[quarter])
        }
        return result
    }

    private func bestWindows(_ tiles: UnsafeRawPointer, _ vectors: Int) -> InlineArray<4, ExponentWindow> {
        var result = InlineArray<4, ExponentWindow>(repeating: ExponentWindow())
        for quarter in 0..<4 {
            var counts = InlineArray<128, Int>(repeating: 0)
            for vector in 0..<vectors {
                let words = tiles + (vector * vectorBytes + quarter * 16)
                for word in 0..<8 {
                    counts[Int(words.load(fromByteOffset: 2 * word + 1, as: UInt8.self) & 0x7f)] += 1
                }
            }
            result[quarter] = ExponentWindow(coveringMost: counts)
        }
        return result
    }

    /// Codes a panel's tiles; what their codes do not give goes on the list, whose length is the result.
    private func code(
        _ tiles: UnsafeRawPointer, _ steps: Int, _ record: Tiles.PanelRecord, _ target: UnsafeMutableRawPointer,
        _ list: UnsafeMutablePointer<Tiles.Exception>
    ) -> Int {
        let table = record.table
        // Code 0 without its sign is the first byte of each quarter.
        var firsts = InlineArray<4, InlineArray<2, UInt64>>(repeating: [0, 0])
        for quarter in 0..<4 {
            let bytes = UInt64(record.windows[quarter].first) &* 0x0101_0101_0101_0101
            firsts[quarter] = [bytes, bytes]
        }
        let first = withUnsafePointer(to: firsts) { loadInts($0) }
        let lowBytes = broadcast(Int32(0x00ff_00ff))
        var count = 0
        for step in 0..<steps {
            for group in 0..<8 {
                let place = target + step * Tiles.stepCodeBytes + group * Tiles.groupBytes
                var halves = InlineArray<2, IntVector>(repeating: table)
                for tile in 0..<2 {
                    let offset = step * Tiles.stepBytes + tile * Tiles.tileBytes + 2 * group * vectorBytes
                    let one = loadInts(tiles + offset)
                    let two = loadInts(tiles + (offset + vectorBytes))
                    let low = bytes(ofFirst: and(one, lowBytes), last: and(two, lowBytes))
                    let high = bytes(ofFirst: shiftRight(one, 8), last: shiftRight(two, 8))
                    halves[tile] = ExponentWindow.codes(of: high, first: first)
                    storeInts(low, place + (1 + tile) * vectorBytes)
                    let given = lookUp(table, halves[tile])
                    if isEqual(given, high) { continue }
                    count = append(tiles, offset, firstWords(low: low, high: given), list, count)
                    count = append(tiles, offset + vectorBytes, lastWords(low: low, high: given), list, count)
                }
                storeInts(or(halves[0], shiftLeft(halves[1], 4)), place)
            }
        }
        return count
    }

    /// Adds the words of a vector that differ from what their codes give, and returns the list's length.
    private func append(
        _ tiles: UnsafeRawPointer, _ offset: Int, _ given: IntVector, _ list: UnsafeMutablePointer<Tiles.Exception>,
        _ start: Int
    ) -> Int {
        var count = start
        withUnsafePointer(to: given) { given in
            for index in 0..<vectorBytes / 2 {
                let word = tiles.load(fromByteOffset: offset + 2 * index, as: UInt16.self)
                if word == UnsafeRawPointer(given).load(fromByteOffset: 2 * index, as: UInt16.self) { continue }
                list[count] = Tiles.Exception(
                    place: UInt32(truncatingIfNeeded: offset / 2 + index), bits: UInt32(word))
                count += 1
            }
        }
        return count
    }
}
