// What the kernels know about a weight type once it is packed.
//
// A weight is packed in panels of `lanes` rows, and a panel in blocks of 32 columns. A block's
// codes are eight groups of four columns: lane r of group g holds row r's columns 4g ..< 4g + 4 as
// unsigned bytes, which is what the byte dot product takes. In memory the codes keep the bits
// that they have in the file: decoding reads every weight once per token and is bound by memory,
// so nothing may grow. For the same reason a weight is one stream: a panel is a row of chunks, each
// a few blocks' codes and then their scales, so that what a product needs next is always what lies
// next, and can be asked for ahead of time.
//
//     nibbles      4 vectors: low halves groups 0...3, high halves groups 4...7
//     a bit plane  1 vector: bit g of a byte belongs to group g
//     two bits     2 vectors: bits 2h, 2h + 1 of vector g / 4 belong to group g, h = g % 4
//     bytes        8 vectors
//
// weight = scale * (code - zero), or scale * code - minimum, scale and minimum per row and per 32
// (or 16) columns. Zero is a power of two; where the instruction set can take unsigned bytes of any
// size (zeroIs128) codes are unpacked so far to the left that every zero is 128, and the scale takes
// the same power of two back. Then all types share one start of their sums.

/// How panels lie in memory for products with them.
protocol PanelFormat {
    associatedtype Codes: PackedCodes
    associatedtype Scales: PackedScales
    /// log2 of the integer zero point, or -1 where the type has minima instead.
    static var zeroShift: Int { get }
    /// The IQ4 types' codes are indices into a table of signed values; it is stored with 128 added.
    static var usesTable: Bool { get }
}

/// A type's own panels, in which it is packed.
protocol PackedFormat: PanelFormat {
    /// Block `block` (32 columns) of a row as its file holds it: eight groups of four codes.
    static func fileCodes(_ row: UnsafeRawPointer, _ block: Int) -> InlineArray<8, UInt32>
    /// Files record `index` of a row's scales, for the row's lane of a panel.
    static func packScales(_ row: UnsafeRawPointer, _ index: Int, _ lane: Int, _ record: UnsafeMutableRawPointer)
}

extension PanelFormat {
    @inline(__always) static var usesTable: Bool { false }

    /// Places that codes are moved to the left.
    @inline(__always) static var shift: Int { zeroIs128 && zeroShift >= 0 ? 7 - zeroShift : 0 }

    /// The scale of codes that were moved to the left.
    @inline(__always) static func unshifted(_ scale: FloatVector) -> FloatVector {
        shift == 0 ? scale : multiply(scale, broadcast(1 / Float(1 &<< shift)))
    }

    /// A chunk has as many blocks as one record of scales, or two blocks with a record each, which makes
    /// whole cache lines of sixteen half-precision scales.
    @inline(__always) static var chunkBlocks: Int { Scales.blocks == 1 ? 2 : Scales.blocks }
    @inline(__always) static var blockBytes: Int { Codes.vectors * vectorBytes }
    @inline(__always) static var recordBytes: Int { Scales.bytesPerRow * lanes }
    @inline(__always) static var chunkCodeBytes: Int { chunkBlocks * blockBytes }
    @inline(__always) static var chunkBytes: Int {
        let bytes = chunkCodeBytes + chunkBlocks / Scales.blocks * recordBytes
        return (bytes + vectorBytes - 1) / vectorBytes * vectorBytes
    }

    /// Four columns (group 0 ... 7) of every row of the panel.
    @inline(__always) static func group(_ codes: UnsafeRawPointer, _ index: Int) -> IntVector {
        let group = Codes.group(codes, index, shift)
        if usesTable { return withUnsafePointer(to: iq4Table) { lookUp(loadTable($0), group) } }
        return group
    }
}

let vectorBytes = lanes * 4

// MARK: Codes

protocol PackedCodes {
    /// Vectors of one block.
    static var vectors: Int { get }
    /// The largest code is below 1 << bits.
    static var bits: Int { get }
    /// Group `index`, its codes moved to the left by `shift`.
    static func group(_ codes: UnsafeRawPointer, _ index: Int, _ shift: Int) -> IntVector
}

@inline(__always) func loadVector(_ codes: UnsafeRawPointer, _ index: Int) -> IntVector {
    loadInts(codes + index * vectorBytes)
}

/// (vector >> from) << to, of the bits in `mask` (before the move to the left).
@inline(__always) func bits(_ vector: IntVector, from: Int, to: Int, mask: UInt32) -> IntVector {
    let moved = from == to ? vector : from < to ? shiftLeft(vector, to - from) : shiftRight(vector, from - to)
    return and(moved, broadcast(Int32(bitPattern: mask &<< UInt32(truncatingIfNeeded: to))))
}

@inline(__always) func nibbles(_ codes: UnsafeRawPointer, _ group: Int, to position: Int) -> IntVector {
    bits(loadVector(codes, group & 3), from: group < 4 ? 0 : 4, to: position, mask: 0x0f0f_0f0f)
}

@inline(__always) func bit(_ plane: IntVector, _ group: Int, to position: Int) -> IntVector {
    bits(plane, from: group, to: position, mask: 0x0101_0101)
}

@inline(__always) func twoBits(_ plane: IntVector, _ group: Int, to position: Int) -> IntVector {
    bits(plane, from: 2 * (group & 3), to: position, mask: 0x0303_0303)
}

enum Codes2: PackedCodes {
    @inline(__always) static var vectors: Int { 2 }
    @inline(__always) static var bits: Int { 2 }
    @inline(__always) static func group(_ codes: UnsafeRawPointer, _ index: Int, _ shift: Int) -> IntVector {
        twoBits(loadVector(codes, index >> 2), index, to: shift)
    }
}

enum Codes3: PackedCodes {
    @inline(__always) static var vectors: Int { 3 }
    @inline(__always) static var bits: Int { 3 }
    @inline(__always) static func group(_ codes: UnsafeRawPointer, _ index: Int, _ shift: Int) -> IntVector {
        or(
            twoBits(loadVector(codes, index >> 2), index, to: shift), bit(loadVector(codes, 2), index, to: shift + 2))
    }
}

enum Codes4: PackedCodes {
    @inline(__always) static var vectors: Int { 4 }
    @inline(__always) static var bits: Int { 4 }
    @inline(__always) static func group(_ codes: UnsafeRawPointer, _ index: Int, _ shift: Int) -> IntVector {
        nibbles(codes, index, to: shift)
    }
}

enum Codes5: PackedCodes {
    @inline(__always) static var vectors: Int { 5 }
    @inline(__always) static var bits: Int { 5 }
    @inline(__always) static func group(_ codes: UnsafeRawPointer, _ index: Int, _ shift: Int) -> IntVector {
        or(nibbles(codes, index, to: shift), bit(loadVector(codes, 4), index, to: shift + 4))
    }
}

enum Codes6: PackedCodes {
    @inline(__always) static var vectors: Int { 6 }
    @inline(__always) static var bits: Int { 6 }
    @inline(__always) static func group(_ codes: UnsafeRawPointer, _ index: Int, _ shift: Int) -> IntVector {
        or(nibbles(codes, index, to: shift), twoBits(loadVector(codes, 4 + index >> 2), index, to: shift + 4))
    }
}

enum Codes8: PackedCodes {
    @inline(__always) static var vectors: Int { 8 }
    @inline(__always) static var bits: Int { 8 }
    @inline(__always) static func group(_ codes: UnsafeRawPointer, _ index: Int, _ shift: Int) -> IntVector {
        loadVector(codes, index)
    }
}

// MARK: Scales

protocol PackedScales {
    /// Blocks of 32 columns that share a record, and the record's bytes per row.
    static var blocks: Int { get }
    static var bytesPerRow: Int { get }
    /// Scales per 16 columns rather than 32.
    static var halves: Bool { get }
    /// Whether a record is unpacked for all of its blocks together, into `spreadBytes`, before scales are read from it:
    /// once for all tiles of a pass, since unpacking it for each takes 2 % of their time.
    static var isSpread: Bool { get }
    /// Unpacks a record into what the functions below then read.
    static func spread(_ record: UnsafeRawPointer, to spread: UnsafeMutableRawPointer)
    /// A block's scale where it is alone.
    static func scale(_ record: UnsafeRawPointer) -> FloatVector
    /// A block's minimum, negated as files have it, where it is alone.
    static func minimum(_ record: UnsafeRawPointer) -> FloatVector
    /// A block's scale in a super-block: the integer, of at most eight bits, that `superScale` is multiplied by.
    static func integerScale(_ record: UnsafeRawPointer, _ block: Int, _ half: Int) -> IntVector
    static func superScale(_ record: UnsafeRawPointer) -> FloatVector
    /// Pairs of a super-block's integer minima: four of blocks, eight of half blocks, or none.
    static var minimumPairs: Int { get }
    /// In each row's lane two 16-bit integers, of the earlier columns in the lower half, which `superMinimum` belongs to.
    static func minimumPair(_ record: UnsafeRawPointer, _ index: Int) -> IntVector
    static func superMinimum(_ record: UnsafeRawPointer) -> FloatVector
}

extension PackedScales {
    /// Whether eight blocks share a record, and what is in common is multiplied in once.
    @inline(__always) static var isSuper: Bool { blocks == 8 }
    @inline(__always) static var halves: Bool { false }
    @inline(__always) static var isSpread: Bool { false }
    @inline(__always) static func spread(_ record: UnsafeRawPointer, to spread: UnsafeMutableRawPointer) {}
    @inline(__always) static func scale(_ record: UnsafeRawPointer) -> FloatVector { loadHalves(record) }
    @inline(__always) static func minimum(_ record: UnsafeRawPointer) -> FloatVector { broadcast(Float(0)) }
    @inline(__always) static func integerScale(_ record: UnsafeRawPointer, _ block: Int, _ half: Int) -> IntVector {
        broadcast(Int32(0))
    }
    @inline(__always) static func superScale(_ record: UnsafeRawPointer) -> FloatVector { loadHalves(record) }
    @inline(__always) static var minimumPairs: Int { 0 }
    @inline(__always) static func minimumPair(_ record: UnsafeRawPointer, _ index: Int) -> IntVector {
        broadcast(Int32(0))
    }
    @inline(__always) static func superMinimum(_ record: UnsafeRawPointer) -> FloatVector {
        loadHalves(record + 2 * lanes)
    }
}

let spreadBytes = 5 * vectorBytes

/// [f16 scale]: Q4_0, Q5_0, Q8_0, IQ4_NL.
enum BlockScales: PackedScales {
    @inline(__always) static var blocks: Int { 1 }
    @inline(__always) static var bytesPerRow: Int { 2 }
}

/// [f16 scale][f16 minimum, negated as the file has it]: Q4_1, Q5_1.
enum BlockScalesAndMinima: PackedScales {
    @inline(__always) static var blocks: Int { 1 }
    @inline(__always) static var bytesPerRow: Int { 4 }
    @inline(__always) static func minimum(_ record: UnsafeRawPointer) -> FloatVector {
        subtract(broadcast(Float(0)), loadHalves(record + 2 * lanes))
    }
}

/// [f16 d][f16 dmin][8 blocks of u8: low four bits of scale, of minimum][4 blocks of u8: upper two bits of scale and
/// minimum, of those of the block four further on]: Q4_K, Q5_K, in as many bytes as the file has.
///
/// Spread: [f16 d][f16 dmin][8 blocks of u8 scale][8 blocks of u8 minimum].
enum SuperScalesAndMinima: PackedScales {
    @inline(__always) static var blocks: Int { 8 }
    @inline(__always) static var bytesPerRow: Int { 4 + 12 }
    @inline(__always) static var isSpread: Bool { true }
    @inline(__always) static func spread(_ record: UnsafeRawPointer, to spread: UnsafeMutableRawPointer) {
        let high = loadVector(record, 3)
        storeInts(loadVector(record, 0), spread)
        for half in 0..<2 {
            let low = loadVector(record, 1 + half)
            let four = broadcast(Int32(0x0f0f_0f0f))
            let two = broadcast(Int32(0x3030_3030))
            let scales = or(and(low, four), and(half == 0 ? shiftLeft(high, 4) : high, two))
            let minima = or(
                and(shiftRight(low, 4), four), and(half == 0 ? shiftLeft(high, 2) : shiftRight(high, 2), two))
            storeInts(scales, spread + (1 + half) * vectorBytes)
            storeInts(minima, spread + (3 + half) * vectorBytes)
        }
    }
    @inline(__always) static func integerScale(_ record: UnsafeRawPointer, _ block: Int, _ half: Int) -> IntVector {
        loadBytes(record + (4 + block) * lanes)
    }
    @inline(__always) static var minimumPairs: Int { 4 }
    @inline(__always) static func minimumPair(_ record: UnsafeRawPointer, _ index: Int) -> IntVector {
        let first = record + (12 + 2 * index) * lanes
        return or(loadBytes(first), shiftLanesLeft(loadBytes(first + lanes), 16))
    }
}

/// [f16 d][f16 dmin][16 half blocks of u8: low nibble scale, high nibble minimum]: Q2_K.
enum HalfScalesAndMinima: PackedScales {
    @inline(__always) static var blocks: Int { 8 }
    @inline(__always) static var bytesPerRow: Int { 4 + 16 }
    @inline(__always) static var halves: Bool { true }
    @inline(__always) static func integerScale(_ record: UnsafeRawPointer, _ block: Int, _ half: Int) -> IntVector {
        and(bytes(record, 2 * block + half), broadcast(Int32(15)))
    }
    @inline(__always) static var minimumPairs: Int { 8 }
    @inline(__always) static func minimumPair(_ record: UnsafeRawPointer, _ index: Int) -> IntVector {
        or(shiftRight(bytes(record, 2 * index), 4), shiftLanesLeft(shiftRight(bytes(record, 2 * index + 1), 4), 16))
    }
    @inline(__always) private static func bytes(_ record: UnsafeRawPointer, _ half: Int) -> IntVector {
        loadBytes(record + (4 + half) * lanes)
    }
}

/// [f16 d][16 half blocks of i8 scale]: Q3_K, Q6_K.
enum HalfScales: PackedScales {
    @inline(__always) static var blocks: Int { 8 }
    @inline(__always) static var bytesPerRow: Int { 2 + 16 }
    @inline(__always) static var halves: Bool { true }
    @inline(__always) static func integerScale(_ record: UnsafeRawPointer, _ block: Int, _ half: Int) -> IntVector {
        loadSignedBytes(record + (2 + 2 * block + half) * lanes)
    }
}

/// [f16 d][8 blocks of i8 scale]: IQ4_XS.
enum SuperScales: PackedScales {
    @inline(__always) static var blocks: Int { 8 }
    @inline(__always) static var bytesPerRow: Int { 2 + 8 }
    @inline(__always) static func integerScale(_ record: UnsafeRawPointer, _ block: Int, _ half: Int) -> IntVector {
        loadSignedBytes(record + (2 + block) * lanes)
    }
}
