// TokenizerJSON.swift - tokenizer.json, the Hugging Face form of Gemma's tokenizer.
//
// The file lost what SentencePiece's own has: scores, and which pieces are user-defined. Ranks come
// back from the merges; the kinds from the added tokens and from what is a run of white space. Where
// the two libraries tokenise differently (runs of more than 31 spaces), the outcome here is
// SentencePiece's, which the model was trained with.

/// What a tokenizer.json says.
public enum TokenizerJSON {
    /// Reads the vocabulary of a tokenizer.json in Gemma's layout: BPE with byte fallback, spaces
    /// replaced by "▁", nothing stripped or prepended.
    ///
    /// - Parameters:
    ///   - bytes: the file; not kept.
    ///   - name: what error messages call it.
    ///   - configuration: what tokenizer_config.json says, or Gemma's own settings.
    /// - Throws: `.invalidFile` with the offset or the piece; `.unsupported` for any other kind of
    ///   tokenizer, naming the setting; `.outOfMemory`.
    public static func vocabulary(
        _ bytes: UnsafeRawBufferPointer, name: String, configuration: TokenizerConfiguration = .init()
    ) throws(CabochonError) -> Vocabulary {
        var document = TokenizerDocument(name: name)
        var reader = JSONReader(bytes, name: name)
        try reader.readObject { (reader, key) throws(CabochonError) in
            switch key {
            case "model": try document.readModel(&reader)
            case "added_tokens": try document.readAddedTokens(&reader)
            case "normalizer": try document.checkNormalizer(try reader.readValue())
            case "pre_tokenizer": try document.checkPreTokenizer(try reader.readValue())
            case "decoder": try document.checkDecoder(try reader.readValue())
            default: try reader.skipValue()
            }
        }
        try reader.finish()
        let index = try document.makeIndex()
        return try Vocabulary(index, special: try configuration.special(in: index))
    }

    /// The tokens that were added to the vocabulary of a tokenizer.json; of the rest only what stands before them
    /// is looked at, which in files of the tokenizers library is next to nothing.
    static func addedTokens(_ file: MappedFile) throws(CabochonError) -> [AddedToken] {
        defer { withExtendedLifetime(file) {} }
        var reader = JSONReader(file.bytes, name: file.path)
        guard try reader.findValue(of: "added_tokens") else { return [] }
        return try AddedToken.read(&reader)
    }

    /// Reads the vocabulary of a mapped tokenizer.json; see the form for bytes.
    public static func vocabulary(
        _ file: MappedFile, configuration: TokenizerConfiguration = .init()
    ) throws(CabochonError) -> Vocabulary {
        defer { withExtendedLifetime(file) {} }
        return try vocabulary(file.bytes, name: file.path, configuration: configuration)
    }
}

/// What tokenizer_config.json says about the ids with a role of their own.
public struct TokenizerConfiguration: Sendable {
    /// The pieces with these roles; nil if there is none.
    public var bosPiece: String? = "<bos>"
    public var eosPiece: String? = "<eos>"
    public var unknownPiece: String? = "<unk>"
    public var paddingPiece: String? = "<pad>"
    /// Whether a text starts with bos.
    public var addsBOS = true
    /// Pieces and tokens that were added to them, by their ids.
    var addedTokens: [AddedToken] = []

    /// Gemma's own settings.
    public init() {}

    /// Reads a tokenizer_config.json; what it does not say stays as Gemma has it.
    ///
    /// - Throws: `.invalidFile` with the offset or the key.
    public init(_ bytes: UnsafeRawBufferPointer, name: String) throws(CabochonError) {
        let document = try JSON.parse(bytes, name: name)
        func piece(_ key: String, _ standard: String?) throws(CabochonError) -> String? {
            guard let value = document[key] else { return standard }
            if value.isNull { return nil }
            if let text = value.string ?? value["content"]?.string { return text }
            throw CabochonError(.invalidFile, "\(name): key '\(key)' is neither a string nor an added token")
        }
        bosPiece = try piece("bos_token", bosPiece)
        eosPiece = try piece("eos_token", eosPiece)
        unknownPiece = try piece("unk_token", unknownPiece)
        paddingPiece = try piece("pad_token", paddingPiece)
        if let value = document["add_bos_token"] {
            guard let bool = value.bool else {
                throw CabochonError(.invalidFile, "\(name): key 'add_bos_token' is not a bool")
            }
            addsBOS = bool
        }
        for (key, value) in document["added_tokens_decoder"]?.object?.entries ?? [] {
            guard let id = Int32(key), id >= 0, let token = AddedToken(value, id: id) else {
                throw CabochonError(.invalidFile, "\(name): added_tokens_decoder has no token in \"\(key)\"")
            }
            addedTokens.append(token)
        }
    }

    /// Reads a mapped tokenizer_config.json; see the form for bytes.
    public init(_ file: MappedFile) throws(CabochonError) {
        defer { withExtendedLifetime(file) {} }
        try self.init(file.bytes, name: file.path)
    }

    /// The ids of these pieces. Bos and eos must be there; the others may be missing.
    func special(in index: PieceIndex) throws(CabochonError) -> SpecialPieces {
        func required(_ piece: String?, _ role: String) throws(CabochonError) -> Int32 {
            if let piece, let id = index.id(of: piece) { return id }
            throw CabochonError(.invalidFile, "\(index.name): no piece \"\(piece ?? "")\", which is its \(role)")
        }
        return SpecialPieces(
            bos: try required(bosPiece, "bos"), eos: try required(eosPiece, "eos"),
            unknown: unknownPiece.flatMap { index.id(of: $0) }, padding: paddingPiece.flatMap { index.id(of: $0) },
            addsBOS: addsBOS)
    }
}
