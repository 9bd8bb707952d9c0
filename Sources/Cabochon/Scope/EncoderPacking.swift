// EncoderPacking.swift - lays an encoder out, block by block, into a file or memory.

import CabochonShims
import Synchronization

/// What an encoder is made of.
struct EncoderPacking {
    let layout: EncoderLayout
    let encoder: FeatureRowsReader
    /// Nil unless the layout has a decoder.
    let decoder: FeatureRowsReader?
    let bias, threshold: Buffer<Float>  // [width]
    /// Subtracted from inputs by the screen. [stride]
    let center: Buffer<Float>
    let pool: ThreadPool

    private static let block = FeatureRowsReader.block

    /// In memory of the process's own; the layout has no decoder.
    func makeInMemory() throws(CabochonError) -> Encoder {
        let memory = try ReservedMemory(
            byteCount: layout.byteCount, wantsHugePages: true, for: "the encoder of \(encoder.tensor.label)")
        let rows = (memory.pointer + layout.rows).assumingMemoryBound(to: Float.self)
        let codes = (memory.pointer + layout.codes).assumingMemoryBound(to: UInt8.self)
        let packing = layout.hasCodes ? screenPacking(memory.pointer + layout.bounds) : nil
        try forEachBlock { first, count, _ throws(CabochonError) in
            let block = rows + first * layout.stride
            try encoder.read(first: first, count: count, into: block, stride: layout.stride)
            pack(packing, block, first, count, into: codes + first * layout.stride)
        }
        return Encoder(memory, layout, center: center)
    }

    /// In a new file without a name, all but its header.
    func write(to file: OpenFile) throws(CabochonError) {
        let stride = layout.stride
        let threads = pool.threadCount
        let size = max(stride, layout.decoderSize)
        let rows = try Buffer<Float>(count: threads * Self.block * size, for: "a part of an encoder")
        let codes = try Buffer<UInt8>(count: threads * Self.block * stride, for: "a part of an encoder")
        let bounds = try Buffer<Float>(count: layout.boundsByteCount / 4, for: "the bounds of a screen")
        let packing = layout.hasCodes ? screenPacking(UnsafeMutableRawPointer(bounds.pointer)) : nil
        try forEachBlock { first, count, worker throws(CabochonError) in
            let block = rows.pointer + worker * Self.block * size
            let copies = codes.pointer + worker * Self.block * stride
            // Numbers behind a row's last are zeros; the decoder's rows, below, overwrite them.
            for row in 0..<count {
                (block + row * stride + layout.inputSize).update(repeating: 0, count: stride - layout.inputSize)
            }
            try encoder.read(first: first, count: count, into: block, stride: stride)
            try file.write(
                UnsafeRawBufferPointer(start: block, count: count * stride * 4), at: layout.rows + first * stride * 4)
            if layout.hasCodes {
                let groups = (count + 15) / 16
                // Codes of features that fill up the last group are zeros, too: the file is the same each time.
                if groups * 16 > count {
                    (copies + (groups - 1) * 16 * stride).update(repeating: 0, count: 16 * stride)
                }
                pack(packing, block, first, count, into: copies)
                try file.write(
                    UnsafeRawBufferPointer(start: copies, count: groups * 16 * stride),
                    at: layout.codes + first * stride)
            }
            if let decoder {
                try decoder.read(first: first, count: count, into: block, stride: layout.decoderSize)
                try file.write(
                    UnsafeRawBufferPointer(start: block, count: count * layout.decoderSize * 4),
                    at: layout.decoder + first * layout.decoderSize * 4)
            }
        }
        try file.write(UnsafeRawBufferPointer(bounds.elements), at: layout.bounds)
    }

    private func screenPacking(_ bounds: UnsafeMutableRawPointer) -> FeatureScreen.Packing {
        FeatureScreen.Packing(
            bounds.assumingMemoryBound(to: Float.self), layout, bias: bias, threshold: threshold, center: center)
    }

    /// - Parameter codes: of the block's first feature, which begins a group of sixteen.
    private func pack(
        _ packing: FeatureScreen.Packing?, _ block: UnsafePointer<Float>, _ first: Int, _ count: Int,
        into codes: UnsafeMutablePointer<UInt8>
    ) {
        guard let packing else { return }
        for feature in 0..<count {
            packing.pack(
                block + feature * layout.stride, first + feature,
                into: codes + feature / 16 * 16 * layout.stride + feature % 16 * 4)
        }
    }

    private func forEachBlock(
        _ body: (_ first: Int, _ count: Int, _ worker: Int) throws(CabochonError) -> Void
    ) throws(CabochonError) {
        let failure = Mutex<CabochonError?>(nil)
        pool.forEach((layout.width + Self.block - 1) / Self.block) { index, worker in
            guard failure.withLock({ $0 == nil }) else { return }
            let first = index * Self.block
            do throws(CabochonError) { try body(first, min(Self.block, layout.width - first), worker) } catch {
                failure.withLock { $0 = error }
            }
        }
        if let failure = failure.withLock({ $0 }) { throw failure }
    }
}
