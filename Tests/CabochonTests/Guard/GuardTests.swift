// GuardTests.swift - scores: those of the full head, the same alone, together and in batches.

import Cabochon
import Testing

@Suite struct GuardTests {
    private let model: Model
    private let moderator: Guard
    private let policies: [Policy]

    init() throws {
        model = try ParityTests.model()
        moderator = try Self.makeGuard(model)
        policies = try ["Be kind.", "Be brief and clear.", "Sei nicht grob."].enumerated().map {
            try Policy(name: "policy\($0.offset)", text: $0.element)
        }
    }

    /// A guard with a short template, because every token costs time.
    static func makeGuard(_ model: Model, _ change: (inout Guard.Options) -> Void = { _ in }) throws -> Guard {
        var options = Guard.Options()
        options.template = try GuardTemplate(
            prompt: "<start_of_turn>\nAsked: {prompt}\n<end_of_turn>\n* {policy}\nViolated?",
            response: "<start_of_turn>\nAsked: {prompt}\nSaid: {response}\n<end_of_turn>\n* {policy}\nViolated?")
        change(&options)
        return try Guard(model: model, options: options)
    }

    @Test("A score is the softmax of two logits of the full head, and scoring after its tokens gives it again")
    func scoreOfTheFullHead() throws {
        let verdict = try #require(try moderator.classify(prompt: "Hello", policies: [policies[0]]).first)
        let ids = try moderator.render(prompt: "Hello", policy: policies[0])
        let logits = try ParityTests.logits(model, ids).suffix(model.configuration.vocabularySize)
        let last = Array(logits)
        let yes = last[Int(try #require(model.tokenizer.vocabulary.id(of: "Yes")))]
        let no = last[Int(try #require(model.tokenizer.vocabulary.id(of: "No")))]
        #expect(verdict.logits.yes == yes && verdict.logits.no == no)
        #expect(verdict.tokenCount == ids.count && verdict.template == "custom" && !verdict.isShortened)
        #expect(try moderator.score(ids) == verdict.logits)
    }

    @Test("Several policies, and several rows, have the bits of one call each")
    func sameBitsTogether() throws {
        let rows = [
            GuardRow(prompt: "Hello"), GuardRow(prompt: "Hello", response: "world"), GuardRow(prompt: ""),
            GuardRow(prompt: "A longer question about ships, harbours and their lights?"),
        ]
        try expectSameBits(rows)
    }

    @Test("Rows that begin alike, or are the same, have the bits of one call each")
    func sameBitsOfRowsAlike() throws {
        let long = "A longer question about ships, harbours and their lights"
        let rows = [
            GuardRow(prompt: long), GuardRow(prompt: long + "?"), GuardRow(prompt: "A longer question"),
            GuardRow(prompt: long), GuardRow(prompt: long, response: "world"), GuardRow(prompt: "Hello"),
        ]
        try expectSameBits(rows)
    }

    private func expectSameBits(_ rows: [GuardRow]) throws {
        var alone: [[YesNoLogits]] = []
        for row in rows {
            alone.append(
                try policies.map {
                    try moderator.classify(prompt: row.prompt, response: row.response, policies: [$0])[0].logits
                })
        }
        for budget in [1, 60, 4096] {
            let packed = try Self.makeGuard(model) { $0.tokenBudget = budget }
            let together = try packed.classify(rows, policies: policies).map { try $0.get() }
            #expect(together.map { $0.map(\.logits) } == alone)
            #expect(together.allSatisfy { $0.map(\.policy) == policies.map(\.name) })
            let one = try packed.classify(rows, policies: [policies[1]]).map { try $0.get()[0].logits }
            #expect(one == alone.map { $0[1] })
        }
        let different = rows.indices.count { !rows[..<$0].contains(rows[$0]) }
        #expect(Set(alone.flatMap { $0 }.map(\.yes)).count == different * policies.count)
    }

    @Test("A row that does not fit is told with both numbers, and the others go on")
    func tooLongRow() throws {
        let small = try ParityTests.model { $0.contextLength = 64 }
        let moderator = try Self.makeGuard(small)
        let long = String(repeating: "word ", count: 60)
        let rows = [GuardRow(prompt: "Hi"), GuardRow(prompt: long), GuardRow(prompt: "Ho")]
        var told: [Int] = []
        let results = try moderator.classify(rows, policies: policies) { index, _ in
            told.append(index)
            return true
        }
        #expect(told == [0, 1, 2])
        #expect((try? results[0].get()) != nil && (try? results[2].get()) != nil)
        let whole = try Self.makeGuard(model).render(prompt: long, policy: policies[0]).count
        try expectError(.contextExceeded, "\(whole)", "64") { _ = try results[1].get() }
    }

    @Test("Content that may be shortened loses its middle, as little as needed, and the verdict says so")
    func shortening() throws {
        let small = try ParityTests.model { $0.contextLength = 64 }
        let moderator = try Self.makeGuard(small) { $0.shortensContent = true }
        let long = "first " + String(repeating: "word ", count: 60) + "last"
        let verdict = try moderator.classify(prompt: long, policies: [policies[0]])[0]
        #expect(verdict.isShortened && (58...64).contains(verdict.tokenCount))
        let ids = try moderator.render(prompt: long, policy: policies[0])
        let text = String(decoding: try model.tokenizer.decode(ids), as: UTF8.self)
        #expect(text.contains("Asked: first word") && text.contains("last\n") && text.contains("…"))
        #expect(text.hasSuffix("* Be kind.\nViolated?"))
        #expect(try !moderator.classify(prompt: "short", policies: [policies[0]])[0].isShortened)
    }

    @Test("Rows stop where their reader or a cancellation says so")
    func stopping() throws {
        let rows = Array(repeating: GuardRow(prompt: "Hi"), count: 5)
        let some = try Self.makeGuard(model) { $0.tokenBudget = 1 }
        #expect(try some.classify(rows, policies: [policies[0]]) { index, _ in index < 1 }.count == 2)
        let cancellation = Cancellation()
        try expectError(.cancelled) {
            _ = try some.classify(rows, policies: [policies[0]], cancellation: cancellation) { _, _ in
                cancellation.cancel()
                return true
            }
        }
    }

    @Test("What a guard cannot work with is refused")
    func refusals() throws {
        try expectError(.invalidArgument, "no policy") { _ = try moderator.classify(prompt: "a", policies: []) }
        try expectError(.invalidArgument, "two policies", "policy0") {
            _ = try moderator.classify(prompt: "a", policies: [policies[0], policies[0]])
        }
        try expectError(.invalidArgument) { _ = try moderator.score([]) }
        try expectError(.invalidArgument, "-1") { _ = try moderator.score([2, -1]) }
        try expectError(.invalidArgument) { _ = try Policy(name: "", text: "x") }
        let vocabulary = try ParityTests.model { $0.vocabularyOnly = true }
        try expectError(.invalidArgument, "vocabulary only") { _ = try Guard(model: vocabulary) }
    }

    @Test("A growing answer is judged with the bits of judging it anew", arguments: [true, false])
    func growingAnswer(policyComesLast: Bool) throws {
        let moderator = try Self.makeGuard(model) { options in
            guard !policyComesLast else { return }
            options.template =
                (try? GuardTemplate(
                    prompt: "{prompt} {policy}", response: "Asked: {prompt}\n{policy}\nSaid: {response}\nViolated?"))
                ?? options.template
        }
        let check = try AnswerCheck(moderator, prompt: "Hello", policies: policies)
        for answer in ["", "One", "One two\n", "One two\n\nthree", "One tw", "One tw"] {
            let anew = try moderator.classify(prompt: "Hello", response: answer, policies: policies)
            let cancelled = Cancellation()
            cancelled.cancel()
            try expectError(.cancelled) { _ = try check.verdicts(on: answer + " cut", cancellation: cancelled) }
            #expect(try check.verdicts(on: answer) == anew, "\(answer)")
        }
    }
}
