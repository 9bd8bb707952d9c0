"""Gemma 2 in float64 numpy, as the paper (arXiv 2408.00118) and transformers have it: slow, and easy to read.

It exists for what transformers' own numbers in the fixture don't cover: activations replaced on the way.
"""

import json

import numpy as np


DECODINGS = {
    "F32": lambda data: np.frombuffer(data, np.float32),
    "F16": lambda data: np.frombuffer(data, np.float16),
    "BF16": lambda data: (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32),
}


def load(folder):
    """The configuration, and every tensor of the safetensors files, as float64."""
    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8 : 8 + size]).items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                values = DECODINGS[entry["dtype"]](data[8 + size + start : 8 + size + end])
                tensors[name] = values.reshape(entry["shape"]).astype(np.float64)
    return config, tensors


def normalized(x, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)


def rotated(x, base):
    """x: [tokens, heads, head size], element i paired with i + half."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention(x, w, prefix, c, slides):
    heads, kv_heads, size = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    q = rotated((x @ w[prefix + "q_proj.weight"].T).reshape(-1, heads, size), c["rope_theta"])
    k = rotated((x @ w[prefix + "k_proj.weight"].T).reshape(-1, kv_heads, size), c["rope_theta"])
    v = (x @ w[prefix + "v_proj.weight"].T).reshape(-1, kv_heads, size)
    k, v = (np.repeat(part, heads // kv_heads, axis=1) for part in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) * c["query_pre_attn_scalar"] ** -0.5
    cap = c["attn_logit_softcapping"]
    scores = cap * np.tanh(scores / cap)
    distance = np.arange(len(x))[:, None] - np.arange(len(x))[None]
    hidden = (distance < 0) | (slides & (distance >= c["sliding_window"]))
    scores = np.where(hidden, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", weights, v).reshape(len(x), -1) @ w[prefix + "o_proj.weight"].T


def logits(folder, ids, mlp=None, after=None):
    """Logits of every position.

    ``mlp(layer, mlp_in_normalized, mlp_out)`` may give another mlp_out; ``after`` holds residual streams that
    take the place of a layer's output.
    """
    c, w = load(folder)
    epsilon = c["rms_norm_eps"]

    def norm(x, name):
        return normalized(x, epsilon) * (1 + w[name])

    embedding = w["model.embed_tokens.weight"]
    x = embedding[ids] * np.sqrt(c["hidden_size"])
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        slides = layer % 2 == 0
        attended = attention(norm(x, prefix + "input_layernorm.weight"), w, prefix + "self_attn.", c, slides)
        x = x + norm(attended, prefix + "post_attention_layernorm.weight")
        bare = normalized(x, epsilon)
        y = bare * (1 + w[prefix + "pre_feedforward_layernorm.weight"])
        gate = y @ w[prefix + "mlp.gate_proj.weight"].T
        gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        y = (gate * (y @ w[prefix + "mlp.up_proj.weight"].T)) @ w[prefix + "mlp.down_proj.weight"].T
        y = norm(y, prefix + "post_feedforward_layernorm.weight")
        x = x + (y if mlp is None else mlp(layer, bare, y))
        x = (after or {}).get(layer, x)
    cap = c["final_logit_softcapping"]
    return cap * np.tanh(norm(x, "model.norm.weight") @ embedding.T / cap)
