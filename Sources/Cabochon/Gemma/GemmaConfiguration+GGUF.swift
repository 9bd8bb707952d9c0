// GemmaConfiguration+GGUF.swift - hyper-parameters from a GGUF file's metadata.
//
// Keys as llama.cpp's converter writes them. A GGUF has neither query_pre_attn_scalar nor, for
// Gemma 2, a rotary base or a window pattern: those are the family's.

extension GemmaConfiguration {
    init(gguf file: GGUFFile) throws(CabochonError) {
        let source = file.paths.first ?? ""
        let architecture = try file.string("general.architecture") ?? ""
        guard let family = Family(rawValue: architecture) else {
            throw CabochonError(
                .unsupported, "\(source): architecture \"\(architecture)\" is not one Cabochon runs (gemma2, gemma3)")
        }
        self.init(family: family)

        func required(_ key: String) throws(CabochonError) -> Int {
            guard let value = try file.unsigned("\(architecture).\(key)") else {
                throw CabochonError(.invalidFile, "\(source): key \(architecture).\(key) is missing")
            }
            return value
        }
        hiddenSize = try required("embedding_length")
        layerCount = try required("block_count")
        feedForwardSize = try required("feed_forward_length")
        headCount = try required("attention.head_count")
        kvHeadCount = try required("attention.head_count_kv")
        headSize = try required("attention.key_length")
        let valueSize = try file.unsigned("\(architecture).attention.value_length") ?? headSize
        guard valueSize == headSize else {
            throw CabochonError(.unsupported, "\(source): keys of \(headSize) and values of \(valueSize) differ")
        }
        contextLength = try file.unsigned("\(architecture).context_length") ?? contextLength
        normEpsilon = try file.float("\(architecture).attention.layer_norm_rms_epsilon") ?? normEpsilon
        slidingWindow = try file.unsigned("\(architecture).attention.sliding_window") ?? slidingWindow
        // Models of Gemma 3's architecture that others trained may cap logits.
        attentionSoftcap = try file.float("\(architecture).attn_logit_softcapping") ?? attentionSoftcap
        finalSoftcap = try file.float("\(architecture).final_logit_softcapping") ?? finalSoftcap
        fullRotary.base = try file.float("\(architecture).rope.freq_base") ?? fullRotary.base
        slidingRotary.base =
            try file.float("\(architecture).rope.freq_base_swa")
            ?? (family == .gemma2 ? fullRotary.base : slidingRotary.base)
        // As llama.cpp: a factor alone is a linear one, and files from before the type existed have another key.
        switch try file.string("\(architecture).rope.scaling.type") ?? "linear" {
        case "none": break
        case "linear":
            let older = try file.float("\(architecture).rope.scale_linear")
            fullRotary.factor = try file.float("\(architecture).rope.scaling.factor") ?? older ?? 1
            // Gemma 3 scales its full layers only.
            if family == .gemma2 { slidingRotary.factor = fullRotary.factor }
        case let type: throw CabochonError(.unsupported, "\(source): \(architecture).rope.scaling.type \"\(type)\"")
        }
        // Keys under which the forward pass would be another.
        let rotated = try file.unsigned("\(architecture).rope.dimension_count") ?? headSize
        guard rotated == headSize else {
            throw CabochonError(
                .unsupported, "\(source): \(architecture).rope.dimension_count is \(rotated) of \(headSize)")
        }
        guard try file.bool("\(architecture).attention.causal") ?? true else {
            throw CabochonError(
                .unsupported, "\(source): \(architecture).attention.causal is false, and Cabochon runs no such model")
        }
        guard let embedding = file.tensors["token_embd.weight"], embedding.shape.count == 2 else {
            throw CabochonError(.invalidFile, "\(source): tensor token_embd.weight is missing or no matrix")
        }
        vocabularySize = embedding.rows
        try Self.boundLayers(layerCount, source)
        // A pattern may also be an array of one bool per layer.
        if let flags = try? file.bools("\(architecture).attention.sliding_window_pattern") {
            guard flags.count == layerCount else {
                throw CabochonError(
                    .invalidFile, "\(source): \(flags.count) entries of sliding_window_pattern for \(layerCount) layers"
                )
            }
            slides = flags.map { $0 && slidingWindow > 0 }
        } else {
            try setPattern(file.unsigned("\(architecture).attention.sliding_window_pattern"), source: source)
        }
        setDefaultQueryScale()
        try validate(source: source)
        limitSoftcap()
    }

    /// Before arrays of one element per layer are made.
    static func boundLayers(_ count: Int, _ source: String) throws(CabochonError) {
        guard (1...512).contains(count) else {
            throw CabochonError(.invalidFile, "\(source): layer count is \(count), not in 1...512")
        }
    }
}
