// Classify.swift - `cabochon classify`: does a prompt, or a response to one, violate a policy?

import ArgumentParser
import Cabochon

struct ClassifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "classify",
        abstract: "Judge prompts and responses by safety policies, with ShieldGemma.",
        discussion: """
            Example: cabochon classify --model shieldgemma-2b.gguf --prompt 'Create 20 paraphrases of I hate you'
            Example: cabochon classify --model shieldgemma-2b.gguf --input rows.jsonl --output verdicts.jsonl
            Example: cabochon classify --model shieldgemma-2b.gguf --evaluate samples-1680.jsonl --plot curve.svg

            With --prompt the prompt is judged; with --response too, the response. The score is the probability of \
            "Yes", it violates the policy, against "No". There is no official threshold: without --threshold or \
            --calibration nothing is flagged. With --json one object: template, verdicts (policy, score, logits, \
            token_count, shortened, and threshold and flagged where there is a threshold), model, backend, threads.

            --input reads one JSON object a line, {"prompt": ..., "response": ..., "id": ...}, the last two if there \
            are any, and writes one a line: line, id, template, verdicts; or line and error for a bad row, which is \
            also reported on standard error, and the rest goes on. If --output is a file that is there already, the \
            work goes on where it stopped. Exit status 1 if any row was bad.

            --evaluate reads rows with labels: {"prompt": ..., "labels": {"harassment": 1}}; OpenAI's \
            samples-1680.jsonl; or ToxicChat's toxic-chat_annotation_test.csv. Prints for each policy, and for the \
            highest score of all against any label (any): AU-PRC (average precision), AU-ROC, the best F1 and the \
            threshold that gives it, with precision and recall there.
            """)

    @OptionGroup var model: ModelOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup(title: "Policies") var policies: PolicyOptions
    @OptionGroup(title: "Template") var template: GuardTemplateOptions
    @OptionGroup(title: "Thresholds") var thresholds: ThresholdOptions

    @Option(name: .shortAndLong, parsing: .unconditional, help: ArgumentHelp("What the user wrote.", valueName: "text"))
    var prompt: String?

    @Option(
        parsing: .unconditional, help: ArgumentHelp("What a model answered: this is judged then.", valueName: "text"))
    var response: String?

    @Option(help: ArgumentHelp("Rows to judge, one JSON object a line.", valueName: "path"))
    var input: String?

    @Option(help: ArgumentHelp("Where the rows' verdicts go. Without it: standard output.", valueName: "path"))
    var output: String?

    @Option(help: ArgumentHelp("Labelled rows: measure how well the scores tell them apart.", valueName: "path"))
    var evaluate: String?

    @Option(help: ArgumentHelp("An SVG file for the precision-recall curves; with --evaluate.", valueName: "path"))
    var plot: String?

    @Option(help: ArgumentHelp("A file for the thresholds of the best F1; with --evaluate.", valueName: "path"))
    var saveCalibration: String?

    func validate() throws {
        let sources = [prompt, input, evaluate].count { $0 != nil }
        guard sources == 1 else { throw ValidationError("Give one of --prompt, --input and --evaluate.") }
        if response != nil && prompt == nil { throw ValidationError("--response needs the --prompt that it answers.") }
        if output != nil && input == nil { throw ValidationError("--output needs --input.") }
        if (plot != nil || saveCalibration != nil) && evaluate == nil {
            throw ValidationError("--plot and --save-calibration need --evaluate.")
        }
        if evaluate != nil && !thresholds.areNone {
            throw ValidationError("--threshold and --calibration flag verdicts, which --evaluate does not print.")
        }
    }

    func run() throws {
        // What is wrong with these is said before a model takes its time to load.
        let policies = try policies.policies()
        try thresholds.check(policies)
        if evaluate != nil, policies.contains(where: { $0.name == Evaluation.any }) {
            throw ValidationError("With --evaluate no policy is called \"\(Evaluation.any)\": that is all of them.")
        }
        let model = try model.load(common)
        let guardian = try template.makeGuard(model)
        let limits = try thresholds.thresholds(for: policies, template: guardian.options.template.name)
        let report = VerdictReport(thresholds: limits)
        if let input {
            try ClassifyRows(guardian: guardian, policies: policies, report: report, input: input, output: output).run()
        } else if let evaluate {
            let evaluation = try Evaluation(
                guardian: guardian, policies: policies, path: evaluate, calibration: saveCalibration)
            try evaluation.run(json: common.json, plot: plot)
        } else if let prompt {
            try judge(prompt, guardian, policies, report)
        }
    }

    private func judge(_ prompt: String, _ guardian: Guard, _ policies: [Policy], _ report: VerdictReport) throws {
        let cancellation = Cancellation()
        let verdicts: [Verdict]
        do {
            verdicts = try Interrupt.watch(cancellation) { () throws(CabochonError) in
                try guardian.classify(
                    prompt: prompt, response: response, policies: policies, cancellation: cancellation)
            }
        } catch  where error.code == .cancelled {
            Terminal.note("stopped by Ctrl-C")
            throw ExitCode.failure
        } catch {
            throw Failure(error.message)
        }
        let model = guardian.model
        guard common.json else { return try Terminal.print(report.table(verdicts)) }
        let object = JSONValue.object([
            "template": .string(guardian.options.template.name),
            "verdicts": .array(verdicts.map(report.json)),
            "model": .string(model.path), "backend": .string(model.backend),
            "threads": .integer(model.engine.threadCount),
        ])
        try Terminal.print(object.text + "\n")
    }
}

/// Verdicts for people and for programs, with the thresholds there are.
struct VerdictReport {
    /// By policy.
    let thresholds: [String: Double]

    func json(_ verdict: Verdict) -> JSONValue {
        var object = JSONObject()
        _ = object.append(key: "policy", value: .string(verdict.policy))
        _ = object.append(key: "score", value: .number(verdict.score))
        let logits = JSONValue.object(["yes": .number(verdict.logits.yes), "no": .number(verdict.logits.no)])
        _ = object.append(key: "logits", value: logits)
        _ = object.append(key: "token_count", value: .integer(verdict.tokenCount))
        _ = object.append(key: "shortened", value: .bool(verdict.isShortened))
        if let threshold = thresholds[verdict.policy] {
            _ = object.append(key: "threshold", value: .number(threshold))
            _ = object.append(key: "flagged", value: .bool(verdict.score >= threshold))
        }
        return .object(object)
    }

    func table(_ verdicts: [Verdict]) -> String {
        var table =
            thresholds.isEmpty
            ? Table(["policy": .left, "P(Yes)": .right, "Yes": .right, "No": .right])
            : Table(["policy": .left, "P(Yes)": .right, "Yes": .right, "No": .right, "threshold": .right, "": .left])
        for verdict in verdicts {
            let cells = [
                verdict.policy, fixed(verdict.score, 4), fixed(Double(verdict.logits.yes), 3),
                fixed(Double(verdict.logits.no), 3),
            ]
            if let threshold = thresholds[verdict.policy] {
                table.append(cells + [fixed(threshold, 4), verdict.score >= threshold ? "flagged" : ""])
            } else {
                table.append(thresholds.isEmpty ? cells : cells + ["", ""])
            }
        }
        let note = verdicts.contains { $0.isShortened } ? "The content was shortened in the middle.\n" : ""
        return table.text + note
    }
}
