// ModelSource.swift - where a model's parts come from: a GGUF file or a Hugging Face folder.
//
// The one place that knows both layouts; what it hands on (configuration, tokenizer, weights) is
// the same for both.

import Glibc

struct ModelSource: Sendable {
    enum Container: Sendable {
        case gguf(GGUFFile)
        case folder(path: String, config: JSONValue)
        /// A tokenizer.model, a tokenizer.json, or a folder with one of them and no config.json: enough
        /// for a model that is loaded for its vocabulary only.
        case tokenizer
    }

    let path: String
    let container: Container
    let configuration: GemmaConfiguration
    private let copiesFiles: Bool

    /// - Parameters:
    ///   - vocabularyOnly: whether a tokenizer without a model will do.
    ///   - copiesFiles: whether weights are read into memory rather than mapped.
    init(path: String, vocabularyOnly: Bool, copiesFiles: Bool = false) throws(CabochonError) {
        self.path = path
        self.copiesFiles = copiesFiles
        guard !path.utf8.contains(0) else {
            throw CabochonError(.invalidArgument, "a path may not contain a zero byte")
        }
        var information = stat()
        guard stat(path, &information) == 0 else {
            throw CabochonError(.io, "\(path): \(String(cString: strerror(errno)))")
        }
        let isFolder = information.st_mode & S_IFMT == S_IFDIR
        let configPath = "\(path)/config.json"
        if vocabularyOnly, isFolder ? !OpenFile.isNamed(configPath) : try !Self.isGGUF(path) {
            container = .tokenizer
            configuration = GemmaConfiguration(family: .gemma2)
        } else if isFolder {
            let config = try JSON.parse(try MappedFile(path: configPath))
            container = .folder(path: try Self.absolutePath(path), config: config)
            configuration = try GemmaConfiguration(config: config, source: configPath)
        } else {
            let file = try GGUFFile(path: path, copies: copiesFiles)
            container = .gguf(file)
            configuration = try GemmaConfiguration(gguf: file)
        }
    }

    /// Weights may be described after the process has changed its working directory.
    private static func absolutePath(_ path: String) throws(CabochonError) -> String {
        if path.hasPrefix("/") { return path }
        guard let resolved = realpath(path, nil) else {
            throw CabochonError(.io, "\(path): \(String(cString: strerror(errno)))")
        }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// By name as well: what is wrong with a .gguf that lost its beginning is not what is wrong with it as a tokenizer.
    private static func isGGUF(_ path: String) throws(CabochonError) -> Bool {
        if path.hasSuffix(".gguf") { return true }
        return try MappedFile(path: path).withBytes { $0.starts(with: "GGUF".utf8) }
    }

    func makeTokenizer() throws(CabochonError) -> Tokenizer {
        let vocabulary: Vocabulary
        switch container {
        case .gguf(let file): vocabulary = try Vocabulary(file)
        case .folder(let path, _): vocabulary = try Self.vocabulary(folder: path)
        case .tokenizer:
            if path.hasSuffix(".json") {
                vocabulary = try TokenizerJSON.vocabulary(try MappedFile(path: path))
            } else if access("\(path)/.", F_OK) == 0 {
                vocabulary = try Self.vocabulary(folder: path)
            } else {
                vocabulary = try SentencePieceModel.vocabulary(try MappedFile(path: path))
            }
            return Tokenizer(vocabulary: vocabulary)
        }
        guard vocabulary.count <= configuration.vocabularySize else {
            throw CabochonError(
                .invalidFile,
                "\(path): the tokenizer has \(vocabulary.count) pieces, the embedding only \(configuration.vocabularySize) rows"
            )
        }
        return Tokenizer(vocabulary: vocabulary)
    }

    /// From tokenizer.model, SentencePiece's own file, or else from tokenizer.json: where there is no other, and
    /// where tokens have been added that only it has, as in models tuned for chats of another form.
    private static func vocabulary(folder: String) throws(CabochonError) -> Vocabulary {
        let (model, json) = ("\(folder)/tokenizer.model", "\(folder)/tokenizer.json")
        let config = "\(folder)/tokenizer_config.json"
        func configuration() throws(CabochonError) -> TokenizerConfiguration {
            OpenFile.isNamed(config) ? try TokenizerConfiguration(try MappedFile(path: config)) : .init()
        }
        if OpenFile.isNamed(model) {
            let vocabulary = try SentencePieceModel.vocabulary(try MappedFile(path: model))
            let hasJSON = OpenFile.isNamed(json)
            let added =
                hasJSON ? try TokenizerJSON.addedTokens(try MappedFile(path: json)) : try configuration().addedTokens
            guard let other = added.first(where: { vocabulary.id(of: $0.content) != $0.id }) else { return vocabulary }
            guard hasJSON else {
                throw CabochonError(
                    .unsupported,
                    "\(config): token \(other.id), \"\(other.content)\", is not in \(model), and there is no tokenizer.json"
                )
            }
        }
        return try TokenizerJSON.vocabulary(try MappedFile(path: json), configuration: try configuration())
    }

    /// The tokenizer's own ends, with those that a GGUF names as ends of a turn or a message, or a folder's
    /// generation_config.json as eos, or its config.json where there is no other. Nothing is guessed from the text of
    /// other pieces.
    func stopTokens(of tokenizer: Tokenizer) throws(CabochonError) -> [Int32] {
        var result = tokenizer.vocabulary.endIDs
        let rows = max(tokenizer.vocabulary.count, configuration.vocabularySize)
        func add(_ id: Int, namedBy key: String) throws(CabochonError) {
            guard (0..<rows).contains(id) else {
                throw CabochonError(.invalidFile, "\(key) names token \(id), outside the vocabulary of \(rows)")
            }
            if !result.contains(Int32(id)) { result.append(Int32(id)) }
        }
        switch container {
        case .gguf(let file):
            for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
                if let id = try file.integer(key) { try add(id, namedBy: "\(path): key '\(key)'") }
            }
        case .folder(let folder, let config):
            var (name, document) = ("\(folder)/config.json", config)
            let generation = "\(folder)/generation_config.json"
            if OpenFile.isNamed(generation) {
                (name, document) = (generation, try JSON.parse(try MappedFile(path: generation)))
            }
            let eos = document["eos_token_id"]
            for value in eos?.array ?? (eos.map { [$0] } ?? []) where !value.isNull {
                guard let id = value.int else {
                    throw CabochonError(.invalidFile, "\(name): eos_token_id is neither an id nor an array of ids")
                }
                try add(id, namedBy: "\(name): eos_token_id")
            }
        case .tokenizer: break
        }
        return result
    }

    func makeWeights() throws(CabochonError) -> GemmaWeights {
        switch container {
        case .gguf(let file):
            return try GemmaWeights(tensors: file.tensors, naming: .gguf, configuration: configuration, source: path)
        case .folder(let path, _):
            let tensors = try SafetensorsFolder(path: path, copies: copiesFiles).tensors
            let prefixes = ["model.", "language_model.model.", "model.language_model."]
            let prefix = prefixes.first { tensors["\($0)embed_tokens.weight"] != nil } ?? prefixes[0]
            return try GemmaWeights(
                tensors: tensors, naming: .huggingFace(prefix: prefix), configuration: configuration, source: path)
        case .tokenizer:
            throw CabochonError(.invalidFile, "\(path): a tokenizer without a model has no weights")
        }
    }

    /// sqrt(hiddenSize), rounded as the option says.
    func embeddingScale(_ option: EmbeddingScale, weightType: TensorType) -> Float {
        let exact = Float(configuration.hiddenSize).squareRoot()
        // As transformers does for bf16 and float32 weights. Files of F16 and quantised ones come from bf16
        // checkpoints, whose scale they keep.
        let roundsToBF16 = option == .bf16 || (option == .automatic && weightType != .f32)
        guard roundsToBF16 else { return exact }
        // To nearest, ties to even, on the upper sixteen bits.
        let bits = exact.bitPattern
        return Float(bitPattern: (bits &+ 0x7fff &+ ((bits >> 16) & 1)) & 0xffff_0000)
    }
}
