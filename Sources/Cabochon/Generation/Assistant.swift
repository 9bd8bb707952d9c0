// Assistant.swift - guesses at the next tokens, which the model checks in one forward pass.
//
// Checking k tokens at once reads the weights once instead of k times (Leviathan et al. 2022). Every
// token is still sampled from the model's own logits, in order and by the same draws, and a guess
// counts only where it is that token: so the answer is exactly the one without an assistant, at any
// temperature, wherever the backend gives the same bits for one row and for several.

/// Who guesses.
public enum Assistance: Sendable {
    /// What followed the last tokens where they occurred before (Saxena 2023): good for answers that
    /// quote their prompt.
    case promptLookup
    /// A smaller model with the same vocabulary, decoding greedily.
    case draft(Model)
}

/// Guesses for one answer.
struct Assistant {
    private enum Source {
        case lookup
        case draft(Session)
    }

    /// The most tokens guessed at once. A guess that fails costs its share of one forward pass, and
    /// the chance that k guesses all hold falls with k.
    private static let most = 8
    private let source: Source

    /// - Throws: `.invalidArgument` where the draft model's vocabulary is another, with both sizes.
    init(_ assistance: Assistance, for session: Session) throws(CabochonError) {
        switch assistance {
        case .promptLookup: source = .lookup
        case .draft(let model):
            let (own, other) = (session.model.tokenizer.vocabulary.count, model.tokenizer.vocabulary.count)
            guard own == other else {
                throw CabochonError(
                    .invalidArgument,
                    "the draft model has \(other) pieces, \(session.model.path) has \(own): not the same")
            }
            // Who cancels the answer means all that is computed for it.
            source = .draft(
                try Session(model: model, contextLength: session.contextLength, cancellation: session.cancellation))
        }
    }

    /// Reads what a draft model has not read of `tokens`, as guessing after them would do first. A prompt may have
    /// ids without a piece, which the draft model has no rows for: it reads no further then.
    func read(_ tokens: UnsafeBufferPointer<Int32>) throws(CabochonError) {
        guard case .draft(let session) = source else { return }
        let rows = session.model.configuration.vocabularySize
        let tokens = UnsafeBufferPointer(rebasing: tokens.prefix { $0 < rows })
        try session.truncate(to: sharedPrefixLength(session.sequence, tokens))
        try session.append(UnsafeBufferPointer(rebasing: tokens[session.length...]))
    }

    /// Tokens that may follow `tokens`, at most `limit`.
    func guess(after tokens: UnsafeBufferPointer<Int32>, limit: Int) throws(CabochonError) -> [Int32] {
        let limit = min(limit, Self.most)
        guard limit > 0 else { return [] }
        switch source {
        case .lookup: return Self.lookUp(tokens, limit: limit)
        case .draft(let session):
            try read(tokens)
            guard session.length == tokens.count else { return [] }
            return try draft(limit, from: session)
        }
    }

    /// What followed the latest earlier occurrence of the last three tokens, or else two.
    private static func lookUp(_ tokens: UnsafeBufferPointer<Int32>, limit: Int) -> [Int32] {
        for size in [3, 2] where tokens.count > size {
            let pattern = tokens.suffix(size)
            for start in stride(from: tokens.count - size - 1, through: 0, by: -1)
            where tokens[start..<start + size].elementsEqual(pattern) {
                return Array(tokens[(start + size)...].prefix(limit))
            }
        }
        return []
    }

    private func draft(_ limit: Int, from session: Session) throws(CabochonError) -> [Int32] {
        let logits = try Buffer<Float>(count: session.model.configuration.vocabularySize, for: "draft logits")
        let pieceCount = session.model.tokenizer.vocabulary.count
        var guesses: [Int32] = []
        let most = min(limit, session.contextLength - session.length)
        while guesses.count < most {
            try session.logits(into: logits.elements)
            // The two models have these pieces in common; either may have rows beyond them.
            let own = UnsafeMutableBufferPointer(rebasing: logits.elements[..<pieceCount])
            guard let token = Sampler.largest(own) else { break }
            guesses.append(token)
            try session.appendLater(token)
        }
        return guesses
    }
}
