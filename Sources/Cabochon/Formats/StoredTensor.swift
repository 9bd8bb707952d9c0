// StoredTensor.swift - one tensor as its file holds it.
//
// What GGUF and safetensors have in common, so that the model's weights need not know which of
// the two they come from. The bytes stay in the mapping; nothing is copied or decoded here.

/// A named tensor inside a mapped file.
///
/// Its size has been checked: `bytes` holds exactly `rows * bytesPerRow`. Safe to read from any
/// thread.
public struct StoredTensor: @unchecked Sendable {
    public let name: String
    public let type: TensorType
    /// Dimensions, outermost first: `[rows, columns]` for a matrix. All at least 1; empty for the
    /// single number that safetensors calls a scalar.
    public let shape: [Int]
    /// The elements, row after row. GGUF aligns them to at least 8 bytes, safetensors to none.
    /// Valid while `file` lives.
    public let bytes: UnsafeRawBufferPointer
    /// The mapping that `bytes` points into.
    public let file: MappedFile
    /// The product of all dimensions but the last.
    public let rows: Int
    /// The last dimension: elements of one row, a whole number of blocks.
    public let columns: Int
    /// Bytes from one row to the next.
    public let bytesPerRow: Int

    /// Elements in all.
    public var elementCount: Int { rows * columns }

    /// Checks the shape and cuts the tensor's bytes out of `file`.
    ///
    /// - Parameters:
    ///   - shape: dimensions, outermost first.
    ///   - offset: where the tensor starts in the file.
    /// - Throws: `.invalidFile` naming the file, the tensor, and the numbers that do not fit.
    init(
        name: String, type: TensorType, shape: [Int], offset: Int, in file: MappedFile
    ) throws(CabochonError) {
        func label() -> String { "\(file.path): tensor '\(name)' \(type.name) \(shape)" }
        var rows = 1
        for dimension in shape {
            guard dimension >= 1 else {
                throw CabochonError(.invalidFile, "\(label()): a dimension is \(dimension), not at least 1")
            }
        }
        for dimension in shape.dropLast() {
            rows = try Checked.multiply(rows, dimension, label())
        }
        let columns = shape.last ?? 1
        guard columns.isMultiple(of: type.blockSize) else {
            throw CabochonError(
                .invalidFile, "\(label()): rows of \(columns) are not whole blocks of \(type.blockSize)")
        }
        let bytesPerRow = try Checked.multiply(columns / type.blockSize, type.bytesPerBlock, label())
        // A later `rows * columns` cannot overflow either.
        _ = try Checked.multiply(rows, columns, label())
        let byteCount = try Checked.multiply(rows, bytesPerRow, label())
        let end = try Checked.add(offset, byteCount, label())
        guard offset >= 0, end <= file.bytes.count else {
            throw CabochonError(
                .invalidFile,
                "\(label()): \(byteCount) bytes at offset \(offset) end at \(end), past the file's \(file.bytes.count)")
        }
        self.name = name
        self.type = type
        self.shape = shape
        self.file = file
        self.rows = rows
        self.columns = columns
        self.bytesPerRow = bytesPerRow
        bytes = UnsafeRawBufferPointer(rebasing: file.bytes[offset..<end])
    }

    /// Copies one row past the mapping, whose pages around it would stay with the process, up to two megabytes.
    ///
    /// - Parameter target: room for `bytesPerRow`.
    /// - Throws: `.io`, also where the file has become shorter since.
    func copyRow(_ row: Int, into target: UnsafeMutableRawPointer) throws(CabochonError) {
        guard let start = bytes.baseAddress, let fileStart = file.bytes.baseAddress, 0..<rows ~= row else { return }
        try file.read(
            into: UnsafeMutableRawBufferPointer(start: target, count: bytesPerRow),
            at: start - fileStart + row * bytesPerRow)
    }

    /// Some rows of a matrix, as a tensor of their own.
    init(_ tensor: StoredTensor, rows range: Range<Int>) {
        let range = range.clamped(to: 0..<tensor.rows)
        name = tensor.name
        type = tensor.type
        shape = [range.count, tensor.columns]
        file = tensor.file
        rows = range.count
        columns = tensor.columns
        bytesPerRow = tensor.bytesPerRow
        bytes = UnsafeRawBufferPointer(
            rebasing: tensor.bytes[range.lowerBound * bytesPerRow..<range.upperBound * bytesPerRow])
    }
}

/// Refuses tensors that share bytes.
///
/// - Parameter tensors: tensors of one file, in any order.
func checkNoOverlap(_ tensors: [StoredTensor]) throws(CabochonError) {
    func start(_ tensor: StoredTensor) -> UInt { UInt(bitPattern: tensor.bytes.baseAddress) }
    let sorted = tensors.sorted { start($0) < start($1) }
    for (tensor, next) in zip(sorted, sorted.dropFirst())
    where start(tensor) + UInt(tensor.bytes.count) > start(next) {
        throw CabochonError(
            .invalidFile, "\(next.file.path): tensors '\(tensor.name)' and '\(next.name)' overlap")
    }
}
