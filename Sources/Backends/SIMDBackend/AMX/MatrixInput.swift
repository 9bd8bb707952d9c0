// A call's activations as matrices take them: for each sixteen tokens and each super-block the digits (MatrixDigits) of
// sixteen rows of 64 columns, and then a copy of the tokens' records, which are 64 bytes apart.
//
// The last tokens are followed by zeros.
import CCabochonBackend
import SIMDIntrinsics

struct MatrixInput {
    var memory: UnsafeMutableRawPointer
    private var activations: Activations

    static let recordBytes = 64
    static let superBytes = MatrixDigits.superBytes + MatrixDigits.tokens * recordBytes

    @inline(__always) static func bytes(tokens: Int, columns: Int) -> Int {
        if tokens < matrixTokens { return 0 }
        return (tokens + MatrixDigits.tokens - 1) / MatrixDigits.tokens * (columns / 256) * superBytes
    }

    /// Those of a tile, the first token of which is a multiple of 16.
    @inline(__always) private func tile(at token: Int) -> UnsafeMutableRawPointer {
        memory + token / MatrixDigits.tokens * (activations.blocks / 8) * MatrixInput.superBytes
    }

    init(memory: UnsafeMutableRawPointer, _ activations: Activations) {
        self.memory = memory
        self.activations = activations
    }

    /// Takes the super-blocks of the activations, quantized already.
    func fill(_ run: UnsafePointer<cabochon_run>) {
        if activations.tokens < matrixTokens { return }
        var task = self
        let tiles = (activations.tokens + MatrixDigits.tokens - 1) / MatrixDigits.tokens
        parallel(run, tiles, &task) { context, tile, _ in
            let task = context.unsafelyUnwrapped.assumingMemoryBound(to: MatrixInput.self)
            for place in 0..<MatrixDigits.tokens { task.pointee.split(tile * MatrixDigits.tokens + place) }
        }
    }

    private func split(_ token: Int) {
        let place = token % MatrixDigits.tokens
        var target = tile(at: token - place)
        if token >= activations.tokens {
            for _ in 0..<activations.blocks / 8 {
                for row in 0..<2 * MatrixDigits.steps {
                    storeInts(
                        broadcast(Int32(0)), target + row * MatrixDigits.tileBytes + place * MatrixInput.recordBytes)
                }
                storeInts(
                    broadcast(Int32(0)), target + MatrixDigits.superBytes + place * MatrixInput.recordBytes)
                target += MatrixInput.superBytes
            }
            return
        }
        let (first, size) = activations.tile(of: token)
        let part = Tile.part(of: size)
        let tilePlace = token - first
        var records = UnsafeRawPointer(activations.tile(at: first + tilePlace / part * part, .superBlocks))
        let placeInPart = tilePlace % part
        for _ in 0..<activations.blocks / 8 {
            for block in 0..<8 {
                let record = records + Tile.blockRecordBytes * placeInPart
                let exponent = record.load(fromByteOffset: Tile.exponent, as: Int32.self)
                let codes = _mm256_loadu_si256(record.assumingMemoryBound(to: __m256i_u.self))
                let numbers = _mm512_sll_epi16(_mm512_cvtepi8_epi16(codes), _mm_cvtsi32_si128(exponent))
                let row =
                    target + block / 2 * MatrixDigits.stepBytes + place * MatrixInput.recordBytes + 32 * (block & 1)
                store(MatrixDigits.high(numbers), row)
                store(MatrixDigits.low(numbers), row + MatrixDigits.tileBytes)
                records += Tile.blockBytes(part)
            }
            let record = records + Tile.superRecordBytes * placeInPart
            (target + MatrixDigits.superBytes + place * MatrixInput.recordBytes).copyMemory(
                from: record, byteCount: Tile.superRecordBytes)
            records += Tile.superRecordBytes * part
            target += MatrixInput.superBytes
        }
    }

    @inline(__always) private func store(_ numbers: IntVector, _ target: UnsafeMutableRawPointer) {
        _mm256_storeu_si256(target.assumingMemoryBound(to: __m256i_u.self), _mm512_cvtepi16_epi8(numbers))
    }
}
