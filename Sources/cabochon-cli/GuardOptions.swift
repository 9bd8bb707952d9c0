// GuardOptions.swift - which policies, which template, which thresholds: what `classify` is told.

import ArgumentParser
import Cabochon

struct PolicyOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A policy by name: dangerous_content, harassment, hate_speech, sexually_explicit, violence or obscenity; may be given several times. Without any: the first four.",
            valueName: "name"))
    var policy: [String] = []

    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A policy in your own words, in any language; may be given several times. Without a name it is called custom.",
            valueName: "[name=]text"))
    var policyText: [String] = []

    @Option(
        help: ArgumentHelp(
            "A file of policies: a JSON object of name and text (or of name and an object of prompt and response), or a text file with one policy, which is called as the file.",
            valueName: "path"))
    var policyFile: [String] = []

    func validate() throws {
        for name in policy {
            do throws(CabochonError) { _ = try Policy.named(name) } catch { throw ValidationError(error.message) }
        }
    }

    /// The policies in the order of the three options; without any, the guard's own.
    func policies() throws(Failure) -> [Policy] {
        var policies: [Policy] = []
        for name in policy {
            policies.append(try orFail { () throws(CabochonError) in try Policy.named(name) })
        }
        for argument in policyText {
            let (name, text) = Self.nameAndText(argument)
            policies.append(try orFail { () throws(CabochonError) in try Policy(name: name, text: text) })
        }
        for path in policyFile { policies += try Self.read(path) }
        return policies.isEmpty ? Guard.Options().policies : policies
    }

    /// "name=text", where the name is one word of letters, digits, "_" and "-".
    private static func nameAndText(_ argument: String) -> (String, String) {
        let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty,
            parts[0].allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" || $0 == "-" })
        else { return ("custom", argument) }
        return (String(parts[0]), String(parts[1]))
    }

    private static func read(_ path: String) throws(Failure) -> [Policy] {
        let text = try TextFile.readDocument(path)
        guard text.first(where: { !$0.isWhitespace }) == "{" else {
            let file = path.split(separator: "/").last.map(String.init) ?? path
            let name = file.split(separator: ".").first.map(String.init) ?? file
            var words = text
            while words.last?.isNewline == true { words.removeLast() }
            return [try orFail { () throws(CabochonError) in try Policy(name: name, text: words) }]
        }
        let value = try orFail { () throws(CabochonError) in try JSON.parse(text, name: path) }
        guard case .object(let object) = value else { throw Failure("\(path): not a JSON object") }
        var policies: [Policy] = []
        for (name, value) in object.entries {
            switch value {
            case .string(let text):
                policies.append(try orFail { () throws(CabochonError) in try Policy(name: name, text: text) })
            case .object(let texts):
                guard case .string(let prompt) = texts["prompt"], case .string(let response) = texts["response"] else {
                    throw Failure("\(path): policy \"\(name)\" needs the texts \"prompt\" and \"response\"")
                }
                policies.append(
                    try orFail { () throws(CabochonError) in
                        try Policy(name: name, promptText: prompt, responseText: response)
                    })
            default: throw Failure("\(path): policy \"\(name)\" is neither a text nor an object of texts")
            }
        }
        guard !policies.isEmpty else { throw Failure("\(path): no policy in it") }
        return policies
    }
}

struct GuardTemplateOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The text around the content: hf (the model's chat template), paper or cookbook. Scores of different templates do not compare.",
            valueName: "name"))
    var template = "hf"

    @Option(
        help: ArgumentHelp(
            "A template of your own: a JSON object with the texts prompt and response, in which {prompt}, {response} and {policy} are filled in.",
            valueName: "path"))
    var templateFile: String?

    @Flag(help: "Content that does not fit the context loses its middle instead of being refused.")
    var shorten = false

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Tokens of several rows that are worked on together.", valueName: "count"))
    var batchTokens = 2048

    func validate() throws {
        if batchTokens < 1 { throw ValidationError("--batch-tokens is at least 1.") }
        if templateFile == nil, !GuardTemplate.named.contains(where: { $0.name == template }) {
            throw ValidationError("--template is hf, paper or cookbook.")
        }
    }

    func makeGuard(_ model: Model) throws(Failure) -> Guard {
        var options = Guard.Options()
        options.shortensContent = shorten
        options.tokenBudget = batchTokens
        options.template = try guardTemplate()
        return try orFail { () throws(CabochonError) in try Guard(model: model, options: options) }
    }

    private func guardTemplate() throws(Failure) -> GuardTemplate {
        guard let templateFile else {
            return try orFail { () throws(CabochonError) in try GuardTemplate.named(template) }
        }
        let text = try TextFile.readDocument(templateFile)
        let value = try orFail { () throws(CabochonError) in try JSON.parse(text, name: templateFile) }
        guard case .object(let object) = value, case .string(let prompt) = object["prompt"] else {
            throw Failure("\(templateFile): not a JSON object with the text \"prompt\"")
        }
        var response: String?
        if case .string(let text) = object["response"] { response = text }
        return try orFail { () throws(CabochonError) in try GuardTemplate(prompt: prompt, response: response) }
    }
}

/// Scores from which on content is flagged. None is built in: the model card gives none.
struct ThresholdOptions: ParsableArguments {
    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "Flag scores from this on, for all policies or for one; may be given several times.",
            valueName: "[policy=]score"))
    var threshold: [PolicyThreshold] = []

    @Option(help: ArgumentHelp("Thresholds from the file that --evaluate --save-calibration wrote.", valueName: "path"))
    var calibration: String?

    var areNone: Bool { threshold.isEmpty && calibration == nil }

    /// Refuses a threshold for none of the policies.
    func check(_ policies: [Policy]) throws(ValidationError) {
        for name in threshold.compactMap(\.policy) where !policies.contains(where: { $0.name == name }) {
            throw ValidationError("--threshold for \"\(name)\", which is none of the policies.")
        }
    }

    func thresholds(for policies: [Policy], template: String) throws(Failure) -> [String: Double] {
        var thresholds =
            try calibration.map { path throws(Failure) in try Calibration.read(path, template: template) } ?? [:]
        for entry in threshold {
            for name in entry.policy.map({ [$0] }) ?? policies.map(\.name) { thresholds[name] = entry.score }
        }
        return thresholds
    }
}

/// `0.4` or `harassment=0.4` on the command line.
struct PolicyThreshold: ExpressibleByArgument {
    let policy: String?
    let score: Double

    init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard let score = parts.last.flatMap({ Double($0) }), (0...1).contains(score) else { return nil }
        policy = parts.count == 2 ? String(parts[0]) : nil
        self.score = score
    }
}

/// A file of thresholds, with the template that they are for.
enum Calibration {
    static func read(_ path: String, template: String) throws(Failure) -> [String: Double] {
        let text = try TextFile.readDocument(path)
        let value = try orFail { () throws(CabochonError) in try JSON.parse(text, name: path) }
        guard case .object(let object) = value, case .object(let entries) = object["thresholds"] else {
            throw Failure("\(path): not a JSON object with \"thresholds\"")
        }
        guard case .string(let name) = object["template"], name == template else {
            throw Failure("\(path): its thresholds are for another template than \(template)")
        }
        var thresholds: [String: Double] = [:]
        for (policy, value) in entries.entries {
            guard let score = value.double, (0...1).contains(score) else {
                throw Failure("\(path): the threshold of \"\(policy)\" is no number from 0 to 1")
            }
            thresholds[policy] = score
        }
        return thresholds
    }

    static func write(_ thresholds: [(policy: String, score: Double)], template: String, to path: String)
        throws(Failure)
    {
        var entries = JSONObject()
        for (policy, score) in thresholds { _ = entries.append(key: policy, value: .number(score)) }
        let object = JSONValue.object(["template": .string(template), "thresholds": .object(entries)])
        try TextFile.write(object.text + "\n", to: path)
    }
}

extension JSONValue {
    /// The value as a number, if it is one.
    var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
}
