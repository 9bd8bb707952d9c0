// JSONReader.swift - a pull reader over the bytes of a JSON document.
//
// A tokenizer.json holds two million values, which a tree would turn into as many allocations.
// The reader hands them out one by one instead; strings without escapes are never copied before
// they become a String. It checks as much in what is skipped as in what is read.

struct JSONReader {
    private let bytes: UnsafeRawBufferPointer
    private let limits: JSONLimits
    private var depth = 0
    private var elements = 0
    private var scratch: [UInt8] = []
    /// What error messages call the document.
    let name: String
    /// The offset of the next byte to be read.
    private(set) var offset = 0

    enum Kind { case null, bool, number, string, array, object }

    /// - Parameter bytes: the document, which must outlive the reader.
    init(_ bytes: UnsafeRawBufferPointer, name: String, limits: JSONLimits = .init()) {
        self.bytes = bytes
        self.name = name
        self.limits = limits
    }

    func error(_ problem: String, at position: Int? = nil) -> CabochonError {
        CabochonError(.invalidFile, "\(name): byte \(position ?? offset): \(problem)")
    }

    /// The kind of the next value, which is not read.
    mutating func peekKind() throws(CabochonError) -> Kind {
        switch try peek() {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
        case UInt8(ascii: "n"): return .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
        case let byte: throw error("expected a value, found \(Self.describe(byte))")
        }
    }

    /// Reads an object. `body` is called with each key and must read or skip exactly one value.
    mutating func readObject(
        _ body: (inout JSONReader, String) throws(CabochonError) -> Void
    ) throws(CabochonError) {
        try open("{")
        var seen: [String] = []
        var seenMany: Set<JSONKey> = []
        var isFirst = true
        while try !close("}", isFirst: isFirst) {
            isFirst = false
            // Past white space, so that the error below tells where the key is.
            _ = try peek()
            let start = offset
            let key = try readKey()
            let wrapped = JSONKey(key)
            let isDuplicate: Bool
            if seen.count < 8 {
                isDuplicate = seen.contains { JSONKey($0) == wrapped }
                seen.append(key)
            } else {
                if seenMany.isEmpty { for key in seen { seenMany.insert(JSONKey(key)) } }
                isDuplicate = !seenMany.insert(wrapped).inserted
            }
            if isDuplicate { throw error("the key \"\(Self.shorten(key))\" occurs twice", at: start) }
            try body(&self, key)
        }
    }

    /// Goes to the value of a key in the object that comes next, and leaves the rest of the document unread.
    ///
    /// - Returns: false, and the object is read, where it has no such key.
    mutating func findValue(of wanted: String) throws(CabochonError) -> Bool {
        try open("{")
        var isFirst = true
        while try !close("}", isFirst: isFirst) {
            isFirst = false
            let key = try readKey()
            if key == wanted { return true }
            try skipValue()
        }
        return false
    }

    /// A key and the colon after it.
    private mutating func readKey() throws(CabochonError) -> String {
        guard try peek() == UInt8(ascii: "\"") else {
            throw error("expected a key, found \(Self.describe(bytes[offset]))")
        }
        let key = try readString()
        guard try peek() == UInt8(ascii: ":") else {
            throw error("expected ':' after a key, found \(Self.describe(bytes[offset]))")
        }
        offset += 1
        return key
    }

    /// Reads an array. `body` is called before each element and must read or skip exactly one value.
    mutating func readArray(_ body: (inout JSONReader) throws(CabochonError) -> Void) throws(CabochonError) {
        try open("[")
        var isFirst = true
        while try !close("]", isFirst: isFirst) {
            isFirst = false
            try body(&self)
        }
    }

    /// Reads a string.
    mutating func readString() throws(CabochonError) -> String {
        let (range, hasEscapes) = try scanString()
        if !hasEscapes { return String(decoding: bytes[range], as: UTF8.self) }
        scratch.removeAll(keepingCapacity: true)
        try unescape(range)
        return String(decoding: scratch, as: UTF8.self)
    }

    mutating func readBool() throws(CabochonError) -> Bool {
        guard try peekKind() == .bool else { throw error("expected true or false") }
        try countElement()
        let value = bytes[offset] == UInt8(ascii: "t")
        try readWord(value ? "true" : "false")
        return value
    }

    mutating func readNull() throws(CabochonError) {
        guard try peekKind() == .null else { throw error("expected null") }
        try countElement()
        try readWord("null")
    }

    /// Reads an integer that fits `Int64`.
    mutating func readInteger() throws(CabochonError) -> Int64 {
        let start = offset
        guard case .integer(let value) = try readNumber() else {
            throw error("expected a 64-bit integer", at: start)
        }
        return value
    }

    /// Reads a number: `.integer` if it is written without fraction and exponent and fits, else `.number`.
    mutating func readNumber() throws(CabochonError) -> JSONValue {
        guard try peekKind() == .number else { throw error("expected a number") }
        try countElement()
        let start = offset
        let isNegative = bytes[offset] == UInt8(ascii: "-")
        if isNegative { offset += 1 }
        let digitsStart = offset
        try skipDigits()
        if offset - digitsStart > 1, bytes[digitsStart] == UInt8(ascii: "0") {
            throw error("a number starts with 0", at: start)
        }
        let digits = digitsStart..<offset
        var isInteger = true
        if offset < bytes.count, bytes[offset] == UInt8(ascii: ".") {
            isInteger = false
            offset += 1
            try skipDigits()
        }
        if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
            isInteger = false
            offset += 1
            if offset < bytes.count, bytes[offset] == UInt8(ascii: "+") || bytes[offset] == UInt8(ascii: "-") {
                offset += 1
            }
            try skipDigits()
        }
        if isInteger, let value = integer(digits, isNegative: isNegative) { return .integer(value) }
        // No sensible writer comes near this length; it keeps the conversion's cost bounded.
        guard offset - start <= 1024 else { throw error("a number of \(offset - start) bytes", at: start) }
        guard let value = Double(String(decoding: bytes[start..<offset], as: UTF8.self)), value.isFinite else {
            throw error("the number is out of the range of a Double", at: start)
        }
        return .number(value)
    }

    /// Reads any value as a tree.
    mutating func readValue() throws(CabochonError) -> JSONValue {
        switch try peekKind() {
        case .null:
            try readNull()
            return .null
        case .bool: return .bool(try readBool())
        case .number: return try readNumber()
        case .string: return .string(try readString())
        case .array:
            var values: [JSONValue] = []
            try readArray { (reader) throws(CabochonError) in values.append(try reader.readValue()) }
            return .array(values)
        case .object:
            var object = JSONObject()
            try readObject { (reader, key) throws(CabochonError) in
                // readObject has refused duplicates by now.
                _ = object.append(key: key, value: try reader.readValue())
            }
            return .object(object)
        }
    }

    /// Reads any value and forgets it.
    mutating func skipValue() throws(CabochonError) {
        switch try peekKind() {
        case .null: try readNull()
        case .bool: _ = try readBool()
        case .number: _ = try readNumber()
        case .string:
            let (range, hasEscapes) = try scanString()
            if hasEscapes {
                scratch.removeAll(keepingCapacity: true)
                try unescape(range)
            }
        case .array: try readArray { (reader) throws(CabochonError) in try reader.skipValue() }
        case .object: try readObject { (reader, _) throws(CabochonError) in try reader.skipValue() }
        }
    }

    /// Checks that only white space is left.
    mutating func finish() throws(CabochonError) {
        skipWhitespace()
        if offset < bytes.count { throw error("\(Self.describe(bytes[offset])) after the document's value") }
    }
}

// MARK: - Bytes

extension JSONReader {
    @inline(__always)
    private mutating func skipWhitespace() {
        while offset < bytes.count {
            switch bytes[offset] {
            case 0x20, 0x0A, 0x0D, 0x09: offset += 1
            default: return
            }
        }
    }

    /// The next byte that is not white space; not read.
    @inline(__always)
    private mutating func peek() throws(CabochonError) -> UInt8 {
        skipWhitespace()
        guard offset < bytes.count else { throw error("the document ends early") }
        return bytes[offset]
    }

    private mutating func countElement() throws(CabochonError) {
        elements += 1
        if elements > limits.elements { throw error("more than \(limits.elements) values") }
    }

    private mutating func open(_ bracket: Unicode.Scalar) throws(CabochonError) {
        guard try peek() == UInt8(ascii: bracket) else {
            throw error("expected '\(bracket)', found \(Self.describe(bytes[offset]))")
        }
        try countElement()
        guard depth < limits.depth else { throw error("nested deeper than \(limits.depth)") }
        depth += 1
        offset += 1
    }

    /// True, and the bracket read, at the end; otherwise reads the comma before the next element.
    private mutating func close(_ bracket: Unicode.Scalar, isFirst: Bool) throws(CabochonError) -> Bool {
        let byte = try peek()
        if byte == UInt8(ascii: bracket) {
            depth -= 1
            offset += 1
            return true
        }
        if isFirst { return false }
        guard byte == UInt8(ascii: ",") else {
            throw error("expected ',' or '\(bracket)', found \(Self.describe(byte))")
        }
        offset += 1
        return false
    }

    private mutating func readWord(_ word: StaticString) throws(CabochonError) {
        let start = offset
        for index in 0..<word.utf8CodeUnitCount {
            guard offset < bytes.count, bytes[offset] == word.utf8Start[index] else {
                throw error("expected \(word)", at: start)
            }
            offset += 1
        }
    }

    private mutating func skipDigits() throws(CabochonError) {
        let start = offset
        while offset < bytes.count, bytes[offset] &- UInt8(ascii: "0") < 10 { offset += 1 }
        if offset == start { throw error("expected a digit") }
    }

    private func integer(_ digits: Range<Int>, isNegative: Bool) -> Int64? {
        var value: Int64 = 0
        for index in digits {
            let digit = Int64(bytes[index] - UInt8(ascii: "0"))
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            // Built on the negative side, which reaches one further.
            let (next, overflow2) = product.subtractingReportingOverflow(digit)
            if overflow || overflow2 { return nil }
            value = next
        }
        if isNegative { return value }
        return value == .min ? nil : -value
    }

    /// Finds the end of a string, checking its UTF-8. The range excludes the quotes.
    private mutating func scanString() throws(CabochonError) -> (Range<Int>, hasEscapes: Bool) {
        guard try peek() == UInt8(ascii: "\"") else {
            throw error("expected a string, found \(Self.describe(bytes[offset]))")
        }
        try countElement()
        let opening = offset
        var position = offset + 1
        var hasEscapes = false
        while position < bytes.count {
            let byte = bytes[position]
            if byte == UInt8(ascii: "\"") {
                offset = position + 1
                return (opening + 1..<position, hasEscapes)
            } else if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                position += 2
            } else if byte < 0x20 {
                throw error("a control character in a string: \(Self.describe(byte))", at: position)
            } else if byte < 0x80 {
                position += 1
            } else {
                guard case .character(let length) = UTF8Sequence(in: bytes, at: position) else {
                    throw error("a string that is not UTF-8", at: position)
                }
                position += length
            }
        }
        throw error("a string without an end", at: opening)
    }

    /// Appends the string in `range` to `scratch`, escapes replaced.
    private mutating func unescape(_ range: Range<Int>) throws(CabochonError) {
        var position = range.lowerBound
        while position < range.upperBound {
            let byte = bytes[position]
            guard byte == UInt8(ascii: "\\") else {
                scratch.append(byte)
                position += 1
                continue
            }
            // The scan has made sure that a byte follows each backslash.
            let escape = bytes[position + 1]
            let start = position
            position += 2
            switch escape {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): scratch.append(escape)
            case UInt8(ascii: "b"): scratch.append(0x08)
            case UInt8(ascii: "f"): scratch.append(0x0C)
            case UInt8(ascii: "n"): scratch.append(0x0A)
            case UInt8(ascii: "r"): scratch.append(0x0D)
            case UInt8(ascii: "t"): scratch.append(0x09)
            case UInt8(ascii: "u"):
                var code = try hexadecimal(at: position, before: range.upperBound)
                position += 4
                if code & 0xFC00 == 0xD800, position + 6 <= range.upperBound,
                    bytes[position] == UInt8(ascii: "\\"), bytes[position + 1] == UInt8(ascii: "u")
                {
                    let low = try hexadecimal(at: position + 2, before: range.upperBound)
                    if low & 0xFC00 == 0xDC00 {
                        code = 0x10000 + (code & 0x3FF) << 10 + (low & 0x3FF)
                        position += 6
                    }
                }
                guard let scalar = Unicode.Scalar(code) else { throw error("half a surrogate pair", at: start) }
                scratch.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
            default: throw error("an unknown escape: \(Self.describe(escape))", at: start)
            }
        }
    }

    private func hexadecimal(at position: Int, before end: Int) throws(CabochonError) -> UInt32 {
        guard position + 4 <= end else { throw error("a \\u escape without four digits", at: position) }
        var code: UInt32 = 0
        for index in position..<position + 4 {
            let byte = bytes[index]
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: throw error("a \\u escape without four digits", at: index)
            }
            code = code << 4 | UInt32(digit)
        }
        return code
    }

    private static func describe(_ byte: UInt8) -> String {
        0x21...0x7E ~= byte ? "'\(Unicode.Scalar(byte))'" : "byte \(byte)"
    }

    private static func shorten(_ key: String) -> String {
        key.unicodeScalars.count <= 40 ? key : String(String.UnicodeScalarView(key.unicodeScalars.prefix(40))) + "…"
    }
}
