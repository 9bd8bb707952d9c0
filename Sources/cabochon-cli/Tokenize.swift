// Tokenize.swift - `cabochon tokenize`: text to token ids, and back.
//
// Opens the vocabulary only, so that it answers at once for a model of any size.

import ArgumentParser
import Cabochon

struct TokenizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenize",
        abstract: "Turn text into token ids, or ids into text with --decode.",
        discussion: """
            Example: cabochon tokenize --model gemma.gguf --pieces 'Hello, world'
            Example: cabochon tokenize --model gemma.gguf --decode 9259 236764 1902

            Without text (or ids) on the command line, standard input is read, every byte of it. Prints the ids \
            on one line; with --json an object: tokens, count and pieces, or text with --decode.
            """)

    @OptionGroup var model: ModelOptions
    @OptionGroup var common: CommonOptions

    @Flag(help: "The words are token ids; print their text.")
    var decode = false

    @Flag(help: "Print a table of ids and pieces.")
    var pieces = false

    @Flag(help: "Control tokens in the text, as <start_of_turn>, count as such.")
    var special = false

    @Flag(inversion: .prefixedNo, help: "Put the token that begins a text before the others.")
    var bos = false

    @Argument(parsing: .remaining, help: ArgumentHelp("The text, or the ids.", valueName: "text"))
    var words: [String] = []

    func validate() throws {
        if decode && (pieces || special || bos) {
            throw ValidationError("--pieces, --special and --bos do not go with --decode.")
        }
    }

    func run() throws {
        let model = try model.load(common) { $0.vocabularyOnly = true }
        let text = try inputText()
        if decode { try printText(of: ids(in: text), model) } else { try printTokens(of: text, model) }
    }

    private func printTokens(of text: String, _ model: Model) throws(Failure) {
        let tokens = try orFail { () throws(CabochonError) in
            try model.tokenizer.encode(text, addBOS: bos, parseSpecial: special)
        }
        let texts = tokens.map { JSONValue.string(model.tokenizer.vocabulary.piece(of: $0) ?? "") }
        if common.json {
            let object = JSONValue.object([
                "tokens": .integers(tokens), "count": .integer(tokens.count), "pieces": .array(texts),
            ])
            try Terminal.print(object.text + "\n")
        } else if pieces {
            var table = Table(["position": .right, "id": .right, "piece": .left])
            for (position, (token, text)) in zip(tokens, texts).enumerated() {
                table.append("\(position)", "\(token)", text.text)
            }
            try Terminal.print(table.text)
        } else {
            try Terminal.print(tokens.map { "\($0)" }.joined(separator: " ") + "\n")
        }
    }

    private func printText(of tokens: [Int32], _ model: Model) throws(Failure) {
        let text = try orFail { () throws(CabochonError) in try model.tokenizer.decodeText(tokens) }
        try Terminal.print(common.json ? JSONValue.object(["text": .string(text)]).text + "\n" : text + "\n")
    }

    private func inputText() throws(Failure) -> String {
        guard words.isEmpty else { return words.joined(separator: " ") }
        return try TextFile.readStandardInput()
    }

    private func ids(in text: String) throws(Failure) -> [Int32] {
        var ids: [Int32] = []
        for word in text.split(whereSeparator: { $0.isWhitespace || $0 == "," }) {
            guard let id = Int32(word) else { throw Failure("\"\(word)\" is no token id") }
            ids.append(id)
        }
        return ids
    }
}
