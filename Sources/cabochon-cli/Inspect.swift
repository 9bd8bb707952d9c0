// Inspect.swift - `cabochon inspect`: what a model file says and holds.

import ArgumentParser
import Cabochon

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show a model's metadata, hyper-parameters and tensors.",
        discussion: """
            Example: cabochon inspect --model gemma.gguf

            Reads no weights. With --json an object: path, format, files, hyper_parameters, metadata, tensors \
            (name, type, shape, bytes), totals.
            """)

    @OptionGroup var model: ModelOptions
    @OptionGroup var common: CommonOptions

    @Flag(inversion: .prefixedNo, help: "List every tensor.")
    var tensors = true

    func run() throws {
        let model = try model.load(common) { $0.vocabularyOnly = true }
        let description = try orFail { () throws(CabochonError) in try model.inspect() }
        if common.json {
            try Terminal.print(Self.json(model, description).text + "\n")
        } else {
            try Terminal.print(Self.summary(model, description))
            if tensors { try Terminal.print("\n" + Self.table(description.tensors)) }
        }
    }

    private static func hyperParameters(of configuration: GemmaConfiguration) -> KeyValuePairs<String, JSONValue> {
        [
            "architecture": .string(configuration.architecture),
            "vocabulary_size": .integer(configuration.vocabularySize),
            "hidden_size": .integer(configuration.hiddenSize),
            "layer_count": .integer(configuration.layerCount),
            "head_count": .integer(configuration.headCount),
            "kv_head_count": .integer(configuration.kvHeadCount),
            "head_size": .integer(configuration.headSize),
            "feed_forward_size": .integer(configuration.feedForwardSize),
            "context_length": .integer(configuration.contextLength),
            "sliding_window": .integer(configuration.slidingWindow),
            "sliding_layers": .integers(configuration.slides.indices.filter { configuration.slides[$0] }),
            "rope_base": .number(configuration.fullRotary.base),
            "rope_base_sliding": .number(configuration.slidingRotary.base),
            "query_scale": .number(configuration.queryScale),
            "attention_softcap": .number(configuration.attentionSoftcap),
            "final_softcap": .number(configuration.finalSoftcap),
            "norm_epsilon": .number(configuration.normEpsilon),
        ]
    }

    private static func json(_ model: Model, _ description: ModelDescription) -> JSONValue {
        var metadata = JSONObject()
        for entry in description.metadata { _ = metadata.append(key: entry.key, value: .string(entry.value)) }
        let tensors = description.tensors.map { tensor -> JSONValue in
            .object([
                "name": .string(tensor.name), "type": .string(tensor.type), "shape": .integers(tensor.shape),
                "bytes": .integer(tensor.byteCount),
            ])
        }
        return .object([
            "path": .string(model.path), "format": .string(description.format),
            "files": .strings(description.paths),
            "hyper_parameters": .object(hyperParameters(of: model.configuration)),
            "metadata": .object(metadata), "tensors": .array(tensors),
            "totals": .object([
                "tensors": .integer(tensors.count), "parameters": .integer(description.parameterCount),
                "bytes": .integer(description.byteCount),
            ]),
        ])
    }

    private static func summary(_ model: Model, _ description: ModelDescription) -> String {
        var table = Table(["": .left, " ": .left])
        table.append("model", model.path)
        table.append("format", description.format)
        if description.paths.count > 1 { table.append("files", "\(description.paths.count)") }
        for (name, value) in hyperParameters(of: model.configuration) {
            table.append(name.split(separator: "_").joined(separator: " "), value.string ?? value.text)
        }
        let count = description.parameterCount
        table.append("tensors", "\(description.tensors.count)")
        table.append("parameters", "\(count) (\(fixed(Double(count) / 1e6, 1)) million)")
        table.append("bytes", "\(description.byteCount) (\(byteCount(description.byteCount)))")
        var metadata = Table(["metadata": .left, "": .left])
        for entry in description.metadata { metadata.append(entry.key, entry.value) }
        return table.text.drop { $0 == "\n" } + "\n" + metadata.text
    }

    private static func table(_ tensors: [TensorDescription]) -> String {
        var table = Table(["tensor": .left, "type": .left, "shape": .left, "bytes": .right])
        for tensor in tensors {
            let shape = tensor.shape.map { "\($0)" }.joined(separator: " x ")
            table.append(tensor.name, tensor.type, shape.isEmpty ? "scalar" : shape, "\(tensor.byteCount)")
        }
        return table.text
    }
}
