// TokenizerFixtures.swift - vocabularies and what SentencePiece makes of text with them.

import Cabochon
import Foundation

struct TokenizerCase: Decodable {
    let text: String
    let ids: [Int32]
    let decoded: String
}

struct ChatCase: Decodable {
    struct Message: Decodable {
        let role: String
        let content: String
    }
    let messages: [Message]
    let text: String
}

struct ExpectedFile: Decodable {
    let tokenize: [TokenizerCase]
    let chat: [ChatCase]
}

enum TokenizerFixtures {
    /// Gemma 2's layout with 2,073 pieces.
    static func tinyModel() throws -> Tokenizer {
        try sentencePiece(Fixtures.data("gemma2-tiny/tokenizer.model"))
    }

    static func tinyExpected() throws -> ExpectedFile {
        try JSONDecoder().decode(ExpectedFile.self, from: Fixtures.data("gemma2-tiny/expected/expected.json"))
    }

    /// Gemma 2's layout with 256,000 pieces.
    static func gemma2() throws -> Tokenizer {
        try sentencePiece(Fixtures.data("tokenizer/gemma2-like.model"))
    }

    static func cases(_ name: String) throws -> [TokenizerCase] {
        let lines = try Fixtures.data("tokenizer/\(name)").split(separator: UInt8(ascii: "\n"))
        return try lines.map { try JSONDecoder().decode(TokenizerCase.self, from: $0) }
    }

    static func sentencePiece(_ data: Data) throws -> Tokenizer {
        try data.withUnsafeBytes { bytes in
            Tokenizer(vocabulary: try SentencePieceModel.vocabulary(bytes, name: "tokenizer.model"))
        }
    }

    /// The Gemma 3 270M file, if the machine has it: `CABOCHON_GEMMA3_MODEL`, or where
    /// scripts/fetch_model.py puts it.
    static let gemma3Path: String? = {
        let environment = ProcessInfo.processInfo.environment
        let cached = FileManager.default.homeDirectoryForCurrentUser
            .appending(path: ".cache/cabochon/gemma-3-270m-q4_k_m.gguf").path(percentEncoded: false)
        let path = environment["CABOCHON_GEMMA3_MODEL"] ?? cached
        return FileManager.default.isReadableFile(atPath: path) ? path : nil
    }()
}

/// A vocabulary made of pieces written down in a test.
func makeVocabulary(
    _ pieces: [(String, Float, PieceKind)], unknown: Int32? = 2, padding: Int32? = nil
) throws -> Vocabulary {
    var builder = VocabularyBuilder(name: "test")
    for (piece, score, kind) in pieces {
        var piece = piece
        try piece.withUTF8 { bytes in
            try builder.append(UnsafeRawBufferPointer(bytes), score: score, kind: kind)
        }
    }
    return try Vocabulary(builder, special: SpecialPieces(bos: 0, eos: 1, unknown: unknown, padding: padding))
}
