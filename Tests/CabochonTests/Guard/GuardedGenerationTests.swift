// GuardedGenerationTests.swift - what reaches the reader of a guarded answer, and when.

import Cabochon
import Testing

@Suite struct GuardedGenerationTests {
    private let model: Model
    private let moderator: Guard
    private let policy: Policy
    private let prompt: [Int32]

    init() throws {
        model = try ParityTests.model()
        moderator = try GuardTests.makeGuard(model)
        policy = try Policy(name: "kind", text: "Be kind.")
        prompt = try model.tokenizer.encode("Hello", addBOS: true)
    }

    private struct Seen {
        var tokens: [Int32] = []
        /// Tokens that the reader had at each check.
        var atChecks: [Int] = []
        var result: GuardedResult?
        var session: Session
    }

    private func generate(
        threshold: Double?, _ change: (inout GuardingOptions) -> Void
    ) throws -> Seen {
        var options = GenerationOptions()
        options.maxTokens = 12
        options.temperature = 3
        options.seed = 5
        options.ignoresEndOfSequence = true
        var guarding = GuardingOptions()
        guarding.policies = [policy]
        if let threshold { guarding.thresholds = ["kind": threshold] }
        change(&guarding)
        var seen = Seen(session: try model.makeSession())
        seen.result = try moderator.generate(
            in: seen.session, after: prompt, promptText: "Hello", options: options, guarding: guarding,
            onCheck: { _ in seen.atChecks.append(seen.tokens.count) },
            onToken: { token in
                seen.tokens.append(token.id)
                return true
            })
        return seen
    }

    /// The answer without a guard.
    private func plain() throws -> GenerationResult {
        var options = GenerationOptions()
        options.maxTokens = 12
        options.temperature = 3
        options.seed = 5
        options.ignoresEndOfSequence = true
        return try model.makeSession().generate(after: prompt, options: options)
    }

    @Test("An answer that passes is the plain one, in every mode; only when it comes differs")
    func passing() throws {
        let plain = try plain()
        // With `audit` up to five more are made while a check runs.
        for (mode, interval, atChecks) in [
            (.hold, 0, [0...0, 0...0]), (.hold, 5, [0...0, 0...0, 0...0, 0...0]),
            (.window, 5, [0...0, 0...0, 5...5, 10...10]), (.audit, 5, [0...0, 5...10, 10...12, 12...12]),
        ] as [(GuardMode, Int, [ClosedRange<Int>])] {
            let seen = try generate(threshold: 2) { ($0.mode, $0.interval) = (mode, interval) }
            let result = try #require(seen.result)
            #expect(result.generation.tokens == plain.tokens && result.generation.text == plain.text)
            #expect(result.generation.finishReason == .maxTokens && result.violation == nil)
            #expect(seen.tokens == plain.tokens && seen.atChecks.count == atChecks.count, "\(mode) \(interval)")
            #expect(zip(seen.atChecks, atChecks).allSatisfy { $1.contains($0) }, "\(mode) \(seen.atChecks)")
            #expect(result.checks.map(\.answerTokens).first == .some(nil) && result.checks.last?.answerTokens == 12)
            #expect(seen.session.tokens == prompt + plain.tokens)
        }
    }

    @Test("The verdicts on the way are those of judging the same text by itself")
    func verdictsOnTheWay() throws {
        let plain = try plain()
        let seen = try generate(threshold: 2) { ($0.mode, $0.interval) = (.window, 5) }
        let checks = try #require(seen.result).checks
        #expect(checks[0].verdicts == (try moderator.classify(prompt: "Hello", policies: [policy])))
        let whole = try moderator.classify(prompt: "Hello", response: plain.text, policies: [policy])
        #expect(checks.last?.verdicts == whole)
    }

    @Test("A violation on the way ends the answer with what was checked before, and names the policy")
    func violation() throws {
        // The threshold lies between what the first check of the answer gives and the highest after it.
        let checks = try #require(try generate(threshold: 2) { ($0.mode, $0.interval) = (.window, 3) }.result).checks
        let scores = checks.dropFirst().map { $0.verdicts[0].score }
        let highest = try #require(scores.max())
        let stop = try #require(scores.firstIndex(of: highest)) - scores.startIndex
        for mode in [GuardMode.window, .hold] {
            let seen = try generate(threshold: highest) { guarding in
                (guarding.mode, guarding.interval, guarding.checksPrompt) = (mode, 3, false)
            }
            let result = try #require(seen.result)
            #expect(
                result.generation.finishReason == .contentFilter
                    && result.generation.finishReason.name == "content_filter")
            #expect(result.violation?.policy == "kind" && result.violation?.score == highest)
            let released = mode == .window ? 3 * stop : 0
            #expect(seen.tokens.count == released && result.generation.tokens == seen.tokens)
            #expect(seen.session.tokens == prompt + seen.tokens)
        }
        let audited = try generate(threshold: 0) { ($0.mode, $0.interval) = (.audit, 3) }
        #expect(audited.tokens.count == 12 && audited.result?.violation == nil)
        #expect(audited.result?.checks.allSatisfy { $0.violation?.policy == "kind" } == true)
    }

    @Test("A prompt that violates a policy generates nothing")
    func refusedPrompt() throws {
        let seen = try generate(threshold: 0) { _ in }
        #expect(seen.tokens.isEmpty && seen.session.length == 0)
        #expect(seen.result?.generation.finishReason == .contentFilter && seen.result?.checks.count == 1)
    }

    @Test("No threshold is invented")
    func missingThreshold() throws {
        try expectError(.invalidArgument, "\"kind\"") { _ = try generate(threshold: nil) { _ in } }
        try expectError(.invalidArgument, "every 0 tokens") {
            _ = try generate(threshold: 1) { ($0.mode, $0.interval) = (.window, 0) }
        }
        #expect(try generate(threshold: nil) { ($0.mode, $0.interval) = (.audit, 4) }.tokens.count == 12)
    }

    @Test("A reader that has enough ends the answer with what it got")
    func readerStops() throws {
        var options = GenerationOptions()
        options.maxTokens = 12
        options.ignoresEndOfSequence = true
        var guarding = GuardingOptions()
        (guarding.mode, guarding.interval, guarding.policies) = (.window, 4, [policy])
        guarding.thresholds = ["kind": 2]
        var count = 0
        let result = try moderator.generate(
            in: try model.makeSession(), after: prompt, promptText: "Hello", options: options, guarding: guarding,
            onToken: { _ in
                count += 1
                return count < 2
            })
        #expect(count == 2 && result.generation.tokens.count == 2 && result.generation.finishReason == .stopped)
    }

    @Test("Cancelling during a check leaves the session as it was, and nothing steered in it")
    func cancelling() throws {
        var location = SparseAutoencoder.Options()
        (location.site, location.layer, location.storage) = ("resid_post", 2, .memory)
        let sae = try SparseAutoencoder(
            path: Fixtures.path("gemma2-tiny/expected/scope/resid_post_layer2.npz"), engine: model.engine,
            options: location)
        // The last token of an answer has not passed through the layers yet: the steered call has it pass.
        var short = GenerationOptions()
        (short.maxTokens, short.temperature, short.ignoresEndOfSequence) = (3, 0, true)
        let untouched = try model.makeSession()
        let session = try model.makeSession()
        for each in [untouched, session] { _ = try each.generate(after: prompt, options: short) }

        var steered = GenerationOptions()
        steered.interventions.steer = [Steer(sae: sae, feature: 3, strength: 50)]
        var guarding = GuardingOptions()
        (guarding.mode, guarding.interval, guarding.policies) = (.audit, 2, [policy])
        try expectError(.cancelled) {
            _ = try moderator.generate(
                in: session, after: [], promptText: "Hello", options: steered, guarding: guarding,
                onToken: { _ in
                    session.cancellation.cancel()
                    return true
                })
        }
        #expect(session.tokens == untouched.tokens)
        #expect(try logits(session) == logits(untouched))
    }
}
