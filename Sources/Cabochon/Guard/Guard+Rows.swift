// Guard+Rows.swift - many rows, each with every policy, packed into ragged batches.
//
// Two passes for each group of rows: what a row's policies share, then what follows it, for all
// rows and policies at once. A group ends where the token budget does, so that memory stays bounded
// whatever the number of rows. What a row has in common with one of the group before, the beginning
// of the template at least, is copied from there; in the first group, from its first row, which is
// run before the others where that saves more tokens than a pass costs.

extension Guard {
    /// Judges many rows. A row that cannot be judged, for its text, its length or its template, has an error
    /// in its place, and the others go on.
    ///
    /// - Parameters:
    ///   - policies: nil for `options.policies`.
    ///   - cancellation: any thread may raise it; polled once per layer.
    ///   - onResult: told each row's index and result as soon as it is known, in order; false stops,
    ///     and the result has only the rows up to there.
    /// - Returns: for each row a verdict per policy in their order, or why there are none.
    /// - Throws: what concerns all rows: `.cancelled`, `.outOfMemory`, `.backend`, `.unsupported` where
    ///   logits are not finite, or `.invalidArgument` for policies without one, or with two of one name.
    public func classify(
        _ rows: some Collection<some GuardContent>, policies: [Policy]? = nil,
        cancellation: Cancellation = Cancellation(),
        onResult: (Int, Result<[Verdict], CabochonError>) -> Bool = { _, _ in true }
    ) throws(CabochonError) -> [Result<[Verdict], CabochonError>] {
        let policies = policies ?? options.policies
        try Self.check(policies)
        let runner = BatchRunner(model: model)
        var results: [Result<[Verdict], CabochonError>] = []
        var group: [Plan] = []
        var cost = 0
        /// A row of the group before.
        var earlier: Session?
        /// Runs the group and tells its results in the rows' order.
        func finish() throws(CabochonError) -> Bool {
            let plans = group
            group = []
            cost = 0
            var verdicts = try judge(plans.filter { $0.failure == nil }, policies, runner, &earlier, cancellation)[...]
            for plan in plans {
                let result: Result<[Verdict], CabochonError>
                if let failure = plan.failure {
                    result = .failure(failure)
                } else {
                    result = .success(verdicts.removeFirst())
                }
                results.append(result)
                if !onResult(results.count - 1, result) { return false }
            }
            return true
        }
        for row in rows {
            let plan = Plan(row, policies, by: self)
            if cost > 0, cost + plan.cost > options.tokenBudget, try !finish() { return results }
            group.append(plan)
            cost += plan.cost
        }
        _ = try finish()
        return results
    }

    /// One row's tokens: what its policies share, and what follows for each.
    private struct Plan {
        var renderings: [GuardRendering] = []
        var sharedCount = 0
        var failure: CabochonError?

        init(_ row: some GuardContent, _ policies: [Policy], by guard_: Guard) {
            do throws(CabochonError) {
                for policy in policies { renderings.append(try guard_.fitted(row, policy)) }
            } catch {
                failure = error
                renderings = []
            }
            sharedCount = sharedPrefixLength(renderings.map(\.tokens))
        }

        /// Tokens that go through the layers.
        var cost: Int { renderings.reduce(sharedCount) { $0 + $1.tokens.count - sharedCount } }
        /// What the policies share.
        var shared: ArraySlice<Int32> { renderings.first?.tokens[..<sharedCount] ?? [] }
        var longest: Int { renderings.map(\.tokens.count).max() ?? 0 }
    }

    /// Tokens whose reading takes about as long as one more forward pass adds to the time of its rows.
    private static let worthOnePass = 16

    /// Tokens of all rows but the first that begin as it does.
    private static func repeatedTokens(in plans: [Plan]) -> Int {
        guard let first = plans.first?.shared else { return 0 }
        return plans.dropFirst().reduce(0) { $0 + sharedPrefixLength(first, $1.shared) }
    }

    private func judge(
        _ plans: [Plan], _ policies: [Policy], _ runner: BatchRunner, _ earlier: inout Session?,
        _ cancellation: Cancellation
    ) throws(CabochonError) -> [[Verdict]] {
        // Rows that have all been read before would not ask.
        try cancellation.check()
        var bases: [(session: Session, tokens: [Int32])] = []
        for plan in plans {
            let base = try model.makeSession(contextLength: max(plan.longest, 1))
            if let earlier {
                try base.follow(earlier, to: sharedPrefixLength(earlier.sequence, plan.shared))
            } else if Self.repeatedTokens(in: plans) >= Self.worthOnePass {
                try runner.append([(base, Array(plan.shared))], cancellation: cancellation)
                earlier = base
            }
            bases.append((base, Array(plan.shared[base.length...])))
        }
        try runner.append(bases, cancellation: cancellation)
        var continuations: [(session: Session, tokens: [Int32])] = []
        for (plan, base) in zip(plans, bases) {
            // The base itself becomes the last of them, which spares a copy.
            for (index, rendering) in plan.renderings.enumerated() {
                var session = base.session
                if index < plan.renderings.count - 1 {
                    session = try model.makeSession(contextLength: rendering.tokens.count)
                    try session.follow(base.session, to: plan.sharedCount)
                }
                continuations.append((session, Array(rendering.tokens[plan.sharedCount...])))
            }
        }
        try runner.append(continuations, cancellation: cancellation)
        earlier = bases.last?.session
        var logits = try answers(after: continuations.map(\.session), runner)[...]
        return plans.map { plan in
            zip(policies, plan.renderings).map { policy, rendering in
                Verdict(
                    policy: policy.name, template: options.template.name, logits: logits.removeFirst(),
                    tokenCount: rendering.tokens.count, isShortened: rendering.isShortened)
            }
        }
    }
}

/// How many tokens at the beginning all of the texts have in common.
func sharedPrefixLength(_ texts: [[Int32]]) -> Int {
    guard let first = texts.first else { return 0 }
    return texts.dropFirst().reduce(first.count) { min($0, sharedPrefixLength(first, $1)) }
}
