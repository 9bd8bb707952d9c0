// ScopeEval.swift - `cabochon scope-eval`: how good a dictionary is, and what quantisation does to its features.

import ArgumentParser
import Cabochon
import Glibc

struct ScopeEvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scope-eval",
        abstract: "Measure a sparse autoencoder on a text: L0, unexplained variance, loss with it spliced in.",
        discussion: """
            Example: cabochon scope-eval --model gemma-2-2b.gguf --sae params.npz --site res --layer 12 --input pile.txt
            Example: cabochon scope-eval --model gemma-2-2b-bf16.gguf --sae params.npz --input pile.txt \\
                --against gemma-2-2b-q4_k_m.gguf

            The text is read in pieces of --context tokens, each with the token that begins a text before it. Prints the \
            number of active features per token (l0), the fraction of variance that the reconstruction leaves unexplained \
            (fvu), the loss of the model, with the reconstruction in place of the activations and with zeros there, in nats \
            per token, and the share of the loss between the last two that is recovered. Warns where l0 is far from what \
            the dictionary's path says. With --json one object of the same numbers.

            --against reads the text with a second model too, usually the same one in another quantisation, and says \
            which share of the activations survives: features of the first model that fire on the same token in the \
            second; and the features that survive least, of those that fire often enough to tell.
            """)

    @OptionGroup var model: ModelOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var dictionary: DictionaryOptions

    @Option(help: ArgumentHelp("A UTF-8 text.", valueName: "path"))
    var input: String

    @Option(help: ArgumentHelp("The same model in another quantisation.", valueName: "path"))
    var against: String?

    @Option(parsing: .unconditional, help: ArgumentHelp("Tokens of a piece.", valueName: "tokens"))
    var context: Int = 512

    @Option(parsing: .unconditional, help: ArgumentHelp("Tokens to read at most.", valueName: "tokens"))
    var maxTokens: Int = 20_000

    func validate() throws {
        guard context >= 3 else { throw ValidationError("--context is at least 3.") }
        guard maxTokens >= 2 else { throw ValidationError("--max-tokens is at least 2.") }
    }

    func run() throws {
        let text = try TextFile.read(input)
        let model = try model.load(common)
        let sae = try dictionary.load(for: model)
        let pieces = try orFail { () throws(CabochonError) in try self.pieces(of: text, model) }
        guard !pieces.isEmpty else { throw Failure("\(input): no text to measure on") }
        if let against { return try compare(model, against, sae, pieces) }
        var progress = Progress()
        let evaluation = try orFail { () throws(CabochonError) in try ScopeEvaluation(model: model, sae: sae) }
        for (index, piece) in pieces.enumerated() {
            try orFail { () throws(CabochonError) -> Void in
                try piece.withUnsafeBufferPointer { (piece) throws(CabochonError) in try evaluation.add(piece) }
            }
            progress.show(Double(index + 1) / Double(pieces.count), "\(index + 1) of \(pieces.count) pieces")
        }
        progress.finish()
        guard let scores = evaluation.scores else { throw Failure("\(input): no token to measure on") }
        let rows: [(String, Double)] = [
            ("l0", scores.l0), ("fvu", scores.fvu), ("explained_variance", scores.explainedVariance),
            ("loss", scores.loss),
            ("spliced_loss", scores.splicedLoss), ("zero_loss", scores.zeroLoss), ("delta_loss", scores.deltaLoss),
            ("loss_recovered", scores.lossRecovered),
        ]
        try show(rows, tokens: scores.tokens, sae: sae)
        if scores.isSuspicious {
            Terminal.note(
                "cabochon: l0 is \(fixed(scores.l0, 1)), where the dictionary's path says \(sae.averageL0 ?? 0): "
                    + "is it the right site, layer and model?")
        }
    }

    private func pieces(of text: String, _ model: Model) throws(CabochonError) -> [[Int32]] {
        let tokens = try model.tokenizer.encode(text, addBOS: false, parseSpecial: false).prefix(maxTokens)
        let size = min(context, model.contextLength) - 1
        return stride(from: 0, to: tokens.count, by: size).map { first in
            [model.tokenizer.vocabulary.special.bos] + tokens[first..<min(tokens.count, first + size)]
        }.filter { $0.count > 2 }
    }

    private func show(_ rows: [(String, Double)], tokens: Int, sae: SparseAutoencoder) throws(Failure) {
        if common.json {
            var object = JSONObject()
            _ = object.append(key: "tokens", value: .integer(tokens))
            for (name, value) in rows { _ = object.append(key: name, value: .number(value)) }
            _ = object.append(key: "average_l0", value: sae.averageL0.map { .integer($0) } ?? .null)
            try Terminal.print(JSONValue.object(object).text + "\n")
        } else {
            var table = Table(["": .left, "\(tokens) tokens": .right])
            for (name, value) in rows { table.append(name, fixed(value, 4)) }
            try Terminal.print(table.text)
        }
    }

    private func compare(_ model: Model, _ other: String, _ sae: SparseAutoencoder, _ pieces: [[Int32]]) throws {
        guard access(other, F_OK) == 0 else { throw Failure(path: other) }
        var survival = FeatureSurvival(width: sae.width)
        try orFail { () throws(CabochonError) -> Void in
            var options = Model.Options()
            options.backend = common.backend
            let second = try Model(path: other, engine: model.engine, options: options)
            try sae.checkFits(second)
            for piece in pieces {
                survival.add(try model.features(of: piece, [sae])[0], try second.features(of: piece, [sae])[0])
            }
        }
        let worst = survival.worst(10)
        if common.json {
            let object = JSONValue.object([
                "activations": .integer(survival.total), "surviving": .number(survival.share),
                "features": .integer(survival.counted), "features_surviving": .number(survival.featureShare),
                "worst": .array(
                    worst.map {
                        .object([
                            "feature": .integer($0.feature), "fired": .integer($0.fired),
                            "surviving": .number($0.share),
                        ])
                    }),
            ])
            return try Terminal.print(object.text + "\n")
        }
        try Terminal.print(
            """
            \(fixed(100 * survival.share, 1)) % of \(survival.total) activations survive in \(other)
            \(fixed(100 * survival.featureShare, 1)) % of the \(survival.counted) features that fired at least \
            \(FeatureSurvival.leastFired) times keep more than half of theirs

            """)
        var table = Table(["feature": .right, "fired": .right, "surviving": .right])
        for one in worst { table.append("\(one.feature)", "\(one.fired)", fixed(one.share, 3)) }
        try Terminal.print(table.text)
    }
}

/// Which features of one model fire on the same tokens in another.
private struct FeatureSurvival {
    /// Features that fired less often say little.
    static let leastFired = 10
    private var fired: [Int]
    private var kept: [Int]

    init(width: Int) {
        fired = Array(repeating: 0, count: width)
        kept = fired
    }

    mutating func add(_ first: Features, _ second: Features) {
        for row in 0..<first.rowCount where first.excluded[row] == 0 {
            let others = Set(second.indices[second.offsets[row]..<second.offsets[row + 1]])
            for index in first.indices[first.offsets[row]..<first.offsets[row + 1]] {
                fired[Int(index)] += 1
                if others.contains(index) { kept[Int(index)] += 1 }
            }
        }
    }

    var total: Int { fired.reduce(0, +) }
    var share: Double { total > 0 ? Double(kept.reduce(0, +)) / Double(total) : 1 }
    private var often: [Int] { fired.indices.filter { fired[$0] >= Self.leastFired } }
    var counted: Int { often.count }
    var featureShare: Double {
        let features = often
        return features.isEmpty ? 1 : Double(features.count { kept[$0] * 2 > fired[$0] }) / Double(features.count)
    }

    func worst(_ count: Int) -> [(feature: Int, fired: Int, share: Double)] {
        let all = often.map { (feature: $0, fired: fired[$0], share: Double(kept[$0]) / Double(fired[$0])) }
        return Array(all.sorted { ($0.share, $0.feature) < ($1.share, $1.feature) }.prefix(count))
    }
}
