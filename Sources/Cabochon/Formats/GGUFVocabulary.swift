// GGUFVocabulary.swift - the tokenizer in the metadata of a GGUF file.

extension Vocabulary {
    /// Reads the vocabulary of a GGUF model file.
    ///
    /// - Throws: `.invalidFile` for missing or inconsistent `tokenizer.ggml` keys, `.unsupported` for
    ///   a tokenizer other than SentencePiece's BPE without a dummy prefix, `.outOfMemory`.
    public convenience init(_ file: GGUFFile) throws(CabochonError) {
        let path = file.paths[0]
        let model = try file.string("tokenizer.ggml.model")
        guard model == "llama" else {
            throw CabochonError(
                .unsupported, "\(path): key 'tokenizer.ggml.model' is '\(model ?? "")', not 'llama' (SentencePiece BPE)"
            )
        }
        for key in ["tokenizer.ggml.add_space_prefix", "tokenizer.ggml.remove_extra_whitespaces"] {
            if try file.bool(key) == true {
                throw CabochonError(.unsupported, "\(path): key '\(key)' is true; no Gemma model is trained so")
            }
        }
        guard let tokens = try file.strings("tokenizer.ggml.tokens"), !tokens.isEmpty else {
            throw CabochonError(.invalidFile, "\(path): key 'tokenizer.ggml.tokens' is missing or empty")
        }
        guard let scores = try file.floats("tokenizer.ggml.scores"), scores.count == tokens.count else {
            throw CabochonError(
                .invalidFile, "\(path): key 'tokenizer.ggml.scores' does not have \(tokens.count) numbers, one a token")
        }
        guard let kinds = try file.integers("tokenizer.ggml.token_type"), kinds.count == tokens.count else {
            throw CabochonError(
                .invalidFile,
                "\(path): key 'tokenizer.ggml.token_type' does not have \(tokens.count) numbers, one a token")
        }
        var builder = VocabularyBuilder(name: path)
        for id in tokens.indices {
            guard let raw = UInt8(exactly: kinds[id]), let kind = PieceKind(rawValue: raw) else {
                throw CabochonError(
                    .invalidFile, "\(path): key 'tokenizer.ggml.token_type': token \(id) is of type \(kinds[id])")
            }
            try builder.append(tokens[id], score: scores[id], kind: kind)
        }
        // Gemma's own ids stand in for keys that old files lack.
        let special = SpecialPieces(
            bos: try Self.id(file, "bos_token_id") ?? 2, eos: try Self.id(file, "eos_token_id") ?? 1,
            unknown: try Self.id(file, "unknown_token_id") ?? 3, padding: try Self.id(file, "padding_token_id"),
            addsBOS: try file.bool("tokenizer.ggml.add_bos_token") ?? true)
        try self.init(builder, special: special)
    }

    private static func id(_ file: GGUFFile, _ role: String) throws(CabochonError) -> Int32? {
        guard let number = try file.integer("tokenizer.ggml.\(role)") else { return nil }
        guard let id = Int32(exactly: number) else {
            throw CabochonError(
                .invalidFile, "\(file.paths[0]): key 'tokenizer.ggml.\(role)' is \(number), which is no token's id")
        }
        return id
    }
}
