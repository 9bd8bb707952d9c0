// FloatTensor.swift - an array of floating-point numbers, in a mapped file or in memory.
//
// What the two formats of sparse autoencoders have in common. Float32 can be used where it lies;
// the other types are turned into it piece by piece.

import ScalarBackend

/// Safe to read from any thread.
struct FloatTensor: @unchecked Sendable {
    enum Element: Sendable {
        case f16, bf16, f32, f64

        var byteCount: Int {
            switch self {
            case .f16, .bf16: 2
            case .f32: 4
            case .f64: 8
            }
        }

        /// - Parameter source: at any alignment.
        func convert(_ source: UnsafeRawPointer, count: Int, into output: UnsafeMutablePointer<Float>) {
            switch self {
            case .f32: UnsafeMutableRawPointer(output).copyMemory(from: source, byteCount: count * 4)
            case .f16: _ = dequantize(type: TensorType.f16.rawValue, from: source, to: output, count: count)
            case .bf16: _ = dequantize(type: TensorType.bf16.rawValue, from: source, to: output, count: count)
            case .f64:
                for index in 0..<count {
                    output[index] = Float(source.loadUnaligned(fromByteOffset: index * 8, as: Double.self))
                }
            }
        }
    }

    /// The file and the array, for messages.
    let label: String
    let element: Element
    /// Dimensions, outermost first.
    let shape: [Int]
    /// Whether a matrix is stored column after column (numpy's Fortran order).
    let isColumnMajor: Bool
    /// The elements, little-endian, at any alignment. Valid while `owner` lives.
    let bytes: UnsafeRawBufferPointer
    let owner: AnyObject
    /// The file that `bytes` is a part of; nil where they are memory of their own.
    let file: MappedFile?

    var count: Int { bytes.count / element.byteCount }
    /// Whether the rows of a matrix can be used as they lie.
    var holdsFloatRows: Bool { element == .f32 && !isColumnMajor }

    init(_ tensor: StoredTensor) throws(CabochonError) {
        switch tensor.type {
        case .f32: element = .f32
        case .f16: element = .f16
        case .bf16: element = .bf16
        default:
            throw CabochonError(
                .unsupported, "\(tensor.file.path): tensor '\(tensor.name)' is \(tensor.type.name), not of floats")
        }
        label = "\(tensor.file.path): tensor '\(tensor.name)'"
        shape = tensor.shape
        isColumnMajor = false
        bytes = tensor.bytes
        owner = tensor.file
        file = tensor.file
    }

    /// - Throws: `.invalidFile` if `bytes` is not what `shape` takes.
    init(
        label: String, element: Element, shape: [Int], isColumnMajor: Bool, bytes: UnsafeRawBufferPointer,
        owner: AnyObject, file: MappedFile?
    ) throws(CabochonError) {
        try Self.check(shape, of: element, takes: bytes.count, label: label)
        self.label = label
        self.element = element
        self.shape = shape
        self.isColumnMajor = isColumnMajor
        self.bytes = bytes
        self.owner = owner
        self.file = file
    }

    /// - Throws: `.invalidFile` if that many bytes are not what `shape` takes.
    static func check(_ shape: [Int], of element: Element, takes byteCount: Int, label: String) throws(CabochonError) {
        var needed = element.byteCount
        for dimension in shape { needed = try Checked.multiply(needed, dimension, label) }
        guard needed == byteCount else {
            throw CabochonError(
                .invalidFile, "\(label): shape \(shape) takes \(needed) bytes, but there are \(byteCount)")
        }
    }

    /// Elements `first ..< first + count` in stored order, as float32. The range must lie in the tensor.
    func copy(first: Int, count: Int, into output: UnsafeMutablePointer<Float>) {
        guard count > 0, first >= 0, count <= self.count - first, let base = bytes.baseAddress else { return }
        element.convert(base + first * element.byteCount, count: count, into: output)
    }

    /// Where in its file the elements begin; nil where they are memory of their own.
    var fileOffset: Int? {
        guard let fileStart = file?.bytes.baseAddress, let start = bytes.baseAddress else { return nil }
        return start - fileStart
    }

    /// All elements as float32, row-major.
    func floats(for purpose: @autoclosure () -> String) throws(CabochonError) -> Buffer<Float> {
        let buffer = try Buffer<Float>(count: count, for: purpose())
        guard isColumnMajor, shape.count == 2 else {
            copy(first: 0, count: count, into: buffer.pointer)
            return buffer
        }
        let (rows, columns) = (shape[0], shape[1])
        let column = try Buffer<Float>(count: rows, for: purpose())
        for index in 0..<columns {
            copy(first: index * rows, count: rows, into: column.pointer)
            for row in 0..<rows { buffer.pointer[row * columns + index] = column.pointer[row] }
        }
        return buffer
    }
}
