// Inflate.swift - DEFLATE (RFC 1951), for the compressed members of npz files.
//
// The library links libc only, and archives of arrays are read once, so this decoder is made to be
// checked by eye: canonical codes are walked bit by bit through the counts of each length. The
// output's size is known beforehand and never exceeded.

struct Inflate {
    private var reader: BitReader
    private let output: UnsafeMutableRawBufferPointer
    private var written = 0
    /// Whether a full output ends it.
    private let isBeginning: Bool

    /// Fills `output` with what `bytes` hold, no more and no less.
    ///
    /// - Throws: `.invalidFile` with `name` for bytes that break the format, or hold another size.
    static func inflate(
        _ bytes: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, name: String
    ) throws(CabochonError) {
        var state = Inflate(reader: BitReader(bytes: bytes, name: name), output: output, isBeginning: false)
        while try !state.readBlock() {}
        guard state.written == output.count else {
            throw state.reader.invalid("\(state.written) bytes come out, where \(output.count) were announced")
        }
    }

    /// Fills `output` with the first of what `bytes` hold, and reads no further.
    ///
    /// - Throws: `.invalidFile` with `name` for bytes that break the format before, or hold less.
    static func inflateBeginning(
        of bytes: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, name: String
    ) throws(CabochonError) {
        var state = Inflate(reader: BitReader(bytes: bytes, name: name), output: output, isBeginning: true)
        while state.written < output.count {
            if try state.readBlock() { break }
        }
        guard state.written == output.count else {
            throw state.reader.invalid("only \(state.written) bytes come out")
        }
    }

    /// How many of `count` bytes are to be written.
    private func room(for count: Int) throws(CabochonError) -> Int {
        let room = output.count - written
        guard count > room else { return count }
        guard isBeginning else {
            throw reader.invalid("more bytes come out than the \(output.count) that were announced")
        }
        return room
    }

    /// Returns whether it was the last block.
    private mutating func readBlock() throws(CabochonError) -> Bool {
        let isLast = try reader.bits(1) == 1
        switch try reader.bits(2) {
        case 0: try readStored()
        case 1: try readCompressed(literals: Self.fixedLiterals, distances: Self.fixedDistances)
        case 2:
            let codes = try readCodes()
            try readCompressed(literals: codes.literals, distances: codes.distances)
        default: throw reader.invalid("a block of the reserved type 3")
        }
        return isLast
    }

    private mutating func readStored() throws(CabochonError) {
        reader.alignToByte()
        let length = try reader.bits(16)
        let complement = try reader.bits(16)
        guard length == ~complement & 0xffff else {
            throw reader.invalid("a stored block's length and its complement differ")
        }
        let wanted = try room(for: length)
        let source = try reader.bytes(wanted)
        UnsafeMutableRawBufferPointer(rebasing: output[written..<written + wanted]).copyMemory(from: source)
        written += wanted
    }

    private mutating func readCompressed(literals: HuffmanCode, distances: HuffmanCode) throws(CabochonError) {
        while !(isBeginning && written == output.count) {
            let symbol = try literals.decode(&reader)
            if symbol < 256 {
                _ = try room(for: 1)
                output[written] = UInt8(truncatingIfNeeded: symbol)
                written += 1
                continue
            }
            if symbol == 256 { return }
            guard symbol <= 285 else { throw reader.invalid("length symbol \(symbol)") }
            let length = Self.lengthBase[symbol - 257] + (try reader.bits(Self.lengthBits[symbol - 257]))
            let place = try distances.decode(&reader)
            guard place < 30 else { throw reader.invalid("distance symbol \(place)") }
            let distance = Self.distanceBase[place] + (try reader.bits(Self.distanceBits[place]))
            guard distance <= written else { throw reader.invalid("a distance of \(distance) after \(written) bytes") }
            // One by one: source and destination may overlap, and then repeat.
            for _ in 0..<(try room(for: length)) {
                output[written] = output[written - distance]
                written += 1
            }
        }
    }

    private mutating func readCodes() throws(CabochonError) -> (literals: HuffmanCode, distances: HuffmanCode) {
        let literalCount = try reader.bits(5) + 257
        let distanceCount = try reader.bits(5) + 1
        let lengthCount = try reader.bits(4) + 4
        guard literalCount <= 286, distanceCount <= 30 else {
            throw reader.invalid("\(literalCount) literal and \(distanceCount) distance codes")
        }
        let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
        var lengthLengths = [UInt8](repeating: 0, count: 19)
        for index in 0..<lengthCount { lengthLengths[order[index]] = UInt8(try reader.bits(3)) }
        let lengthCode = try HuffmanCode(lengthLengths, reader)
        var lengths: [UInt8] = []
        while lengths.count < literalCount + distanceCount {
            let symbol = try lengthCode.decode(&reader)
            let (value, times): (UInt8, Int)
            switch symbol {
            case 0...15: (value, times) = (UInt8(symbol), 1)
            case 16:
                guard let last = lengths.last else { throw reader.invalid("a repeated code length without one before") }
                (value, times) = (last, 3 + (try reader.bits(2)))
            case 17: (value, times) = (0, 3 + (try reader.bits(3)))
            default: (value, times) = (0, 11 + (try reader.bits(7)))
            }
            guard times <= literalCount + distanceCount - lengths.count else {
                throw reader.invalid("code lengths run past their number")
            }
            for _ in 0..<times { lengths.append(value) }
        }
        return (
            try HuffmanCode(Array(lengths[..<literalCount]), reader),
            try HuffmanCode(Array(lengths[literalCount...]), reader)
        )
    }

    // RFC 1951, 3.2.5 and 3.2.6.
    private static let lengthBase = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227,
        258,
    ]
    private static let lengthBits = [
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
    ]
    private static let distanceBase = [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
        6145,
        8193, 12289, 16385, 24577,
    ]
    private static let distanceBits = [
        0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
    ]
    private static let fixedLiterals = HuffmanCode(
        checked: (0..<288).map { $0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8 })
    private static let fixedDistances = HuffmanCode(checked: [UInt8](repeating: 5, count: 30))
}

/// A canonical prefix code: how many codes each length has, and the symbols in the order of their codes.
private struct HuffmanCode: Sendable {
    private var counts = [Int](repeating: 0, count: 16)
    private var symbols: [Int] = []

    /// - Parameter lengths: the code length of each symbol, at most 15; 0 for symbols without a code.
    init(checked lengths: [UInt8]) {
        for length in lengths { counts[Int(length)] += 1 }
        counts[0] = 0
        for length in 1...15 {
            for (symbol, own) in lengths.enumerated() where Int(own) == length { symbols.append(symbol) }
        }
    }

    /// - Throws: `.invalidFile` where there are more codes than their lengths allow.
    init(_ lengths: [UInt8], _ reader: BitReader) throws(CabochonError) {
        self.init(checked: lengths)
        var room = 1
        for length in 1...15 {
            room = room * 2 - counts[length]
            guard room >= 0 else { throw reader.invalid("a prefix code with too many codes of length \(length)") }
        }
    }

    func decode(_ reader: inout BitReader) throws(CabochonError) -> Int {
        var code = 0
        var first = 0
        var index = 0
        for length in 1...15 {
            code |= try reader.bits(1)
            let count = counts[length]
            if code - first < count { return symbols[index + code - first] }
            index += count
            first = (first + count) << 1
            code <<= 1
        }
        throw reader.invalid("bits that are no code")
    }
}

/// Bits from the lowest of each byte on.
private struct BitReader {
    let bytes: UnsafeRawBufferPointer
    let name: String
    private var offset = 0
    private var held: UInt64 = 0
    private var heldCount = 0

    init(bytes: UnsafeRawBufferPointer, name: String) {
        self.bytes = bytes
        self.name = name
    }

    mutating func bits(_ count: Int) throws(CabochonError) -> Int {
        while heldCount < count {
            guard offset < bytes.count else { throw invalid("the compressed data ends early") }
            held |= UInt64(bytes[offset]) << UInt64(heldCount)
            offset += 1
            heldCount += 8
        }
        let value = held & ((1 << UInt64(count)) - 1)
        held >>= UInt64(count)
        heldCount -= count
        return Int(value)
    }

    mutating func alignToByte() {
        let rest = heldCount & 7
        held >>= UInt64(rest)
        heldCount -= rest
    }

    /// Whole bytes, after `alignToByte`.
    mutating func bytes(_ count: Int) throws(CabochonError) -> UnsafeRawBufferPointer {
        offset -= heldCount / 8
        held = 0
        heldCount = 0
        guard count <= bytes.count - offset else { throw invalid("a stored block of \(count) bytes runs past the end") }
        defer { offset += count }
        return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
    }

    func invalid(_ problem: String) -> CabochonError {
        CabochonError(.invalidFile, "\(name), compressed byte \(offset): \(problem)")
    }
}
