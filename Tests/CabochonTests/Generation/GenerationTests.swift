// GenerationTests.swift - answers end where they should, repeat with a seed, and stream exactly.

import Cabochon
import Foundation
import Testing

@Suite struct GenerationTests {
    private let model: Model
    private let prompt: [Int32]

    init() throws {
        model = try ParityTests.model()
        prompt = try Expected.load().prompts[2].ids
    }

    private func options(_ change: (inout GenerationOptions) -> Void) -> GenerationOptions {
        var options = GenerationOptions()
        options.maxTokens = 24
        options.ignoresEndOfSequence = true
        options.seed = 7
        change(&options)
        return options
    }

    private func generate(_ change: (inout GenerationOptions) -> Void) throws -> GenerationResult {
        try model.makeSession().generate(after: prompt, options: options(change))
    }

    @Test("The same seed gives the same tokens, another seed others")
    func seeds() throws {
        let first = try generate { _ in }
        #expect(try generate { _ in }.tokens == first.tokens)
        #expect(try generate { $0.seed = 8 }.tokens != first.tokens)
        let drawn = try generate { $0.seed = nil }
        #expect(try generate { $0.seed = drawn.seed }.tokens == drawn.tokens)
    }

    @Test("Top-k of one, a tiny top-p, and min-p of one are all greedy")
    func degenerateSampling() throws {
        let greedy = try generate { $0.temperature = 0 }.tokens
        #expect(try generate { $0.topK = 1 }.tokens == greedy)
        #expect(try generate { $0.topP = 1e-6 }.tokens == greedy)
        #expect(try generate { $0.minP = 1 }.tokens == greedy)
    }

    @Test("Draws follow the probabilities that logprobs report")
    func drawsFollowProbabilities() throws {
        var counts: [Int32: Int] = [:]
        var expected: [TokenLogprob] = []
        let session = try model.makeSession()
        try session.append(prompt)
        let draws = 2000
        for seed in 0..<draws {
            let result = try session.generate(
                after: [],
                options: options {
                    $0.maxTokens = 1; $0.seed = UInt64(seed); $0.logprobCount = 5
                })
            counts[result.tokens[0], default: 0] += 1
            expected = result.logprobs[0].alternatives
            try session.truncate(to: prompt.count)
        }
        for entry in expected {
            let probability = exp(Double(entry.logprob))
            let deviation = (probability * (1 - probability) / Double(draws)).squareRoot()
            // Five standard deviations: one false alarm in a million runs, and the seeds are fixed.
            let share = Double(counts[entry.token, default: 0]) / Double(draws)
            #expect(abs(share - probability) <= 5 * deviation)
        }
    }

    @Test("A stop string ends the answer before it, across token boundaries, and is never streamed")
    func stopStrings() throws {
        let free = try generate { $0.temperature = 0.7 }
        let whole = Array(free.text)
        try #require(whole.count > 12)
        let stop = String(whole[5..<9])
        var streamed = ""
        let result = try model.makeSession().generate(
            after: prompt,
            options: options {
                $0.temperature = 0.7; $0.stopStrings = ["never there", stop]
            }
        ) {
            streamed += $0.text; return true
        }
        let wanted = free.text.components(before: stop)
        #expect(result.text == wanted)
        #expect(streamed == wanted)
        #expect(result.finishReason == .stopString)
        #expect(result.stopString == stop)
    }

    @Test("Streamed text, and the tokens' bytes, add up to the answer")
    func streaming() throws {
        var text = ""
        var bytes: [UInt8] = []
        var ids: [Int32] = []
        let result = try model.makeSession().generate(
            after: prompt, options: options { $0.stopStrings = ["\u{0}\u{0}"] }
        ) {
            text += $0.text
            bytes += $0.bytes
            ids.append($0.id)
            return true
        }
        #expect(text == result.text)
        #expect(ids == result.tokens)
        #expect(String(decoding: bytes, as: UTF8.self) == result.text)
    }

    @Test("An answer goes on after an empty prompt without losing or repeating a token")
    func continuation() throws {
        let whole = try generate { $0.temperature = 0 }
        let session = try model.makeSession()
        let first = try session.generate(
            after: prompt,
            options: options {
                $0.temperature = 0; $0.maxTokens = 10
            })
        #expect(session.tokens == prompt + first.tokens)
        let second = try session.generate(
            after: [],
            options: options {
                $0.temperature = 0; $0.maxTokens = 14
            })
        #expect(first.tokens + second.tokens == whole.tokens)
    }

    @Test("A callback that says no stops the answer and keeps the tokens so far")
    func stoppedByCallback() throws {
        var count = 0
        let session = try model.makeSession()
        let result = try session.generate(after: prompt, options: options { _ in }) { _ in
            count += 1
            return count < 4
        }
        #expect(result.tokens.count == 4)
        #expect(result.finishReason == .stopped)
        #expect(session.length == prompt.count + 4)
    }

    @Test("Logit bias forbids and forces tokens; penalties stop repetition")
    func biasAndPenalties() throws {
        let greedy = try generate { $0.temperature = 0 }.tokens
        let first = greedy[0]
        #expect(
            !(try generate {
                $0.temperature = 0; $0.logitBias = [(first, -.infinity)]
            }.tokens.contains(first)))
        #expect(
            Set(
                try generate {
                    $0.temperature = 0; $0.logitBias = [(77, 1000)]
                }.tokens) == [77])
        let varied = try generate {
            $0.temperature = 0; $0.frequencyPenalty = 50
        }.tokens
        #expect(Set(varied).count == varied.count)
        #expect(
            Set(
                try generate {
                    $0.temperature = 0; $0.repetitionPenalty = 1000; $0.penaltyWindow = 0
                }.tokens
            ).count > 20)
    }

    @Test("The end of a turn ends the answer by id, and is not part of it")
    func stopTokens() throws {
        let turn = try #require(model.stopTokens.last)
        let result = try generate {
            $0.ignoresEndOfSequence = false; $0.logitBias = [(turn, 1000)]
        }
        #expect(result.tokens.isEmpty)
        #expect(result.text.isEmpty)
        #expect(result.finishReason == .endOfSequence)
        #expect(result.stopToken == turn)
    }

    @Test("An answer that fills the context says so")
    func fullContext() throws {
        let session = try model.makeSession(contextLength: prompt.count + 5)
        let result = try session.generate(after: prompt, options: options { _ in })
        #expect(result.finishReason == .contextFull)
        #expect(result.tokens.count == 5)
    }

    @Test("A prompt that just fits the context has no answer but the end that the model would choose")
    func promptFillsContext() throws {
        let session = try model.makeSession(contextLength: prompt.count)
        for prompt in [prompt, []] {
            let result = try session.generate(after: prompt, options: options { _ in })
            #expect(result.finishReason == .contextFull && result.tokens.isEmpty && result.text.isEmpty)
            #expect(session.length == session.contextLength)
        }
        let turn = try #require(model.stopTokens.last)
        let ended = try session.generate(
            after: [],
            options: options {
                $0.ignoresEndOfSequence = false; $0.logitBias = [(turn, 1000)]
            })
        #expect(ended.finishReason == .endOfSequence && ended.stopToken == turn)
    }

    @Test("The sign for a character that is cut at the end may complete a stop string", arguments: [false, true])
    func stopAtCutCharacter(_ isStopped: Bool) throws {
        let lead = try #require(model.tokenizer.vocabulary.id(of: "<0xE2>"))
        var streamed = ""
        let result = try model.makeSession().generate(
            after: prompt,
            options: options {
                $0.maxTokens = 1; $0.logitBias = [(lead, 1000)]; $0.stopStrings = ["\u{FFFD}"]
            }
        ) {
            streamed += $0.text
            return !isStopped
        }
        #expect(result.tokens == [lead] && result.text.isEmpty && streamed.isEmpty)
        #expect(result.finishReason == .stopString && result.stopString == "\u{FFFD}")
    }

    @Test("Options out of range are refused by name")
    func badOptions() throws {
        try expectError(.invalidArgument, "temperature") { _ = try generate { $0.temperature = -1 } }
        try expectError(.invalidArgument, "temperature") { _ = try generate { $0.temperature = .nan } }
        try expectError(.invalidArgument, "top-p") { _ = try generate { $0.topP = 0 } }
        try expectError(.invalidArgument, "min-p") { _ = try generate { $0.minP = 2 } }
        try expectError(.invalidArgument, "logit bias", "99999") { _ = try generate { $0.logitBias = [(99999, 1)] } }
        for bias in [Float.nan, .infinity] {
            try expectError(.invalidArgument, "logit bias", "token 3") {
                _ = try generate { $0.logitBias = [(3, bias)] }
            }
        }
        try expectError(.invalidArgument, "stop string") { _ = try generate { $0.stopStrings = [""] } }
        try expectError(.invalidArgument, "logprobs") { _ = try generate { $0.logprobCount = 21 } }
    }
}

extension String {
    fileprivate func components(before stop: String) -> String {
        var result = Substring()
        var rest = self[...]
        while !rest.isEmpty, !rest.hasPrefix(stop) {
            result.append(rest.removeFirst())
        }
        return String(result)
    }
}

@Suite struct AssistanceTests {
    private let model: Model
    private let prompt: [Int32]

    init() throws {
        model = try ParityTests.model()
        // Repeats, so that a lookup finds something.
        let ids = try Expected.load().prompts[2].ids
        prompt = ids + ids.dropFirst().prefix(20)
    }

    private func generate(
        _ assistance: Assistance?, temperature: Float, maxTokens: Int = 40, stop: [String] = []
    ) throws -> (result: GenerationResult, session: Session) {
        var options = GenerationOptions()
        options.maxTokens = maxTokens
        options.temperature = temperature
        options.seed = 11
        options.ignoresEndOfSequence = true
        options.stopStrings = stop
        options.assistance = assistance
        let session = try model.makeSession()
        return (try session.generate(after: prompt, options: options), session)
    }

    @Test(
        "An assisted answer is the plain one, greedy or drawn, and leaves the same session",
        arguments: [0, 0.8] as [Float])
    func sameTokens(temperature: Float) throws {
        let plain = try generate(nil, temperature: temperature)
        for assistance in [Assistance.promptLookup, .draft(model)] {
            for maxTokens in [1, 2, 9, 40] {
                let assisted = try generate(assistance, temperature: temperature, maxTokens: maxTokens)
                #expect(assisted.result.tokens == Array(plain.result.tokens.prefix(maxTokens)))
                #expect(assisted.session.tokens == prompt + assisted.result.tokens)
                let fresh = try model.makeSession()
                try fresh.append(assisted.session.tokens)
                #expect(try logits(assisted.session) == logits(fresh))
            }
        }
    }

    @Test("A draft model that agrees has its guesses accepted")
    func acceptance() throws {
        let timings = try generate(.draft(model), temperature: 0).result.timings
        #expect(timings.guessedTokens > 20)
        #expect(timings.acceptedTokens == timings.guessedTokens)
    }

    private var longPrompt: [Int32] { [2] + (0..<900).map { Int32(3 + $0 * 31 % 200) } }

    @Test("A draft model's reading of the prompt counts as the prompt's time")
    func draftPromptTime() throws {
        var options = GenerationOptions()
        options.maxTokens = 4
        options.temperature = 0
        options.ignoresEndOfSequence = true
        options.assistance = .draft(model)
        let timings = try model.makeSession().generate(after: longPrompt, options: options).timings
        #expect(timings.guessedTokens > 0)
        #expect(timings.decodeSeconds < timings.promptSeconds / 4)
    }

    @Test("Cancelling ends a draft model's reading of the prompt")
    func cancelledDraft() throws {
        let clock = ContinuousClock()
        let reading = try clock.measure { try model.makeSession().append(longPrompt) }
        var options = GenerationOptions()
        options.assistance = .draft(model)
        // The best of some: what the machine does besides delays them.
        var best = Duration.seconds(1000)
        for _ in 0..<5 {
            let session = try model.makeSession()
            let cancellation = session.cancellation
            let start = clock.now
            // The model has read the prompt by then, the draft has not.
            let thread = Thread {
                Thread.sleep(forTimeInterval: reading / .seconds(1) * 1.3)
                cancellation.cancel()
            }
            thread.start()
            try expectError(.cancelled) { _ = try session.generate(after: longPrompt, options: options) }
            #expect(session.length == 0)
            best = min(best, clock.now - start)
        }
        #expect(best < reading * 1.6)
    }

    @Test("A stop string inside a guess ends the answer where it ends the plain one")
    func stopInsideGuess() throws {
        let plain = try generate(nil, temperature: 0)
        let stop = String(Array(plain.result.text).suffix(6).prefix(3))
        let ended = try generate(nil, temperature: 0, stop: [stop])
        let assisted = try generate(.draft(model), temperature: 0, stop: [stop])
        #expect(assisted.result.text == ended.result.text)
        #expect(assisted.session.tokens == ended.session.tokens)
        #expect(try logits(assisted.session) == logits(ended.session))
    }
}
