// BenchRun.swift - times the cases of one model in one session.
//
// The clock runs over calls that a program would make: append, then logits of the last position.
// What comes after a repetition (stepping back to its start) and before it (the limits) is not timed.

import Cabochon
import Glibc

final class BenchRun {
    private let model: Model
    private let session: Session
    private let file: BenchFile
    /// Those asked for, which may be more than there are processors.
    private let threads: Int
    private let measuresLimits: Bool
    private let tokens: [Int32]
    private let logits: UnsafeMutableBufferPointer<Float>

    init(model: Model, threads: Int, cases: [BenchCase], measuresLimits: Bool) throws(Failure) {
        let length = cases.map { $0.depth + $0.tokens }.max() ?? 1
        self.model = model
        self.measuresLimits = measuresLimits
        self.threads = threads
        file = try BenchFile(model)
        session = try orFail { () throws(CabochonError) in try model.makeSession(contextLength: length) }
        // Any ids will do, since the cost does not depend on them; a fixed seed makes runs alike.
        var generator = SplitMix64(state: 1)
        let last = Int32(clamping: model.configuration.vocabularySize - 1)
        tokens = (0..<length).map { _ in Int32.random(in: 0...max(0, last), using: &generator) }
        logits = .allocate(capacity: model.configuration.vocabularySize)
    }

    deinit { logits.deallocate() }

    func measure(_ benchCase: BenchCase, repetitions: Int) throws(Failure) -> BenchResult {
        try prepare(benchCase)
        _ = try seconds(of: benchCase)
        var samples: [BenchResult.Sample] = []
        var before = try limits()
        for _ in 0..<repetitions {
            let seconds = try seconds(of: benchCase)
            let after = try limits()
            var between: BenchLimits?
            if let before, let after { between = .mean(before, after) }
            samples.append(BenchResult.Sample(tokensPerSecond: Double(benchCase.tokens) / seconds, limits: between))
            before = after
        }
        return BenchResult(
            file: file, backend: model.backend, threads: threads, benchCase: benchCase,
            samples: samples)
    }

    private func limits() throws(Failure) -> BenchLimits? {
        measuresLimits ? try BenchLimits.measure(threads: model.engine.threadCount) : nil
    }

    /// Leaves the session with what comes before the case's first token.
    private func prepare(_ benchCase: BenchCase) throws(Failure) {
        try orFail { () throws(CabochonError) in
            try session.truncate(to: min(session.length, benchCase.depth))
            try session.append(Array(tokens[session.length..<benchCase.depth]))
        }
    }

    private func seconds(of benchCase: BenchCase) throws(Failure) -> Double {
        let new = Array(tokens[benchCase.depth..<benchCase.depth + benchCase.tokens])
        return try orFail { () throws(CabochonError) in
            let start = ContinuousClock.now
            switch benchCase {
            case .prefill:
                try session.append(new)
                try session.logits(into: logits)
            case .decode:
                for token in new {
                    try session.append([token])
                    try session.logits(into: logits)
                }
            }
            let took = ContinuousClock.now - start
            try session.truncate(to: benchCase.depth)
            return Double(took.components.seconds) + 1e-18 * Double(took.components.attoseconds)
        }
    }
}

/// Steele, Lea and Flood's generator (OOPSLA 2014).
private struct SplitMix64: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
