// What rows of a KV cache are stored in, and how attention gets them as floats.
//
// Floats are read where they are. Blocks of bytes (Q8_0) are widened in registers for few queries, and for many, which
// take each element many times, once into a worker's memory. The bits are the same: a byte times a float16 is exact.
import CCabochonBackend
import SIMDIntrinsics

/// Whether caches may hold rows of so many elements in a type.
func isCacheType(_ type: UInt32, headSize: UInt32) -> Bool {
    switch type {
    case WeightType.f16, WeightType.f32: true
    case WeightType.q8_0: Int(headSize).isMultiple(of: CachedBlocks.groupElements)
    default: false
    }
}

/// Whether every segment has a cache; asked before anything is written.
func haveCaches(_ segments: UnsafePointer<cabochon_segment>, count: Int) -> Bool {
    for number in 0..<count where segments[number].keys == nil || segments[number].values == nil { return false }
    return true
}

/// Elements of a row are named by their place in it, a multiple of `lanes`.
protocol CacheFormat {
    /// What products of many queries read.
    associatedtype Rows: CachedFloats
    /// Elements that share a scale; as many as a vector has where they have none.
    static var groupElements: Int { get }
    static func bytes(of elements: Int) -> Int
    /// About what a vector of elements takes, a power of two.
    static var vectorBytes: Int { get }
    /// Of the group at a place.
    static func scale(_ row: UnsafeRawPointer, _ place: Int) -> FloatVector
    /// A vector, of which the row has the first `count` elements.
    static func load(_ row: UnsafeRawPointer, _ place: Int, first count: Int, _ scale: FloatVector) -> FloatVector
    /// Queries from which products take `rows`.
    static var leastQueriesOfRows: Int { get }
    /// So many elements from `source` on: there, or in `buffer`.
    static func rows(
        _ source: UnsafeRawPointer, elements: Int, buffer: UnsafeMutablePointer<Float>
    ) -> UnsafeRawPointer
    /// Files a head's row.
    static func store(_ row: UnsafePointer<Float>, _ target: UnsafeMutableRawPointer, elements: Int)
}

/// A row's elements as floats of some size, one after another.
protocol CachedFloats: CacheFormat, FloatFormat {
    static func store(_ vector: FloatVector, _ target: UnsafeMutableRawPointer, first count: Int)
}

extension CachedFloats {
    @inline(__always) static var groupElements: Int { lanes }
    @inline(__always) static var leastQueriesOfRows: Int { 0 }
    @inline(__always) static func bytes(of elements: Int) -> Int { elements * bytes }
    @inline(__always) static var vectorBytes: Int { lanes * bytes }
    @inline(__always) static func scale(_ row: UnsafeRawPointer, _ place: Int) -> FloatVector { broadcast(Float(1)) }
    @inline(__always)
    static func load(_ row: UnsafeRawPointer, _ place: Int, first count: Int, _ scale: FloatVector) -> FloatVector {
        let source = row + place * bytes
        return count == lanes ? load(source) : load(source, first: count)
    }
    @inline(__always)
    static func rows(
        _ source: UnsafeRawPointer, elements: Int, buffer: UnsafeMutablePointer<Float>
    ) -> UnsafeRawPointer { source }
    @inline(__always)
    static func store(_ row: UnsafePointer<Float>, _ target: UnsafeMutableRawPointer, elements: Int) {
        for place in stride(from: 0, to: elements, by: lanes) {
            let count = min(lanes, elements - place)
            store(loadFloats(row + place, first: count), target + place * bytes, first: count)
        }
    }
}

extension FormatF32: CachedFloats {
    typealias Rows = FormatF32

    @inline(__always)
    static func store(_ vector: FloatVector, _ target: UnsafeMutableRawPointer, first count: Int) {
        storeFloats(vector, target, first: count)
    }
}

extension FormatF16: CachedFloats {
    typealias Rows = FormatF16

    @inline(__always)
    static func store(_ vector: FloatVector, _ target: UnsafeMutableRawPointer, first count: Int) {
        storeHalves(vector, target, first: count)
    }
}

/// Blocks of 32 elements: a float16 scale, then a signed byte for each. Rows are whole blocks.
enum CachedBlocks: CacheFormat {
    typealias Rows = FormatF32

    @inline(__always) static var groupElements: Int { 32 }
    @inline(__always) static var blockBytes: Int { 34 }
    @inline(__always) static func bytes(of elements: Int) -> Int { (elements &>> 5) * blockBytes }
    @inline(__always) static var vectorBytes: Int { lanes }

    /// A whole vector is loaded for it, which ends within the block.
    @inline(__always)
    static func scale(_ row: UnsafeRawPointer, _ place: Int) -> FloatVector {
        broadcast(firstLane(loadHalves(row + bytes(of: place))))
    }
    /// No row ends within a vector.
    @inline(__always)
    static func load(_ row: UnsafeRawPointer, _ place: Int, first count: Int, _ scale: FloatVector) -> FloatVector {
        multiply(floats(loadSignedBytes(row + bytes(of: place) + 2 + place & 31)), scale)
    }

    /// Sixteen queries take 0.7 times as long so as with blocks widened in registers (AVX2, an EPYC of family 25).
    @inline(__always) static var leastQueriesOfRows: Int { 8 }

    static func rows(
        _ source: UnsafeRawPointer, elements: Int, buffer: UnsafeMutablePointer<Float>
    ) -> UnsafeRawPointer {
        for place in stride(from: 0, to: elements, by: groupElements) {
            let scale = scale(source, place)
            for part in 0..<groupElements / lanes {
                let element = place + part * lanes
                storeFloats(load(source, element, first: lanes, scale), buffer + element)
            }
        }
        return UnsafeRawPointer(buffer)
    }

    /// As many blocks at a time as a vector has lanes, one in each for what a block is reduced to.
    static func store(_ row: UnsafePointer<Float>, _ target: UnsafeMutableRawPointer, elements: Int) {
        let blocks = elements / groupElements
        for first in stride(from: 0, to: blocks, by: lanes) {
            store(row + first * groupElements, target + first * blockBytes, blocks: min(lanes, blocks - first))
        }
    }

    @inline(__always)
    private static func store(_ values: UnsafePointer<Float>, _ target: UnsafeMutableRawPointer, blocks: Int) {
        let zero = broadcast(Float(0))
        var largest = LaneSums(repeating: zero)
        for block in 0..<blocks {
            for part in 0..<groupElements / lanes {
                let value = loadFloats(values + block * groupElements + part * lanes)
                largest[block] = largerMagnitude(largest[block], magnitude(value))
            }
        }
        let greatest = largestMagnitudesOfLanes(largest)
        let bounded = minimum(divide(greatest, broadcast(Float(127))), broadcast(Float(65504)))
        // NaN where an element is not finite.
        let scale = add(bounded, multiply(greatest, zero))
        var scales = InlineArray<16, UInt16>(repeating: 0)
        var inverses = InlineArray<16, Float>(repeating: 0)
        withUnsafeMutableBytes(of: &scales) { scales in
            let memory = scales.baseAddress.unsafelyUnwrapped
            storeHalves(scale, memory, first: lanes)
            // The bytes are of the scale as it is stored, so that its rounding does not add to theirs.
            let stored = loadHalves(memory)
            let inverse = select(zero, below: stored, divide(broadcast(Float(1)), stored), else: zero)
            withUnsafeMutableBytes(of: &inverses) { storeFloats(inverse, $0.baseAddress.unsafelyUnwrapped) }
        }
        for block in 0..<blocks {
            let place = target + block * blockBytes
            place.storeBytes(of: scales[block], as: UInt16.self)
            let inverse = broadcast(inverses[block])
            for part in 0..<groupElements / lanes {
                let value = multiply(loadFloats(values + block * groupElements + part * lanes), inverse)
                let code = ints(maximum(broadcast(Float(-127)), minimum(broadcast(Float(127)), value)))
                storeLowBytes(code, place + 2 + part * lanes)
            }
        }
    }
}
