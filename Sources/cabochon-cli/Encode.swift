// Encode.swift - `cabochon encode`: the features of a dictionary that fire on a text.

import ArgumentParser
import Cabochon
import Glibc

struct EncodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "encode",
        abstract: "Say which features of a sparse autoencoder fire on a text, and how strongly.",
        discussion: """
            Example: cabochon encode --model gemma-2-2b.gguf --sae gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82 \\
                --prompt 'My dog is sleeping on the couch.'
            Example: cabochon encode --model gemma-2-2b.gguf --sae params.npz --site res --layer 12 \\
                --input texts.jsonl --output features/

            The model runs to the dictionary's layer and no further. Prints a table: position, token, number of active \
            features, and the strongest of them with their activations. Tokens that dictionaries are not trained on \
            (the one that begins a text) are marked with a dash. With --json one object, in the shape of Neuronpedia's \
            activation/source (tokens, and for each feature the positions and activations), or with \
            --by-token of its activation/topk-by-token. --npz writes all features as compressed sparse rows, for \
            scipy.sparse.load_npz, with the token ids beside them.

            --input reads one JSON object a line, {"text": ...}, and --output is a folder of such .npz files, \
            shard-00000.npz and so on, with two more arrays: line (of the input, from 0) and position. A text longer \
            than --context is read in pieces. Ctrl-C writes what there is; the same command then goes on behind it.
            """)

    @OptionGroup var model: ModelOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var dictionary: DictionaryOptions

    @Option(name: .shortAndLong, parsing: .unconditional, help: ArgumentHelp("The text.", valueName: "text"))
    var prompt: String?

    @Option(help: ArgumentHelp("A UTF-8 file that holds the text.", valueName: "path"))
    var promptFile: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Features to look at, as 12,400: only their rows of the encoder are read. Without it: all.",
            valueName: "numbers"))
    var features: FeatureList?

    @Option(parsing: .unconditional, help: ArgumentHelp("Features to show for each token.", valueName: "count"))
    var top: Int = 6

    @Flag(help: "With --json: for each token its strongest features.")
    var byToken = false

    @Option(help: ArgumentHelp("A file for all features as compressed sparse rows.", valueName: "path"))
    var npz: String?

    @Option(help: ArgumentHelp("Texts, one JSON object a line.", valueName: "path"))
    var input: String?

    @Option(help: ArgumentHelp("The folder for the features of --input.", valueName: "folder"))
    var output: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Tokens of a text that are read together, with --input.", valueName: "tokens"))
    var context: Int = 1024

    @Option(parsing: .unconditional, help: ArgumentHelp("Tokens of a shard, about, with --input.", valueName: "tokens"))
    var shardTokens: Int = 65_536

    func validate() throws {
        if prompt != nil && promptFile != nil { throw ValidationError("Give --prompt or --prompt-file, not both.") }
        if (input == nil) != (output == nil) { throw ValidationError("--input and --output go together.") }
        if input != nil && (prompt != nil || promptFile != nil || npz != nil || byToken) {
            throw ValidationError("--input goes with none of --prompt, --prompt-file, --npz and --by-token.")
        }
        if byToken && !common.json { throw ValidationError("--by-token needs --json.") }
        guard (1...1_000_000).contains(top) else { throw ValidationError("--top is at least 1.") }
        guard context >= 2 else { throw ValidationError("--context is at least 2.") }
        guard shardTokens >= 1 else { throw ValidationError("--shard-tokens is at least 1.") }
    }

    func run() throws {
        if let input, let output {
            let model = try model.load(common)
            return try EncodeRows(
                model: model, sae: try dictionary.load(for: model, only: features), selection: features?.text,
                input: input, output: output, context: context, shardTokens: shardTokens
            )
            .run(json: common.json)
        }
        let text = try TextArgument(text: prompt, file: promptFile).read()
        let model = try model.load(common)
        let sae = try dictionary.load(for: model, only: features)
        let tokens = try orFail { () throws(CabochonError) in
            try model.tokenizer.encode(text, addBOS: true, parseSpecial: false)
        }
        let found = try orFail { () throws(CabochonError) in try model.features(of: tokens, [sae])[0] }
        let report = FeatureReport(model: model, tokens: tokens, features: found)
        if let npz { try report.write(to: npz) }
        if common.json {
            let results = byToken ? report.byToken(top) : report.bySource()
            try Terminal.print(JSONValue.object(["results": .array(results)]).text + "\n")
        } else {
            try Terminal.print(report.table(top))
        }
        // Of some features nobody knows how many should be active.
        if features == nil, let warning = report.warning(averageL0: sae.averageL0) { Terminal.note(warning) }
    }
}
