// ChecksBesideTests.swift - checks that run beside the answer leave no trace of when they ended.

import Cabochon
import Foundation
import Testing

@Suite struct ChecksBesideTests {
    /// All that may not depend on threads.
    private struct Outcome: Equatable {
        var handedOn: [Int32] = []
        var handedText = ""
        /// Tokens that the reader had at each check.
        var atChecks: [Int] = []
        var tokens: [Int32] = []
        var text = ""
        var finishReason = FinishReason.maxTokens
        var violation: Verdict?
        var checkedTokens: [Int?] = []
        var verdicts: [[Verdict]] = []
        var session: [Int32] = []
        /// The logits after what the session holds then.
        var logits: [Float] = []
    }

    private struct Reader {
        /// Enough after this many tokens.
        var limit = Int.max
        /// Microseconds that it takes for each token.
        var pause: UInt32 = 0
    }

    /// One engine with a thread, where checks and tokens take turns, and one with two.
    private let alone: Model
    private let beside: Model
    private let policies: [Policy]

    init() throws {
        alone = try ParityTests.model(threads: 1)
        beside = try ParityTests.model(threads: 2)
        policies = [try Policy(name: "kind", text: "Be kind."), try Policy(name: "brief", text: "Be brief and clear.")]
    }

    private func prompt() throws -> [Int32] { try beside.tokenizer.encode("Hello", addBOS: true) }

    private func options(seed: UInt64 = 5) -> GenerationOptions {
        var options = GenerationOptions()
        (options.maxTokens, options.temperature, options.seed, options.ignoresEndOfSequence) = (12, 3, seed, true)
        return options
    }

    private func guarding(_ mode: GuardMode, _ interval: Int, threshold: Double = 2) -> GuardingOptions {
        var guarding = GuardingOptions()
        (guarding.mode, guarding.interval, guarding.policies, guarding.checksPrompt) = (mode, interval, policies, false)
        guarding.thresholds = ["kind": threshold, "brief": 2]
        return guarding
    }

    private func outcome(
        _ model: Model, _ options: GenerationOptions, _ guarding: GuardingOptions, _ reader: Reader = Reader(),
        judge: Model? = nil
    ) throws -> Outcome {
        let session = try model.makeSession()
        var outcome = Outcome()
        let result = try GuardTests.makeGuard(judge ?? model).generate(
            in: session, after: try prompt(), promptText: "Hello", options: options, guarding: guarding,
            onCheck: { _ in outcome.atChecks.append(outcome.handedOn.count) },
            onToken: { token in
                outcome.handedOn.append(token.id)
                outcome.handedText += token.text
                usleep(reader.pause)
                return outcome.handedOn.count < reader.limit
            })
        outcome.tokens = result.generation.tokens
        outcome.text = result.generation.text
        outcome.finishReason = result.generation.finishReason
        outcome.violation = result.violation
        outcome.checkedTokens = result.checks.map(\.answerTokens)
        outcome.verdicts = result.checks.map(\.verdicts)
        outcome.session = session.tokens
        outcome.logits = try logits(session)
        return outcome
    }

    private func compare(
        _ options: GenerationOptions, _ guarding: GuardingOptions, _ reader: Reader = Reader()
    ) throws -> Outcome {
        var expected = try outcome(alone, options, guarding, reader)
        var got = try outcome(beside, options, guarding, reader)
        #expect(expected.session == (try prompt()) + expected.handedOn && expected.tokens == expected.handedOn)
        // Whoever gets tokens at once hears of a check while they go on coming.
        if guarding.mode == .audit { (expected.atChecks, got.atChecks) = ([], []) }
        #expect(got == expected, "\(guarding.mode) \(guarding.interval) \(guarding.thresholds)")
        return expected
    }

    @Test("An answer with checks beside it is the one with checks in between, in every mode, whoever is slow")
    func passing() throws {
        for mode in [GuardMode.hold, .window, .audit] {
            for (interval, pause) in [(1, 0), (3, 0), (4, 3000), (5, 300), (12, 0), (50, 0)] as [(Int, UInt32)] {
                let seen = try compare(options(), guarding(mode, interval), Reader(pause: pause))
                #expect(seen.handedOn.count == 12 && seen.finishReason == .maxTokens)
                #expect(seen.checkedTokens.last == 12 && seen.checkedTokens.count == (12 + interval - 1) / interval)
            }
        }
    }

    @Test("The guard's model may be another engine's, of as many threads or of one")
    func twoEngines() throws {
        let other = try ParityTests.model(threads: 2)
        let expected = try outcome(alone, options(), guarding(.window, 3))
        for (model, judge) in [(beside, other), (beside, alone), (alone, beside)] {
            for _ in 0..<3 { #expect(try outcome(model, options(), guarding(.window, 3), judge: judge) == expected) }
        }
    }

    @Test("A violation at the first check, between and at the last one cuts the answer at the same token")
    func violations() throws {
        var stops: Set<Int> = []
        for seed in 1...8 as ClosedRange<UInt64> {
            let scores = try outcome(beside, options(seed: seed), guarding(.audit, 3)).verdicts.map { $0[0].score }
            // The first score of its height stops there.
            for (index, score) in scores.enumerated() where scores[..<index].allSatisfy({ $0 < score }) {
                stops.insert(index)
                for mode in [GuardMode.hold, .window] {
                    let seen = try compare(options(seed: seed), guarding(mode, 3, threshold: score))
                    #expect(seen.finishReason == .contentFilter && seen.violation?.score == score)
                    #expect(seen.handedOn.count == (mode == .window ? 3 * index : 0))
                    #expect(seen.verdicts.count == index + 1)
                }
            }
        }
        #expect(stops == [0, 1, 2, 3])
    }

    @Test("A reader that has enough gets, and leaves in the session, what it took")
    func readerStops() throws {
        for mode in [GuardMode.hold, .window, .audit] {
            for limit in [1, 2, 4, 5, 8, 11] {
                let seen = try compare(options(), guarding(mode, 4), Reader(limit: limit))
                #expect(seen.handedOn.count == limit && seen.finishReason == .stopped, "\(mode) \(limit)")
            }
        }
    }

    @Test("Cancelling while a check runs ends both, and the session goes on as if nothing had been")
    func cancelling() throws {
        let expected = try outcome(beside, options(), guarding(.audit, 2))
        let moderator = try GuardTests.makeGuard(beside)
        let session = try beside.makeSession()
        for count in 1...12 {
            var seen = 0
            try expectError(.cancelled) {
                _ = try moderator.generate(
                    in: session, after: try prompt(), promptText: "Hello", options: options(),
                    guarding: guarding(.audit, 2),
                    onToken: { _ in
                        seen += 1
                        if seen == count { session.cancellation.cancel() }
                        return true
                    })
            }
            #expect(session.length == 0 && !session.cancellation.isCancelled, "\(count)")
        }
        let result = try moderator.generate(
            in: session, after: try prompt(), promptText: "Hello", options: options(), guarding: guarding(.audit, 2))
        #expect(result.generation.tokens == expected.tokens && result.checks.map(\.verdicts) == expected.verdicts)
    }

    /// Cancels an answer when its first check starts. That check does not hear of it: its text takes long
    /// to tokenize and then does not fit the context, so that no layer is reached.
    private func cancelBesideDeafCheck(_ session: Session, by moderator: Guard) throws {
        let long = String(repeating: "word ", count: 20_000)
        try expectError(.cancelled) {
            _ = try moderator.generate(
                in: session, after: try prompt(), promptText: long, options: options(), guarding: guarding(.audit, 1),
                onToken: { _ in
                    session.cancellation.cancel()
                    return true
                })
        }
        #expect(session.length == 0 && !session.cancellation.isCancelled)
    }

    @Test("An answer that is cancelled waits for the check beside it, and the next one is neither's worse")
    func cancellingBesideDeafCheck() throws {
        let expected = try outcome(beside, options(), guarding(.audit, 1))
        for judge in [beside, try ParityTests.model(threads: 2)] {
            let session = try beside.makeSession()
            // A check that went on would hold its guard.
            var ended: Guard? = try GuardTests.makeGuard(judge)
            weak let held = ended
            try cancelBesideDeafCheck(session, by: try #require(ended))
            ended = nil
            #expect(held == nil)

            let moderator = try GuardTests.makeGuard(judge)
            try cancelBesideDeafCheck(session, by: moderator)
            let result = try moderator.generate(
                in: session, after: try prompt(), promptText: "Hello", options: options(),
                guarding: guarding(.audit, 1))
            #expect(result.generation.tokens == expected.tokens && result.checks.map(\.verdicts) == expected.verdicts)
        }
    }

    @Test("A check that fails ends the answer with its error, and the session is as before")
    func failing() throws {
        let short = try Model(
            path: beside.path, engine: beside.engine,
            options: try {
                var options = beside.options
                options.contextLength = try GuardTests.makeGuard(beside).render(
                    prompt: "Hello", response: "Hello, hello", policy: policies[0]
                ).count
                return options
            }())
        let session = try beside.makeSession()
        for mode in [GuardMode.hold, .window, .audit] {
            var handedOn = 0
            try expectError(.contextExceeded) {
                _ = try GuardTests.makeGuard(short).generate(
                    in: session, after: try prompt(), promptText: "Hello", options: options(),
                    guarding: guarding(mode, 2),
                    onToken: { _ in
                        handedOn += 1
                        return true
                    })
            }
            #expect(session.length == 0 && (mode == .audit || handedOn < 12), "\(mode)")
        }
    }

    @Test("Sessions that compute on one engine at the same time give the bits they give one after another")
    func sessionsSideBySide() throws {
        let expected = try (1...4).map { try outcome(beside, options(seed: UInt64($0)), guarding(.window, 3)) }
        for _ in 0..<3 {
            let together = Results(count: 4)
            DispatchQueue.concurrentPerform(iterations: 4) { index in
                let one = try? outcome(beside, options(seed: UInt64(index + 1)), guarding(.window, 3))
                together.set(index, one)
            }
            #expect(together.all == expected)
        }
    }

    private final class Results: @unchecked Sendable {
        private let lock = NSLock()
        private(set) var all: [Outcome?]

        init(count: Int) { all = Array(repeating: nil, count: count) }

        func set(_ index: Int, _ outcome: Outcome?) {
            lock.withLock { all[index] = outcome }
        }
    }
}
