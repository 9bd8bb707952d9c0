// DeferredTensor.swift - an array of a file, whose elements may have to be inflated first.
//
// Inflating takes seconds, and memory for the whole array. Who finds elsewhere what would be made of
// the elements only needs to know what the array is.

/// Safe to use from any thread.
struct DeferredTensor: Sendable {
    private enum Elements: Sendable {
        case mapped(FloatTensor)
        case deflated(@Sendable () throws(CabochonError) -> FloatTensor)
    }

    /// The file and the array, for messages.
    let label: String
    let element: FloatTensor.Element
    /// Dimensions, outermost first.
    let shape: [Int]
    /// Whether a matrix is stored column after column (numpy's Fortran order).
    let isColumnMajor: Bool
    /// What holds the elements.
    let file: MappedFile?
    private let elements: Elements
    private let verification: (@Sendable () throws(CabochonError) -> Void)?

    /// Whether the rows of a matrix can be used as they lie in the file.
    var holdsFloatRows: Bool {
        if case .mapped(let tensor) = elements { tensor.holdsFloatRows } else { false }
    }

    /// - Parameter verification: compares the elements with a checksum.
    init(_ tensor: FloatTensor, verification: (@Sendable () throws(CabochonError) -> Void)? = nil) {
        label = tensor.label
        element = tensor.element
        shape = tensor.shape
        isColumnMajor = tensor.isColumnMajor
        file = tensor.file
        elements = .mapped(tensor)
        self.verification = verification
    }

    /// - Parameter inflate: gives the elements, in memory of their own.
    init(
        label: String, element: FloatTensor.Element, shape: [Int], isColumnMajor: Bool, file: MappedFile,
        inflate: @escaping @Sendable () throws(CabochonError) -> FloatTensor
    ) {
        self.label = label
        self.element = element
        self.shape = shape
        self.isColumnMajor = isColumnMajor
        self.file = file
        elements = .deflated(inflate)
        verification = nil
    }

    /// Reads all elements and compares them with the checksum that the file has of them, if it has one; those that
    /// are inflated are compared then.
    ///
    /// - Throws: `.invalidFile`, `.io`, `.outOfMemory`.
    func verify() throws(CabochonError) { try verification?() }

    /// The array with its elements; deflated ones are inflated by each call, and live as long as what it returns.
    ///
    /// - Throws: `.invalidFile`, `.outOfMemory`.
    func tensor() throws(CabochonError) -> FloatTensor {
        switch elements {
        case .mapped(let tensor): tensor
        case .deflated(let inflate): try inflate()
        }
    }
}
