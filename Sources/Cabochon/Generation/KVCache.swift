// KVCache.swift - the keys and values of one sequence.
//
// Per layer, keys and values are [kvHeadCount, capacity, headSize], so that attention reads a
// head's positions one after another. The memory for the whole context is reserved at once but
// takes pages only where positions are written.

import CCabochonBackend
import CabochonShims

/// What the rows of a KV cache are stored in. Raw values are GGUF's.
public enum KVType: UInt32, Sendable, CaseIterable {
    case f16 = 1
    case f32 = 0
    /// A float16 scale and a byte for each of 32 elements: half the memory of f16, and half of what a token reads of
    /// the cache.
    case q8_0 = 8

    private var tensorType: TensorType {
        switch self {
        case .f16: .f16
        case .f32: .f32
        case .q8_0: .q8_0
        }
    }

    /// Elements that are stored together; a head's row is a whole number of blocks.
    public var blockSize: Int { tensorType.blockSize }

    /// Bytes of a head's row of `headSize` elements, whole blocks.
    public func rowBytes(headSize: Int) -> Int { headSize / blockSize * tensorType.bytesPerBlock }
}

final class KVCache {
    let type: KVType
    let capacity: Int
    let layerCount: Int
    let kvHeadCount: Int
    let headSize: Int
    private let rowBytes: Int
    /// Positions that hold a token. Raised only when a whole append has succeeded.
    private(set) var length = 0
    private let memory: ReservedMemory

    init(configuration c: GemmaConfiguration, capacity: Int, type: KVType) throws(CabochonError) {
        self.type = type
        self.capacity = capacity
        layerCount = c.layerCount
        kvHeadCount = c.kvHeadCount
        headSize = c.headSize
        let label = "the KV cache"
        rowBytes = type.rowBytes(headSize: c.headSize)
        let perLayer = try Checked.multiply(2 * c.kvHeadCount * rowBytes, capacity, label)
        memory = try ReservedMemory(
            byteCount: try Checked.multiply(c.layerCount, perLayer, label), for: "a KV cache of \(capacity) positions")
    }

    /// Elements from one KV head to the next.
    var headStride: Int { capacity * headSize }
    private var planeBytes: Int { kvHeadCount * capacity * rowBytes }

    func keys(layer: Int) -> UnsafeMutableRawPointer { memory.pointer + 2 * layer * planeBytes }
    func values(layer: Int) -> UnsafeMutableRawPointer { keys(layer: layer) + planeBytes }

    func commit(length: Int) { self.length = length }
    func truncate(to length: Int) { self.length = min(self.length, length) }

    /// The used part of each head, layer after layer, keys before values: what a file holds.
    func forEachUsedRange(_ body: (UnsafeMutableRawBufferPointer) throws(CabochonError) -> Void) throws(CabochonError) {
        for plane in 0..<2 * layerCount {
            for head in 0..<kvHeadCount {
                try body(positions(0..<length, plane: plane, head: head))
            }
        }
    }

    private func positions(_ range: Range<Int>, plane: Int, head: Int) -> UnsafeMutableRawBufferPointer {
        let start = memory.pointer + plane * planeBytes + (head * capacity + range.lowerBound) * rowBytes
        return UnsafeMutableRawBufferPointer(start: start, count: range.count * rowBytes)
    }

    /// Takes over what the first `end` positions of a cache of the same shape hold beyond this one's
    /// length, as far as this one's capacity goes.
    func copyPositions(of other: KVCache, to end: Int) {
        let end = min(end, other.length, capacity)
        guard length < end else { return }
        for plane in 0..<2 * layerCount {
            for head in 0..<kvHeadCount {
                positions(length..<end, plane: plane, head: head).copyMemory(
                    from: UnsafeRawBufferPointer(other.positions(length..<end, plane: plane, head: head)))
            }
        }
        length = end
    }
}
