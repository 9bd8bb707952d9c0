// From the file's BF16 rows to twelve-bit codes.
import CCabochonBackend
import SIMDIntrinsics

extension BrainFloatCodes {
    /// A matrix with more exceptions than one weight in so many stays as its file has it.
    private static let weightsPerException = 128

    /// Makes the codes, in parallel. Declined: another shape, or exponents too far apart.
    static func pack(
        _ run: UnsafePointer<cabochon_run>, _ host: UnsafePointer<cabochon_host>,
        _ weight: UnsafePointer<cabochon_weight>
    ) -> (status: Int32, prepared: UnsafeMutableRawPointer?) {
        let rows = Int(truncatingIfNeeded: weight.pointee.rows)
        let columns = Int(truncatingIfNeeded: weight.pointee.columns)
        let capacity = rows * columns / weightsPerException
        guard columns % groupColumns == 0, capacity <= Int(UInt32.max), let source = weight.pointee.data else {
            return (OpStatus.declined, nil)
        }
        let panels = (rows + lanes - 1) / lanes
        let panelBytes = pairsPerPanel * (columns / groupColumns) * groupBytes
        let pairBytes = panels * pairsPerPanel * MemoryLayout<PairRecord>.stride
        let totalBytes =
            PackedWeight.headerBytes + panels * panelBytes + pairBytes + capacity * MemoryLayout<Exception>.stride
        guard let memory = host.pointee.allocate(totalBytes) else { return (OpStatus.failed, nil) }
        let packed = PackedWeight(
            type: weight.pointee.type, rows: rows, blocks: columns / 32, panels: panels, panelBytes: panelBytes,
            totalBytes: totalBytes)
        memory.storeBytes(of: packed, as: PackedWeight.self)
        let threads = Int(run.pointee.thread_count)
        let listBytes = 2 * columns * MemoryLayout<Exception>.stride
        guard let lists = run.pointee.scratch(run, threads * listBytes) else {
            host.pointee.release(memory, totalBytes)
            return (OpStatus.failed, nil)
        }
        let records = memory + PackedWeight.headerBytes + panels * panelBytes
        var exceptionCount: UInt64 = 0
        withUnsafeMutablePointer(to: &exceptionCount) { exceptionCount in
            var task = CodingTask(
                source: source, rowBytes: Int(truncatingIfNeeded: weight.pointee.row_bytes), rows: rows,
                groups: columns / groupColumns, codes: memory + PackedWeight.headerBytes,
                pairs: records.assumingMemoryBound(to: PairRecord.self),
                exceptions: (records + pairBytes).assumingMemoryBound(to: Exception.self), capacity: UInt64(capacity),
                exceptionCount: exceptionCount, lists: lists.assumingMemoryBound(to: Exception.self),
                pairsPerIndex: max(1, (1 &<< 18) / (4 * columns)))
            let indices = ((rows + 1) / 2 + task.pairsPerIndex - 1) / task.pairsPerIndex
            parallel(run, indices, &task) { context, index, worker in
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

private struct CodingTask {
    var source: UnsafeRawPointer
    var rowBytes: Int
    var rows: Int
    var groups: Int
    var codes: UnsafeMutableRawPointer
    var pairs: UnsafeMutablePointer<BrainFloatCodes.PairRecord>
    var exceptions: UnsafeMutablePointer<BrainFloatCodes.Exception>
    var capacity: UInt64
    /// Of all pairs so far; beyond capacity the weight is given up.
    var exceptionCount: UnsafeMutablePointer<UInt64>
    /// For each worker a list as long as a pair has weights.
    var lists: UnsafeMutablePointer<BrainFloatCodes.Exception>
    var pairsPerIndex: Int

    func run(_ index: Int, _ worker: Int) {
        let columns = groups * BrainFloatCodes.groupColumns
        let list = lists + worker * 2 * columns
        let last = min((index + 1) * pairsPerIndex, (rows + 1) / 2)
        for pair in index * pairsPerIndex..<last {
            let row = source + 2 * pair * rowBytes
            let isAlone = 2 * pair + 1 == rows
            let bases = (base(of: row), isAlone ? 0 : base(of: row + rowBytes))
            var count = 0
            for group in 0..<groups {
                let target = codes + (pair * groups + group) * BrainFloatCodes.groupBytes
                let place = group * 2 * BrainFloatCodes.groupColumns
                code(row, group, bases.0, target, place, list, &count)
                if isAlone { continue }
                code(
                    row + rowBytes, group, bases.1, target + BrainFloatCodes.groupBytes / 2,
                    place + BrainFloatCodes.groupColumns, list, &count)
            }
            let first = cabochon_simd_take(exceptionCount, UInt64(count))
            guard first + UInt64(count) <= capacity else { return }
            for number in 0..<count { exceptions[Int(first) + number] = list[number] }
            pairs[pair] = BrainFloatCodes.PairRecord(
                firstException: UInt32(truncatingIfNeeded: first), exceptionCount: UInt32(truncatingIfNeeded: count),
                firstBase: UInt32(bases.0), secondBase: UInt32(bases.1))
        }
    }

    /// The largest exponent lies fifteen above; where a few are so large that many small ones would be
    /// exceptions, they are it instead.
    private func base(of row: UnsafeRawPointer) -> Int {
        var largest = _mm512_setzero_si512()
        let columns = groups * BrainFloatCodes.groupColumns
        for column in stride(from: 0, to: columns, by: 32) {
            largest = _mm512_max_epu16(largest, exponents(row + 2 * column))
        }
        var base = max(0, largestWord(largest) - 15)
        var exceptions = self.exceptions(row, base)
        while base > 0 && exceptions > columns / 512 {
            let fewer = self.exceptions(row, base - 1)
            if fewer >= exceptions { break }
            exceptions = fewer
            base -= 1
        }
        return base
    }

    private func exceptions(_ row: UnsafeRawPointer, _ base: Int) -> Int {
        var count = 0
        for column in stride(from: 0, to: groups * BrainFloatCodes.groupColumns, by: 32) {
            count += exceptions(exponents(row + 2 * column), base).nonzeroBitCount
        }
        return count
    }

    @inline(__always)
    private func exponents(_ source: UnsafeRawPointer) -> IntVector {
        _mm512_and_si512(_mm512_srli_epi16(loadInts(source), 7), _mm512_set1_epi16(0xff))
    }

    /// The lanes whose exponent has no code: neither 0 nor 1 to 15 above the base.
    @inline(__always)
    private func exceptions(_ exponents: IntVector, _ base: Int) -> UInt32 {
        let above = _mm512_sub_epi16(exponents, _mm512_set1_epi16(Int16(truncatingIfNeeded: base + 1)))
        let beyond = _mm512_subs_epu16(above, _mm512_set1_epi16(14))
        return _mm512_mask_test_epi16_mask(_mm512_test_epi16_mask(exponents, exponents), beyond, beyond)
    }

    /// One row's part of a group; exceptions go on the list.
    @inline(__always)
    private func code(
        _ row: UnsafeRawPointer, _ group: Int, _ base: Int, _ target: UnsafeMutableRawPointer, _ place: Int,
        _ list: UnsafeMutablePointer<BrainFloatCodes.Exception>, _ count: inout Int
    ) {
        let source = row + group * 2 * BrainFloatCodes.groupColumns
        var codes = _mm512_setzero_si512()
        var rest = InlineArray<4, IntVector>(repeating: codes)
        for step in 0..<4 {
            let words = loadInts(source + 64 * step)
            rest[step] = _mm512_and_si512(words, _mm512_set1_epi16(Int16(bitPattern: 0x807f)))
            let exponents = exponents(source + 64 * step)
            var outside = exceptions(exponents, base)
            let coded = _mm512_test_epi16_mask(exponents, exponents) & ~outside
            let code = _mm512_maskz_sub_epi16(coded, exponents, _mm512_set1_epi16(Int16(truncatingIfNeeded: base)))
            codes = _mm512_or_si512(codes, _mm512_slli_epi16(code, UInt32(truncatingIfNeeded: 4 * step)))
            while outside != 0 {
                let lane = outside.trailingZeroBitCount
                let column = 32 * step + lane
                let bits = (source + 2 * column).loadUnaligned(as: UInt16.self)
                list[count] = BrainFloatCodes.Exception(
                    place: UInt32(truncatingIfNeeded: place + column), bits: UInt32(bits))
                count += 1
                outside &= outside &- 1
            }
        }
        storeInts(codes, target)
        storeInts(_mm512_or_si512(rest[0], BrainFloatCodes.swapBytes(rest[1])), target + 64)
        storeInts(_mm512_or_si512(rest[2], BrainFloatCodes.swapBytes(rest[3])), target + 128)
    }
}

private func largestWord(_ vector: IntVector) -> Int {
    var words = InlineArray<32, UInt16>(repeating: 0)
    withUnsafeMutablePointer(to: &words) { storeInts(vector, $0) }
    var largest: UInt16 = 0
    for index in 0..<32 { largest = max(largest, words[index]) }
    return Int(largest)
}
