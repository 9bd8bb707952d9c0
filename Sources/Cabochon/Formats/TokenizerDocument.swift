// TokenizerDocument.swift - the parts of a tokenizer.json while they are read.
//
// JSON lets the parts come in any order, so pieces are collected as they stand, and put in the order
// of their ids, given kinds and ranked when all is known.

struct TokenizerDocument: ~Copyable {
    private let name: String
    private var hasNormalizer = false
    private var hasModel = false
    private var unknownPiece: String?
    private var added: [Int32: AddedToken] = [:]
    private var entries = CheckedArray<Entry>()
    private var keys = CheckedArray<UInt8>()
    /// Stands before the merges, which cannot be read until all pieces are known.
    private var mergesReader: JSONReader?

    /// One piece: where it is in `keys`, and its id.
    private struct Entry: BitwiseCopyable {
        let start: Int
        let length: Int
        let id: Int32
    }

    init(name: String) { self.name = name }

    // MARK: Reading

    mutating func readModel(_ reader: inout JSONReader) throws(CabochonError) {
        var type: String?
        var hasByteFallback = false
        try reader.readObject { (reader, key) throws(CabochonError) in
            switch key {
            case "type": type = try reader.readString()
            case "byte_fallback": hasByteFallback = try reader.readBool()
            case "unk_token": unknownPiece = try reader.readValue().string
            case "vocab": try readPieces(&reader)
            case "merges":
                mergesReader = reader
                try reader.skipValue()
            case "dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges":
                let value = try reader.readValue()
                let isOff = value.isNull || value.string == "" || value.bool == false || value.double == 0
                if !isOff { throw unsupported("a model with \(key)") }
            default: try reader.skipValue()
            }
        }
        guard type == "BPE" else { throw unsupported("a model of type \"\(type ?? "")\"") }
        guard hasByteFallback else { throw unsupported("a model without byte_fallback") }
        hasModel = true
    }

    private mutating func readPieces(_ reader: inout JSONReader) throws(CabochonError) {
        try reader.readObject { (reader, key) throws(CabochonError) in
            let number = try reader.readInteger()
            guard let id = Int32(exactly: number), id >= 0 else {
                throw reader.error("the piece \"\(key)\" has the id \(number)")
            }
            try append(key, id: id)
        }
    }

    private mutating func append(_ piece: String, id: Int32) throws(CabochonError) {
        let start = keys.count
        for byte in piece.utf8 { try keys.append(byte, name) }
        try entries.append(Entry(start: start, length: keys.count - start, id: id), name)
    }

    mutating func readAddedTokens(_ reader: inout JSONReader) throws(CabochonError) {
        let start = reader.offset
        for token in try AddedToken.read(&reader) {
            if let key = token.otherRule { throw unsupported("the added token \"\(token.content)\" with \(key)") }
            guard added.updateValue(token, forKey: token.id) == nil else {
                throw reader.error("a second added token with the id \(token.id)", at: start)
            }
        }
    }

    mutating func checkNormalizer(_ value: JSONValue) throws(CabochonError) {
        guard value["type"]?.string == "Replace", value["pattern"]?["String"]?.string == " ",
            value["content"]?.string == "▁"
        else { throw unsupported("a normalizer other than the replacement of spaces by \"▁\"") }
        hasNormalizer = true
    }

    func checkPreTokenizer(_ value: JSONValue) throws(CabochonError) {
        // Splitting at spaces changes nothing: the normalizer has left none.
        let isNoOperation = value["type"]?.string == "Split" && value["pattern"]?["String"]?.string == " "
        guard value.isNull || isNoOperation else { throw unsupported("a pre_tokenizer other than Split at \" \"") }
    }

    func checkDecoder(_ value: JSONValue) throws(CabochonError) {
        for decoder in value["decoders"]?.array ?? [value] {
            let type = decoder["type"]?.string ?? ""
            guard decoder.isNull || ["Replace", "ByteFallback", "Fuse"].contains(type) else {
                throw unsupported("a decoder of type \"\(type)\"")
            }
        }
    }

    private func unsupported(_ what: String) -> CabochonError {
        CabochonError(.unsupported, "\(name): \(what); Gemma's tokenizers have none, and Cabochon runs no others")
    }

    // MARK: Putting together

    /// The pieces by id, with kinds and ranks.
    consuming func makeIndex() throws(CabochonError) -> PieceIndex {
        guard hasModel else { throw CabochonError(.invalidFile, "\(name): no model") }
        guard hasNormalizer else { throw unsupported("no normalizer") }
        let order = try entriesByID()
        var builder = VocabularyBuilder(name: name)
        var previous = UnsafeRawBufferPointer(start: nil, count: 0)
        for id in 0..<Int32(order.count) {
            let piece = bytes(of: entries.elements[order.elements[Int(id)]])
            // Ids rise as scores fall in every Gemma vocabulary; the merges have the last word.
            let score = -Float(id)
            if piece.elementsEqual([0x09]), Vocabulary.byteValue(previous) == 8 {
                // Where SentencePiece has the piece <0x09>, Gemma 2's converter put the tab itself.
                let byte = Array("<0x09>".utf8)
                try byte.withUnsafeBufferPointer { (bytes) throws(CabochonError) in
                    try builder.append(UnsafeRawBufferPointer(bytes), score: score, kind: .byte)
                }
            } else {
                try builder.append(piece, score: score, kind: kind(of: piece, id: id))
            }
            previous = piece
        }
        let index = try PieceIndex(builder)
        if let mergesReader { try MergeRanking.apply(mergesReader, to: index) }
        return index
    }

    private func bytes(of entry: Entry) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(
            rebasing: UnsafeRawBufferPointer(keys.elements)[entry.start..<entry.start + entry.length])
    }

    private func kind(of piece: UnsafeRawBufferPointer, id: Int32) -> PieceKind {
        if let token = added[id] {
            if !token.isSpecial { return .userDefined }
            return token.content == unknownPiece ? .unknown : .control
        }
        if Vocabulary.byteValue(piece) != nil { return .byte }
        return Self.isWhitespaceRun(piece) ? .userDefined : .normal
    }

    /// Whether a piece is one of Gemma's runs: line feeds, tabs, or at least two spaces. They are
    /// user-defined in tokenizer.model, but not all converters add them as tokens.
    private static func isWhitespaceRun(_ piece: UnsafeRawBufferPointer) -> Bool {
        if piece.allSatisfy({ $0 == 0x0A }) || piece.allSatisfy({ $0 == 0x09 }) { return true }
        let (first, second, third) = SpaceEscape.bytes
        guard piece.count % 3 == 0, piece.count > 3 else { return false }
        return piece.enumerated().allSatisfy { $1 == [first, second, third][$0 % 3] }
    }

    /// The position in `entries` of each id. Ids must be 0, 1, 2 and so on, without a gap.
    private mutating func entriesByID() throws(CabochonError) -> CheckedArray<Int> {
        // One more than the position, so that zero is a free place.
        let places = try CheckedArray<Int>(zeroed: entries.count + added.count, name)
        for position in 0..<entries.count {
            let entry = entries.elements[position]
            guard entry.id < places.count else { throw gap(entry.id) }
            guard places.elements[Int(entry.id)] == 0 else {
                throw CabochonError(.invalidFile, "\(name): two pieces have the id \(entry.id)")
            }
            places.elements[Int(entry.id)] = position + 1
        }
        for (id, token) in added.sorted(by: { $0.key < $1.key }) {
            guard id < places.count else { throw gap(id) }
            let place = places.elements[Int(id)]
            if place == 0 {
                try append(token.content, id: id)
                places.elements[Int(id)] = entries.count
            } else if !bytes(of: entries.elements[place - 1]).elementsEqual(token.content.utf8) {
                throw CabochonError(
                    .invalidFile, "\(name): the added token \(id) is \"\(token.content)\", but the model's piece is not"
                )
            }
        }
        let order = try CheckedArray<Int>(zeroed: entries.count, name)
        for id in 0..<order.count {
            guard places.elements[id] > 0 else { throw gap(Int32(truncatingIfNeeded: id)) }
            order.elements[id] = places.elements[id] - 1
        }
        return order
    }

    private func gap(_ id: Int32) -> CabochonError {
        CabochonError(.invalidFile, "\(name): ids have a gap at or before \(id)")
    }
}
