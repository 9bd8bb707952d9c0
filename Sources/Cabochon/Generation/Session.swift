// Session.swift - one sequence with its KV cache: append, read logits, step back, fork.
//
// A session belongs to one thread at a time; only `cancellation` may be touched by others. Every
// call either succeeds or leaves the session as it was: the cache's length is raised last.
//
// Tokens may run ahead of the cache: those past `cache.length` are computed when something needs
// them. So an answer's last token costs nothing until the conversation goes on, and after a
// truncation the new last token just runs again (with the same bits) where its logits are wanted.

import CabochonShims

public final class Session {
    public let model: Model
    /// Raised from any thread to stop the call under way, or the next one.
    public let cancellation: Cancellation
    /// Positions this session can hold.
    public let contextLength: Int
    /// Tokens in the session.
    public private(set) var length = 0
    /// Room for `contextLength` token ids: the sequence, and behind it those that are computed and not yet part of
    /// it. Reserved at once, as the cache is, so that no call needs memory for tokens.
    private let memory: ReservedMemory

    /// Who reads or edits the activations of what is computed; set while an answer is generated.
    var visitors = SiteVisitors()

    let cache: KVCache
    let execution: Execution
    private var workspace: Workspace?
    /// The final residual stream of the last position, from which logits are computed when asked for.
    private let lastResidual: Buffer<Float>  // [hiddenSize]
    /// The length of the sequence whose last position `lastResidual` belongs to.
    private var residualLength = 0

    init(
        model: Model, contextLength: Int, cancellation: Cancellation = Cancellation()
    ) throws(CabochonError) {
        guard model.weights != nil else { throw model.withoutWeights() }
        let lengths = GemmaConfiguration.contextLengths
        guard lengths.contains(contextLength) else {
            throw CabochonError(.invalidArgument, "context length \(contextLength) is not in \(lengths)")
        }
        self.model = model
        self.contextLength = contextLength
        self.cancellation = cancellation
        memory = try ReservedMemory(
            byteCount: contextLength * MemoryLayout<Int32>.stride, for: "\(contextLength) token ids")
        cache = try KVCache(configuration: model.configuration, capacity: contextLength, type: model.options.kvType)
        execution = Execution(pool: model.engine.pool)
        lastResidual = try Buffer(count: model.configuration.hiddenSize, for: "the last position")
    }

    private var ids: UnsafeMutablePointer<Int32> { memory.pointer.assumingMemoryBound(to: Int32.self) }

    /// The sequence so far, oldest token first. Valid until the session changes.
    public var sequence: UnsafeBufferPointer<Int32> { UnsafeBufferPointer(start: ids, count: length) }

    /// A copy of the sequence.
    public var tokens: [Int32] { Array(sequence) }

    /// Appends tokens and computes their keys and values. All or nothing.
    ///
    /// - Throws: `.invalidArgument` for a token outside the vocabulary, `.contextExceeded` with both
    ///   numbers, `.cancelled`, `.outOfMemory`; the session is then as before.
    public func append(_ newTokens: UnsafeBufferPointer<Int32>) throws(CabochonError) {
        guard !newTokens.isEmpty else { return }
        try compute(try rows(toAppend: newTokens), finalRows: 1)
        length += newTokens.count
        cache.commit(length: length)
    }

    /// The tokens that must go through the layers for `newTokens` to be appended: those whose keys and
    /// values are not in the cache yet, and then the new ones. Valid until the session changes.
    func rows(toAppend newTokens: UnsafeBufferPointer<Int32>) throws(CabochonError) -> UnsafeBufferPointer<Int32> {
        try check(newTokens)
        if let base = newTokens.baseAddress { (ids + length).update(from: base, count: newTokens.count) }
        return UnsafeBufferPointer(start: ids + cache.length, count: length + newTokens.count - cache.length)
    }

    /// Takes over the first `count` tokens of `rows(toAppend:)`, whose keys and values are in the cache by now.
    ///
    /// - Parameter residual: the final residual stream of the last one, [hiddenSize].
    func commit(_ count: Int, residual: UnsafePointer<Float>) {
        length += count
        cache.commit(length: length)
        lastResidual.pointer.update(from: residual, count: lastResidual.count)
        residualLength = length
    }

    /// Positions that logits do not compute again: all that the cache holds, but the last where its
    /// residual stream is gone.
    private var settledLength: Int { residualLength == length ? cache.length : min(cache.length, max(length - 1, 0)) }

    /// Has the last position computed again where something needs it, as after a restore: interventions do not find
    /// it computed without them, nor leave it computed with them.
    func forgetLastPosition() { residualLength = 0 }

    /// The final residual stream of the last position, [hiddenSize], valid until the session changes.
    func finalResidual() throws(CabochonError) -> UnsafePointer<Float> {
        guard length > 0 else {
            throw CabochonError(.invalidArgument, "a session without tokens has no logits: append some first")
        }
        if settledLength < length {
            cache.truncate(to: settledLength)
            try compute(UnsafeBufferPointer(rebasing: sequence[cache.length...]), finalRows: 1)
            cache.commit(length: length)
        }
        return UnsafePointer(lastResidual.pointer)
    }

    /// Appends a token whose keys and values are computed when something needs them.
    func appendLater(_ token: Int32) throws(CabochonError) {
        try withUnsafePointer(to: token) { (pointer) throws(CabochonError) in
            try check(UnsafeBufferPointer(start: pointer, count: 1))
        }
        ids[length] = token
        length += 1
    }

    /// Refuses tokens that cannot be appended.
    func check(_ newTokens: UnsafeBufferPointer<Int32>) throws(CabochonError) {
        try model.check(newTokens)
        guard newTokens.count <= contextLength - length else {
            throw CabochonError(
                .contextExceeded,
                "\(length) + \(newTokens.count) tokens do not fit the session's context of \(contextLength)")
        }
    }

    /// Runs tokens that follow the cache's positions through the layers, in chunks, and leaves the final
    /// residual stream of the last `finalRows` of them in the workspace.
    private func compute(_ rows: UnsafeBufferPointer<Int32>, finalRows: Int) throws(CabochonError) {
        let hidden = model.configuration.hiddenSize
        for first in stride(from: 0, to: rows.count, by: ForwardPass.chunkSize) {
            let chunk = UnsafeBufferPointer(rebasing: rows[first..<min(rows.count, first + ForwardPass.chunkSize)])
            let isLast = first + chunk.count == rows.count
            let pass = try forwardPass(rows: chunk.count)
            try pass.run(
                Batch(tokens: chunk, cache: cache, firstPosition: cache.length + first), visitors: visitors,
                firstRow: first, finalRows: .some(isLast ? Array(chunk.count - finalRows..<chunk.count) : []),
                cancellation: cancellation)
            guard isLast else { continue }
            lastResidual.pointer.update(
                from: pass.workspace.residual.pointer + (finalRows - 1) * hidden, count: hidden)
            residualLength = cache.length + rows.count
        }
    }

    /// Appends tokens from an array.
    public func append(_ newTokens: [Int32]) throws(CabochonError) {
        try newTokens.withUnsafeBufferPointer { (buffer) throws(CabochonError) in try append(buffer) }
    }

    private func forwardPass(rows: Int) throws(CabochonError) -> ForwardPass {
        if let workspace, workspace.rows >= rows {
            return try model.forwardPass(execution: execution, workspace: workspace)
        }
        let larger = try Workspace(rows: rows, configuration: model.configuration)
        workspace = larger
        return try model.forwardPass(execution: execution, workspace: larger)
    }

    /// Logits after the last position, after the final softcap.
    ///
    /// - Parameter output: [vocabularySize]
    /// - Throws: `.invalidArgument` for an empty session, `.bufferTooSmall`, `.cancelled`, `.outOfMemory`.
    public func logits(into output: UnsafeMutableBufferPointer<Float>) throws(CabochonError) {
        guard output.count >= model.configuration.vocabularySize, let base = output.baseAddress else {
            throw CabochonError(
                .bufferTooSmall, "logits need \(model.configuration.vocabularySize) floats, not \(output.count)")
        }
        let residual = try finalResidual()
        // Where nothing had to go through the layers, nobody has asked yet.
        try cancellation.check()
        let pass = try forwardPass(rows: 1)
        try pass.head(residual: residual, rows: 1, into: base)
    }

    /// The `count` largest logits after the last position, and those equal to the last of them, as
    /// `logits(into:)` gives them; others may be -infinity.
    ///
    /// - Parameter output: [vocabularySize]
    func logits(largest count: Int, into output: UnsafeMutableBufferPointer<Float>) throws(CabochonError) {
        guard output.count >= model.configuration.vocabularySize, let base = output.baseAddress else {
            throw CabochonError(.internal, "too small a buffer for logits")
        }
        let residual = try finalResidual()
        try cancellation.check()
        try forwardPass(rows: 1).head(largest: count, residual: residual, into: base)
    }

    /// Logits after the last token and after each of `guesses`, which follow it on trial: the cache holds
    /// them, but the session does not until `appendLater` and `confirmGuess` say so for each.
    ///
    /// - Parameter output: [guesses + 1, vocabularySize]
    func logits(afterLastAnd guesses: [Int32], into output: UnsafeMutableBufferPointer<Float>) throws(CabochonError) {
        let rows = try guesses.withUnsafeBufferPointer { (guesses) throws(CabochonError) in
            try self.rows(toAppend: guesses)
        }
        let count = guesses.count + 1
        guard rows.count >= count, rows.count <= ForwardPass.chunkSize, let base = output.baseAddress else {
            throw CabochonError(.internal, "guesses after a token that has been computed, or too many")
        }
        try compute(rows, finalRows: count)
        let pass = try forwardPass(rows: count)
        try pass.head(residual: UnsafePointer(pass.workspace.residual.pointer), rows: count, into: base)
        cache.commit(length: length)
    }

    /// The last token was guessed: its keys and values are in the cache.
    func confirmGuess() {
        cache.commit(length: length)
    }

    /// Forgets all tokens from `newLength` on.
    ///
    /// - Throws: `.invalidArgument` if it is negative or above `length`.
    public func truncate(to newLength: Int) throws(CabochonError) {
        guard (0...length).contains(newLength) else {
            throw CabochonError(.invalidArgument, "cannot truncate \(length) tokens to \(newLength)")
        }
        guard newLength < length else { return }
        length = newLength
        cache.truncate(to: newLength)
    }

    /// Runs calls that only append and generate. Where they throw, all of that is undone; a last token that was
    /// computed meanwhile, perhaps steered, will be computed again.
    public func allOrNothing<Result>(_ calls: () throws(CabochonError) -> Result) throws(CabochonError) -> Result {
        let (lengthBefore, settledBefore) = (length, settledLength)
        do throws(CabochonError) { return try calls() } catch {
            try truncate(to: lengthBefore)
            cache.truncate(to: settledBefore)
            throw error
        }
    }

    /// A session with the same tokens that goes its own way from here.
    public func fork() throws(CabochonError) -> Session {
        let copy = try Session(model: model, contextLength: contextLength)
        try copy.follow(self, to: length)
        return copy
    }

    /// Becomes a copy of another session's first `end` tokens. What the two have in common stays where it
    /// is; only what follows is copied.
    ///
    /// - Throws: `.contextExceeded` where they do not fit.
    func follow(_ other: Session, to end: Int) throws(CabochonError) {
        guard end <= contextLength else {
            throw CabochonError(
                .contextExceeded, "\(end) tokens do not fit the session's context of \(contextLength)")
        }
        let end = min(end, other.length)
        try truncate(to: sharedPrefixLength(sequence, other.sequence.prefix(end)))
        cache.copyPositions(of: other.cache, to: end)
        ids.update(from: other.ids, count: end)
        length = end
        residualLength = 0
        guard end == other.residualLength else { return }
        lastResidual.pointer.update(from: other.lastResidual.pointer, count: lastResidual.count)
        residualLength = end
    }

    /// Becomes a sequence whose keys and values, as far as there are any, are in the cache already.
    ///
    /// - Parameter bytes: at most `contextLength` Int32, at any alignment.
    func adopt(_ bytes: UnsafeRawBufferPointer) throws(CabochonError) {
        UnsafeMutableRawBufferPointer(start: ids, count: bytes.count).copyMemory(from: bytes)
        length = bytes.count / MemoryLayout<Int32>.stride
        try model.check(sequence)
    }
}

/// How many tokens at the beginning two texts have in common.
func sharedPrefixLength(_ one: some Sequence<Int32>, _ other: some Sequence<Int32>) -> Int {
    zip(one, other).prefix { $0 == $1 }.count
}

func monotonicNanoseconds() -> UInt64 { cabochon_shim_nanoseconds() }
