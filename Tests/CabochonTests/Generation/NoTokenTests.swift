// NoTokenTests.swift - where there is no token to choose, and no score, the call says so.

import Cabochon
import Foundation
import Testing

@Suite struct NoTokenTests {
    private let folder: TemporaryFolder
    private let sound: Model
    /// Every logit is NaN, as with a checkpoint whose training diverged.
    private let broken: Model
    private let prompt: [Int32] = [2, 5, 6]

    init() throws {
        let fixture = "gemma2-tiny/gemma2-tiny-f32.gguf"
        folder = try TemporaryFolder()
        sound = try ParityTests.model(fixture)
        var copy = try GGUFCopy(fixture)
        copy.change("output_norm.weight") {
            $0.content.replaceSubrange(0..<4, with: GGUFBuilder.bytes(Float.nan.bitPattern))
        }
        let path = try folder.write(copy.build(), to: "broken.gguf")
        broken = try Model(path: path, engine: sound.engine)
    }

    @Test(
        "Logits that are no numbers end an answer with an error, and the session stands as before",
        arguments: [0, 1] as [Float], [false, true])
    func logitsNotFinite(_ temperature: Float, _ isDrafted: Bool) throws {
        var options = GenerationOptions()
        options.temperature = temperature
        options.assistance = isDrafted ? .draft(broken) : nil
        let session = try broken.makeSession()
        try session.append([2, 9])
        var told = 0
        try expectError(.unsupported, "broken.gguf", "after 5 others", "not finite") {
            _ = try session.generate(after: prompt, options: options) { _ in
                told += 1
                return true
            }
        }
        #expect(told == 0 && session.tokens == [2, 9])
    }

    @Test("Where the model's own logits are no numbers, bias and penalties are not to blame")
    func adjustedNotFinite() throws {
        var options = GenerationOptions()
        options.logitBias = [(9, -.infinity)]
        options.repetitionPenalty = 1.5
        let session = try broken.makeSession()
        try expectError(.unsupported, "not finite") { _ = try session.generate(after: prompt, options: options) }
    }

    @Test("A single logit that is no number leaves the others their probabilities, as if it were forbidden")
    func oneLogitNotFinite() throws {
        let outcast: Int32 = 9
        var copy = try GGUFCopy("gemma2-tiny/gemma2-tiny-f32.gguf")
        let rowSize = sound.configuration.hiddenSize * MemoryLayout<Float>.stride
        copy.change("token_embd.weight") {
            let start = Int(outcast) * rowSize
            $0.content.replaceSubrange(start..<start + 4, with: GGUFBuilder.bytes(Float.nan.bitPattern))
        }
        let path = try folder.write(copy.build(), to: "one.gguf")
        let flawed = try Model(path: path, engine: sound.engine, options: sound.options)
        var options = GenerationOptions()
        options.temperature = 0
        options.maxTokens = 4
        options.ignoresEndOfSequence = true
        options.logprobCount = 3
        let result = try flawed.makeSession().generate(after: prompt, options: options)
        options.logitBias = [(outcast, -.infinity)]
        let expected = try sound.makeSession().generate(after: prompt, options: options)
        #expect(result.tokens == expected.tokens)
        #expect(result.logprobs.map(\.chosen.logprob) == expected.logprobs.map(\.chosen.logprob))
        for logprobs in result.logprobs { #expect(logprobs.alternatives.allSatisfy { $0.logprob <= 0 }) }
    }

    @Test("A draft model whose logits are no numbers guesses nothing, and the answer is the plain one")
    func brokenDraft() throws {
        var options = GenerationOptions()
        options.temperature = 0
        options.maxTokens = 8
        options.ignoresEndOfSequence = true
        let plain = try sound.makeSession().generate(after: prompt, options: options)
        options.assistance = .draft(broken)
        let assisted = try sound.makeSession().generate(after: prompt, options: options)
        #expect(assisted.tokens == plain.tokens && assisted.timings.guessedTokens == 0)
    }

    @Test(
        "A logit bias that leaves one token gives it, and one that leaves none is refused",
        arguments: [0, 1] as [Float])
    func forbidden(_ temperature: Float) throws {
        var options = GenerationOptions()
        options.temperature = temperature
        options.maxTokens = 2
        let all = (0..<Int32(sound.configuration.vocabularySize)).map { (token: $0, bias: -Float.infinity) }
        options.logitBias = all.filter { $0.token != 77 }
        let session = try sound.makeSession()
        #expect(try session.generate(after: prompt, options: options).tokens == [77, 77])
        options.logitBias = all
        try expectError(.invalidArgument, "logit bias") { _ = try session.generate(after: [], options: options) }
        #expect(session.tokens == prompt + [77, 77])
    }

    @Test("A guard whose logits are no numbers judges nothing, and lets nothing pass")
    func brokenGuard() throws {
        let moderator = try GuardTests.makeGuard(broken)
        let policy = try Policy(name: "kind", text: "Be kind.")
        try expectError(.unsupported, "broken.gguf", "\"Yes\"", "nan") {
            _ = try moderator.classify(prompt: "Hello", policies: [policy])
        }
        try expectError(.unsupported) { _ = try moderator.classify([GuardRow(prompt: "Hi")], policies: [policy]) }
        try expectError(.unsupported) { _ = try moderator.score(prompt) }
        for checksPrompt in [true, false] {
            var guarding = GuardingOptions()
            guarding.mode = .window
            guarding.interval = 2
            guarding.policies = [policy]
            guarding.thresholds = ["kind": 0.5]
            guarding.checksPrompt = checksPrompt
            var options = GenerationOptions()
            options.maxTokens = 8
            var told = 0
            let session = try sound.makeSession()
            try expectError(.unsupported, "broken.gguf") {
                _ = try moderator.generate(
                    in: session, after: prompt, promptText: "Hello", options: options, guarding: guarding,
                    onToken: { _ in
                        told += 1
                        return true
                    })
            }
            #expect(told == 0 && session.length == 0)
        }
    }
}
