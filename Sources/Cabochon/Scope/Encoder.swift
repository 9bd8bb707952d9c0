// Encoder.swift - a dictionary's encoder, laid out for encoding: rows, and the screen's copy of them.
//
// Laid out anew it takes as much memory as the file's encoder and a quarter more: 755 MB for 65,536
// features of Gemma 2 2B. So it stands in a mapped file: the kernel can take its pages back, several
// processes share them, and the next load finds it done. A file without a name, or memory, takes its
// place where there is no folder to keep it in.

import CabochonShims

/// Immutable; any thread.
final class Encoder: @unchecked Sendable {
    let layout: EncoderLayout
    /// [width, stride]
    let rows: UnsafePointer<Float>
    let screen: FeatureScreen?
    /// The decoder's rows, if they are laid out here. [width, decoderSize]
    let decoder: UnsafePointer<Float>?
    private let base: UnsafeRawPointer
    private let owner: AnyObject
    /// The mapped file again, for what is read once and scattered.
    private let source: OpenFile?
    /// Whether rows are forgotten once they have been read.
    let forgetsRows: Bool

    /// Floats from one row to the next.
    var stride: Int { layout.stride }

    /// Up to this size all of a mapped encoder may be resident; of a larger one only the codes stay, which
    /// every token reads. Rows are read where the codes cannot decide, and a fault maps sixteen pages.
    private static let residentByteCount = 192 << 20

    /// A file of `layout`, or memory.
    init(_ file: OpenFile, _ mapped: MappedFile, _ layout: EncoderLayout, center: Buffer<Float>)
        throws(CabochonError)
    {
        guard let base = mapped.bytes.baseAddress, mapped.bytes.count == layout.byteCount else {
            throw CabochonError(.invalidFile, "\(mapped.path): \(mapped.bytes.count) bytes, not \(layout.byteCount)")
        }
        self.layout = layout
        self.base = base
        owner = mapped
        source = file
        forgetsRows = layout.byteCount > Self.residentByteCount
        rows = (base + layout.rows).assumingMemoryBound(to: Float.self)
        decoder = layout.decoderSize > 0 ? (base + layout.decoder).assumingMemoryBound(to: Float.self) : nil
        screen = layout.hasCodes ? FeatureScreen(base, layout, center: center) : nil
    }

    init(_ memory: ReservedMemory, _ layout: EncoderLayout, center: Buffer<Float>) {
        self.layout = layout
        base = UnsafeRawPointer(memory.pointer)
        owner = memory
        source = nil
        forgetsRows = false
        rows = (base + layout.rows).assumingMemoryBound(to: Float.self)
        decoder = nil
        screen = layout.hasCodes ? FeatureScreen(base, layout, center: center) : nil
    }

    /// The file it stands in; nil in memory.
    var file: MappedFile? { owner as? MappedFile }

    /// A row of a file whose rows are forgotten, read into `buffer` [stride]; nil where it is to be read as it lies.
    /// Touching it instead would map sixteen pages, or two megabytes, that are unmapped after the token.
    func readRow(_ feature: Int, into buffer: UnsafeMutablePointer<Float>) -> UnsafePointer<Float>? {
        let byteCount = stride * MemoryLayout<Float>.stride
        let bytes = UnsafeMutableRawBufferPointer(start: buffer, count: byteCount)
        guard forgetsRows, let source, (try? source.read(into: bytes, at: layout.rows + feature * byteCount)) != nil
        else { return nil }
        return UnsafePointer(buffer)
    }

    /// Gives back the pages that hold rows of these features, if they are a file's.
    func forget(_ features: Range<Int>) {
        guard forgetsRows else { return }
        file?.forgetRows(features, of: stride * MemoryLayout<Float>.stride, in: layout.rows..<layout.codes)
    }
}
