// FeatureRowsReader.swift - a dictionary's matrix, read as one row per feature.
//
// Gemma Scope's encoder is [input, width], so that a feature is a column, and a column touches as
// many pages as it has numbers. Blocks of features are read together, piece by piece of the file's
// rows, and turned around; through a descriptor where there is one, because a mapping's pages would
// count as the process's own.

struct FeatureRowsReader: Sendable {
    let tensor: FloatTensor
    /// The file of the tensor; nil reads the tensor's bytes.
    let file: OpenFile?
    let width: Int
    /// Numbers of a feature.
    let size: Int
    /// Whether a feature is a column of the stored order.
    let isColumn: Bool

    /// Features that are read together: their pieces of the file's rows are whole kilobytes.
    static let block = 256
    /// Columns that are turned around together: a cache line of each feature's row.
    private static let columns = 16
    /// Elements that are converted together.
    private static let piece = block * columns

    /// - Parameter file: what the tensor is stored in, opened; ignored for a tensor in memory.
    init(_ tensor: FloatTensor, in file: OpenFile?, width: Int, size: Int, isColumn: Bool) {
        self.tensor = tensor
        self.file = tensor.fileOffset == nil ? nil : file
        self.width = width
        self.size = size
        self.isColumn = isColumn
        if let file = self.file, let offset = tensor.fileOffset { file.willRead(offset..<offset + tensor.bytes.count) }
    }

    /// Features `first ..< first + count`, at most a block, into rows `stride` apart. Any thread.
    ///
    /// - Throws: `.io`.
    func read(first: Int, count: Int, into rows: UnsafeMutablePointer<Float>, stride: Int) throws(CabochonError) {
        var failure: CabochonError?
        withUnsafeTemporaryAllocation(byteCount: Self.piece * MemoryLayout<Double>.size, alignment: 64) { raw in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: Self.piece) { floats in
                guard let floats = floats.baseAddress else { return }
                do throws(CabochonError) {
                    if isColumn {
                        try readColumns(first, count, into: rows, stride, raw, floats)
                    } else {
                        for feature in 0..<count {
                            for start in Swift.stride(from: 0, to: size, by: Self.piece) {
                                try copy(
                                    (first + feature) * size + start, min(Self.piece, size - start), raw,
                                    into: rows + feature * stride + start)
                            }
                        }
                    }
                } catch { failure = error }
            }
        }
        if let failure { throw failure }
    }

    private func readColumns(
        _ first: Int, _ count: Int, into rows: UnsafeMutablePointer<Float>, _ stride: Int,
        _ raw: UnsafeMutableRawBufferPointer, _ floats: UnsafeMutablePointer<Float>
    ) throws(CabochonError) {
        for start in Swift.stride(from: 0, to: size, by: Self.columns) {
            let columns = min(Self.columns, size - start)
            for column in 0..<columns {
                try copy((start + column) * width + first, count, raw, into: floats + column * Self.block)
            }
            for feature in 0..<count {
                let row = rows + feature * stride + start
                for column in 0..<columns { row[column] = floats[column * Self.block + feature] }
            }
        }
    }

    /// At most a piece of elements, in stored order.
    private func copy(
        _ first: Int, _ count: Int, _ raw: UnsafeMutableRawBufferPointer, into output: UnsafeMutablePointer<Float>
    ) throws(CabochonError) {
        guard let file, let offset = tensor.fileOffset, let base = raw.baseAddress else {
            return tensor.copy(first: first, count: count, into: output)
        }
        let element = tensor.element.byteCount
        let bytes = UnsafeMutableRawBufferPointer(start: base, count: count * element)
        try file.read(into: bytes, at: offset + first * element)
        tensor.element.convert(base, count: count, into: output)
    }
}
