// VariantParityTests.swift - the forward pass of Gemma 3, and of Gemma 2 as in 27B, against
// transformers.
//
// The references are Tests/Fixtures/variants (make_model_fixtures.py): float32, eager attention, on
// the values that the files hold. Hidden sizes there are no squares, so the two roundings of the
// embedding scale have references of their own.

import Cabochon
import Foundation
import Testing

@Suite("Variants of Gemma")
struct VariantParityTests {
    /// Sums in float32 in another order than torch's; the largest difference seen is 5e-6.
    static let tolerance: Float = 2e-5
    /// The same through 46 layers, where it is 9e-5.
    static let deepTolerance: Float = 3e-4

    static func model(_ path: String, scale: EmbeddingScale = .f32) throws -> Model {
        var engineOptions = Engine.Options()
        engineOptions.loadsPlugins = false
        engineOptions.threads = 1
        var options = Model.Options()
        options.kvType = .f32
        options.embeddingScale = scale
        return try Model(path: path, engine: Engine(options: engineOptions), options: options)
    }

    /// Loads a GGUF that only `copy` has.
    static func model(_ copy: GGUFCopy) throws -> Model {
        let folder = try TemporaryFolder()
        return try model(folder.write(copy.build(), to: "model.gguf"))
    }

    private func logits(_ model: Model, _ expected: ExpectedArrays) throws -> [Float] {
        expected.rows(of: try ParityTests.logits(model, expected.ids))
    }

    /// Compares logits and activations with the references whose names start with `prefix`.
    private func compare(
        _ model: Model, _ expected: ExpectedArrays, _ prefix: String, tolerance: Float = Self.tolerance,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let reference = try #require(expected.arrays["\(prefix)logits"])
        let difference = largestDifference(try logits(model, expected), reference)
        #expect(difference <= tolerance, "logits", sourceLocation: sourceLocation)
        for (name, reference) in expected.arrays where name.hasPrefix(prefix) && !name.hasSuffix("logits") {
            let site = try Site(name: String(name.dropFirst(prefix.count)))
            var output = [Float](repeating: .nan, count: expected.ids.count * site.width(in: model.configuration))
            try expected.ids.withUnsafeBufferPointer { ids in
                try output.withUnsafeMutableBufferPointer { try model.activations(of: ids, at: [site], into: [$0]) }
            }
            let difference = largestDifference(expected.rows(of: output), reference)
            // The residual stream grows with the layers, and its rounding with it.
            let size = reference.reduce(1) { max($0, abs($1)) }
            #expect(difference <= tolerance * size, "\(name)", sourceLocation: sourceLocation)
        }
    }

    // MARK: Gemma 3

    @Test(
        "Gemma 3 computes what transformers does",
        arguments: ["variants/gemma3-text", "variants/gemma3-text/defaults.gguf"])
    func gemma3(path: String) throws {
        let expected = try ExpectedArrays("variants/gemma3-text")
        for (scale, prefix) in [(EmbeddingScale.f32, "f32."), (.bf16, "bf16."), (.automatic, "bf16.")] {
            try compare(Self.model(Fixtures.path(path), scale: scale), expected, prefix)
        }
    }

    @Test("a GGUF that spells out Gemma 3's defaults computes the same bits")
    func spelledOutDefaults() throws {
        let expected = try ExpectedArrays("variants/gemma3-text")
        var copy = try GGUFCopy("variants/gemma3-text/defaults.gguf")
        let reference = try logits(Self.model(copy), expected)
        copy.set("gemma3.rope.freq_base_swa", Float(10_000))
        copy.set("gemma3.attention.sliding_window_pattern", UInt32(6))
        #expect(try logits(Self.model(copy), expected) == reference)
        copy.set("gemma3.attention.sliding_window_pattern", [true, true, true, true, true, false, true])
        #expect(try logits(Self.model(copy), expected) == reference)
        copy.remove("gemma3.rope.freq_base")
        #expect(try logits(Self.model(copy), expected) == reference)
    }

    @Test("a GGUF's optional keys are obeyed")
    func optionalKeys() throws {
        let expected = try ExpectedArrays("variants/gemma3-text")
        let original = try GGUFCopy("variants/gemma3-text/defaults.gguf")
        let reference = try logits(Self.model(original), expected)
        let changes: [(inout GGUFCopy) -> Void] = [
            { $0.set("gemma3.rope.freq_base", Float(10_000)) },
            { $0.set("gemma3.rope.freq_base_swa", Float(1_000)) },
            { $0.set("gemma3.attention.sliding_window_pattern", UInt32(2)) },
            { $0.set("gemma3.attention.sliding_window_pattern", [Bool](repeating: false, count: 7)) },
            { $0.set("gemma3.attention.sliding_window", UInt32(9)) },
            { $0.set("gemma3.attention.layer_norm_rms_epsilon", Float(0.1)) },
            {
                $0.set("gemma3.rope.scaling.type", "linear"); $0.set("gemma3.rope.scaling.factor", Float(8))
            },
            { $0.set("gemma3.final_logit_softcapping", Float(3)) },
        ]
        for (index, change) in changes.enumerated() {
            var copy = original
            change(&copy)
            let difference = largestDifference(try logits(Self.model(copy), expected), reference)
            #expect(difference > 200 * Self.tolerance && difference.isFinite, "change \(index)")
        }
    }

    @Test("a GGUF's factor for positions is a linear one where nothing else is said")
    func factorAlone() throws {
        func factor(_ change: (inout GGUFCopy) -> Void) throws -> Float {
            var copy = try GGUFCopy("variants/gemma3-text/defaults.gguf")
            change(&copy)
            return try Self.model(copy).configuration.fullRotary.factor
        }
        #expect(try factor { $0.set("gemma3.rope.scaling.factor", Float(8)) } == 8)
        #expect(try factor { $0.set("gemma3.rope.scale_linear", Float(8)) } == 8)
        let none = try factor {
            $0.set("gemma3.rope.scaling.type", "none"); $0.set("gemma3.rope.scaling.factor", Float(8))
        }
        #expect(none == 1)
    }

    @Test("a GGUF's ends of a turn and of a message end answers, too")
    func endsOfTurns() throws {
        var copy = try GGUFCopy("variants/gemma3-text/defaults.gguf")
        let usual = try Self.model(copy).stopTokens
        copy.set("tokenizer.ggml.eot_token_id", UInt32(70))
        copy.set("tokenizer.ggml.eom_token_id", UInt32(usual[0]))
        #expect(try Self.model(copy).stopTokens == usual + [70])
        copy.set("tokenizer.ggml.eom_token_id", UInt32(600))
        try expectError(.invalidFile, "eom_token_id", "token 600") { _ = try Self.model(copy) }
    }

    @Test("a GGUF with a head of its own multiplies by that")
    func ownHead() throws {
        let expected = try ExpectedArrays("variants/gemma3-text")
        var copy = try GGUFCopy("variants/gemma3-text/defaults.gguf")
        let width = try Self.model(copy).configuration.vocabularySize
        let tied = try ParityTests.logits(Self.model(copy), expected.ids)
        var head = try #require(copy.tensors.first { $0.name == "token_embd.weight" })
        head.name = "output.weight"
        let rowBytes = head.content.count / width
        head.content = (0..<width).reversed().flatMap { head.content[$0 * rowBytes..<($0 + 1) * rowBytes] }
        copy.tensors.append(head)
        let own = try ParityTests.logits(Self.model(copy), expected.ids)
        for start in stride(from: 0, to: own.count, by: width) {
            #expect(Array(own[start..<start + width]) == tied[start..<start + width].reversed())
        }
    }

    @Test("where a config.json has rotary parameters in both layouts, they are taken as transformers does")
    func bothRotaryLayouts() throws {
        let expected = try ExpectedArrays("variants/gemma3-text")
        let scaling: [String: Any] = ["rope_type": "linear", "factor": 8.0]
        func logits(_ change: (inout [String: Any]) -> Void) throws -> [Float] {
            let folder = try ModelFolder("variants/gemma3-text")
            try folder.changeConfig(change)
            return try self.logits(Self.model(folder.path), expected)
        }
        func parameters(_ full: [String: Any], _ sliding: [String: Any]) -> [String: Any] {
            ["full_attention": full, "sliding_attention": sliding]
        }
        let scaled = try logits {
            $0["rope_parameters"] = parameters(
                ["rope_theta": 5000.0, "rope_type": "linear", "factor": 8.0], ["rope_theta": 77.0])
        }
        // Bases of the older layout, where the newer one has none.
        let older = try logits {
            $0["rope_parameters"] = parameters(scaling, ["rope_type": "default"])
            $0["rope_theta"] = 5000.0
            $0["rope_local_base_freq"] = 77.0
        }
        #expect(older == scaled)
        // Scaling of the older layout, beside the newer one or with a base of its own.
        let beside = try logits {
            $0["rope_parameters"] = parameters(["rope_theta": 5000.0], ["rope_theta": 77.0])
            $0["rope_scaling"] = scaling
        }
        #expect(beside == scaled)
        let inside = try logits {
            $0["rope_parameters"] = nil
            $0["rope_local_base_freq"] = 77.0
            $0["rope_scaling"] = scaling.merging(["rope_theta": 5000.0]) { $1 }
        }
        #expect(inside == scaled)
    }

    @Test("what only the other family's configuration has is passed over, as transformers does")
    func keysOfTheOtherFamily() throws {
        for (fixture, key, value) in [
            ("variants/gemma3-text", "attn_logit_softcapping", 2.0),
            ("variants/gemma2-scaled", "sliding_window_pattern", 3.0),
        ] {
            let expected = try ExpectedArrays(fixture)
            let folder = try ModelFolder(fixture)
            try folder.changeConfig { $0["layer_types"] = nil }
            let reference = try logits(Self.model(folder.path), expected)
            try folder.changeConfig { $0[key] = Int(value) }
            #expect(try logits(Self.model(folder.path), expected) == reference, "\(key)")
        }
    }

    @Test("a Gemma 3 prompt in chunks of any size gives the same bits")
    func chunks() throws {
        let expected = try ExpectedArrays("variants/gemma3-text")
        let model = try Self.model(Fixtures.path("variants/gemma3-text"))
        let width = model.configuration.vocabularySize
        let whole = Array(try ParityTests.logits(model, expected.ids).suffix(width))
        for size in [1, 7, 16] {
            let session = try model.makeSession(contextLength: expected.ids.count)
            for start in stride(from: 0, to: expected.ids.count, by: size) {
                try session.append(Array(expected.ids[start..<min(expected.ids.count, start + size)]))
            }
            var logits = [Float](repeating: .nan, count: width)
            try logits.withUnsafeMutableBufferPointer { try session.logits(into: $0) }
            #expect(logits == whole)
        }
    }

    @Test("the config.json of a Gemma 3 from before transformers 5 means the same")
    func gemma3BeforeTransformers5() throws {
        let folder = try ModelFolder("variants/gemma3-text")
        try folder.changeConfig { config in
            config["rope_parameters"] = nil
            config["layer_types"] = nil
            config["rope_theta"] = 1_000_000.0
            config["rope_local_base_freq"] = 10_000.0
            config["sliding_window_pattern"] = 6
        }
        try compare(Self.model(folder.path), ExpectedArrays("variants/gemma3-text"), "f32.")
        // What Google's files leave out.
        try folder.changeConfig { config in
            for key in ["rope_theta", "rope_local_base_freq", "sliding_window_pattern"] { config[key] = nil }
        }
        try compare(Self.model(folder.path), ExpectedArrays("variants/gemma3-text"), "f32.")
    }

    @Test(
        "the text part of a Gemma 3 that sees images computes what transformers does",
        arguments: ["config.json", "config-transformers5.json"], ["language_model.model.", "model.language_model."])
    func imagesLayout(config: String, prefix: String) throws {
        let folder = try ModelFolder("variants/gemma3-images")
        try folder.write(folder.data(config), to: "config.json")
        try folder.renameTensors { name in
            name.hasPrefix("language_model.model.") ? prefix + name.dropFirst("language_model.model.".count) : name
        }
        let expected = try ExpectedArrays("variants/gemma3-images")
        try compare(Self.model(folder.path), expected, "f32.")
        try compare(Self.model(folder.path, scale: .automatic), expected, "bf16.")
    }

    // MARK: Gemma 2 as in 27B

    @Test("a query scale of its own and a rounded embedding scale compute what transformers does")
    func gemma2Scaled() throws {
        let expected = try ExpectedArrays("variants/gemma2-scaled")
        let folder = try ModelFolder("variants/gemma2-scaled")
        for (scale, prefix) in [(EmbeddingScale.f32, "f32."), (.bf16, "bf16."), (.automatic, "bf16.")] {
            try compare(Self.model(folder.path, scale: scale), expected, "bf16-file." + prefix)
        }
        try folder.write(folder.data("model-f16.safetensors"), to: "model.safetensors")
        for (scale, prefix) in [(EmbeddingScale.f32, "f32."), (.bf16, "bf16."), (.automatic, "bf16.")] {
            try compare(Self.model(folder.path, scale: scale), expected, "f16-file." + prefix)
        }
    }

    @Test("scaled positions of a Gemma 2 are scaled in its sliding layers too")
    func gemma2Stretched() throws {
        let expected = try ExpectedArrays("variants/gemma2-scaled")
        let scaling: [String: Any] = ["rope_type": "linear", "factor": 4.0]
        for key in ["rope_parameters", "rope_scaling"] {
            let folder = try ModelFolder("variants/gemma2-scaled")
            try folder.changeConfig { config in
                config["rope_parameters"] = nil
                config[key] = scaling
            }
            try compare(Self.model(folder.path), expected, "stretched.f32.")
        }
        var copy = try GGUFCopy("variants/gemma2-46-layers/model.gguf")
        copy.set("gemma2.rope.scaling.type", "linear")
        copy.set("gemma2.rope.scaling.factor", Float(4))
        let configuration = try Self.model(copy).configuration
        #expect(configuration.fullRotary.factor == 4 && configuration.slidingRotary.factor == 4)
    }

    @Test("a GGUF of 46 layers has the query scale of Gemma 2 27B, which it cannot name")
    func gemma2Of46Layers() throws {
        let expected = try ExpectedArrays("variants/gemma2-46-layers")
        let model = try Self.model(Fixtures.path("variants/gemma2-46-layers/model.gguf"))
        #expect(model.configuration.queryScale == 1 / Float(8).squareRoot())
        try compare(model, expected, "f32.", tolerance: Self.deepTolerance)
    }

    @Test("a GGUF of 46 layers without softcaps has those of all Gemma 2 models")
    func gemma2Softcaps() throws {
        var copy = try GGUFCopy("variants/gemma2-46-layers/model.gguf")
        copy.remove("gemma2.attn_logit_softcapping")
        copy.remove("gemma2.final_logit_softcapping")
        try compare(
            Self.model(copy), ExpectedArrays("variants/gemma2-46-layers"), "f32.", tolerance: Self.deepTolerance)
    }

    @Test("other numbers of layers take the head size for the query scale, and 62 mean Gemma 3 27B")
    func queryScaleByLayers() throws {
        for (fixture, family, layers, scalar) in [
            ("variants/gemma2-46-layers/model.gguf", "gemma2", 45, 4),
            ("variants/gemma3-text/defaults.gguf", "gemma3", 7, 16),
            ("variants/gemma3-text/defaults.gguf", "gemma3", 62, 12),
        ] {
            var copy = try GGUFCopy(fixture)
            copy.set("\(family).block_count", UInt32(layers))
            let first = copy.tensors.filter { $0.name.hasPrefix("blk.0.") }
            copy.tensors.removeAll { $0.name.hasPrefix("blk.") }
            for layer in 0..<layers {
                copy.tensors += first.map { tensor in
                    var tensor = tensor
                    tensor.name = "blk.\(layer)." + tensor.name.dropFirst("blk.0.".count)
                    return tensor
                }
            }
            #expect(try Self.model(copy).configuration.queryScale == 1 / Float(scalar).squareRoot())
        }
    }

    // MARK: The references tell right from wrong

    @Test("the two roundings of the embedding scale differ far more than the tolerance")
    func scalesDiffer() throws {
        for fixture in ["variants/gemma3-text", "variants/gemma3-images"] {
            let arrays = try ExpectedArrays(fixture).arrays
            let difference = try largestDifference(#require(arrays["f32.logits"]), #require(arrays["bf16.logits"]))
            #expect(difference > 50 * Self.tolerance && difference.isFinite, "\(fixture)")
        }
        let arrays = try ExpectedArrays("variants/gemma2-scaled").arrays
        for file in ["bf16-file", "f16-file"] {
            let difference = try largestDifference(
                #require(arrays["\(file).f32.logits"]), #require(arrays["\(file).bf16.logits"]))
            #expect(difference > 50 * Self.tolerance && difference.isFinite, "\(file)")
        }
    }

    @Test("every hyper-parameter that is read moves the logits far past the tolerance")
    func sensitivity() throws {
        func rotary(_ kind: String, _ key: String, _ value: Double) -> (inout [String: Any]) -> Void {
            { config in
                var parameters = config["rope_parameters"] as? [String: Any] ?? [:]
                var part = parameters[kind] as? [String: Any] ?? [:]
                part[key] = value
                if key == "factor" { part["rope_type"] = "linear" }
                parameters[kind] = part
                config["rope_parameters"] = parameters
            }
        }
        let changes: [(String, (inout [String: Any]) -> Void)] = [
            ("variants/gemma3-text", { $0["sliding_window"] = 9 }),
            ("variants/gemma3-text", { $0["sliding_window"] = 7 }),
            ("variants/gemma3-text", { $0["sliding_window"] = NSNull() }),
            (
                "variants/gemma3-text",
                { $0["layer_types"] = Array(($0["layer_types"] as? [String] ?? []).reversed()) }
            ),
            ("variants/gemma3-text", { $0["query_pre_attn_scalar"] = 18 }),
            ("variants/gemma3-text", { $0["rms_norm_eps"] = 0.01 }),
            ("variants/gemma3-text", rotary("full_attention", "rope_theta", 900_000)),
            ("variants/gemma3-text", rotary("sliding_attention", "rope_theta", 9_000)),
            ("variants/gemma3-text", rotary("full_attention", "factor", 2)),
            ("variants/gemma3-text", rotary("sliding_attention", "factor", 2)),
            ("variants/gemma3-images", { $0["rope_scaling"] = NSNull() }),
            ("variants/gemma3-images", { $0["rope_theta"] = 1_000_000.0 }),
            ("variants/gemma3-images", { $0["rope_local_base_freq"] = 10_000.0 }),
            ("variants/gemma3-images", { $0["sliding_window_pattern"] = 6 }),
            ("variants/gemma2-scaled", { $0["query_pre_attn_scalar"] = 32 }),
            ("variants/gemma2-scaled", { $0["attn_logit_softcapping"] = 5.0 }),
            ("variants/gemma2-scaled", { $0["attn_logit_softcapping"] = NSNull() }),
            ("variants/gemma2-scaled", { $0["final_logit_softcapping"] = NSNull() }),
            ("variants/gemma2-scaled", { $0["layer_types"] = [String](repeating: "full_attention", count: 3) }),
        ]
        for (index, (fixture, change)) in changes.enumerated() {
            let expected = try ExpectedArrays(fixture)
            let reference = try #require(expected.arrays["f32.logits"] ?? expected.arrays["bf16-file.f32.logits"])
            let folder = try ModelFolder(fixture)
            try folder.changeConfig(change)
            let difference = largestDifference(try logits(Self.model(folder.path), expected), reference)
            #expect(difference > 200 * Self.tolerance && difference.isFinite, "change \(index) of \(fixture)")
        }
    }
}
