// SamplerTests.swift - what sampling keeps and draws, against a full sort of the vocabulary.

import Foundation
import Testing

@testable import Cabochon

@Suite struct SamplerTests {
    /// Logits with ties, some below every floor, one infinitely low and one that is no number.
    private static func logits(_ count: Int, spread: Float, steps: Float, seed: UInt64) -> [Float] {
        var random = SplitMix64(state: seed)
        var logits = (0..<count).map { _ -> Float in
            let value = Float(random.nextUnit() + random.nextUnit() + random.nextUnit() - 1.5) * spread
            return (value * steps).rounded() / steps
        }
        logits[count / 3] = -.infinity
        logits[count / 2] = .nan
        return logits
    }

    private static func sorted(_ logits: [Float]) -> [Int] {
        logits.indices.filter { !logits[$0].isNaN }.sorted { (-logits[$0], $0) < (-logits[$1], $1) }
    }

    @Test(
        "A cut falls where a sort puts it, whatever the spread of the logits",
        arguments: [0, 1e-6, 0.5, 8, 300, 1e30] as [Float], [1, 2, 7, 64, 700, 998, 999, 5000])
    func cuts(_ spread: Float, _ count: Int) throws {
        for seed in 0..<4 as Range<UInt64> {
            var logits = Self.logits(1000, spread: spread, steps: seed % 2 == 0 ? 4 : 1e4, seed: seed)
            let sorted = Self.sorted(logits)
            let weights = (0..<1000).map { Double($0 % 7) }
            let mass = weights.reduce(0, +) * Double(count) / 1000
            var (sum, byMass) = (0.0, sorted.count - 1)
            for (place, token) in sorted.enumerated() {
                sum += weights[token]
                if sum >= mass {
                    byMass = place
                    break
                }
            }
            logits.withUnsafeMutableBufferPointer { logits in
                let all = TokenRank(logit: -.infinity, token: .max)
                let best = logits[sorted[0]]
                for floor in [best - 40, -.infinity] {
                    let order = TokenOrder(logits, best: best, floor: floor)
                    let last = order.last(of: 0..<1000, through: all, until: Double(count)) { _ in 1 }
                    #expect(Int(last.token) == sorted[min(count, sorted.count) - 1])
                    #expect(
                        Int(order.last(of: 0..<1000, through: all, until: mass) { weights[$0] }.token) == sorted[byMass]
                    )
                }
            }
        }
    }

    @Test("The largest logit is found at every place, the first of equals, past what is no number")
    func largest() {
        for count in [1, 15, 16, 17, 100] {
            for place in 0..<count {
                var logits = [Float](repeating: .nan, count: count)
                logits[place] = -3
                logits[count - 1] = max(-3, logits[count - 1].isNaN ? -3 : logits[count - 1])
                #expect(logits.withUnsafeMutableBufferPointer { Sampler.largest($0) } == Int32(place))
            }
            for value in [-Float.infinity, .infinity, .nan] {
                var none = [Float](repeating: value, count: count)
                #expect(none.withUnsafeMutableBufferPointer { Sampler.largest($0) } == nil)
            }
        }
    }

    struct Kept: Sendable {
        var topK = 0
        var topP: Float = 1
        var minP: Float = 0
    }

    @Test(
        "Draws are of what top-k, top-p and min-p keep, as often as their probabilities say",
        arguments: [
            Kept(), Kept(topK: 20), Kept(topP: 0.7), Kept(minP: 0.1), Kept(topK: 40, topP: 0.8, minP: 0.05),
        ])
    func draws(_ kept: Kept) throws {
        var logits = Self.logits(300, spread: 4, steps: 8, seed: 5)
        var options = GenerationOptions()
        (options.topK, options.topP, options.minP, options.temperature) = (kept.topK, kept.topP, kept.minP, 1.3)
        var expected = Self.sorted(logits).map { (token: $0, weight: exp(Double(logits[$0]) / 1.3)) }
        if kept.topK > 0 { expected.removeSubrange(kept.topK...) }
        let whole = expected.reduce(0) { $0 + $1.weight }
        var sum = 0.0
        expected = Array(
            expected.prefix { entry in
                defer { sum += entry.weight }
                return sum < Double(kept.topP) * whole
            })
        let largest = expected[0].weight
        expected = expected.filter { $0.weight >= Double(kept.minP) * largest }
        let total = expected.reduce(0) { $0 + $1.weight }

        var sampler = Sampler(options: options, seed: 11)
        var counts: [Int: Int] = [:]
        let draws = 20_000
        for _ in 0..<draws {
            let drawn = try #require(logits.withUnsafeMutableBufferPointer { sampler.choose($0) })
            counts[Int(drawn), default: 0] += 1
        }
        #expect(Set(counts.keys).isSubset(of: expected.map(\.token)))
        for (token, weight) in expected {
            let probability = weight / total
            let deviation = (probability * (1 - probability) * Double(draws)).squareRoot()
            #expect(abs(Double(counts[token, default: 0]) - probability * Double(draws)) <= 5 * deviation + 1)
        }
    }
}
