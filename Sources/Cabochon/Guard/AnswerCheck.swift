// AnswerCheck.swift - judges one answer again and again while it grows.
//
// Each check reads the same text as the one before, a few tokens longer. What the model has read of
// it stays in a KV cache for each policy: a check costs the new tokens and what comes after them in
// the template. Where the policy comes after the response (hf, cookbook) the new tokens are computed
// once and copied to the other policies' caches; where it comes before (paper), each policy computes
// its own. Either way a check gives the bits of a classify of the same text.

/// Belongs to one thread at a time.
public final class AnswerCheck {
    public let moderator: Guard
    public let prompt: String
    public let policies: [Policy]
    private let runner: BatchRunner
    private let sharesResponse: Bool
    /// One for each policy, from the first check on.
    private var kept: [Session] = []

    /// - Parameter policies: nil for the guard's own.
    /// - Throws: `.invalidArgument` for no policy, two of one name, or a template without a text for
    ///   responses.
    public init(_ moderator: Guard, prompt: String, policies: [Policy]? = nil) throws(CabochonError) {
        self.moderator = moderator
        self.prompt = prompt
        self.policies = policies ?? moderator.options.policies
        try Guard.check(self.policies)
        guard let parts = moderator.options.template.responseParts else {
            throw CabochonError(.invalidArgument, "the custom guard template has no text for responses")
        }
        let response = parts.firstIndex(of: .place(.response)) ?? 0
        let policy = parts.firstIndex(of: .place(.policy)) ?? 0
        sharesResponse = response < policy
        runner = BatchRunner(model: moderator.model)
    }

    /// Judges the answer so far.
    ///
    /// - Parameters:
    ///   - response: all of it; usually the last one and more, but any text is judged rightly.
    ///   - cancellation: polled once per layer.
    /// - Returns: a verdict for each policy, in their order.
    /// - Throws: as `Guard.classify`; the next check is none the worse for it.
    public func verdicts(
        on response: String, cancellation: Cancellation = Cancellation()
    ) throws(CabochonError) -> [Verdict] {
        let row = GuardRow(prompt: prompt, response: response)
        var renderings: [GuardRendering] = []
        for policy in policies { renderings.append(try moderator.fitted(row, policy)) }
        let texts = renderings.map(\.tokens)
        try read(texts, cancellation)
        let logits = try moderator.answers(after: kept, runner)
        return zip(policies, zip(renderings, logits)).map { policy, entry in
            Verdict(
                policy: policy.name, template: moderator.options.template.name, logits: entry.1,
                tokenCount: entry.0.tokens.count, isShortened: entry.0.isShortened)
        }
    }

    /// Brings each kept session to the end of its text.
    private func read(_ texts: [[Int32]], _ cancellation: Cancellation) throws(CabochonError) {
        if kept.isEmpty { for _ in texts { kept.append(try moderator.model.makeSession()) } }
        guard let base = kept.first else { return }
        if sharesResponse || base.length == 0 {
            let shared = texts.first.map { Array($0[..<sharedPrefixLength(texts)]) } ?? []
            try runner.append([(base, try Self.rest(of: shared, in: base))], cancellation: cancellation)
            for session in kept.dropFirst() { try session.follow(base, to: shared.count) }
        }
        var additions: [(session: Session, tokens: [Int32])] = []
        for (session, text) in zip(kept, texts) { additions.append((session, try Self.rest(of: text, in: session))) }
        try runner.append(additions, cancellation: cancellation)
    }

    /// Takes back what `session` holds beyond the beginning of `text`, and returns what it lacks.
    private static func rest(of text: [Int32], in session: Session) throws(CabochonError) -> [Int32] {
        try session.truncate(to: sharedPrefixLength(session.sequence, text))
        return Array(text[session.length...])
    }
}
