// Evaluation.swift - `cabochon classify --evaluate`: scores of labelled rows, and what they are worth.

import ArgumentParser
import Cabochon

struct Evaluation {
    let guardian: Guard
    let policies: [Policy]
    let path: String
    /// Where thresholds go.
    private let calibration: String?
    private let rows: [LabelledRow]

    init(guardian: Guard, policies: [Policy], path: String, calibration: String?) throws(Failure) {
        let (rows, bad) = try LabelledRows.read(path)
        for (line, reason) in bad { Terminal.note("\(path):\(line): \(reason)") }
        guard !rows.isEmpty else { throw Failure("\(path): no row with labels") }
        // Said before the rows take their time.
        let areLabelled = rows.contains { row in policies.contains { row.labels[$0.name] != nil } }
        guard calibration == nil || areLabelled else {
            throw Failure("\(path): no row has a label for one of the policies, so there is no threshold to save")
        }
        self.guardian = guardian
        self.policies = policies
        self.path = path
        self.calibration = calibration
        self.rows = rows
    }

    func run(json: Bool, plot: String?) throws {
        let scored = try scoredRows()
        let evaluations = evaluate(scored)
        if let plot {
            let svg = PrecisionRecallPlot(curves: evaluations.map { ($0.name, $0.evaluation) }).svg
            try TextFile.write(svg, to: plot)
        }
        if let calibration {
            let best = evaluations.compactMap { entry in
                entry.name == Self.any ? nil : entry.evaluation.best.map { (policy: entry.name, score: $0.threshold) }
            }
            try Calibration.write(best, template: guardian.options.template.name, to: calibration)
        }
        try Terminal.print(json ? self.json(evaluations, scored.count).text + "\n" : Self.table(evaluations))
    }

    /// The highest score of all policies, against a label of any.
    static let any = "any"

    private func scoredRows() throws -> [(row: LabelledRow, verdicts: [Verdict])] {
        let cancellation = Cancellation()
        var progress = Progress()
        var scored: [(row: LabelledRow, verdicts: [Verdict])] = []
        do {
            try Interrupt.watch(cancellation) { () throws(CabochonError) in
                _ = try guardian.classify(rows.map(\.content), policies: policies, cancellation: cancellation) {
                    index, result in
                    switch result {
                    case .success(let verdicts): scored.append((rows[index], verdicts))
                    case .failure(let error):
                        progress.finish()
                        Terminal.note("\(path): row \(index + 1): \(error.message)")
                    }
                    progress.show(Double(index + 1) / Double(rows.count), "\(index + 1) of \(rows.count) rows")
                    return true
                }
            }
        } catch {
            progress.finish()
            guard Interrupt.wasRequested else { throw Failure(error.message) }
            Terminal.note("stopped by Ctrl-C")
            throw ExitCode.failure
        }
        progress.finish()
        return scored
    }

    private func evaluate(
        _ scored: [(row: LabelledRow, verdicts: [Verdict])]
    ) -> [(name: String, evaluation: ScoreEvaluation)] {
        var evaluations: [(name: String, evaluation: ScoreEvaluation)] = []
        for (index, policy) in policies.enumerated() {
            let scores = scored.compactMap { entry in
                entry.row.labels[policy.name].map { (score: entry.verdicts[index].score, isPositive: $0) }
            }
            if !scores.isEmpty { evaluations.append((policy.name, ScoreEvaluation(scores))) }
        }
        let highest = scored.map { entry in
            (score: entry.verdicts.map(\.score).max() ?? 0, isPositive: entry.row.isAnyViolated)
        }
        evaluations.append((Self.any, ScoreEvaluation(highest)))
        return evaluations
    }

    private static func table(_ evaluations: [(name: String, evaluation: ScoreEvaluation)]) -> String {
        var table = Table([
            "policy": .left, "rows": .right, "positive": .right, "AU-PRC": .right, "AU-ROC": .right, "best F1": .right,
            "threshold": .right, "precision": .right, "recall": .right,
        ])
        func cell(_ value: Double?) -> String { value.map { fixed($0, 4) } ?? "-" }
        for (name, evaluation) in evaluations {
            let best = evaluation.best
            table.append([
                name, "\(evaluation.positives + evaluation.negatives)", "\(evaluation.positives)",
                cell(evaluation.averagePrecision), cell(evaluation.areaUnderROC), cell(best?.f1), cell(best?.threshold),
                cell(best?.precision), cell(best?.recall),
            ])
        }
        return table.text
    }

    private func json(_ evaluations: [(name: String, evaluation: ScoreEvaluation)], _ count: Int) -> JSONValue {
        func number(_ value: Double?) -> JSONValue { value.map { .number($0) } ?? .null }
        var results = JSONObject()
        for (name, evaluation) in evaluations {
            let best = evaluation.best
            let figures = JSONValue.object([
                "rows": .integer(evaluation.positives + evaluation.negatives),
                "positives": .integer(evaluation.positives),
                "au_prc": number(evaluation.averagePrecision), "au_roc": number(evaluation.areaUnderROC),
                "best_f1": number(best?.f1), "threshold": number(best?.threshold),
                "precision": number(best?.precision), "recall": number(best?.recall),
            ])
            _ = results.append(key: name, value: figures)
        }
        return .object([
            "file": .string(path), "rows": .integer(count), "template": .string(guardian.options.template.name),
            "model": .string(guardian.model.path), "backend": .string(guardian.model.backend),
            "policies": .object(results),
        ])
    }
}
