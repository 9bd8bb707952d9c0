// DecoderRows.swift - a dictionary's decoder, one row per feature: where the file holds that in float32, there.
//
// A token reads a hundred rows, but a text reads most of them, and each fault maps more than a row.
// Of a large decoder in a file, only a block's pages are kept: who reads many rows goes through them
// in the order of the features, and gives each block back.

/// Immutable; any thread.
final class DecoderRows: Sendable {
    let size: Int
    private let width: Int
    private let tensor: FloatTensor
    private let encoder: Encoder
    private let converted: Buffer<Float>?
    /// What the rows are read from, if it is a file; where they lie in it.
    private let file: MappedFile?
    private let section: Range<Int>

    /// Features whose rows are read together before `forget`.
    var block: Int { forgetsRows ? max(1, Self.blockByteCount / rowByteCount) : width }

    /// Up to this size all of a decoder may be resident.
    private static let residentByteCount = 192 << 20
    private static let blockByteCount = 24 << 20

    private var rowByteCount: Int { size * MemoryLayout<Float>.stride }
    private var forgetsRows: Bool { file != nil && section.count > Self.residentByteCount }

    /// - Parameters:
    ///   - tensor: [width, size], checked, in either order.
    ///   - encoder: which may hold the decoder's rows as well.
    init(_ tensor: FloatTensor, laidOut encoder: Encoder, width: Int, size: Int) throws(CabochonError) {
        self.size = size
        self.width = width
        self.tensor = tensor
        self.encoder = encoder
        converted =
            tensor.holdsFloatRows || encoder.decoder != nil
            ? nil : try tensor.floats(for: "the decoder of \(tensor.label)")
        let start = encoder.decoder == nil ? tensor.fileOffset ?? 0 : encoder.layout.decoder
        file = encoder.decoder != nil ? encoder.file : tensor.holdsFloatRows ? tensor.file : nil
        section = start..<start + width * size * MemoryLayout<Float>.stride
    }

    /// One row's bytes, at any alignment.
    private func row(_ feature: Int) -> UnsafeRawPointer? {
        if let laidOut = encoder.decoder { return UnsafeRawPointer(laidOut + feature * size) }
        if let converted { return UnsafeRawPointer(converted.pointer + feature * size) }
        return tensor.bytes.baseAddress.map { $0 + feature * rowByteCount }
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
