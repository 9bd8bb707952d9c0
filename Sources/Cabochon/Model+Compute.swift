// Model+Compute.swift - logits and activations of a given sequence, from one call.

extension Model {
    /// Logits of every position, after the final softcap. Any thread.
    ///
    /// - Parameters:
    ///   - tokens: at least one, each below the vocabulary size, at most `contextLength`.
    ///   - output: [tokens, vocabularySize], row-major.
    ///   - interventions: what is steered or spliced in on the way.
    ///   - cancellation: polled once per layer.
    /// - Throws: `.invalidArgument`, `.contextExceeded`, `.bufferTooSmall`, `.cancelled`, `.outOfMemory`.
    public func logits(
        of tokens: UnsafeBufferPointer<Int32>, into output: UnsafeMutableBufferPointer<Float>,
        with interventions: Interventions = Interventions(), cancellation: Cancellation = Cancellation()
    ) throws(CabochonError) {
        let width = configuration.vocabularySize
        let needed = try Checked.multiply(tokens.count, width, "logits")
        guard output.count >= needed, let base = output.baseAddress else {
            throw CabochonError(
                .bufferTooSmall, "logits of \(tokens.count) tokens need \(needed) floats, not \(output.count)")
        }
        let visitors = try InterventionVisitors(interventions, model: self).visitors
        try run(over: tokens, visitors: visitors, finalRows: .all, cancellation: cancellation) {
            (pass, firstRow, rows) throws(CabochonError) in
            try pass.head(
                residual: UnsafePointer(pass.workspace.residual.pointer), rows: rows, into: base + firstRow * width)
        }
    }

    /// Activations at named sites. Runs no layer past the last one asked for, and no head. Any thread.
    ///
    /// - Parameters:
    ///   - tokens: as for `logits`.
    ///   - sites: each in a layer that the model has.
    ///   - outputs: one buffer per site, [tokens, site.width(in: configuration)].
    /// - Throws: as `logits`; `.invalidArgument` for a layer that the model lacks.
    public func activations(
        of tokens: UnsafeBufferPointer<Int32>, at sites: [Site], into outputs: [UnsafeMutableBufferPointer<Float>],
        cancellation: Cancellation = Cancellation()
    ) throws(CabochonError) {
        guard sites.count == outputs.count else {
            throw CabochonError(.invalidArgument, "\(outputs.count) buffers for \(sites.count) sites")
        }
        var visitors = SiteVisitors()
        for (site, output) in zip(sites, outputs) {
            guard (0..<configuration.layerCount).contains(site.layer) else {
                throw CabochonError(
                    .invalidArgument, "site \(site.name): the model has layers 0 to \(configuration.layerCount - 1)")
            }
            let width = site.width(in: configuration)
            let needed = try Checked.multiply(tokens.count, width, "activations")
            guard output.count >= needed, let base = output.baseAddress else {
                throw CabochonError(.bufferTooSmall, "site \(site.name) needs \(needed) floats, not \(output.count)")
            }
            visitors.add(at: site) { rows in
                for token in 0..<rows.tokens {
                    (base + (rows.firstRow + token) * width).update(
                        from: rows.values + token * rows.stride, count: width)
                }
            }
        }
        try run(over: tokens, visitors: visitors, finalRows: .none, cancellation: cancellation) { _, _, _ in }
    }

    /// Takes the tokens through the layers in chunks, with a KV cache of the call's own.
    func run(
        over tokens: UnsafeBufferPointer<Int32>, visitors: SiteVisitors, finalRows: ForwardPass.FinalRows,
        cancellation: Cancellation,
        afterChunk: (ForwardPass, _ firstRow: Int, _ rows: Int) throws(CabochonError) -> Void
    ) throws(CabochonError) {
        guard !tokens.isEmpty else { throw CabochonError(.invalidArgument, "no tokens were given") }
        try check(tokens)
        guard tokens.count <= contextLength else {
            throw CabochonError(
                .contextExceeded, "\(tokens.count) tokens do not fit the context of \(contextLength)")
        }
        let cache = try KVCache(configuration: configuration, capacity: tokens.count, type: options.kvType)
        let execution = Execution(pool: engine.pool)
        let workspace = try Workspace(rows: min(tokens.count, ForwardPass.chunkSize), configuration: configuration)
        let pass = try forwardPass(execution: execution, workspace: workspace)
        for first in stride(from: 0, to: tokens.count, by: ForwardPass.chunkSize) {
            let chunk = UnsafeBufferPointer(rebasing: tokens[first..<min(tokens.count, first + ForwardPass.chunkSize)])
            try pass.run(
                Batch(tokens: chunk, cache: cache, firstPosition: first), visitors: visitors, firstRow: first,
                finalRows: finalRows, cancellation: cancellation)
            try afterChunk(pass, first, chunk.count)
        }
    }
}
