// GuardedGeneration.swift - an answer with a guard between it and its reader.
//
// The gate stands where the reader's callback would: generation calls it with each token, and it
// hands tokens on when a check has passed. So nothing in generation knows of guards, and everything
// else that generation can do goes on working. A check runs beside the tokens that follow it; those
// that were made past a violation are thrown away, so that its timing shows in no result.

/// When a guarded answer is checked, and when its tokens are handed on.
public enum GuardMode: UInt32, Sendable {
    /// Nothing is handed on before the whole answer has been checked.
    case hold = 1
    /// Checked every `interval` tokens; handed on as far as it has been checked.
    case window = 2
    /// Handed on at once; checked every `interval` tokens, and never stopped. A check is told of before
    /// the next one starts.
    case audit = 3
}

public struct GuardingOptions: Sendable {
    public var mode = GuardMode.hold
    /// Tokens from one check of the answer to the next. 0 in `hold`: one check, at the end; an answer
    /// that is checked on its way is stopped earlier.
    public var interval = 0
    /// Nil for the guard's own.
    public var policies: [Policy]?
    /// By policy, the score from which on it counts as violated. All policies need one, but for
    /// `audit`: there is no official threshold.
    public var thresholds: [String: Double] = [:]
    /// Whether the prompt is judged before anything is generated.
    public var checksPrompt = true

    public init() {}
}

/// One check of a guarded answer.
public struct GuardCheck: Sendable {
    /// Nil: of the prompt. Otherwise of the answer's tokens up to here.
    public let answerTokens: Int?
    public let verdicts: [Verdict]
    /// The policy that is violated the most, beyond its threshold; nil if none is.
    public let violation: Verdict?
}

public struct GuardedResult: Sendable {
    /// The answer as far as it was handed on. Its finish reason is `contentFilter` if a check stopped it.
    public let generation: GenerationResult
    /// What stopped it.
    public let violation: Verdict?
    /// All checks, in their order.
    public let checks: [GuardCheck]
    /// Time that checks of the answer ran, for the most part beside the making of it:
    /// `generation.timings.decodeSeconds` includes what of it was waited for before the answer ended.
    public let checkSeconds: Double
}

extension Guard {
    /// Generates an answer that passes this guard's checks. The model that answers may be the guard's
    /// own, or another.
    ///
    /// Afterwards the session holds the prompt and the answer as far as it was handed on; after a
    /// refused prompt, what it held before.
    ///
    /// Where both models' engines have more threads than one, a check runs on a thread of its own while up
    /// to `interval` more tokens are made; not so while features are watched, which are told of at once.
    ///
    /// - Parameters:
    ///   - session: where the answer is made. Its `cancellation` reaches the checks, too.
    ///   - prompt: tokens for the session.
    ///   - promptText: what the user asked, to be judged itself, and the answer with it.
    ///   - onCheck: told of each check, on this thread.
    ///   - onToken: as for `Session.generate`, later by what is held back.
    ///   - onFeatures: as for `Session.generate`; not held back.
    /// - Throws: as `Session.generate` and `classify`; `.invalidArgument` for a threshold that is missing
    ///   or NaN. The session is then as before the call.
    public func generate(
        in session: Session, after prompt: [Int32], promptText: String,
        options: GenerationOptions = GenerationOptions(), guarding: GuardingOptions,
        onCheck: (GuardCheck) -> Void = { _ in }, onToken: (GeneratedToken) -> Bool = { _ in true },
        onFeatures: (WatchedFeatures) -> Void = { _ in }
    ) throws(CabochonError) -> GuardedResult {
        try withoutActuallyEscaping(onCheck) { (onCheck) throws(CabochonError) in
            try withoutActuallyEscaping(onToken) { (onToken) throws(CabochonError) in
                let gate = try GuardGate(
                    self, promptText, guarding, session.cancellation, onCheck: onCheck, onToken: onToken)
                return try gate.run(session, prompt, options, onFeatures)
            }
        }
    }
}

/// What stands between an answer and its reader.
private final class GuardGate {
    private let check: AnswerCheck
    private let guarding: GuardingOptions
    private let cancellation: Cancellation
    private let onCheck: (GuardCheck) -> Void
    private let onToken: (GeneratedToken) -> Bool

    /// Tokens that wait for a check, each with the length of the answer that it ends.
    private var held: [(token: GeneratedToken, count: Int)] = []
    /// The text of the answer, theirs included.
    private var text = ""
    private var tokenCount = 0
    /// The last check that was started, as far as it is known.
    private var checkedCount = 0
    private var checkedText: String?
    /// A check that has not been looked at yet, and how many of the held tokens it is about.
    private var inFlight: (check: CheckInFlight, heldCount: Int)?
    /// Where the answer is made while checks run, if that may be at the same time.
    private var pool: ThreadPool?
    private var released = (text: "", tokens: 0)
    private var checks: [GuardCheck] = []
    private var checkNanoseconds: UInt64 = 0
    private var violation: Verdict?
    private var isEndedByReader = false
    private var failure: CabochonError?

    init(
        _ moderator: Guard, _ promptText: String, _ guarding: GuardingOptions, _ cancellation: Cancellation,
        onCheck: @escaping (GuardCheck) -> Void, onToken: @escaping (GeneratedToken) -> Bool
    ) throws(CabochonError) {
        check = try AnswerCheck(moderator, prompt: promptText, policies: guarding.policies)
        guard guarding.interval >= 0, guarding.mode == .hold || guarding.interval > 0 else {
            throw CabochonError(.invalidArgument, "a check every \(guarding.interval) tokens")
        }
        for policy in check.policies where guarding.mode != .audit {
            guard let threshold = guarding.thresholds[policy.name] else {
                throw CabochonError(.invalidArgument, "no threshold for policy \"\(policy.name)\": none is built in")
            }
            guard !threshold.isNaN else {
                throw CabochonError(.invalidArgument, "the threshold for policy \"\(policy.name)\" is not a number")
            }
        }
        self.guarding = guarding
        self.cancellation = cancellation
        self.onCheck = onCheck
        self.onToken = onToken
    }

    func run(
        _ session: Session, _ prompt: [Int32], _ options: GenerationOptions,
        _ onFeatures: (WatchedFeatures) -> Void
    ) throws(CabochonError) -> GuardedResult {
        let lengthBefore = session.length
        // What is wrong with these is said of a refused prompt, too, and before a check takes its time.
        try options.validate(vocabularySize: session.model.configuration.vocabularySize)
        try prompt.withUnsafeBufferPointer { (prompt) throws(CabochonError) in try session.check(prompt) }
        if guarding.checksPrompt {
            let verdicts = try check.moderator.classify(
                prompt: check.prompt, policies: check.policies, cancellation: cancellation)
            if note(verdicts, answerTokens: nil) {
                return result(GenerationResult(refusedPromptWithSeed: options.seed ?? 0))
            }
        }
        let engines = [session.model.engine, check.moderator.model.engine]
        if engines.allSatisfy({ $0.threadCount > 1 }), options.interventions.watch.isEmpty {
            pool = session.model.engine.pool
        }
        defer { inFlight?.check.abandon() }
        return try session.allOrNothing { () throws(CabochonError) in
            let generation = try session.generate(
                after: prompt, options: options,
                onToken: { token in
                    do throws(CabochonError) {
                        // A last call may bring held text only, and no token of its own.
                        return try pass(token, count: session.length - lengthBefore - prompt.count)
                    } catch {
                        failure = error
                        return false
                    }
                }, onFeatures: onFeatures)
            if let failure { throw failure }
            try finish()
            // The session keeps what its reader has, and no more.
            if violation != nil || isEndedByReader {
                try session.truncate(to: lengthBefore + prompt.count + released.tokens)
            }
            return result(generation)
        }
    }

    /// Takes one token of the answer, which then has `count`. Returns whether generation goes on.
    private func pass(_ token: GeneratedToken, count: Int) throws(CabochonError) -> Bool {
        text += token.text
        tokenCount = count
        held.append((token, count))
        if guarding.mode == .audit, !release(held.count) { return false }
        if guarding.interval > 0, tokenCount - checkedCount >= guarding.interval {
            guard try settle() else { return false }
            startCheck(beside: pool)
        }
        guard let inFlight, inFlight.check.hasEnded else { return true }
        return try settle()
    }

    /// The answer has ended: whatever waits is checked and handed on.
    private func finish() throws(CabochonError) {
        guard try settle(), violation == nil, !isEndedByReader else { return }
        if text != checkedText {
            startCheck(beside: nil)
            guard try settle() else { return }
        }
        _ = release(held.count)
    }

    private func startCheck(beside pool: ThreadPool?) {
        checkedCount = tokenCount
        checkedText = text
        let started = CheckInFlight(
            check, of: text, tokenCount: tokenCount, cancellation: cancellation, beside: pool)
        inFlight = (started, held.count)
    }

    /// Waits for the check in flight, if there is one, and hands on what has passed it. Returns whether
    /// the answer goes on.
    private func settle() throws(CabochonError) -> Bool {
        guard let (check, heldCount) = inFlight else { return true }
        inFlight = nil
        let (verdicts, nanoseconds) = try check.verdicts()
        checkNanoseconds += nanoseconds
        guard !note(verdicts, answerTokens: check.tokenCount) else { return false }
        return guarding.mode != .window || release(heldCount)
    }

    /// Hands on the first `count` tokens that wait. Returns whether the reader wants more.
    private func release(_ count: Int) -> Bool {
        let tokens = held.prefix(count)
        held.removeFirst(count)
        for (token, count) in tokens {
            released.text += token.text
            released.tokens = count
            guard onToken(token) else {
                isEndedByReader = true
                return false
            }
        }
        return true
    }

    /// Returns whether a policy is violated and the mode stops for it.
    private func note(_ verdicts: [Verdict], answerTokens: Int?) -> Bool {
        func excess(_ verdict: Verdict) -> Double { verdict.score - (guarding.thresholds[verdict.policy] ?? .infinity) }
        let worst = verdicts.filter { excess($0) >= 0 }.max { excess($0) < excess($1) }
        let entry = GuardCheck(answerTokens: answerTokens, verdicts: verdicts, violation: worst)
        checks.append(entry)
        onCheck(entry)
        guard let worst, guarding.mode != .audit else { return false }
        violation = worst
        return true
    }

    private func result(_ generation: GenerationResult) -> GuardedResult {
        let seconds = Double(checkNanoseconds) * 1e-9
        guard violation != nil || isEndedByReader else {
            return GuardedResult(generation: generation, violation: nil, checks: checks, checkSeconds: seconds)
        }
        let cut = generation.cut(
            toTokens: released.tokens, text: released.text, because: violation == nil ? .stopped : .contentFilter)
        return GuardedResult(generation: cut, violation: violation, checks: checks, checkSeconds: seconds)
    }
}

extension GenerationResult {
    /// The part of the answer that its reader has got.
    fileprivate func cut(toTokens count: Int, text: String, because reason: FinishReason) -> GenerationResult {
        GenerationResult(
            tokens: Array(tokens.prefix(count)), text: text, finishReason: reason,
            logprobs: Array(logprobs.prefix(count)),
            timings: timings, seed: seed, stopToken: nil, stopString: nil)
    }

    /// No answer, to a prompt that was refused.
    fileprivate init(refusedPromptWithSeed seed: UInt64) {
        self.init(
            tokens: [], text: "", finishReason: .contentFilter, logprobs: [], timings: Timings(), seed: seed,
            stopToken: nil, stopString: nil)
    }
}
