// DecoderRows.swift - a dictionary's decoder, one row per feature: where the file holds that in float32, there.
//
// A token reads a hundred rows, but a text reads most of them, and each fault maps more than a row.
// Of a large decoder in a file, only a block's pages are kept: who reads many rows goes through them
// in the order of the features, and gives each block back.

/// Immutable; any thread.
final class DecoderRows: Sendable {
    let size: Int
    private let width: Int
    private let rows: Rows
    /// What the rows are read from, if it is a file; where they lie in it.
    private let file: MappedFile?
    private let section: Range<Int>

    private enum Rows: Sendable {
        case laidOut(Encoder)
        /// Float32, row after row.
        case tensor(FloatTensor)
        case converted(Buffer<Float>)
    }

    /// Features whose rows are read together before `forget`.
    var block: Int { forgetsRows ? max(1, Self.blockByteCount / rowByteCount) : width }

    /// Up to this size all of a decoder may be resident.
    private static let residentByteCount = 192 << 20
    private static let blockByteCount = 24 << 20

    private var rowByteCount: Int { size * MemoryLayout<Float>.stride }
    private var forgetsRows: Bool { file != nil && section.count > Self.residentByteCount }

    /// - Parameters:
    ///   - stored: [width, size], checked, in either order.
    ///   - encoder: which may hold the decoder's rows as well.
    /// - Throws: `.invalidFile`, `.outOfMemory`.
    init(_ stored: DeferredTensor, laidOut encoder: Encoder, width: Int, size: Int) throws(CabochonError) {
        self.size = size
        self.width = width
        let start: Int
        if encoder.decoder != nil {
            rows = .laidOut(encoder)
            (file, start) = (encoder.file, encoder.layout.decoder)
        } else {
            let tensor = try stored.tensor()
            let isUsable = tensor.holdsFloatRows
            rows = isUsable ? .tensor(tensor) : .converted(try tensor.floats(for: "the decoder of \(tensor.label)"))
            (file, start) = (isUsable ? tensor.file : nil, tensor.fileOffset ?? 0)
        }
        section = start..<start + width * size * MemoryLayout<Float>.stride
    }

    /// One row's bytes, at any alignment.
    private func row(_ feature: Int) -> UnsafeRawPointer? {
        let first: UnsafeRawPointer? =
            switch rows {
            case .laidOut(let encoder): encoder.decoder.map { UnsafeRawPointer($0) }
            case .tensor(let tensor): tensor.bytes.baseAddress
            case .converted(let buffer): UnsafeRawPointer(buffer.pointer)
            }
        return first.map { $0 + feature * rowByteCount }
    }

    /// Gives back the pages that hold rows of these features, if they are a large file's.
    func forget(_ features: Range<Int>) {
        guard forgetsRows else { return }
        file?.forgetRows(features, of: rowByteCount, in: section)
    }

    /// output += scale * row
    func add(_ feature: Int, scale: Float, to output: UnsafeMutablePointer<Float>) {
        guard let row = row(feature) else { return }
        for i in 0..<size { output[i] += scale * row.loadUnaligned(fromByteOffset: i * 4, as: Float.self) }
    }

    /// row · vector, and row · row.
    func products(_ feature: Int, with vector: UnsafePointer<Float>) -> (product: Float, square: Float) {
        guard let row = row(feature) else { return (0, 0) }
        var product: Float = 0
        var square: Float = 0
        for i in 0..<size {
            let value = row.loadUnaligned(fromByteOffset: i * 4, as: Float.self)
            product += value * vector[i]
            square += value * value
        }
        return (product, square)
    }

    func copy(_ feature: Int, into output: UnsafeMutablePointer<Float>) {
        guard let row = row(feature) else { return }
        UnsafeMutableRawPointer(output).copyMemory(from: row, byteCount: rowByteCount)
    }
}
