// ScopeEvaluation.swift - how well a dictionary says what a model's activations are.
//
// The measures of the Gemma Scope paper (arXiv 2408.05147, section 4): active features, the part of
// the variance that the reconstruction leaves unexplained, and what splicing it in does to the loss,
// beside what zeros in its place do. Tokens that dictionaries are not trained on are left out.

import Glibc

/// The numbers so far.
public struct ScopeScores: Sendable {
    /// Tokens that count.
    public let tokens: Int
    /// Active features per token.
    public let l0: Double
    /// Fraction of variance unexplained: |x - reconstruction|^2 over |x - mean|^2.
    public let fvu: Double
    public var explainedVariance: Double { 1 - fvu }
    /// Mean negative log-likelihood of the next token, in nats: as the model is, with the reconstruction
    /// spliced in, and with zeros in its place.
    public let loss, splicedLoss, zeroLoss: Double
    public var deltaLoss: Double { splicedLoss - loss }
    /// 1: the reconstruction is as good as the activations; 0: as zeros.
    public var lossRecovered: Double { (zeroLoss - splicedLoss) / (zeroLoss - loss) }
    /// Whether L0 is so far from what the path says that site, layer or model is probably wrong.
    public let isSuspicious: Bool
}

/// Gathers scores text by text. One thread at a time.
public final class ScopeEvaluation {
    public let model: Model
    public let sae: SparseAutoencoder
    private var tokens = 0
    private var active = 0
    private var predictions = 0
    private var losses = (plain: 0.0, spliced: 0.0, zero: 0.0)
    private var residualSquares = 0.0
    private var squares = 0.0
    private var sums: [Double]

    /// - Throws: `.invalidArgument` for a dictionary that does not fit the model.
    public init(model: Model, sae: SparseAutoencoder) throws(CabochonError) {
        try sae.checkFits(model)
        self.model = model
        self.sae = sae
        sums = Array(repeating: 0, count: sae.outputSize)
    }

    /// Adds one text: three passes.
    ///
    /// - Parameter text: at least two tokens, at most the model's context.
    /// - Throws: as `Model.logits`.
    public func add(_ text: UnsafeBufferPointer<Int32>, cancellation: Cancellation = Cancellation())
        throws(CabochonError)
    {
        guard text.count >= 2 else { throw CabochonError(.invalidArgument, "\(text.count) tokens predict nothing") }
        let target = try Buffer<Float>(count: text.count * sae.outputSize, for: "activations")
        let source = try Buffer<Float>(count: text.count * sae.inputSize, for: "activations")
        let watching = try InterventionVisitors(Interventions(watch: [sae]), model: model)
        var visitors = watching.visitors
        for (site, buffer, size) in [(sae.site, source, sae.inputSize), (sae.outputSite, target, sae.outputSize)] {
            visitors.add(at: site) { rows in
                for row in 0..<rows.tokens {
                    (buffer.pointer + (rows.firstRow + row) * size).update(
                        from: rows.values + row * rows.stride, count: size)
                }
            }
        }
        let plain = try loss(of: text, visitors, cancellation)
        let splicing = try InterventionVisitors(Interventions(splice: [sae]), model: model)
        let spliced = try loss(of: text, splicing.visitors, cancellation)
        var zeros = SiteVisitors()
        let bos = model.tokenizer.vocabulary.special.bos
        zeros.add(at: sae.outputSite) { rows in
            for row in 0..<rows.tokens where rows.batch.tokens[row] != bos {
                for i in 0..<rows.width { rows.values[row * rows.stride + i] = 0 }
            }
        }
        let zero = try loss(of: text, zeros, cancellation)
        let features = try watching.watchers[0].take().features
        try measure(features, source: source, target: target)
        losses.plain += plain.sum
        losses.spliced += spliced.sum
        losses.zero += zero.sum
        predictions += plain.count
    }

    private func measure(_ features: Features, source: Buffer<Float>, target: Buffer<Float>) throws(CabochonError) {
        let size = sae.outputSize
        let rebuilt = try Buffer<Float>(count: features.rowCount * size, for: "reconstructions")
        try sae.decode(
            features, input: UnsafePointer(source.pointer), into: rebuilt.pointer, stride: size, on: model.engine.pool
        ) { features.excluded[$0] == 0 }
        let factor = sae.outputFactor(in: model)
        for token in 0..<features.rowCount where features.excluded[token] == 0 {
            tokens += 1
            active += features.offsets[token + 1] - features.offsets[token]
            for i in 0..<size {
                let value = Double(target.pointer[token * size + i])
                let difference = value - Double(rebuilt.pointer[token * size + i] * factor)
                residualSquares += difference * difference
                squares += value * value
                sums[i] += value
            }
        }
    }

    /// The sum of the next tokens' negative log-likelihoods, and their number.
    private func loss(
        of text: UnsafeBufferPointer<Int32>, _ visitors: SiteVisitors, _ cancellation: Cancellation
    ) throws(CabochonError) -> (sum: Double, count: Int) {
        let (width, slice) = (model.configuration.vocabularySize, 32)
        let logits = try Buffer<Float>(count: slice * width, for: "logits")
        let excluded = model.tokensWithoutFeatures
        var (sum, count) = (0.0, 0)
        try model.run(over: text, visitors: visitors, finalRows: .all, cancellation: cancellation) {
            (pass, firstRow, rows) throws(CabochonError) in
            for first in stride(from: 0, to: rows, by: slice) {
                let some = min(slice, rows - first)
                let residual = pass.workspace.residual.pointer + first * model.configuration.hiddenSize
                try pass.head(residual: UnsafePointer(residual), rows: some, into: logits.pointer)
                for row in 0..<some {
                    let position = firstRow + first + row
                    guard position + 1 < text.count, !excluded.contains(text[position]) else { continue }
                    sum -= logProbability(of: text[position + 1], logits.pointer + row * width, width)
                    count += 1
                }
            }
        }
        return (sum, count)
    }

    /// What has been measured; nil before there is anything.
    public var scores: ScopeScores? {
        guard tokens > 0, predictions > 0 else { return nil }
        let mean = sums.reduce(0.0) { $0 + $1 * $1 } / Double(tokens)
        let l0 = Double(active) / Double(tokens)
        let count = Double(predictions)
        let isSuspicious = sae.averageL0.map { $0 > 0 && (l0 > 4 * Double($0) || l0 * 4 < Double($0)) } ?? false
        return ScopeScores(
            tokens: tokens, l0: l0, fvu: residualSquares / max(squares - mean, .leastNormalMagnitude),
            loss: losses.plain / count, splicedLoss: losses.spliced / count, zeroLoss: losses.zero / count,
            isSuspicious: isSuspicious)
    }
}

private func logProbability(of token: Int32, _ logits: UnsafePointer<Float>, _ count: Int) -> Double {
    var largest = -Float.infinity
    for i in 0..<count { largest = max(largest, logits[i]) }
    var sum = 0.0
    for i in 0..<count { sum += exp(Double(logits[i] - largest)) }
    return Double(logits[Int(token)] - largest) - log(sum)
}
