// HeadScreen.swift - a copy of the head in bytes that tells which few rows may hold the largest logits.
//
// A token that is drawn greedily, or from the k most probable ones, needs no other logits than theirs, and
// a head of floats is a fifth to two thirds of the bytes that a token reads. So the copy is read instead,
// half as large, each logit gets an interval that the full product cannot leave, and full products are made
// of the rows whose interval reaches the k-th largest lower end. With w a row, ŵ its copy, x the normed
// input, x' what the full product takes for it and x" what the copy's does (backend.h, BOUNDED_PRODUCTS),
// by Cauchy and Schwarz
//
//     |w·x' - ŵ·x"| <= |w - ŵ| |x| + |w| |x' - x| + |ŵ| |x" - x| <= error |x| + norm (|x' - x| + |x" - x|)
//
// and both products' rounding goes into the last bracket. What is found has the bits of the whole head.

import CCabochonBackend
import CabochonShims
import ScalarBackend

final class HeadScreen: @unchecked Sendable {
    let rows: Int
    let columns: Int
    /// The copy, in pieces that follow one another. What they were packed from is gone.
    let pieces: [UnsafePointer<cabochon_weight>]
    let error, norm: Buffer<Float>  // [rows]
    private let backend: Backend
    private let records: UnsafeMutablePointer<cabochon_weight>

    private let bytesPerRow: Int
    private let rowsPerPiece: Int
    private var pieceCount = 0

    /// While a piece is packed it stands twice, and a token waits for it: 7 MB and some 10 milliseconds of a 270M, 26
    /// MB and some 40 milliseconds of 2B.
    private static let mostPieces = 24
    private static let fewestPieceBytes = 1 << 20

    /// Makes room for the copy.
    ///
    /// - Parameter head: [vocabularySize, hiddenSize]
    /// - Returns: nil where the head is not larger than a copy, or the backend promises no bound.
    init?(of head: StoredTensor, backend: Backend) throws(CabochonError) {
        guard [.f32, .f16, .bf16].contains(head.type), head.columns % Block.columns == 0, backend.boundsProducts,
            backend.givesSameBits, backend.ops.prepare_weight != nil
        else { return nil }
        rows = head.rows
        columns = head.columns
        self.backend = backend
        error = try Buffer(count: rows, for: "the head's screen")
        norm = try Buffer(count: rows, for: "the head's screen")
        bytesPerRow = columns / Block.columns * Block.byteCount
        let evenRows = max(Self.fewestPieceBytes / bytesPerRow, (rows + Self.mostPieces - 1) / Self.mostPieces)
        rowsPerPiece = (evenRows + 63) / 64 * 64
        let count = (rows + rowsPerPiece - 1) / rowsPerPiece
        records = .allocate(capacity: count)
        records.initialize(repeating: cabochon_weight(), count: count)
        let records = records
        pieces = (0..<count).map { UnsafePointer(records + $0) }
    }

    /// Whether all pieces have been made; none is of use before.
    var isComplete: Bool { pieceCount == pieces.count }

    /// Makes the next piece. Not at the same time as another thread does.
    ///
    /// - Throws: `.outOfMemory`; the pieces made before stay.
    func makePiece(of head: StoredTensor, execution: Execution) throws(CabochonError) {
        guard !isComplete, let prepare = backend.ops.prepare_weight else { return }
        let first = pieceCount * rowsPerPiece
        let count = min(rowsPerPiece, rows - first)
        // Not from the heap, which would keep it.
        let codes = try ReservedMemory(byteCount: count * bytesPerRow, for: "the head's screen")
        let values = try Buffer<Float>(count: execution.pool.threadCount * columns, for: "rows of the head")
        execution.pool.forEach((count + 63) / 64) { index, worker in
            for row in index * 64..<min(index * 64 + 64, count) {
                let target = codes.pointer + row * bytesPerRow
                copy(head, first + row, by: values.pointer + worker * columns, into: target)
            }
        }
        let record = records + pieceCount
        record.pointee.struct_size = MemoryLayout<cabochon_weight>.size
        record.pointee.data = UnsafeRawPointer(codes.pointer)
        record.pointee.type = TensorType.q8_0.rawValue
        record.pointee.rows = UInt64(count)
        record.pointee.columns = UInt64(columns)
        record.pointee.row_bytes = UInt64(bytesPerRow)
        var prepared: UnsafeMutableRawPointer?
        guard prepare(backend.instance, execution.run, record, &prepared) == CABOCHON_OP_DONE else {
            throw CabochonError(.outOfMemory, "backend \"\(backend.name)\" has no memory to pack the head's screen")
        }
        record.pointee.prepared = prepared
        record.pointee.data = nil
        pieceCount += 1
        // The last piece's with those that came along with others; a head that tokens still read would come back.
        (isComplete ? head : StoredTensor(head, rows: first..<first + count)).forgetPages()
    }

    deinit {
        for piece in pieces {
            if let prepared = piece.pointee.prepared { backend.ops.release_weight?(backend.instance, prepared) }
        }
        records.deallocate()
    }

    /// Q8_0: a float16 scale and 32 signed bytes.
    private enum Block {
        static let columns = 32
        static let byteCount = 34
    }

    private typealias Lanes = SIMD16<Float>

    /// - Parameters:
    ///   - values: room for the row in float32.
    ///   - target: where the copy goes.
    private func copy(
        _ head: StoredTensor, _ row: Int, by values: UnsafeMutablePointer<Float>, into target: UnsafeMutableRawPointer
    ) {
        guard let data = head.bytes.baseAddress,
            dequantize(type: head.type.rawValue, from: data + row * head.bytesPerRow, to: values, count: columns)
        else { return }
        let source = UnsafeRawPointer(values)
        var (errorSquares, squares) = (Lanes.zero, Lanes.zero)
        for block in 0..<columns / Block.columns {
            let first = source.loadUnaligned(fromByteOffset: block * 128, as: Lanes.self)
            let second = source.loadUnaligned(fromByteOffset: block * 128 + 64, as: Lanes.self)
            var largest = first.replacing(with: -first, where: first .< 0)
            largest.replace(with: second, where: second .> largest)
            largest.replace(with: -second, where: -second .> largest)
            // In halves: max() over lanes would go through them one by one.
            let eight = largest.lowHalf.replacing(with: largest.highHalf, where: largest.highHalf .> largest.lowHalf)
            let four = eight.lowHalf.replacing(with: eight.highHalf, where: eight.highHalf .> eight.lowHalf)
            let two = four.lowHalf.replacing(with: four.highHalf, where: four.highHalf .> four.lowHalf)
            let greatest = two[1] > two[0] ? two[1] : two[0]
            var half = Float16(greatest / 127)
            // So that no code is beyond 127. Infinite for what is none or too large a number: such a row's
            // interval has no ends, and its full product is always made.
            if Float(half) * 127 < greatest { half = half.nextUp }
            let scale = Float(half)
            let inverse: Float = scale > 0 ? 1 / scale : 0
            let record = target + block * Block.byteCount
            record.storeBytes(of: half.bitPattern, as: UInt16.self)
            /// To nearest by way of the mantissa's last bits, which are then the code's.
            @inline(__always) func copyHalf(_ value: Lanes, to place: Int) {
                let magic = Lanes(repeating: 12_582_912)
                let code = value * inverse + magic
                let bits = SIMD16<UInt8>(truncatingIfNeeded: unsafeBitCast(code, to: SIMD16<UInt32>.self))
                record.storeBytes(of: bits, toByteOffset: place, as: SIMD16<UInt8>.self)
                let difference = value - (code - magic) * scale
                errorSquares += difference * difference
                squares += value * value
            }
            copyHalf(first, to: 2)
            copyHalf(second, to: 18)
        }
        // Float32 sums of at most a few hundred squares a lane; those of numbers below 1e-19 vanish. And each
        // difference was rounded, by less than 2^-22 of the row.
        func upper(_ squares: Lanes) -> Float { squares.sum().squareRoot() * (1 + 0x1p-12) + 1e-16 }
        let length = upper(squares)
        let error = upper(errorSquares) + length * 0x1p-22
        self.error.pointer[row] = error
        // |ŵ| is no more than both.
        norm.pointer[row] = length + error
    }
}
