// CachedRow.swift - how a head's row of keys or values stands in the KV cache.

import CCabochonBackend

/// Whether every segment has a cache; asked before anything is written.
func haveCaches(_ segments: UnsafePointer<cabochon_segment>, count: UInt64) -> Bool {
    (0..<Int(count)).allSatisfy { segments[$0].keys != nil && segments[$0].values != nil }
}

struct CachedRow {
    private let type: UInt32
    private let size: Int
    private let bytes: Int

    /// Nil for a type that caches are not kept in, or rows that are not whole blocks of it.
    init?(type: UInt32, size: Int) {
        switch type {
        case CABOCHON_TYPE_F32: bytes = 4 * size
        case CABOCHON_TYPE_F16: bytes = 2 * size
        case CABOCHON_TYPE_Q8_0 where size.isMultiple(of: 32): bytes = 34 * (size / 32)
        default: return nil
        }
        self.type = type
        self.size = size
    }

    /// Row `index` as float32: itself, or `buffer` filled from it.
    func floats(
        _ cache: UnsafeRawPointer, at index: Int, buffer: UnsafeMutablePointer<Float>
    ) -> UnsafePointer<Float> {
        let row = cache + index * bytes
        if type == CABOCHON_TYPE_F32 { return row.assumingMemoryBound(to: Float.self) }
        _ = dequantize(type: type, from: row, to: buffer, count: size)
        return UnsafePointer(buffer)
    }

    /// Files `values` as row `index`.
    func store(_ values: UnsafePointer<Float>, in cache: UnsafeMutableRawPointer, at index: Int) {
        let row = cache + index * bytes
        switch type {
        case CABOCHON_TYPE_F32: row.assumingMemoryBound(to: Float.self).update(from: values, count: size)
        case CABOCHON_TYPE_F16:
            let halves = row.assumingMemoryBound(to: Float16.self)
            for i in 0..<size { halves[i] = Float16(values[i]) }
        default:
            for block in 0..<size / 32 { quantize(values + 32 * block, to: row + 34 * block) }
        }
    }

    private func quantize(_ values: UnsafePointer<Float>, to block: UnsafeMutableRawPointer) {
        var largest: Float = 0
        var isFinite = true
        for i in 0..<32 {
            largest = max(largest, abs(values[i]))
            isFinite = isFinite && values[i].isFinite
        }
        let scale = isFinite ? Float16(min(largest / 127, Float(Float16.greatestFiniteMagnitude))) : .nan
        block.storeBytes(of: scale.bitPattern, as: UInt16.self)
        // The bytes are of the scale as it is stored, so that its rounding does not add to theirs.
        let stored = floatFromHalf(scale.bitPattern)
        let inverse = stored > 0 ? 1 / stored : 0
        for i in 0..<32 {
            let code = isFinite ? (values[i] * inverse).rounded(.toNearestOrEven) : 0
            block.storeBytes(of: Int8(max(-127, min(127, code))), toByteOffset: 2 + i, as: Int8.self)
        }
    }
}
