// ParityTests.swift - the forward pass against transformers, on the scalar backend.
//
// The reference is Tests/Fixtures/gemma2-tiny/expected (float32, eager attention). Binding-level
// tests compare every logit; here, greedy tokens and invariants that need no numpy.

import Cabochon
import Foundation
import Testing

struct ExpectedPrompt: Decodable {
    let ids: [Int32]
    let greedy: [Int32]
    let margins: [Float]
}

struct Expected: Decodable {
    let prompts: [ExpectedPrompt]

    static func load() throws -> Expected {
        try JSONDecoder().decode(Expected.self, from: Fixtures.data("gemma2-tiny/expected/expected.json"))
    }
}

@Suite struct ParityTests {
    static func model(
        _ path: String = "gemma2-tiny", threads: Int = 2, _ change: (inout Model.Options) -> Void = { _ in }
    ) throws -> Model {
        var engineOptions = Engine.Options()
        engineOptions.loadsPlugins = false
        engineOptions.threads = threads
        var options = Model.Options()
        options.kvType = .f32
        change(&options)
        return try Model(path: Fixtures.path(path), engine: Engine(options: engineOptions), options: options)
    }

    static func logits(_ model: Model, _ ids: [Int32]) throws -> [Float] {
        var output = [Float](repeating: .nan, count: ids.count * model.configuration.vocabularySize)
        try ids.withUnsafeBufferPointer { ids in
            try output.withUnsafeMutableBufferPointer { try model.logits(of: ids, into: $0) }
        }
        return output
    }

    @Test(
        "Greedy tokens are transformers' up to the first near tie",
        arguments: ["gemma2-tiny", "gemma2-tiny/gemma2-tiny-f32.gguf"])
    func greedy(path: String) throws {
        let model = try Self.model(path)
        for prompt in try Expected.load().prompts {
            let session = try model.makeSession()
            var options = GenerationOptions()
            options.temperature = 0
            options.maxTokens = prompt.greedy.count
            options.ignoresEndOfSequence = true
            let result = try session.generate(after: prompt.ids, options: options)
            let sure = prompt.margins.firstIndex { $0 < 0.05 } ?? prompt.greedy.count
            #expect(Array(result.tokens.prefix(sure)) == Array(prompt.greedy.prefix(sure)))
            #expect(result.finishReason == .maxTokens)
        }
    }

    @Test("A prompt in chunks of any size gives the same bits")
    func chunks() throws {
        let model = try Self.model()
        let ids = try Expected.load().prompts[1].ids
        let whole = try Self.logits(model, ids).suffix(model.configuration.vocabularySize)
        for size in [1, 7, 64] {
            let session = try model.makeSession()
            for start in stride(from: 0, to: ids.count, by: size) {
                try session.append(Array(ids[start..<min(ids.count, start + size)]))
            }
            var logits = [Float](repeating: .nan, count: model.configuration.vocabularySize)
            try logits.withUnsafeMutableBufferPointer { try session.logits(into: $0) }
            #expect(Array(whole) == logits)
        }
    }
}
