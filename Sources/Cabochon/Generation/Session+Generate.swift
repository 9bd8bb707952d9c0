// Session+Generate.swift - an answer, token by token.
//
// The prompt is appended, then one token at a time is sampled, told to the caller and appended.
// Text goes through two gates: whole characters only (UTF8Stream), then nothing that may be a stop
// string (StopMatcher). If anything throws, the session goes back to where it was.

extension Session {
    /// Appends `prompt` and generates an answer after it.
    ///
    /// Afterwards the session holds the prompt and all the answer's tokens, so that generating after an
    /// empty prompt goes on where it ended. A token that ended the answer is not among them.
    ///
    /// - Parameters:
    ///   - prompt: may be empty if the session holds tokens already.
    ///   - onToken: called on this thread after each token; false ends the answer. It must not call
    ///     this session, `cancellation` excepted. The last call may bring text that was held back.
    ///   - onFeatures: called on this thread when watched features are known: for the prompt at once, for
    ///     a token of the answer when it has passed through the layers, so after `onToken` had it.
    /// - Throws: `.contextExceeded` with both numbers, `.cancelled`, `.outOfMemory`, `.invalidArgument`, also where
    ///   bias and penalties leave no finite largest logit; `.unsupported` where the model's own largest is not
    ///   finite. The session is then as before the call.
    public func generate(
        after prompt: UnsafeBufferPointer<Int32>, options: GenerationOptions = GenerationOptions(),
        onToken: (GeneratedToken) -> Bool = { _ in true }, onFeatures: (WatchedFeatures) -> Void = { _ in }
    ) throws(CabochonError) -> GenerationResult {
        try options.validate(vocabularySize: model.configuration.vocabularySize)
        let interventions = try InterventionVisitors(options.interventions, model: model)
        visitors = interventions.visitors
        if !visitors.isEmpty { forgetLastPosition() }
        defer {
            if !visitors.isEmpty { forgetLastPosition() }
            visitors = SiteVisitors()
        }
        return try allOrNothing { () throws(CabochonError) in
            try answer(
                after: prompt, options: options, interventions: interventions, onToken: onToken, onFeatures: onFeatures)
        }
    }

    /// Generates after the tokens of an array.
    public func generate(
        after prompt: [Int32], options: GenerationOptions = GenerationOptions(),
        onToken: (GeneratedToken) -> Bool = { _ in true }, onFeatures: (WatchedFeatures) -> Void = { _ in }
    ) throws(CabochonError) -> GenerationResult {
        var result: Result<GenerationResult, CabochonError>?
        prompt.withUnsafeBufferPointer { buffer in
            do throws(CabochonError) {
                result = .success(
                    try generate(after: buffer, options: options, onToken: onToken, onFeatures: onFeatures))
            } catch { result = .failure(error) }
        }
        guard let result else { throw CabochonError(.internal, "the prompt had no storage") }
        return try result.get()
    }

    private func answer(
        after prompt: UnsafeBufferPointer<Int32>, options: GenerationOptions, interventions: InterventionVisitors,
        onToken: (GeneratedToken) -> Bool, onFeatures: (WatchedFeatures) -> Void
    ) throws(CabochonError) -> GenerationResult {
        interventions.beginAnswer(at: length + prompt.count - 1)
        let lengthBefore = length + prompt.count
        let start = monotonicNanoseconds()
        let logits = try Buffer<Float>(count: model.configuration.vocabularySize, for: "logits")
        func findLogits() throws(CabochonError) {
            let rowsWithoutPiece = logits.count - model.tokenizer.vocabulary.count
            if let count = options.largestLogitCount(passingOver: rowsWithoutPiece), count < logits.count {
                try self.logits(largest: count, into: logits.elements)
            } else {
                try self.logits(into: logits.elements)
            }
        }
        let assistant: Assistant? =
            if let assistance = options.assistance {
                try Assistant(assistance, for: self)
            } else { nil }
        try append(prompt)
        try findLogits()
        try interventions.report(onFeatures)
        // Of an answer of two tokens nothing is guessed.
        if options.maxTokens > 2 { try assistant?.read(sequence) }
        let seed = options.seed ?? Self.drawSeed()
        var answer = Answer(session: self, options: options, seed: seed)
        answer.timings.promptTokens = prompt.count
        let promptEnd = monotonicNanoseconds()
        answer.timings.promptSeconds = Double(promptEnd - start) * 1e-9
        if options.maxTokens > 0 {
            while try answer.step(logits.elements, onToken: onToken) {
                if let assistant, try answer.takeGuesses(of: assistant, onToken: onToken) == false { break }
                try findLogits()
                try interventions.report(onFeatures)
            }
            // The last token has not passed through the layers yet; its features are wanted too. No logits are.
            if !interventions.watchers.isEmpty, length > lengthBefore {
                _ = try finalResidual()
                try interventions.report(onFeatures)
            }
        }
        answer.timings.decodeTokens = answer.tokens.count
        answer.timings.decodeSeconds = Double(monotonicNanoseconds() - promptEnd) * 1e-9
        return answer.result(seed: seed)
    }

    private static func drawSeed() -> UInt64 {
        var generator = SystemRandomNumberGenerator()
        return generator.next()
    }
}

/// The answer so far.
private struct Answer {
    let session: Session
    let options: GenerationOptions
    var sampler: Sampler
    var stream = UTF8Stream()
    var matcher: StopMatcher
    var tokens: [Int32] = []
    var text = ""
    var logprobs: [(chosen: TokenLogprob, alternatives: [TokenLogprob])] = []
    var finishReason = FinishReason.maxTokens
    var stopToken: Int32?
    var stopString: String?
    var timings = Timings()

    init(session: Session, options: GenerationOptions, seed: UInt64) {
        self.session = session
        self.options = options
        sampler = Sampler(options: options, seed: seed)
        matcher = StopMatcher(options.stopStrings)
    }

    /// Samples one token, appends it and tells the caller. Returns whether to go on.
    mutating func step(
        _ logits: UnsafeMutableBufferPointer<Float>, onToken: (GeneratedToken) -> Bool
    ) throws(CabochonError) -> Bool {
        // An embedding may have more rows than the tokenizer has pieces. Those have no text and are never drawn.
        let pieces = UnsafeMutableBufferPointer(rebasing: logits[..<session.model.tokenizer.vocabulary.count])
        let couldChoose = options.adjustsLogits && Sampler.largest(pieces) != nil
        sampler.adjust(logits, after: session.sequence)
        guard let token = sampler.choose(pieces) else {
            let token = "the token after \(session.length) others"
            guard couldChoose else { throw session.model.logitsNotFinite("of \(token)") }
            throw CabochonError(
                .invalidArgument, "logit bias and penalties leave no finite largest logit for \(token)")
        }
        if !options.ignoresEndOfSequence, session.model.stopTokens.contains(token) {
            finishReason = .endOfSequence
            stopToken = token
            return flush(token, onToken: onToken)
        }
        guard session.length < session.contextLength else {
            // Only where the prompt left no room at all: below, the token that fills the context is the last.
            finishReason = .contextFull
            return false
        }
        sampler.accept(token)
        try session.appendLater(token)
        tokens.append(token)
        let logprob = options.logprobCount.map { Sampler.logprobs(pieces, chosen: token, count: $0) }
        if let logprob { logprobs.append(logprob) }
        var bytes: [UInt8] = []
        try session.model.tokenizer.append(token, to: &bytes)
        let (released, stop) = matcher.append(stream.append(bytes))
        var output = released
        var goesOn = true
        if let stop {
            finishReason = .stopString
            stopString = options.stopStrings[stop]
            goesOn = false
        } else if tokens.count >= options.maxTokens {
            finishReason = .maxTokens
            goesOn = false
        } else if session.length >= session.contextLength {
            finishReason = .contextFull
            goesOn = false
        }
        if !goesOn, stop == nil { output += releaseRest() }
        text += output
        let event = GeneratedToken(
            id: token, text: output, bytes: bytes, logprob: logprob?.chosen.logprob,
            alternatives: logprob?.alternatives ?? [])
        if !onToken(event), goesOn {
            finishReason = .stopped
            text += releaseRest()
            goesOn = false
        }
        return goesOn
    }

    /// Has the assistant guess, and takes the guesses that are what the model samples. Returns whether
    /// to go on; logits are then to be computed after the last token.
    mutating func takeGuesses(
        of assistant: Assistant, onToken: (GeneratedToken) -> Bool
    ) throws(CabochonError) -> Bool {
        let room = min(options.maxTokens - tokens.count, session.contextLength - session.length)
        let guesses = try assistant.guess(after: session.sequence, limit: room - 1)
        guard !guesses.isEmpty else { return true }
        timings.guessedTokens += guesses.count
        let width = session.model.configuration.vocabularySize
        let logits = try Buffer<Float>(count: (guesses.count + 1) * width, for: "logits of guesses")
        try session.logits(afterLastAnd: guesses, into: logits.elements)
        for row in 0...guesses.count {
            let goesOn = try step(
                UnsafeMutableBufferPointer(rebasing: logits.elements[row * width..<(row + 1) * width]), onToken: onToken
            )
            guard goesOn else { return false }
            guard row < guesses.count, session.sequence.last == guesses[row] else { break }
            timings.acceptedTokens += 1
            session.confirmGuess()
        }
        return true
    }

    /// Releases what was held back when a stop token ends the answer. That token's own text is not part of it.
    private mutating func flush(_ token: Int32, onToken: (GeneratedToken) -> Bool) -> Bool {
        let rest = releaseRest()
        text += rest
        if !rest.isEmpty {
            _ = onToken(GeneratedToken(id: token, text: rest, bytes: [], logprob: nil, alternatives: []))
        }
        return false
    }

    /// What was held back, at the end of an answer. U+FFFD for a cut character may still complete a stop string.
    private mutating func releaseRest() -> String {
        let (released, stop) = matcher.append(stream.finish())
        if let stop {
            finishReason = .stopString
            stopToken = nil
            stopString = options.stopStrings[stop]
        }
        return released + matcher.finish()
    }

    func result(seed: UInt64) -> GenerationResult {
        GenerationResult(
            tokens: tokens, text: text, finishReason: finishReason, logprobs: logprobs, timings: timings, seed: seed,
            stopToken: stopToken, stopString: stopString)
    }
}
