// FeaturesCommand.swift - `cabochon features`: what each feature of a dictionary is about, as a page to browse.

import ArgumentParser
import Cabochon
import Glibc

struct FeaturesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "features",
        abstract: "Gather what each feature of a sparse autoencoder fires on, as an HTML page or JSON.",
        discussion: """
            Example: cabochon features --model gemma-2-2b.gguf --sae params.npz --site res --layer 12 \\
                --input texts.jsonl --html features.html

            Reads one JSON object a line, {"text": ...}, once. For each feature that fired: its density (the share of \
            tokens), a histogram of its activations, the largest one, the strongest examples with the words around them, \
            the tokens that its direction makes likelier and less likely, and the features that point where it does \
            (cosine of decoder rows). --html writes one file that needs nothing else, to browse and to search; --json \
            prints one object with the same.
            """)

    @OptionGroup var model: ModelOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var dictionary: DictionaryOptions

    @Option(help: ArgumentHelp("Texts, one JSON object a line.", valueName: "path"))
    var input: String

    @Option(help: ArgumentHelp("The page to write.", valueName: "path"))
    var html: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Features to show, those that fired most often first.", valueName: "count"))
    var limit: Int = 1000

    @Option(
        parsing: .unconditional, help: ArgumentHelp("Tokens of a text that are read together.", valueName: "tokens"))
    var context: Int = 512

    func validate() throws {
        guard html != nil || common.json else { throw ValidationError("Give --html or --json.") }
        guard limit >= 1 else { throw ValidationError("--limit is at least 1.") }
        guard context >= 2 else { throw ValidationError("--context is at least 2.") }
    }

    func run() throws {
        let reader = try LineReader(input)
        let model = try model.load(common)
        let sae = try dictionary.load(for: model)
        let atlas = try orFail { () throws(CabochonError) in try FeatureAtlas(model: model, sae: sae) }
        var progress = Progress()
        var line = 0
        while let bytes = try reader.next() {
            line += 1
            let text = try text(of: bytes, line)
            let tokens = try orFail { () throws(CabochonError) in
                try model.tokenizer.encode(text, addBOS: false, parseSpecial: false)
            }
            let size = max(1, min(context, model.contextLength) - 1)
            for first in stride(from: 0, to: tokens.count, by: size) {
                let piece = [model.tokenizer.vocabulary.special.bos] + tokens[first..<min(tokens.count, first + size)]
                try orFail { () throws(CabochonError) -> Void in try atlas.add(piece) }
            }
            progress.show(
                reader.byteCount > 0 ? Double(reader.bytesRead) / Double(reader.byteCount) : 1,
                "\(line) texts, \(atlas.tokens) tokens, \(atlas.entries.count) features")
        }
        progress.finish()
        guard atlas.tokens > 0 else { throw Failure("\(input): no text to gather features from") }
        let report = try AtlasReport(atlas, limit: limit)
        if let html {
            try TextFile.write(AtlasPage.html(report.json), to: html)
            Terminal.note("\(report.featureCount) features over \(atlas.tokens) tokens in \(html)")
        }
        if common.json { try Terminal.print(report.json.text + "\n") }
    }

    private func text(of bytes: [UInt8], _ line: Int) throws(Failure) -> String {
        let name = "\(input), line \(line)"
        guard let json = String(validating: bytes, as: UTF8.self) else { throw Failure("\(name): not UTF-8 text") }
        guard !json.allSatisfy(\.isWhitespace) else { return "" }
        let object = try orFail { () throws(CabochonError) in try JSON.parse(json, name: name) }
        guard let text = object["text"]?.string else { throw Failure("\(name): no text in {\"text\": ...}") }
        return text
    }
}

/// An atlas as JSON.
private struct AtlasReport {
    let json: JSONValue
    let featureCount: Int

    /// Tokens shown on either side of an example's.
    private static let before = 12
    private static let after = 6

    init(_ atlas: FeatureAtlas, limit: Int) throws(Failure) {
        let model = atlas.model
        let chosen = atlas.entries.sorted { ($1.value.count, $0.key) < ($0.value.count, $1.key) }.prefix(limit)
        let features = chosen.map(\.key)
        featureCount = features.count
        let (tokens, neighbours) = try orFail { () throws(CabochonError) in
            (try atlas.promotedTokens(of: features), try atlas.neighbours(of: features))
        }
        func text(_ token: Int32) -> String {
            (model.tokenizer.vocabulary.piece(of: token) ?? "").split(separator: "▁", omittingEmptySubsequences: false)
                .joined(separator: " ")
        }
        func words(_ tokens: some Sequence<Int32>) -> JSONValue { .string(tokens.map(text).joined()) }
        func example(_ one: FeatureAtlas.Example) -> JSONValue {
            let piece = atlas.pieces[one.piece]
            return .array([
                .number(one.activation), words(piece[max(1, one.position - Self.before)..<max(1, one.position)]),
                words([piece[one.position]]),
                words(piece[min(piece.count, one.position + 1)..<min(piece.count, one.position + 1 + Self.after)]),
            ])
        }
        let entries = chosen.enumerated().map { place, entry in
            JSONValue.object([
                "feature": .integer(entry.key), "density": .number(Double(entry.value.count) / Double(atlas.tokens)),
                "maximum": .number(entry.value.maximum), "histogram": .integers(entry.value.histogram),
                "examples": .array(entry.value.examples.map(example)),
                "promotes": .strings(tokens[place].promoted.map(text)),
                "suppresses": .strings(tokens[place].suppressed.map(text)),
                "nearest": .array(neighbours[place].map { .array([.integer($0.feature), .number($0.cosine)]) }),
            ])
        }
        json = .object([
            "model": .string(model.path), "sae": .string(atlas.sae.path), "site": .string(atlas.sae.site.name),
            "width": .integer(atlas.sae.width), "tokens": .integer(atlas.tokens),
            "l0": .number(Double(atlas.active) / Double(atlas.tokens)), "fired": .integer(atlas.entries.count),
            "features": .array(entries),
        ])
    }
}
