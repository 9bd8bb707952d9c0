// BatchRunner.swift - several sessions' new tokens through the layers together.
//
// One forward pass reads the weights once for all of its rows, whoever they belong to: forks of one
// prefix, many short texts, answers of several conversations. Rows are packed into full chunks, so a
// session's tokens may lie in two of them. The bits are those of one append each, on every backend
// that promises so.

/// Appends to many sessions of one model at once. Belongs to one thread at a time, as do the
/// sessions while they are with it.
public final class BatchRunner {
    public let model: Model
    private let execution: Execution
    private var workspace: Workspace?

    public init(model: Model) {
        self.model = model
        execution = Execution(pool: model.engine.pool)
    }

    /// Appends to each session its tokens. All or nothing, for all of them together.
    ///
    /// - Parameters:
    ///   - additions: sessions of this runner's model, none twice; no tokens: nothing happens to it.
    ///   - cancellation: polled once per layer.
    /// - Throws: as `Session.append`; `.invalidArgument` for a session of another model, or one given
    ///   twice. All sessions are then as before.
    public func append(
        _ additions: [(session: Session, tokens: [Int32])], cancellation: Cancellation = Cancellation()
    ) throws(CabochonError) {
        var seen: Set<ObjectIdentifier> = []
        var pending: [(session: Session, rows: UnsafeBufferPointer<Int32>)] = []
        for (session, tokens) in additions where !tokens.isEmpty {
            guard session.model === model, seen.insert(ObjectIdentifier(session)).inserted else {
                throw CabochonError(.invalidArgument, "a batch has a session twice, or one of another model")
            }
            let rows = try tokens.withUnsafeBufferPointer { (tokens) throws(CabochonError) in
                try session.rows(toAppend: tokens)
            }
            pending.append((session, rows))
        }
        guard let residuals = try run(pending, cancellation: cancellation) else { return }
        let hidden = model.configuration.hiddenSize
        for (index, (session, tokens)) in additions.filter({ !$0.tokens.isEmpty }).enumerated() {
            session.commit(tokens.count, residual: residuals.pointer + index * hidden)
        }
    }

    /// Runs the rows and commits nothing.
    ///
    /// - Returns: the final residual stream of each session's last row, [sessions, hiddenSize].
    private func run(
        _ pending: [(session: Session, rows: UnsafeBufferPointer<Int32>)], cancellation: Cancellation
    ) throws(CabochonError) -> Buffer<Float>? {
        let total = pending.reduce(0) { $0 + $1.rows.count }
        guard total > 0 else { return nil }
        let hidden = model.configuration.hiddenSize
        let residuals = try Buffer<Float>(count: pending.count * hidden, for: "last positions")
        let workspace = try workspace(rows: min(total, ForwardPass.chunkSize))
        let pass = try model.forwardPass(execution: execution, workspace: workspace)
        var index = 0
        var taken = 0
        while index < pending.count {
            var tokens: [Int32] = []
            var sequences: [Batch.Sequence] = []
            var finished: [(index: Int, row: Int)] = []
            while index < pending.count, tokens.count < ForwardPass.chunkSize {
                let (session, rows) = pending[index]
                let count = min(rows.count - taken, ForwardPass.chunkSize - tokens.count)
                sequences.append(
                    Batch.Sequence(
                        cache: session.cache, firstPosition: session.cache.length + taken, rowCount: count))
                tokens += rows[taken..<taken + count]
                taken += count
                if taken == rows.count {
                    finished.append((index, tokens.count - 1))
                    index += 1
                    taken = 0
                }
            }
            try tokens.withUnsafeBufferPointer { (tokens) throws(CabochonError) in
                try pass.run(
                    Batch(tokens: tokens, sequences: sequences), visitors: SiteVisitors(), firstRow: 0,
                    finalRows: .some(finished.map(\.row)), cancellation: cancellation)
            }
            for (place, entry) in finished.enumerated() {
                (residuals.pointer + entry.index * hidden).update(
                    from: workspace.residual.pointer + place * hidden, count: hidden)
            }
        }
        return residuals
    }

    /// Logits of some tokens of the vocabulary after each session's last position, after the final
    /// softcap. Only these rows of the head are read.
    ///
    /// - Parameters:
    ///   - tokens: 1 to 4, each below the vocabulary size.
    ///   - sessions: of this runner's model, with at least one token each.
    /// - Returns: for each session the tokens' logits in their order.
    func logits(of tokens: [Int32], after sessions: [Session]) throws(CabochonError) -> [[Float]] {
        guard !sessions.isEmpty else { return [] }
        let hidden = model.configuration.hiddenSize
        let residuals = try Buffer<Float>(count: sessions.count * hidden, for: "last positions")
        let output = try Buffer<Float>(count: sessions.count * tokens.count, for: "logits of some tokens")
        for (index, session) in sessions.enumerated() {
            (residuals.pointer + index * hidden).update(from: try session.finalResidual(), count: hidden)
        }
        let pass = try model.forwardPass(execution: execution, workspace: try workspace(rows: 1))
        try pass.head(
            of: tokens, residual: UnsafePointer(residuals.pointer), rows: sessions.count, into: output.pointer)
        return sessions.indices.map { index in
            Array(output.elements[index * tokens.count..<(index + 1) * tokens.count])
        }
    }

    private func workspace(rows: Int) throws(CabochonError) -> Workspace {
        if let workspace, workspace.rows >= rows { return workspace }
        let larger = try Workspace(rows: rows, configuration: model.configuration)
        workspace = larger
        return larger
    }
}
