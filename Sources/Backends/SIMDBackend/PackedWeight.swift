// A weight in the backend's own layout (PackedFormat.swift), and the making of it.
//
// One piece of the host's memory: this record in its first 64 bytes, then the panels one after the
// other, each starting on a multiple of 64. Rows beyond the last are zero, memory being lent zeroed.
import CCabochonBackend

struct PackedWeight {
    var type: UInt32
    var rows: Int
    /// Blocks of 32 columns.
    var blocks: Int
    var panels: Int
    var panelBytes: Int
    var totalBytes: Int

    static let headerBytes = 64

    @inline(__always) static func at(_ prepared: UnsafeRawPointer) -> PackedWeight {
        prepared.load(as: PackedWeight.self)
    }
}

private struct PackingTask {
    var source: UnsafeRawPointer
    var rowBytes: Int
    var destination: UnsafeMutableRawPointer
    var weight: PackedWeight
    var panelsPerIndex: Int
    var packPanel: (UnsafePointer<PackingTask>, Int) -> Void
}

extension PackedFormat {
    static func pack(
        _ run: UnsafePointer<cabochon_run>, _ host: UnsafePointer<cabochon_host>,
        _ weight: UnsafePointer<cabochon_weight>
    ) -> UnsafeMutableRawPointer? {
        let rows = Int(truncatingIfNeeded: weight.pointee.rows)
        let blocks = Int(truncatingIfNeeded: weight.pointee.columns) &>> 5
        let panels = (rows + lanes - 1) / lanes
        let chunks = (blocks + chunkBlocks - 1) / chunkBlocks
        let panelBytes = (chunks * chunkBytes + 63) & ~63
        let totalBytes = PackedWeight.headerBytes + panels * panelBytes
        guard let source = weight.pointee.data,
            let memory = host.pointee.allocate(totalBytes)
        else { return nil }
        let packed = PackedWeight(
            type: weight.pointee.type, rows: rows, blocks: blocks, panels: panels,
            panelBytes: panelBytes, totalBytes: totalBytes)
        memory.storeBytes(of: packed, as: PackedWeight.self)
        let panelsPerIndex = max(1, (1 &<< 18) / max(1, panelBytes))
        var task = PackingTask(
            source: source, rowBytes: Int(truncatingIfNeeded: weight.pointee.row_bytes),
            destination: memory + PackedWeight.headerBytes, weight: packed, panelsPerIndex: panelsPerIndex,
            packPanel: { packPanel($0, $1) })
        parallel(run, (panels + panelsPerIndex - 1) / panelsPerIndex, &task) { context, index, _ in
            let task = context.unsafelyUnwrapped.assumingMemoryBound(to: PackingTask.self)
            let first = index * task.pointee.panelsPerIndex
            let last = min(first + task.pointee.panelsPerIndex, task.pointee.weight.panels)
            for panel in first..<last { task.pointee.packPanel(task, panel) }
        }
        return memory
    }

    /// Rows innermost: their groups of four columns are neighbours in the panel.
    private static func packPanel(_ task: UnsafePointer<PackingTask>, _ panel: Int) {
        let weight = task.pointee.weight
        let rows = min(lanes, weight.rows - panel * lanes)
        let source = task.pointee.source + panel * lanes * task.pointee.rowBytes
        let chunks = task.pointee.destination + panel * weight.panelBytes
        for block in 0..<weight.blocks {
            let target = chunks + block / chunkBlocks * chunkBytes + block % chunkBlocks * blockBytes
            for lane in 0..<rows {
                packGroups(fileCodes(source + lane * task.pointee.rowBytes, block), target + 4 * lane)
            }
        }
        for index in 0..<weight.blocks / Scales.blocks {
            let block = index * Scales.blocks
            let records = chunks + block / chunkBlocks * chunkBytes + chunkCodeBytes
            let target = records + block % chunkBlocks / Scales.blocks * recordBytes
            for lane in 0..<rows { packScales(source + lane * task.pointee.rowBytes, index, lane, target) }
        }
    }

    @inline(__always)
    private static func packGroups(_ groups: InlineArray<8, UInt32>, _ target: UnsafeMutableRawPointer) {
        if Codes.bits == 8 {
            for index in 0..<8 { store(groups[index], target, index) }
            return
        }
        if Codes.bits >= 4 {
            for index in 0..<4 {
                store((groups[index] & 0x0f0f_0f0f) | (groups[index + 4] & 0x0f0f_0f0f) &<< 4, target, index)
            }
        } else {
            storeTwoBits(groups, from: 0, target, 0)
        }
        if Codes.bits == 3 { storeBit(groups, from: 2, target, 2) }
        if Codes.bits == 5 { storeBit(groups, from: 4, target, 4) }
        if Codes.bits == 6 { storeTwoBits(groups, from: 4, target, 4) }
    }

    @inline(__always)
    private static func storeBit(
        _ groups: InlineArray<8, UInt32>, from position: UInt32, _ target: UnsafeMutableRawPointer, _ vector: Int
    ) {
        var plane: UInt32 = 0
        for index in 0..<8 {
            plane |= ((groups[index] &>> position) & 0x0101_0101) &<< UInt32(truncatingIfNeeded: index)
        }
        store(plane, target, vector)
    }

    @inline(__always)
    private static func storeTwoBits(
        _ groups: InlineArray<8, UInt32>, from position: UInt32, _ target: UnsafeMutableRawPointer, _ vector: Int
    ) {
        for half in 0..<2 {
            var plane: UInt32 = 0
            for index in 0..<4 {
                let codes = (groups[4 * half + index] &>> position) & 0x0303_0303
                plane |= codes &<< UInt32(truncatingIfNeeded: 2 * index)
            }
            store(plane, target, vector + half)
        }
    }

    @inline(__always)
    private static func store(_ value: UInt32, _ target: UnsafeMutableRawPointer, _ vector: Int) {
        target.storeBytes(of: value, toByteOffset: vector * vectorBytes, as: UInt32.self)
    }
}

private struct Packing: FormatOperation {
    var run: UnsafePointer<cabochon_run>
    var host: UnsafePointer<cabochon_host>
    var weight: UnsafePointer<cabochon_weight>

    func run<Format: PackedFormat>(_: Format.Type) -> UnsafeMutableRawPointer? { Format.pack(run, host, weight) }
}

@c(cabochon_simd_prepare_weight)
public func prepareWeight(
    _ self_: UnsafeMutableRawPointer?, _ run: UnsafePointer<cabochon_run>?,
    _ weight: UnsafePointer<cabochon_weight>?, _ prepared: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    guard let self_, let run, let weight, let prepared else { return OpStatus.declined }
    let host = UnsafePointer(self_.assumingMemoryBound(to: cabochon_host.self))
    if WeightType.isFloat(weight.pointee.type) {
        let codes =
            BrainFloatTiles.take(weight.pointee.type)
            ? BrainFloatTiles.pack(run, host, weight) : BrainFloatCodes.pack(run, host, weight)
        prepared.pointee = codes.prepared
        return codes.status
    }
    guard let memory = withFormat(weight.pointee.type, Packing(run: run, host: host, weight: weight)) else {
        return OpStatus.declined
    }
    guard let memory else { return OpStatus.failed }
    prepared.pointee = memory
    return OpStatus.done
}

@c(cabochon_simd_release_weight)
public func releaseWeight(_ self_: UnsafeMutableRawPointer?, _ prepared: UnsafeMutableRawPointer?) {
    guard let self_, let prepared else { return }
    let host = self_.assumingMemoryBound(to: cabochon_host.self)
    host.pointee.release(prepared, PackedWeight.at(prepared).totalBytes)
}
