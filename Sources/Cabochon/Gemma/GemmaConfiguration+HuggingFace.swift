// GemmaConfiguration+HuggingFace.swift - hyper-parameters from a config.json.
//
// What a config.json leaves out has the defaults of transformers' Gemma2Config and
// Gemma3TextConfig: the published Gemma 3 4B to 27B name only what differs. Their text part stands
// under "text_config". Rotary parameters come in two layouts, before and since transformers 5.

extension GemmaConfiguration {
    /// - Parameter source: the config.json's path, for messages.
    init(config document: JSONValue, source: String) throws(CabochonError) {
        let model = document["model_type"]?.string ?? ""
        let text = document["text_config"] ?? document
        switch model {
        case "gemma2": self.init(family: .gemma2)
        case "gemma3", "gemma3_text": self.init(family: .gemma3)
        default:
            throw CabochonError(
                .unsupported,
                "\(source): model_type \"\(model)\" is not one Cabochon runs (gemma2, gemma3, gemma3_text)")
        }
        let fields = Fields(object: text, source: source)
        for part in [fields, Fields(object: document, source: source)] {
            try part.refuseOtherMathematics()
            if try part.flag("tie_word_embeddings") == false { hasOwnHead = true }
        }
        hiddenSize = try fields.integer("hidden_size") ?? 2304
        layerCount = try fields.integer("num_hidden_layers") ?? 26
        feedForwardSize = try fields.integer("intermediate_size") ?? 9216
        headCount = try fields.integer("num_attention_heads") ?? 8
        kvHeadCount = try fields.integer("num_key_value_heads") ?? 4
        headSize = try fields.integer("head_dim") ?? 256
        vocabularySize = try fields.integer("vocab_size") ?? (family == .gemma2 ? 256_000 : 262_208)
        contextLength = try fields.integer("max_position_embeddings") ?? (family == .gemma2 ? 8192 : 131_072)
        normEpsilon = try fields.number("rms_norm_eps") ?? normEpsilon
        slidingWindow = try fields.integer("sliding_window") ?? (text["sliding_window"] == nil ? 4096 : 0)
        attentionSoftcap =
            try fields.number("attn_logit_softcapping")
            ?? (fields.isNull("attn_logit_softcapping") ? 0 : attentionSoftcap)
        finalSoftcap =
            try fields.number("final_logit_softcapping")
            ?? (fields.isNull("final_logit_softcapping") ? 0 : finalSoftcap)
        let scalar = try fields.number("query_pre_attn_scalar") ?? 256
        queryScale = scalar > 0 ? 1 / scalar.squareRoot() : 0
        try setRotary(fields)
        try Self.boundLayers(layerCount, source)
        try setPattern(fields)
        try validate(source: source)
        limitSoftcap()
    }

    /// As transformers takes them where both layouts are there: a base that parameters lack is the older key's,
    /// and rope_scaling comes last. It is Gemma 2's alone then, and added to what Gemma 3's full layers have.
    private mutating func setRotary(_ fields: Fields) throws(CabochonError) {
        func part(_ key: String, of object: JSONValue) throws(CabochonError) -> Fields? {
            guard let value = object[key], !value.isNull else { return nil }
            guard value.object != nil else {
                throw CabochonError(.invalidFile, "\(fields.source): \(key) is not an object")
            }
            return Fields(object: value, source: fields.source)
        }
        fullRotary.base = try fields.number("rope_theta") ?? fullRotary.base
        slidingRotary.base = try fields.number("rope_local_base_freq") ?? slidingRotary.base
        let scaling = try part("rope_scaling", of: fields.object)
        var parameters = try part("rope_parameters", of: fields.object)
        if family == .gemma2 && scaling != nil { parameters = nil }
        if let parameters {
            let full = try part("full_attention", of: parameters.object)
            fullRotary = try (full ?? parameters).rotary(default: fullRotary)
        }
        if let scaling { fullRotary = try scaling.rotary(default: fullRotary) }
        if let parameters, let sliding = try part("sliding_attention", of: parameters.object) {
            slidingRotary = try sliding.rotary(default: family == .gemma2 ? fullRotary : slidingRotary)
        } else if family == .gemma2 {
            slidingRotary = fullRotary
        }
    }

    private mutating func setPattern(_ fields: Fields) throws(CabochonError) {
        guard let value = fields.object["layer_types"], !value.isNull else {
            // Gemma 2 has no such key: its layers take turns.
            let period = family == .gemma3 ? try fields.integer("sliding_window_pattern") : nil
            return try setPattern(period, source: fields.source)
        }
        guard let types = value.array else {
            throw CabochonError(.invalidFile, "\(fields.source): layer_types is not an array")
        }
        guard types.count == layerCount else {
            throw CabochonError(.invalidFile, "\(fields.source): \(types.count) layer_types for \(layerCount) layers")
        }
        var slides: [Bool] = []
        for type in types {
            switch type.string {
            case "sliding_attention": slides.append(slidingWindow > 0)
            case "full_attention": slides.append(false)
            default:
                throw CabochonError(.unsupported, "\(fields.source): layer type \(type.string ?? "that is no string")")
            }
        }
        self.slides = slides
    }

    /// A JSON object's numbers, an absent or null one being nil.
    private struct Fields {
        let object: JSONValue
        let source: String

        func isNull(_ key: String) -> Bool { object[key]?.isNull ?? false }

        func integer(_ key: String) throws(CabochonError) -> Int? {
            guard let value = object[key], !value.isNull else { return nil }
            guard let number = value.int else {
                throw CabochonError(.invalidFile, "\(source): \(key) is not an integer")
            }
            return number
        }

        func number(_ key: String) throws(CabochonError) -> Float? {
            guard let value = object[key], !value.isNull else { return nil }
            guard let number = value.double else {
                throw CabochonError(.invalidFile, "\(source): \(key) is not a number")
            }
            return Float(number)
        }

        /// A bool, or a number that stands for one.
        func flag(_ key: String) throws(CabochonError) -> Bool? {
            guard let value = object[key], !value.isNull else { return nil }
            guard let flag = value.bool ?? value.double.map({ $0 != 0 }) else {
                throw CabochonError(.invalidFile, "\(source): \(key) is neither true nor false")
            }
            return flag
        }

        /// Settings of the same model types under which the forward pass would be another:
        /// EmbeddingGemma, for one, attends in both directions.
        func refuseOtherMathematics() throws(CabochonError) {
            for key in ["attention_bias", "use_bidirectional_attention"] where try flag(key) == true {
                throw CabochonError(.unsupported, "\(source): \(key) is true, and Cabochon runs no such model")
            }
            if let value = object["hidden_activation"], !value.isNull, value.string != "gelu_pytorch_tanh" {
                let name = value.string.map { "\"\($0)\"" } ?? "is no string"
                throw CabochonError(.unsupported, "\(source): hidden_activation \(name); Gemma's is gelu_pytorch_tanh")
            }
        }

        func rotary(default rotary: RotaryEmbedding) throws(CabochonError) -> RotaryEmbedding {
            var result = rotary
            result.base = try number("rope_theta") ?? rotary.base
            let type = object["rope_type"] ?? object["type"] ?? .string("default")
            switch type.string {
            case nil: throw CabochonError(.invalidFile, "\(source): rope_type is not a string")
            case "default": break
            case "linear": result.factor = try number("factor") ?? 1
            case let other?: throw CabochonError(.unsupported, "\(source): rope_type \"\(other)\"")
            }
            return result
        }
    }
}
