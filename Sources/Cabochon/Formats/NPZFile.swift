// NPZFile.swift - numpy's .npz: a zip archive of .npy arrays.
//
// Format: numpy.lib.format, versions 1 to 3. A stored member is a view of the mapped file, and is
// compared with its checksum where that is asked for: it takes reading all of it. Of a deflated one
// the header is read; who asks for its elements has all of it inflated into memory, against its
// checksum.

/// An opened .npz file. Safe to use from any thread.
struct NPZFile: Sendable {
    let path: String
    /// The arrays' names, without ".npy", in the archive's order.
    let names: [String]
    private let archive: ZipArchive

    /// - Throws: `.io`, `.invalidFile`, `.unsupported`, naming the file and the member.
    init(path: String) throws(CabochonError) {
        self.path = path
        archive = try ZipArchive(path: path)
        names = archive.members.map { Self.name(of: $0) }
    }

    private static func name(of member: ZipArchive.Member) -> String {
        member.name.hasSuffix(".npy") ? String(member.name.dropLast(4)) : member.name
    }

    /// More bytes than any header of a few dimensions has.
    private static let headerByteCount = 4096

    /// The array `name`; nil if there is none.
    ///
    /// - Throws: `.unsupported` for elements other than little-endian float16, float32 and float64.
    func array(_ name: String) throws(CabochonError) -> DeferredTensor? {
        guard let member = archive.members.first(where: { Self.name(of: $0) == name }) else { return nil }
        let label = "\(path): array '\(name)'"
        let stored = try archive.storedBytes(of: member)
        guard member.method == .deflated else {
            let header = try NPYHeader(stored, label: label)
            let tensor = try header.tensor(in: stored, label: label, owner: archive.file, file: archive.file)
            guard let fileStart = archive.file.bytes.baseAddress, let start = stored.baseAddress else {
                return DeferredTensor(tensor)
            }
            let place = start - fileStart
            return DeferredTensor(tensor) { [self] () throws(CabochonError) in try verify(member, at: place, label) }
        }
        let beginning = try Buffer<UInt8>(count: min(member.size, Self.headerByteCount), for: label)
        let bytes = UnsafeMutableRawBufferPointer(beginning.elements)
        try Inflate.inflateBeginning(of: stored, into: bytes, name: label)
        let header = try NPYHeader(UnsafeRawBufferPointer(bytes), label: label)
        try FloatTensor.check(header.shape, of: header.element, takes: member.size - header.byteCount, label: label)
        return DeferredTensor(
            label: label, element: header.element, shape: header.shape, isColumnMajor: header.isColumnMajor,
            file: archive.file
        ) { [self] () throws(CabochonError) in try inflate(member, header, label) }
    }

    private func inflate(_ member: ZipArchive.Member, _ header: NPYHeader, _ label: String) throws(CabochonError)
        -> FloatTensor
    {
        let memory = try Buffer<UInt8>(count: member.size, for: label)
        let bytes = UnsafeMutableRawBufferPointer(memory.elements)
        try Inflate.inflate(try archive.storedBytes(of: member), into: bytes, name: label)
        var crc = CRC32()
        crc.update(UnsafeRawBufferPointer(bytes))
        try compare(crc, with: member, label)
        return try header.tensor(in: UnsafeRawBufferPointer(bytes), label: label, owner: memory, file: nil)
    }

    /// - Parameter place: where the stored member's bytes begin. They are read past the mapping, whose pages would
    ///   stay with the process.
    private func verify(_ member: ZipArchive.Member, at place: Int, _ label: String) throws(CabochonError) {
        let block = try Buffer<UInt8>(count: min(member.size, Self.verifiedByteCount), for: label)
        var crc = CRC32()
        for first in stride(from: 0, to: member.size, by: Self.verifiedByteCount) {
            let bytes = UnsafeMutableRawBufferPointer(
                start: block.pointer, count: min(Self.verifiedByteCount, member.size - first))
            try archive.file.read(into: bytes, at: place + first)
            crc.update(UnsafeRawBufferPointer(bytes))
        }
        try compare(crc, with: member, label)
    }

    /// Bytes that are read together, to stay in cache.
    private static let verifiedByteCount = 256 << 10

    private func compare(_ crc: CRC32, with member: ZipArchive.Member, _ label: String) throws(CabochonError) {
        guard crc.value == member.checksum else {
            throw CabochonError(
                .invalidFile, "\(label): its checksum is \(crc.value), the archive's directory says \(member.checksum)")
        }
    }
}

/// What stands before the elements of a .npy file: a magic, a version and a Python literal with three known keys.
private struct NPYHeader: Sendable {
    let element: FloatTensor.Element
    let shape: [Int]
    let isColumnMajor: Bool
    /// Where the elements begin.
    let byteCount: Int

    /// - Parameter bytes: the file, or a beginning of it that holds the header.
    init(_ bytes: UnsafeRawBufferPointer, label: String) throws(CabochonError) {
        var reader = ByteReader(bytes, name: label)
        guard try reader.take(6, "the magic").elementsEqual([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]) else {
            throw reader.invalid("no .npy array", at: 0)
        }
        let version = try reader.read(UInt8.self, "the version")
        _ = try reader.read(UInt8.self, "the minor version")
        let length: Int
        switch version {
        case 1: length = Int(try reader.read(UInt16.self, "the header's length"))
        case 2, 3: length = Int(try reader.read(UInt32.self, "the header's length"))
        default: throw CabochonError(.unsupported, "\(label): .npy version \(version); 1 to 3 can be read")
        }
        let dictionary = try NPYDictionary(try reader.take(length, "the header"), label: label)
        switch dictionary.descriptor {
        case "<f4": element = .f32
        case "<f2": element = .f16
        case "<f8": element = .f64
        default:
            throw CabochonError(
                .unsupported,
                "\(label): elements of type '\(dictionary.descriptor)'; '<f2', '<f4' and '<f8' can be read")
        }
        shape = dictionary.shape
        guard !dictionary.isFortranOrder || shape.count <= 2 else {
            throw CabochonError(
                .unsupported, "\(label): \(shape.count) dimensions in Fortran order; save it in C order")
        }
        isColumnMajor = dictionary.isFortranOrder && shape.count == 2
        byteCount = bytes.count - reader.remaining
    }

    /// - Parameter bytes: the whole file, which began with the bytes that this was read from.
    func tensor(
        in bytes: UnsafeRawBufferPointer, label: String, owner: AnyObject, file: MappedFile?
    ) throws(CabochonError) -> FloatTensor {
        try FloatTensor(
            label: label, element: element, shape: shape, isColumnMajor: isColumnMajor,
            bytes: UnsafeRawBufferPointer(rebasing: bytes[byteCount...]), owner: owner, file: file)
    }
}

private struct NPYDictionary {
    private(set) var descriptor = ""
    private(set) var isFortranOrder = false
    private(set) var shape: [Int] = []

    init(_ bytes: UnsafeRawBufferPointer, label: String) throws(CabochonError) {
        var text = Literal(text: bytes.prefix(65_536)[...], label: label)
        var seen: Set<String> = []
        try text.expect("{")
        while !text.skip("}") {
            let key = try text.string()
            guard seen.insert(key).inserted else { throw text.invalid("'\(key)' appears twice") }
            try text.expect(":")
            switch key {
            case "descr": descriptor = try text.string()
            case "fortran_order": isFortranOrder = try text.bool()
            case "shape": shape = try text.tuple()
            default: throw text.invalid("an unknown key '\(key)'")
            }
            if !text.skip(",") {
                try text.expect("}")
                break
            }
        }
        guard seen.count == 3 else { throw text.invalid("'descr', 'fortran_order' and 'shape' are not all there") }
        guard text.isAtEnd else { throw text.invalid("more than blanks after the dictionary") }
    }

    private struct Literal {
        var text: Slice<UnsafeRawBufferPointer>
        let label: String

        func invalid(_ problem: String) -> CabochonError {
            CabochonError(.invalidFile, "\(label): .npy header: \(problem)")
        }

        /// Whether nothing is left but blanks, of which the header's end is made.
        var isAtEnd: Bool { text.allSatisfy { $0 == 0x20 || $0 == 0x0a } }

        mutating func skipSpace() { text = text.drop { $0 == 0x20 || $0 == 0x0a } }

        mutating func skip(_ character: Unicode.Scalar) -> Bool {
            skipSpace()
            guard let first = text.first, UInt32(first) == character.value else { return false }
            text = text.dropFirst()
            return true
        }

        mutating func expect(_ character: Unicode.Scalar) throws(CabochonError) {
            guard skip(character) else { throw invalid("'\(character)' was expected") }
        }

        mutating func string() throws(CabochonError) -> String {
            skipSpace()
            guard let quote = text.first, quote == 0x27 || quote == 0x22 else { throw invalid("a string was expected") }
            text = text.dropFirst()
            let content = text.prefix { $0 != quote }
            guard content.endIndex < text.endIndex, let string = String(validating: content, as: UTF8.self) else {
                throw invalid("a string without an end")
            }
            text = text[(content.endIndex + 1)...]
            return string
        }

        mutating func bool() throws(CabochonError) -> Bool {
            skipSpace()
            for (word, value) in [("True", true), ("False", false)] where text.starts(with: word.utf8) {
                text = text.dropFirst(word.utf8.count)
                return value
            }
            throw invalid("True or False was expected")
        }

        mutating func tuple() throws(CabochonError) -> [Int] {
            try expect("(")
            var numbers: [Int] = []
            while !skip(")") {
                skipSpace()
                let digits = text.prefix { (0x30...0x39).contains($0) }
                guard let number = Int(String(decoding: digits, as: UTF8.self)), numbers.count < 8 else {
                    throw invalid("a shape of at most 8 sizes was expected")
                }
                numbers.append(number)
                text = text[digits.endIndex...]
                if !skip(",") {
                    try expect(")")
                    break
                }
            }
            return numbers
        }
    }
}

/// CRC-32 of zip (IEEE 802.3), piece by piece.
struct CRC32 {
    private var state: UInt32 = ~0

    var value: UInt32 { ~state }

    /// Eight bytes at a time: each has a table of its own, of what it does to the state from its distance.
    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        let whole = bytes.count & ~7
        var state = state
        Self.tables.withUnsafeBufferPointer { tables in
            func effect(_ word: UInt64, _ distance: Int) -> UInt32 {
                tables[distance &* 256 &+ Int(truncatingIfNeeded: word >> UInt64(56 &- 8 &* distance) & 0xff)]
            }
            for place in stride(from: 0, to: whole, by: 8) {
                let bits = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self))
                let word = bits ^ UInt64(state)
                let first = effect(word, 7) ^ effect(word, 6) ^ effect(word, 5) ^ effect(word, 4)
                let second = effect(word, 3) ^ effect(word, 2) ^ effect(word, 1) ^ effect(word, 0)
                state = first ^ second
            }
            for byte in bytes[whole...] { state = (state >> 8) ^ tables[Int((state ^ UInt32(byte)) & 0xff)] }
        }
        self.state = state
    }

    /// [8, 256]
    private static let tables: [UInt32] = {
        var tables: [UInt32] = (0..<256).map { start in
            (0..<8).reduce(UInt32(start)) { value, _ in value & 1 == 1 ? 0xedb8_8320 ^ (value >> 1) : value >> 1 }
        }
        for entry in 256..<8 * 256 {
            let before = tables[entry - 256]
            tables.append((before >> 8) ^ tables[Int(before & 0xff)])
        }
        return tables
    }()
}
