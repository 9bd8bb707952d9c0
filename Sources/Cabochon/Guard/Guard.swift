// Guard.swift - ShieldGemma: does a prompt, or a response to one, violate a policy?
//
// The model reads the content and one policy, and the score is the probability of "Yes" against
// "No" as its next token. Several policies share what comes before them: that is run once, its KV
// forked, and the rest of all of them goes through the layers as one ragged batch, with the bits
// that one call each would give.

/// A moderator: a model and a template. Immutable; any number of threads may use it, and any number
/// of guards one model.
public final class Guard: Sendable {
    public struct Options: Sendable {
        public var template = GuardTemplate.huggingFace
        /// The policies of calls that name none.
        public var policies = Policy.official
        /// Content that is too long for the context is shortened in the middle instead of refused; the
        /// policy and the template stay whole, and the verdict says so.
        public var shortensContent = false
        /// Tokens of different rows that are worked on together: more keep matrix products at full
        /// speed, and take more memory for keys and values.
        public var tokenBudget = 2048

        public init() {}
    }

    public let model: Model
    public let options: Options
    /// The ids of "Yes" and "No", which are looked up by piece.
    let answers: [Int32]

    /// - Throws: `.invalidArgument` for a model loaded for its vocabulary only, an empty list of
    ///   policies, two of one name, or a token budget that is not positive; `.unsupported` for a
    ///   vocabulary without the pieces "Yes" and "No".
    public init(model: Model, options: Options = Options()) throws(CabochonError) {
        guard model.weights != nil else { throw model.withoutWeights() }
        guard options.tokenBudget > 0 else {
            throw CabochonError(.invalidArgument, "a token budget of \(options.tokenBudget)")
        }
        try Self.check(options.policies)
        let vocabulary = model.tokenizer.vocabulary
        guard let yes = vocabulary.id(of: "Yes"), let no = vocabulary.id(of: "No") else {
            throw CabochonError(.unsupported, "\(vocabulary.name): no piece \"Yes\" or no piece \"No\"")
        }
        self.model = model
        self.options = options
        answers = [yes, no]
    }

    static func check(_ policies: [Policy]) throws(CabochonError) {
        guard !policies.isEmpty else { throw CabochonError(.invalidArgument, "no policy to check") }
        var names: Set<String> = []
        for policy in policies where !names.insert(policy.name).inserted {
            throw CabochonError(.invalidArgument, "two policies are called \"\(policy.name)\"")
        }
    }

    /// Judges one prompt, or one response to it.
    ///
    /// - Parameters:
    ///   - response: nil judges the prompt; otherwise the response is judged, and the policies have the
    ///     wording for responses. An empty response is a response.
    ///   - policies: nil for `options.policies`.
    ///   - cancellation: any thread may raise it; polled once per layer.
    /// - Returns: a verdict for each policy, in their order.
    /// - Throws: `.contextExceeded` with both numbers, unless content may be shortened; `.unsupported`
    ///   where the logits are not finite; `.invalidArgument`, `.cancelled`, `.outOfMemory`, `.backend`.
    public func classify(
        prompt: String, response: String? = nil, policies: [Policy]? = nil,
        cancellation: Cancellation = Cancellation()
    ) throws(CabochonError) -> [Verdict] {
        try classify(
            GuardRow(prompt: prompt, response: response), policies: policies, cancellation: cancellation)
    }

    /// Judges a prompt or a response, wherever its text stands.
    ///
    /// - Throws: as for strings, and what `content` throws.
    public func classify(
        _ content: some GuardContent, policies: [Policy]? = nil, cancellation: Cancellation = Cancellation()
    ) throws(CabochonError) -> [Verdict] {
        let results = try classify([content], policies: policies, cancellation: cancellation)
        guard let result = results.first else { throw CabochonError(.internal, "a row without a result") }
        return try result.get()
    }

    /// The tokens that a verdict is read after, bos first.
    ///
    /// - Throws: as `classify`.
    public func render(prompt: String, response: String? = nil, policy: Policy) throws(CabochonError) -> [Int32] {
        try render(GuardRow(prompt: prompt, response: response), policy: policy)
    }

    /// The same of a text wherever it stands.
    public func render(_ content: some GuardContent, policy: Policy) throws(CabochonError) -> [Int32] {
        try fitted(content, policy).tokens
    }

    /// The logits of "Yes" and "No" after these tokens, whatever they are.
    ///
    /// - Throws: `.invalidArgument` for no tokens or one outside the vocabulary, `.contextExceeded`,
    ///   `.unsupported` where the logits are not finite, `.cancelled`, `.outOfMemory`.
    public func score(
        _ tokens: [Int32], cancellation: Cancellation = Cancellation()
    ) throws(CabochonError) -> YesNoLogits {
        guard !tokens.isEmpty else { throw CabochonError(.invalidArgument, "no tokens to score after") }
        guard tokens.count <= model.contextLength else {
            throw CabochonError(
                .contextExceeded, "\(tokens.count) tokens do not fit the context of \(model.contextLength)")
        }
        let runner = BatchRunner(model: model)
        let session = try model.makeSession(contextLength: tokens.count)
        try runner.append([(session, tokens)], cancellation: cancellation)
        return try answers(after: [session], runner)[0]
    }

    /// Reads Yes and No after each session. A score that is no number would be below every threshold.
    func answers(after sessions: [Session], _ runner: BatchRunner) throws(CabochonError) -> [YesNoLogits] {
        let logits = try runner.logits(of: answers, after: sessions).map { YesNoLogits(yes: $0[0], no: $0[1]) }
        for pair in logits where !pair.yes.isFinite || !pair.no.isFinite {
            throw model.logitsNotFinite("of \"Yes\" and \"No\", \(pair.yes) and \(pair.no),")
        }
        return logits
    }
}
