// TokenOrder.swift - where a cut falls among the tokens, the most probable first.
//
// Top-k and top-p keep the first tokens of an order that nobody needs in full: sorting 262,144 logits took four
// times as long as Gemma 3 270M takes to make them. Tokens are counted, or their weights added, in narrow bins
// of logits instead, and only the bin that the cut falls into is sorted.

/// A place in the order: the larger logit comes first, the lower id on ties.
struct TokenRank {
    let logit: Float
    let token: Int32

    func precedes(_ other: TokenRank) -> Bool {
        logit > other.logit || (logit == other.logit && token < other.token)
    }

    /// Whether a token stands here or before. Never for a logit that is no number.
    func includes(_ logit: Float, _ token: Int) -> Bool {
        logit > self.logit || (logit == self.logit && token <= Int(self.token))
    }
}

struct TokenOrder {
    private static let binCount = 1024
    let logits: UnsafeMutableBufferPointer<Float>
    private let best: Float
    private let binsPerUnit: Float

    /// - Parameters:
    ///   - best: the largest of the logits, finite.
    ///   - floor: the lowest that anybody asks for; those below it share a bin.
    init(_ logits: UnsafeMutableBufferPointer<Float>, best: Float, floor: Float) {
        self.logits = logits
        self.best = best
        var lowest = best
        for logit in logits where logit < lowest && logit >= floor { lowest = logit }
        binsPerUnit = Float(Self.binCount) / (best - lowest)
    }

    private func bin(_ logit: Float) -> Int {
        let place = (best - logit) * binsPerUnit
        return place < Float(Self.binCount - 1) ? Int(place) : Self.binCount - 1
    }

    /// The last of the fewest tokens, the most probable first, whose weights together reach `limit`; the last
    /// of all where they don't.
    ///
    /// - Parameters:
    ///   - tokens: any ids, ascending.
    ///   - bound: tokens after it are passed over. It is the answer where there are no others.
    ///   - weight: of the token at an offset in `tokens`; not negative.
    @inline(__always)
    func last(
        of tokens: some RandomAccessCollection<Int32>, through bound: TokenRank, until limit: Double,
        weight: (Int) -> Double
    ) -> TokenRank {
        var sums = [Double](repeating: 0, count: Self.binCount)
        var isUsed = [Bool](repeating: false, count: Self.binCount)
        for (index, token) in tokens.enumerated() {
            let logit = logits[Int(token)]
            guard bound.includes(logit, Int(token)) else { continue }
            let bin = bin(logit)
            sums[bin] += weight(index)
            isUsed[bin] = true
        }
        var (before, sum) = (0.0, 0.0)
        var last = 0
        for bin in sums.indices where isUsed[bin] {
            last = bin
            before = sum
            sum += sums[bin]
            if sum >= limit { break }
        }
        var ranks: [(rank: TokenRank, weight: Double)] = []
        for (index, token) in tokens.enumerated() {
            let rank = TokenRank(logit: logits[Int(token)], token: token)
            guard bound.includes(rank.logit, Int(token)), bin(rank.logit) == last else { continue }
            ranks.append((rank, weight(index)))
        }
        ranks.sort { $0.rank.precedes($1.rank) }
        for (rank, weight) in ranks {
            before += weight
            if before >= limit { return rank }
        }
        return ranks.last?.rank ?? bound
    }
}
