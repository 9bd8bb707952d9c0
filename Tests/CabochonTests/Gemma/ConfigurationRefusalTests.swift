// ConfigurationRefusalTests.swift - models whose hyper-parameters or tensors are wrong in one place
// are refused by name.

import Cabochon
import Foundation
import Testing

@Suite("Models that are refused")
struct ConfigurationRefusalTests {
    /// One change, and what the error's message must hold.
    struct Case: Sendable, CustomTestStringConvertible {
        let change: @Sendable (inout [String: Any]) -> Void
        let code: ErrorCode
        let part: String

        init(_ code: ErrorCode, _ part: String, _ change: @escaping @Sendable (inout [String: Any]) -> Void) {
            self.change = change
            self.code = code
            self.part = part
        }

        var testDescription: String { part }
    }

    static let configurations: [Case] = [
        Case(.unsupported, "model_type \"llama\"") { $0["model_type"] = "llama" },
        Case(.unsupported, "model_type \"\"") { $0["model_type"] = nil },
        Case(.unsupported, "model_type \"gemma\"") { $0["model_type"] = "gemma" },
        Case(.invalidFile, "hidden_size is not an integer") { $0["hidden_size"] = "48" },
        Case(.invalidFile, "hidden_size is not an integer") { $0["hidden_size"] = 48.5 },
        Case(.invalidFile, "hidden size is 0") { $0["hidden_size"] = 0 },
        Case(.invalidFile, "hidden size is -48") { $0["hidden_size"] = -48 },
        Case(.invalidFile, "hidden size is 9223372036854775807") { $0["hidden_size"] = Int.max },
        Case(.invalidFile, "layer count is 0") { $0["num_hidden_layers"] = 0 },
        Case(.invalidFile, "layer count is 513") { $0["num_hidden_layers"] = 513 },
        Case(.invalidFile, "7 layer_types for 8 layers") { $0["num_hidden_layers"] = 8 },
        Case(.invalidFile, "1 layer_types for 7 layers") { $0["layer_types"] = ["full_attention"] },
        Case(.invalidFile, "layer_types is not an array") { $0["layer_types"] = "full_attention" },
        Case(.unsupported, "layer type chunked_attention") {
            $0["layer_types"] = [String](repeating: "chunked_attention", count: 7)
        },
        Case(.unsupported, "layer type that is no string") { $0["layer_types"] = [Int](repeating: 1, count: 7) },
        Case(.invalidFile, "feed-forward size is 0") { $0["intermediate_size"] = 0 },
        Case(.invalidFile, "head count is 0") { $0["num_attention_heads"] = 0 },
        Case(.invalidFile, "head count is 1025") { $0["num_attention_heads"] = 1025 },
        Case(.invalidFile, "4 heads of size 16 cannot share 3 KV heads") { $0["num_key_value_heads"] = 3 },
        Case(.invalidFile, "KV head count is 5, not in 1...4") { $0["num_key_value_heads"] = 5 },
        Case(.invalidFile, "KV head count is 0") { $0["num_key_value_heads"] = 0 },
        Case(.invalidFile, "heads of size 15") { $0["head_dim"] = 15 },
        Case(.invalidFile, "head size is 2048") { $0["head_dim"] = 2048 },
        Case(.invalidFile, "context length is 0") { $0["max_position_embeddings"] = 0 },
        Case(.invalidFile, "sliding window is -1") { $0["sliding_window"] = -1 },
        Case(.invalidFile, "sliding_window is not an integer") { $0["sliding_window"] = "8" },
        Case(.invalidFile, "sliding_window_pattern is 0") {
            $0["layer_types"] = nil
            $0["sliding_window_pattern"] = 0
        },
        Case(.invalidFile, "norm epsilon is 0.0") { $0["rms_norm_eps"] = 0 },
        Case(.invalidFile, "norm epsilon is inf") { $0["rms_norm_eps"] = 1e300 },
        Case(.invalidFile, "query scale is 0.0") { $0["query_pre_attn_scalar"] = 0 },
        Case(.invalidFile, "query scale is 0.0") { $0["query_pre_attn_scalar"] = -256 },
        Case(.invalidFile, "attention softcap is -50.0") { $0["attn_logit_softcapping"] = -50 },
        Case(.invalidFile, "final softcap is inf") { $0["final_logit_softcapping"] = 1e300 },
        Case(.unsupported, "rope_type \"yarn\"") { $0["rope_parameters"] = ["rope_type": "yarn", "rope_theta": 1e4] },
        Case(.invalidFile, "rope_type is not a string") { $0["rope_parameters"] = ["rope_type": 1] },
        Case(.unsupported, "rope_type \"dynamic\"") {
            $0["rope_parameters"] = nil
            $0["rope_scaling"] = ["type": "dynamic", "factor": 2]
        },
        Case(.invalidFile, "sliding rotary factor is 0.0") {
            $0["rope_parameters"] = ["sliding_attention": ["rope_type": "linear", "factor": 0]]
        },
        Case(.invalidFile, "rotary factor is -8.0") {
            $0["rope_parameters"] = ["full_attention": ["rope_type": "linear", "factor": -8]]
        },
        Case(.invalidFile, "sliding rotary base is 0.0") {
            $0["rope_parameters"] = ["sliding_attention": ["rope_theta": 0]]
        },
        Case(.unsupported, "use_bidirectional_attention") { $0["use_bidirectional_attention"] = true },
        Case(.unsupported, "attention_bias") { $0["attention_bias"] = true },
        Case(.unsupported, "attention_bias is true") { $0["attention_bias"] = 1 },
        Case(.invalidFile, "attention_bias is neither true nor false") { $0["attention_bias"] = "true" },
        Case(.invalidFile, "tensor lm_head.weight is missing") { $0["tie_word_embeddings"] = false },
        Case(.invalidFile, "tensor lm_head.weight is missing") { $0["tie_word_embeddings"] = 0 },
        Case(.unsupported, "hidden_activation \"gelu\"") { $0["hidden_activation"] = "gelu" },
        Case(.invalidFile, "model.embed_tokens.weight has the shape [600, 48], not [601, 48]") {
            $0["vocab_size"] = 601
        },
        Case(.invalidFile, "the tokenizer has 600 pieces, the embedding only 599 rows") { $0["vocab_size"] = 599 },
        Case(.invalidFile, "model.embed_tokens.weight has the shape [600, 48], not [600, 50]") {
            $0["hidden_size"] = 50
        },
        Case(.invalidFile, "model.layers.0.self_attn.q_proj.weight has the shape [64, 48], not [128, 48]") {
            $0["num_attention_heads"] = 8
        },
        Case(.invalidFile, "model.layers.0.mlp.gate_proj.weight has the shape [64, 48], not [65, 48]") {
            $0["intermediate_size"] = 65
        },
        Case(.invalidFile, "model.layers.7.self_attn.q_proj.weight is missing") {
            $0["num_hidden_layers"] = 8
            $0["layer_types"] = nil
        },
    ]

    @Test("a config.json that is wrong in one place", arguments: configurations)
    func configuration(_ wrong: Case) throws {
        let folder = try ModelFolder("variants/gemma3-text")
        try folder.changeConfig(wrong.change)
        try expectError(wrong.code, folder.path, wrong.part) { _ = try VariantParityTests.model(folder.path) }
    }

    @Test("a Gemma 2 config.json for Gemma 3 weights, and the other way round")
    func family() throws {
        // Without the softcaps and the query and key norms of the other family nothing says so but the norms.
        let folder = try ModelFolder("variants/gemma2-scaled")
        try folder.changeConfig { $0["model_type"] = "gemma3_text" }
        try expectError(.invalidFile, "model.layers.0.self_attn.q_norm.weight is missing") {
            _ = try VariantParityTests.model(folder.path)
        }
    }

    @Test("folders that lack a file")
    func missingFiles() throws {
        for (name, part) in [
            ("config.json", "config.json: No such file"), ("tokenizer.model", "tokenizer.json: No such file"),
            ("model.safetensors", "neither model.safetensors nor model.safetensors.index.json"),
        ] {
            let folder = try ModelFolder("variants/gemma3-text", without: [name])
            try expectError(.io, folder.path, part) { _ = try VariantParityTests.model(folder.path) }
        }
    }

    @Test("tensors that are missing or of another shape")
    func tensors() throws {
        for name in [
            "model.embed_tokens.weight", "model.norm.weight", "model.layers.3.self_attn.k_norm.weight",
            "model.layers.6.mlp.down_proj.weight", "model.layers.0.post_attention_layernorm.weight",
        ] {
            let folder = try ModelFolder("variants/gemma3-text")
            try folder.changeHeader { $0[name] = nil }
            try expectError(.invalidFile, folder.path, "tensor \(name) is missing") {
                _ = try VariantParityTests.model(folder.path)
            }
        }
        for name in ["model.layers.2.self_attn.o_proj.weight", "model.layers.2.input_layernorm.weight"] {
            let folder = try ModelFolder("variants/gemma3-text")
            try folder.changeHeader { header in
                var entry = header[name] as? [String: Any] ?? [:]
                entry["shape"] = [1] + (entry["shape"] as? [Int] ?? [])
                header[name] = entry
            }
            try expectError(.invalidFile, folder.path, "tensor \(name) has the shape [1, ") {
                _ = try VariantParityTests.model(folder.path)
            }
        }
    }

    static let metadata: [(ErrorCode, String, @Sendable (inout GGUFCopy) -> Void)] = [
        (.unsupported, "architecture \"llama\"", { $0.set("general.architecture", "llama") }),
        (.unsupported, "architecture \"gemma-embedding\"", { $0.set("general.architecture", "gemma-embedding") }),
        (.unsupported, "architecture \"\"", { $0.remove("general.architecture") }),
        (.invalidFile, "gemma3.embedding_length is missing", { $0.remove("gemma3.embedding_length") }),
        (.invalidFile, "gemma3.block_count is missing", { $0.remove("gemma3.block_count") }),
        (.invalidFile, "gemma3.feed_forward_length is missing", { $0.remove("gemma3.feed_forward_length") }),
        (.invalidFile, "gemma3.attention.head_count is missing", { $0.remove("gemma3.attention.head_count") }),
        (.invalidFile, "gemma3.attention.head_count_kv is missing", { $0.remove("gemma3.attention.head_count_kv") }),
        (.invalidFile, "gemma3.attention.key_length is missing", { $0.remove("gemma3.attention.key_length") }),
        (.unsupported, "keys of 16 and values of 32", { $0.set("gemma3.attention.value_length", UInt32(32)) }),
        (.invalidFile, "gemma3.block_count", { $0.set("gemma3.block_count", "7") }),
        (.invalidFile, "layer count is 4294967295", { $0.set("gemma3.block_count", UInt32.max) }),
        (.invalidFile, "blk.7.attn_q.weight is missing", { $0.set("gemma3.block_count", UInt32(8)) }),
        (
            .invalidFile, "head size is 0",
            {
                $0.set("gemma3.attention.key_length", UInt32(0))
                $0.set("gemma3.attention.value_length", UInt32(0))
            }
        ),
        (.invalidFile, "cannot share 3 KV heads", { $0.set("gemma3.attention.head_count_kv", UInt32(3)) }),
        (.unsupported, "rope.dimension_count is 8 of 16", { $0.set("gemma3.rope.dimension_count", UInt32(8)) }),
        (.unsupported, "attention.causal is false", { $0.set("gemma3.attention.causal", kind: 7, [0]) }),
        (.invalidFile, "is 4294967295, which is no", { $0.set("tokenizer.ggml.bos_token_id", UInt32.max) }),
        (.unsupported, "rope.scaling.type \"yarn\"", { $0.set("gemma3.rope.scaling.type", "yarn") }),
        (
            .invalidFile, "rotary factor is 0.0",
            {
                $0.set("gemma3.rope.scaling.type", "linear")
                $0.set("gemma3.rope.scaling.factor", Float(0))
            }
        ),
        (.invalidFile, "rotary base is nan", { $0.set("gemma3.rope.freq_base", Float.nan) }),
        (.invalidFile, "norm epsilon is -1.0", { $0.set("gemma3.attention.layer_norm_rms_epsilon", Float(-1)) }),
        (
            .invalidFile, "6 entries of sliding_window_pattern for 7 layers",
            {
                $0.set("gemma3.attention.sliding_window_pattern", [Bool](repeating: true, count: 6))
            }
        ),
        (
            .invalidFile, "sliding_window_pattern is 0",
            {
                $0.set("gemma3.attention.sliding_window_pattern", UInt32(0))
            }
        ),
        (.invalidFile, "sliding_window_pattern", { $0.set("gemma3.attention.sliding_window_pattern", "6") }),
        (.invalidFile, "token_embd.weight is missing", { $0.tensors.removeAll { $0.name == "token_embd.weight" } }),
        (
            .invalidFile, "the tokenizer has 600 pieces, the embedding only 599 rows",
            {
                $0.change("token_embd.weight") {
                    $0.shape[0] = 599
                    $0.content.removeLast(48 * 2)
                }
            }
        ),
        (
            .unsupported, "tensor blk.2.attn_q.bias is none of a gemma3 of 7 layers",
            {
                $0.tensors.append(
                    GGUFCopy.Tensor(
                        name: "blk.2.attn_q.bias", shape: [64], type: 0, content: [UInt8](repeating: 0, count: 256)))
            }
        ),
        (.unsupported, "tensor blk.6.attn_k.weight is none of", { $0.set("gemma3.block_count", UInt32(6)) }),
        (.invalidFile, "output_norm.weight is missing", { $0.tensors.removeAll { $0.name == "output_norm.weight" } }),
        (
            .invalidFile, "blk.4.attn_k_norm.weight has the shape [8], not [16]",
            {
                $0.change("blk.4.attn_k_norm.weight") {
                    $0.shape = [8]
                    $0.content.removeLast(32)
                }
            }
        ),
        (
            .invalidFile, "blk.1.ffn_down.weight has the shape [64, 48], not [48, 64]",
            {
                $0.change("blk.1.ffn_down.weight") { $0.shape.reverse() }
            }
        ),
        (.unsupported, "tokenizer.ggml.model", { $0.set("tokenizer.ggml.model", "gpt2") }),
        (.invalidFile, "tokenizer.ggml.tokens", { $0.remove("tokenizer.ggml.tokens") }),
    ]

    @Test("a GGUF that is wrong in one place")
    func gguf() throws {
        let original = try GGUFCopy("variants/gemma3-text/defaults.gguf")
        for (code, part, change) in Self.metadata {
            var copy = original
            change(&copy)
            let folder = try TemporaryFolder()
            let path = try folder.write(copy.build(), to: "model.gguf")
            try expectError(code, path, part) { _ = try VariantParityTests.model(path) }
        }
    }
}
