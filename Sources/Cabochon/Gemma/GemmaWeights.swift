// GemmaWeights.swift - a model's tensors, checked against its hyper-parameters.
//
// Matrices stay where the file has them (a backend may keep its own packed copy); the norm gains,
// a few kilobytes, become float32 with the "1 + w" of the paper already added.

import ScalarBackend

/// One transformer layer. Matrices are [outputs, inputs].
struct GemmaLayer: Sendable {
    let query: StoredTensor  // [headCount * headSize, hiddenSize]
    let key: StoredTensor  // [kvHeadCount * headSize, hiddenSize]
    let value: StoredTensor  // [kvHeadCount * headSize, hiddenSize]
    let attentionOutput: StoredTensor  // [hiddenSize, headCount * headSize]
    let gate: StoredTensor  // [feedForwardSize, hiddenSize]
    let up: StoredTensor  // [feedForwardSize, hiddenSize]
    let down: StoredTensor  // [hiddenSize, feedForwardSize]
    let attentionNorm: Buffer<Float>  // [hiddenSize]
    let postAttentionNorm: Buffer<Float>  // [hiddenSize]
    let feedForwardNorm: Buffer<Float>  // [hiddenSize]
    let postFeedForwardNorm: Buffer<Float>  // [hiddenSize]
    let queryNorm: Buffer<Float>?  // [headSize]
    let keyNorm: Buffer<Float>?  // [headSize]

    var matrices: [StoredTensor] { [query, key, value, attentionOutput, gate, up, down] }
}

struct GemmaWeights: Sendable {
    let embedding: StoredTensor  // [vocabularySize, hiddenSize]
    /// The embedding as well, since Gemma ties the two, but where a file has one of its own. [vocabularySize, hiddenSize]
    let head: StoredTensor
    let outputNorm: Buffer<Float>  // [hiddenSize]
    let layers: [GemmaLayer]

    /// The head in as many pieces as one linear op takes. It is the largest matrix by far: packed
    /// piece by piece, it never stands whole beside the file's pages.
    var headPieces: [StoredTensor] {
        let rowsPerPiece = max(4096, (head.rows / 4 + 64) / 64 * 64)
        return stride(from: 0, to: head.rows, by: rowsPerPiece).map {
            StoredTensor(head, rows: $0..<min($0 + rowsPerPiece, head.rows))
        }
    }

    /// All matrices, the head only where it is not the embedding.
    var matrices: [StoredTensor] {
        (head.name == embedding.name ? [embedding] : [embedding, head]) + layers.flatMap(\.matrices)
    }

    /// How much of what a token reads is the head, in the file's bytes.
    var headShare: Double {
        let head = Double(head.bytes.count)
        return head / layers.reduce(head) { $0 + $1.matrices.reduce(0) { $0 + Double($1.bytes.count) } }
    }

    /// How a container names tensors and stores norm gains.
    struct Naming: Sendable {
        let embedding: String
        /// Of a head of its own; files of Gemma's own have none.
        let heads: [String]
        let outputNorm: String
        /// What comes before a layer's own names, the layer's number left out.
        let layerPrefix: @Sendable (Int) -> String
        let query, key, value, attentionOutput, gate, up, down: String
        let attentionNorm, postAttentionNorm, feedForwardNorm, postFeedForwardNorm, queryNorm, keyNorm: String
        /// safetensors hold w where the forward pass needs 1 + w; GGUF files hold 1 + w.
        let addsOneToNorms: Bool
        /// Whether all tensors of a file belong to the model. Those of folders may be of parts that see images.
        let hasNoOthers: Bool

        static let gguf = Naming(
            embedding: "token_embd.weight", heads: ["output.weight"], outputNorm: "output_norm.weight",
            layerPrefix: { "blk.\($0)." },
            query: "attn_q.weight", key: "attn_k.weight", value: "attn_v.weight", attentionOutput: "attn_output.weight",
            gate: "ffn_gate.weight", up: "ffn_up.weight", down: "ffn_down.weight", attentionNorm: "attn_norm.weight",
            postAttentionNorm: "post_attention_norm.weight", feedForwardNorm: "ffn_norm.weight",
            postFeedForwardNorm: "post_ffw_norm.weight", queryNorm: "attn_q_norm.weight", keyNorm: "attn_k_norm.weight",
            addsOneToNorms: false, hasNoOthers: true)

        /// - Parameter prefix: "model." of a text model, "language_model.model." of Gemma 3's larger ones.
        static func huggingFace(prefix: String) -> Naming {
            Naming(
                embedding: "\(prefix)embed_tokens.weight",
                heads: ["lm_head.weight", "language_model.lm_head.weight"], outputNorm: "\(prefix)norm.weight",
                layerPrefix: { "\(prefix)layers.\($0)." },
                query: "self_attn.q_proj.weight", key: "self_attn.k_proj.weight", value: "self_attn.v_proj.weight",
                attentionOutput: "self_attn.o_proj.weight", gate: "mlp.gate_proj.weight", up: "mlp.up_proj.weight",
                down: "mlp.down_proj.weight", attentionNorm: "input_layernorm.weight",
                // Llama gives this name to the norm before the MLP; in Gemma it follows the attention.
                postAttentionNorm: "post_attention_layernorm.weight",
                feedForwardNorm: "pre_feedforward_layernorm.weight",
                postFeedForwardNorm: "post_feedforward_layernorm.weight", queryNorm: "self_attn.q_norm.weight",
                keyNorm: "self_attn.k_norm.weight", addsOneToNorms: true, hasNoOthers: false)
        }
    }

    /// Finds and checks every tensor the configuration calls for.
    ///
    /// - Throws: `.invalidFile` for one that is missing or has another shape; `.unsupported` for one that is more than
    ///   that where a file's tensors are all the model's: a bias that nothing adds would be another model's.
    init(
        tensors: [String: StoredTensor], naming: Naming, configuration c: GemmaConfiguration, source: String
    ) throws(CabochonError) {
        var finder = Finder(tensors: tensors, addsOne: naming.addsOneToNorms, source: source)
        embedding = try finder.matrix(naming.embedding, rows: c.vocabularySize, columns: c.hiddenSize)
        if let name = naming.heads.first(where: { tensors[$0] != nil }) ?? (c.hasOwnHead ? naming.heads.first : nil) {
            head = try finder.matrix(name, rows: c.vocabularySize, columns: c.hiddenSize)
        } else {
            head = embedding
        }
        outputNorm = try finder.gain(naming.outputNorm, width: c.hiddenSize)
        var layers: [GemmaLayer] = []
        for index in 0..<c.layerCount {
            let prefix = naming.layerPrefix(index)
            layers.append(
                GemmaLayer(
                    query: try finder.matrix(prefix + naming.query, rows: c.querySize, columns: c.hiddenSize),
                    key: try finder.matrix(prefix + naming.key, rows: c.kvSize, columns: c.hiddenSize),
                    value: try finder.matrix(prefix + naming.value, rows: c.kvSize, columns: c.hiddenSize),
                    attentionOutput: try finder.matrix(
                        prefix + naming.attentionOutput, rows: c.hiddenSize, columns: c.querySize),
                    gate: try finder.matrix(prefix + naming.gate, rows: c.feedForwardSize, columns: c.hiddenSize),
                    up: try finder.matrix(prefix + naming.up, rows: c.feedForwardSize, columns: c.hiddenSize),
                    down: try finder.matrix(prefix + naming.down, rows: c.hiddenSize, columns: c.feedForwardSize),
                    attentionNorm: try finder.gain(prefix + naming.attentionNorm, width: c.hiddenSize),
                    postAttentionNorm: try finder.gain(prefix + naming.postAttentionNorm, width: c.hiddenSize),
                    feedForwardNorm: try finder.gain(prefix + naming.feedForwardNorm, width: c.hiddenSize),
                    postFeedForwardNorm: try finder.gain(prefix + naming.postFeedForwardNorm, width: c.hiddenSize),
                    queryNorm: c.hasQueryKeyNorm ? try finder.gain(prefix + naming.queryNorm, width: c.headSize) : nil,
                    keyNorm: c.hasQueryKeyNorm ? try finder.gain(prefix + naming.keyNorm, width: c.headSize) : nil))
        }
        self.layers = layers
        if naming.hasNoOthers { try finder.refuseRest(of: c) }
    }

    private struct Finder {
        /// Those that have not been asked for.
        var tensors: [String: StoredTensor]
        let addsOne: Bool
        let source: String

        private mutating func take(_ name: String) throws(CabochonError) -> StoredTensor {
            guard let tensor = tensors.removeValue(forKey: name) else {
                throw CabochonError(.invalidFile, "\(source): tensor \(name) is missing")
            }
            return tensor
        }

        func refuseRest(of configuration: GemmaConfiguration) throws(CabochonError) {
            guard let name = tensors.keys.min() else { return }
            throw CabochonError(
                .unsupported,
                "\(source): tensor \(name) is none of a \(configuration.architecture) of \(configuration.layerCount) layers"
            )
        }

        mutating func matrix(_ name: String, rows: Int, columns: Int) throws(CabochonError) -> StoredTensor {
            let tensor = try take(name)
            guard tensor.shape == [rows, columns] else {
                throw CabochonError(
                    .invalidFile, "\(source): tensor \(name) has the shape \(tensor.shape), not [\(rows), \(columns)]")
            }
            return tensor
        }

        mutating func gain(_ name: String, width: Int) throws(CabochonError) -> Buffer<Float> {
            let tensor = try take(name)
            guard tensor.shape == [width], let data = tensor.bytes.baseAddress else {
                throw CabochonError(
                    .invalidFile, "\(source): tensor \(name) has the shape \(tensor.shape), not [\(width)]")
            }
            let gain = try Buffer<Float>(count: width, for: name)
            guard dequantize(type: tensor.type.rawValue, from: data, to: gain.pointer, count: width) else {
                throw CabochonError(.unsupported, "\(source): tensor \(name) is of type \(tensor.type)")
            }
            if addsOne { for i in 0..<width { gain.pointer[i] += 1 } }
            return gain
        }
    }
}
