// How the types with super-blocks of 256 lie in a file: Q2_K to Q6_K and IQ4_XS.
//
//     Q2_K    16 bytes (low nibble scale, high nibble minimum, per 16 columns), 64 bytes of two-bit
//             codes, f16 d, f16 dmin
//     Q3_K    32 bytes of third bits, 64 bytes of two-bit codes, 12 bytes of six-bit scales, f16 d
//     Q4_K    f16 d, f16 dmin, 12 bytes of six-bit scales and minima, 128 bytes of nibbles
//     Q5_K    the same with 32 bytes of fifth bits before the nibbles
//     Q6_K    128 bytes of nibbles, 64 bytes of upper two bits, 16 signed scales, f16 d
//     IQ4_XS  f16 d, u16 and 4 bytes of six-bit scales, 128 bytes of nibbles
//
// Bits of the same column of several blocks share a byte, so a block is a shift and a mask away.

@inline(__always) private func shifted(
    _ source: UnsafeRawPointer, by shift: Int, mask: UInt32
) -> InlineArray<8, UInt32> {
    var groups = InlineArray<8, UInt32>(repeating: 0)
    for index in 0..<8 { groups[index] = (word(source, 4 * index) &>> UInt32(truncatingIfNeeded: shift)) & mask }
    return groups
}

@inline(__always) private func combine(
    _ low: InlineArray<8, UInt32>, _ high: InlineArray<8, UInt32>, shift: UInt32
) -> InlineArray<8, UInt32> {
    var groups = low
    for index in 0..<8 { groups[index] |= high[index] &<< shift }
    return groups
}

@inline(__always) private func byte(_ source: UnsafeRawPointer, _ offset: Int) -> UInt8 {
    source.load(fromByteOffset: offset, as: UInt8.self)
}

@inline(__always) private func store(
    _ value: UInt8, _ record: UnsafeMutableRawPointer, _ field: Int, _ lane: Int
) {
    record.storeBytes(of: value, toByteOffset: field * lanes + lane, as: UInt8.self)
}

/// Two-bit codes: block b is bits 2(b % 4) of the 32 bytes of its half of the super-block.
@inline(__always) private func twoBitGroups(_ codes: UnsafeRawPointer, _ block: Int) -> InlineArray<8, UInt32> {
    shifted(codes + 32 * (block &>> 2), by: 2 * (block & 3), mask: 0x0303_0303)
}

/// Nibbles of Q4_K and Q5_K: blocks 2j and 2j + 1 are the low and high nibbles of 32 bytes.
@inline(__always) private func pairedNibbles(_ codes: UnsafeRawPointer, _ block: Int) -> InlineArray<8, UInt32> {
    shifted(codes + 32 * (block &>> 1), by: 4 * (block & 1), mask: 0x0f0f_0f0f)
}

/// Six-bit scale and minimum of block b out of the 12 bytes: the first four blocks' in the low six
/// bits of bytes b and b + 4, the others' as nibbles of byte b + 4 under the top bits of those.
@inline(__always) private func sixBitScales(_ scales: UnsafeRawPointer, _ block: Int) -> (scale: UInt8, minimum: UInt8)
{
    if block < 4 { return (byte(scales, block) & 63, byte(scales, block + 4) & 63) }
    let nibbles = byte(scales, block + 4)
    return (
        (nibbles & 15) | (byte(scales, block - 4) &>> 6) &<< 4,
        (nibbles &>> 4) | (byte(scales, block) &>> 6) &<< 4
    )
}

/// The eight blocks' as SuperScalesAndMinima reads them.
@inline(__always) private func packSixBitScales(
    _ scales: UnsafeRawPointer, _ record: UnsafeMutableRawPointer, _ field: Int, _ lane: Int
) {
    for block in 0..<4 {
        let first = sixBitScales(scales, block)
        let second = sixBitScales(scales, block + 4)
        store((first.scale & 15) | first.minimum &<< 4, record, field + block, lane)
        store((second.scale & 15) | second.minimum &<< 4, record, field + block + 4, lane)
        let high = (first.scale &>> 4) | (first.minimum &>> 4) &<< 2
        store(high | (second.scale &>> 4) &<< 4 | (second.minimum &>> 4) &<< 6, record, field + 8 + block, lane)
    }
}

extension FormatQ2_K {
    static func fileCodes(_ row: UnsafeRawPointer, _ block: Int) -> InlineArray<8, UInt32> {
        twoBitGroups(row + 84 * (block &>> 3) + 16, block & 7)
    }
    static func packScales(_ row: UnsafeRawPointer, _ index: Int, _ lane: Int, _ record: UnsafeMutableRawPointer) {
        let source = row + 84 * index
        copyHalf(source, 80, record, 0, lane)
        copyHalf(source, 82, record, 2, lane)
        for half in 0..<16 { store(byte(source, half), record, 4 + half, lane) }
    }
}

extension FormatQ3_K {
    static func fileCodes(_ row: UnsafeRawPointer, _ block: Int) -> InlineArray<8, UInt32> {
        let source = row + 110 * (block &>> 3)
        let third = shifted(source, by: block & 7, mask: 0x0101_0101)
        return combine(twoBitGroups(source + 32, block & 7), third, shift: 2)
    }
    /// Scale h: its low four bits a nibble of byte h % 8 (high nibbles from 8 on), its upper two bits
    /// 2(h / 4) of byte 8 + h % 4; 32 is zero.
    static func packScales(_ row: UnsafeRawPointer, _ index: Int, _ lane: Int, _ record: UnsafeMutableRawPointer) {
        let source = row + 110 * index
        copyHalf(source, 108, record, 0, lane)
        for half in 0..<16 {
            let low = (byte(source, 96 + (half & 7)) &>> UInt8(truncatingIfNeeded: 4 * (half &>> 3))) & 15
            let high = (byte(source, 104 + (half & 3)) &>> UInt8(truncatingIfNeeded: 2 * (half &>> 2))) & 3
            store((low | high &<< 4) &- 32, record, 2 + half, lane)
        }
    }
}

extension FormatQ4_K {
    static func fileCodes(_ row: UnsafeRawPointer, _ block: Int) -> InlineArray<8, UInt32> {
        pairedNibbles(row + 144 * (block &>> 3) + 16, block & 7)
    }
    static func packScales(_ row: UnsafeRawPointer, _ index: Int, _ lane: Int, _ record: UnsafeMutableRawPointer) {
        let source = row + 144 * index
        copyHalf(source, 0, record, 0, lane)
        copyHalf(source, 2, record, 2, lane)
        packSixBitScales(source + 4, record, 4, lane)
    }
}

extension FormatQ5_K {
    static func fileCodes(_ row: UnsafeRawPointer, _ block: Int) -> InlineArray<8, UInt32> {
        let source = row + 176 * (block &>> 3)
        let fifth = shifted(source + 16, by: block & 7, mask: 0x0101_0101)
        return combine(pairedNibbles(source + 48, block & 7), fifth, shift: 4)
    }
    static func packScales(_ row: UnsafeRawPointer, _ index: Int, _ lane: Int, _ record: UnsafeMutableRawPointer) {
        let source = row + 176 * index
        copyHalf(source, 0, record, 0, lane)
        copyHalf(source, 2, record, 2, lane)
        packSixBitScales(source + 4, record, 4, lane)
    }
}

extension FormatQ6_K {
    /// Blocks 0, 1 (of each half of 128) are low nibbles of bytes 0 and 32 on, blocks 2, 3 their high ones.
    static func fileCodes(_ row: UnsafeRawPointer, _ block: Int) -> InlineArray<8, UInt32> {
        let source = row + 210 * (block &>> 3)
        let half = (block & 7) &>> 2
        let quarter = block & 3
        let low = shifted(source + 64 * half + 32 * (quarter & 1), by: 4 * (quarter &>> 1), mask: 0x0f0f_0f0f)
        let high = shifted(source + 128 + 32 * half, by: 2 * quarter, mask: 0x0303_0303)
        return combine(low, high, shift: 4)
    }
    static func packScales(_ row: UnsafeRawPointer, _ index: Int, _ lane: Int, _ record: UnsafeMutableRawPointer) {
        let source = row + 210 * index
        copyHalf(source, 208, record, 0, lane)
        for half in 0..<16 { store(byte(source, 192 + half), record, 2 + half, lane) }
    }
}

extension FormatIQ4_XS {
    static func fileCodes(_ row: UnsafeRawPointer, _ block: Int) -> InlineArray<8, UInt32> {
        nibbleGroups(row + 136 * (block &>> 3) + 8 + 16 * (block & 7))
    }
    static func packScales(_ row: UnsafeRawPointer, _ index: Int, _ lane: Int, _ record: UnsafeMutableRawPointer) {
        let source = row + 136 * index
        copyHalf(source, 0, record, 0, lane)
        let upper = source.loadUnaligned(fromByteOffset: 2, as: UInt16.self)
        for block in 0..<8 {
            let low = (byte(source, 4 + block &>> 1) &>> UInt8(truncatingIfNeeded: 4 * (block & 1))) & 15
            let high = UInt8(truncatingIfNeeded: upper &>> UInt16(truncatingIfNeeded: 2 * block)) & 3
            store((low | high &<< 4) &- 32, record, 2 + block, lane)
        }
    }
}
