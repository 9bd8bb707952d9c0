// A panel with a byte for each code and spread scales, which tiles of many tokens pass over.
//
// Where six tokens fill a tile, unpacking codes takes up to a fifth of the instructions of their products. A pass of
// several tiles unpacks a panel once, into its worker's memory, and takes it from there in the same order, to the same
// bits. On Zen 3, 510 tokens, in turns with unpacking in each tile: Q6_K 1.17 to 1.21 times as fast, Q5_K 1.15, Q3_K
// 1.16, Q5_0 1.13, IQ4_XS 1.20, Q2_K 1.05; with 48 tokens from memory 1.02 to 1.14, with 24 0.97 to 1.06, with 12 less.
// On a Xeon of the fifth generation with AVX-512, 512 tokens: Q5_0 1.36, Q6_K 1.22, Q4_K 1.14, Q4_0 1.09.
import SIMDIntrinsics

enum UnpackedPanel<Base: PackedFormat>: PanelFormat {
    typealias Codes = UnpackedCodes<Base>
    typealias Scales = UnpackedScales<Base.Scales>
    @inline(__always) static var zeroShift: Int { Base.zeroShift }

    @inline(__always) private static var isWorthwhile: Bool {
        unpacksPanels && Base.Codes.bits < 8 && (unpacksNibbles || Base.Codes.bits != 4 || Base.usesTable)
    }

    /// Whether so many tokens of an op are worth unpacking a panel for.
    @inline(__always) static func pays(tokens: Int) -> Bool { isWorthwhile && tokens >= 4 * largestTile }

    /// Bytes of a panel of so many blocks.
    @inline(__always) static func bytes(blocks: Int) -> Int { (blocks + chunkBlocks - 1) / chunkBlocks * chunkBytes }

    /// target = the panel, `bytes(blocks:)` in all, those blocks of the last chunk included that packing left zero.
    static func unpack(_ panel: UnsafeRawPointer, blocks: Int, to target: UnsafeMutableRawPointer) {
        var chunk = panel
        var target = target
        for _ in 0..<(blocks + chunkBlocks - 1) / chunkBlocks {
            for index in 0..<chunkBlocks {
                let block = PanelBlock<Base>(chunk, index, panelBytes: 0, spread: chunk)
                block.prefetch(countingScales: true, isFar: false)
                let codes = target + index * blockBytes
                for group in 0..<8 { storeInts(block.group(0, group), codes + group * vectorBytes) }
            }
            let records = chunk + Base.chunkCodeBytes
            if Base.Scales.isSpread {
                Base.Scales.spread(records, to: target + chunkCodeBytes)
            } else {
                (target + chunkCodeBytes).copyMemory(from: records, byteCount: Base.chunkBytes - Base.chunkCodeBytes)
            }
            chunk += Base.chunkBytes
            target += chunkBytes
        }
    }
}

enum UnpackedCodes<Base: PackedFormat>: PackedCodes {
    @inline(__always) static var vectors: Int { 8 }
    /// Table entries are of eight bits.
    @inline(__always) static var bits: Int { Base.usesTable ? 8 : Base.Codes.bits }
    @inline(__always) static func group(_ codes: UnsafeRawPointer, _ index: Int, _ shift: Int) -> IntVector {
        loadVector(codes, index)
    }
}

/// Records that are spread already.
enum UnpackedScales<Base: PackedScales>: PackedScales {
    @inline(__always) static var blocks: Int { Base.blocks }
    @inline(__always) static var bytesPerRow: Int { Base.isSpread ? spreadBytes / lanes : Base.bytesPerRow }
    @inline(__always) static var halves: Bool { Base.halves }
    @inline(__always) static func scale(_ record: UnsafeRawPointer) -> FloatVector { Base.scale(record) }
    @inline(__always) static func minimum(_ record: UnsafeRawPointer) -> FloatVector { Base.minimum(record) }
    @inline(__always) static func integerScale(_ record: UnsafeRawPointer, _ block: Int, _ half: Int) -> IntVector {
        Base.integerScale(record, block, half)
    }
    @inline(__always) static func superScale(_ record: UnsafeRawPointer) -> FloatVector { Base.superScale(record) }
    @inline(__always) static var minimumPairs: Int { Base.minimumPairs }
    @inline(__always) static func minimumPair(_ record: UnsafeRawPointer, _ index: Int) -> IntVector {
        Base.minimumPair(record, index)
    }
    @inline(__always) static func superMinimum(_ record: UnsafeRawPointer) -> FloatVector { Base.superMinimum(record) }
}
