// Sampler.swift - from logits to a token.
//
// In the order: logit bias, penalties, then (greedy) the largest, or temperature, top-k, top-p,
// min-p and a draw. What is kept is cut from one order, by logit and then by id, and drawn from in
// the order of ids, so the same seed gives the same token on every run.

import Glibc

/// SplitMix64 (Steele, Lea and Flood 2014): one word of state, the same numbers everywhere.
struct SplitMix64 {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// Uniform in [0, 1), 53 bits.
    mutating func nextUnit() -> Double { Double(next() >> 11) * 0x1p-53 }
}

struct Sampler {
    private let options: GenerationOptions
    private var random: SplitMix64
    private var counts: [Int32: Int] = [:]
    private var candidates: [Int32] = []  // ascending; room for all tokens
    private var weights: [Float] = []  // of the candidates, the most probable token's being 1

    init(options: GenerationOptions, seed: UInt64) {
        self.options = options
        random = SplitMix64(state: seed)
    }

    /// Applies bias and penalties in place: `logits` is then what probabilities are of.
    ///
    /// - Parameter sequence: all tokens so far.
    func adjust(_ logits: UnsafeMutableBufferPointer<Float>, after sequence: UnsafeBufferPointer<Int32>) {
        for (token, bias) in options.logitBias { logits[Int(token)] += bias }
        if options.repetitionPenalty != 1 {
            let looked = options.penaltyWindow == 0 ? sequence[...] : sequence.suffix(options.penaltyWindow)
            for token in Set(looked) {
                let logit = logits[Int(token)]
                logits[Int(token)] = logit > 0 ? logit / options.repetitionPenalty : logit * options.repetitionPenalty
            }
        }
        if options.presencePenalty != 0 || options.frequencyPenalty != 0 {
            for (token, count) in counts {
                logits[Int(token)] -= options.presencePenalty + options.frequencyPenalty * Float(count)
            }
        }
    }

    /// Chooses a token from adjusted logits; nil where the largest is not a finite number.
    mutating func choose(_ logits: UnsafeMutableBufferPointer<Float>) -> Int32? {
        if options.temperature == 0 { return Self.largest(logits) }
        return sample(logits)
    }

    /// Remembers a token of the answer.
    mutating func accept(_ token: Int32) {
        counts[token, default: 0] += 1
    }

    /// The token of the largest logit, the lowest id on ties, past those that are NaN; nil where that logit is not
    /// finite.
    static func largest(_ logits: UnsafeMutableBufferPointer<Float>) -> Int32? {
        typealias Vector = SIMD16<Float>
        let whole = logits.count / Vector.scalarCount * Vector.scalarCount
        let source = UnsafeRawBufferPointer(logits)
        var greatest = Vector(repeating: -.infinity)
        for index in stride(from: 0, to: whole, by: Vector.scalarCount) {
            let vector = source.loadUnaligned(fromByteOffset: index * MemoryLayout<Float>.stride, as: Vector.self)
            greatest.replace(with: vector, where: vector .> greatest)
        }
        var value = greatest.max()
        for index in whole..<logits.count where logits[index] > value { value = logits[index] }
        guard value.isFinite else { return nil }
        return logits.firstIndex(of: value).map { Int32($0) }
    }

    private mutating func sample(_ logits: UnsafeMutableBufferPointer<Float>) -> Int32? {
        guard let largest = Self.largest(logits) else { return nil }
        let best = logits[Int(largest)]
        // exp(-40) is below 1e-17 of the most probable token: all 262,144 of them together would not
        // move a draw of 53 bits.
        let floor = best - 40 * options.temperature
        let order = TokenOrder(logits, best: best, floor: floor)
        var last = TokenRank(logit: floor, token: .max)
        if options.topK > 0, options.topK < logits.count {
            last = order.last(
                of: 0..<Int32(logits.count), through: last, until: Double(options.topK), weight: { _ in 1 })
        }
        let count = collect(logits, through: last, best: best)
        if options.topP < 1 {
            // Of all tokens' probability where nothing was cut before, of the k kept ones' otherwise.
            let total = weights[..<count].reduce(0.0) { $0 + Double($1) }
            // Bins of their own where tokens were cut: how sums round should not depend on those.
            let order = options.topK > 0 ? TokenOrder(logits, best: best, floor: last.logit) : order
            last = order.last(
                of: candidates[..<count], through: last, until: Double(options.topP) * total,
                weight: { Double(weights[$0]) })
        }
        // The most probable token, of weight 1, always stays: min-p is at most 1.
        func isKept(_ index: Int) -> Bool {
            weights[index] >= options.minP && last.includes(logits[Int(candidates[index])], Int(candidates[index]))
        }
        var total = 0.0
        for index in 0..<count where isKept(index) { total += Double(weights[index]) }
        var target = random.nextUnit() * total
        var drawn = largest
        for index in 0..<count where isKept(index) {
            drawn = candidates[index]
            target -= Double(weights[index])
            if target < 0 { break }
        }
        return drawn
    }

    /// Fills `candidates` and `weights` with the tokens up to `last` in the order; returns how many they are.
    private mutating func collect(
        _ logits: UnsafeMutableBufferPointer<Float>, through last: TokenRank, best: Float
    ) -> Int {
        if candidates.count < logits.count {
            candidates = Array(repeating: 0, count: logits.count)
            weights = Array(repeating: 0, count: logits.count)
        }
        var count = 0
        for token in logits.indices where last.includes(logits[token], token) {
            candidates[count] = Int32(token)
            weights[count] = exp((logits[token] - best) / options.temperature)
            count += 1
        }
        return count
    }

    /// Log-probabilities of the chosen token and of the `count` most probable ones.
    static func logprobs(
        _ logits: UnsafeMutableBufferPointer<Float>, chosen: Int32, count: Int
    ) -> (chosen: TokenLogprob, alternatives: [TokenLogprob]) {
        let best = logits[Int(largest(logits) ?? chosen)]
        // A token whose logit is no number is never chosen, and has no part in the sum.
        var sum = 0.0
        for logit in logits where !logit.isNaN { sum += Double(exp(logit - best)) }
        // Taken from the differences: added to a logit of 1e38, it would be lost.
        let logOfSum = log(sum)
        var top: [TokenRank] = []
        if count > 0 {
            let order = TokenOrder(logits, best: best, floor: best - 40)
            let all = TokenRank(logit: -.infinity, token: .max)
            let last = order.last(of: 0..<Int32(logits.count), through: all, until: Double(count), weight: { _ in 1 })
            for token in logits.indices where last.includes(logits[token], token) {
                top.append(TokenRank(logit: logits[token], token: Int32(token)))
            }
            top.sort { $0.precedes($1) }
        }
        let entry = { (token: Int32) in
            TokenLogprob(token: token, logprob: Float(Double(logits[Int(token)]) - Double(best) - logOfSum))
        }
        return (entry(chosen), top.map { entry($0.token) })
    }
}
