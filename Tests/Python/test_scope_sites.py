"""Dictionaries whose site is scaled otherwise, or read otherwise, than the files of the others: embeddings, transcoders."""

import json

import numpy as np

import cabochon
import reference
from binding import GREEDY, error_of
from test_scope import (  # noqa: F401 - some are fixtures
    assert_rows, dense, dictionary, exact, ids, residual, subset,
)


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_a_skip_connection_is_x_times_a(model_path, tmp_path, exact, ids):
    _, arrays = dictionary(model_path, "mlp_in_normalized", 1)
    skip = (np.random.default_rng(4).standard_normal((64, 64)) * 0.05).astype(np.float32)
    tensors = {name.lower(): np.ascontiguousarray(array) for name, array in arrays.items()}
    tensors["affine_skip_connection"] = skip
    folder = tmp_path / "transcoder" / "layer_1_width_512_l0_small_affine"
    folder.mkdir(parents=True)
    write_safetensors(folder / "params.safetensors", tensors)
    (folder / "config.json").write_text(
        '{"architecture": "jump_relu", "hf_hook_point_in": "model.layers.1.pre_feedforward_layernorm.output", "l0": 21}'
    )
    sae = cabochon.SAE(folder)
    assert (sae.site, sae.layer, sae.kind, sae.average_l0) == ("mlp_in", 1, "transcoder", 21)
    x = exact.activations(ids, "1.mlp_in")["1.mlp_in"]
    found = sae.encode(x)
    want = dense(x, arrays) @ arrays["W_dec"].astype(np.float64) + arrays["b_dec"] + x.astype(np.float64) @ skip
    np.testing.assert_allclose(sae.decode(found, x), want, atol=1e-3)
    assert "input" in error_of(sae.decode, found).message
    assert np.isfinite(exact.logits(ids, splice=[sae])).all()


def test_a_skip_connection_of_embeddings_is_in_their_scale(exact, tmp_path, ids):
    # Nothing fires, and the skip gives back what came in: a splice changes nothing.
    zeros = np.zeros((64, 32), np.float32)
    arrays = dict(W_enc=zeros, W_dec=zeros.T, b_enc=zeros[0], b_dec=zeros[:, 0], threshold=zeros[0] + 1)
    np.savez(tmp_path / "params.npz", affine_skip_connection=np.eye(64, dtype=np.float32), **arrays)
    sae = cabochon.SAE(tmp_path, "embedding")
    assert (sae.site, sae.layer) == ("resid_pre", 0)
    np.testing.assert_allclose(exact.logits(ids, splice=[sae]), exact.logits(ids), atol=1e-4)
    assert "layer 0, not 3" in error_of(cabochon.SAE, tmp_path, "embedding", 3).message


def test_transcoders_of_gemma_scope_2_read_what_the_gain_has_multiplied(tmp_path, model_path):
    _, arrays = dictionary(model_path, "mlp_in_normalized", 1)
    folder = tmp_path / "transcoder" / "layer_1_width_512_l0_small"
    folder.mkdir(parents=True)
    write_safetensors(folder / "params.safetensors", {name.lower(): np.ascontiguousarray(array) for name, array in arrays.items()})
    assert cabochon.SAE(folder).site == "mlp_in"
    assert cabochon.SAE(folder, "transcoder", 1).site == "mlp_in"
    np.savez(tmp_path / "params.npz", **arrays)
    assert cabochon.SAE(tmp_path / "params.npz", "transcoder", 1).site == "mlp_in_normalized"


def test_an_embedding_dictionary_reads_embeddings_before_they_are_scaled(exact, residual, tmp_path, model_path, ids):
    _, arrays = residual
    folder = tmp_path / "gemma-scope-2b-pt-res" / "embedding" / "width_4k" / "average_l0_21"
    folder.mkdir(parents=True)
    # Of embeddings little would fire: their numbers are an eighth of what passes the layers.
    arrays = {**arrays, "b_enc": arrays["b_enc"] * 0.1, "threshold": arrays["threshold"] * 0.05}
    np.savez(folder / "params.npz", **arrays)
    sae = cabochon.SAE(folder)
    _, weights = reference.load(model_path)
    x = weights["model.embed_tokens.weight"][np.asarray(ids)]
    want = dense(x, arrays)
    assert 5 < (want > 0).sum(1).mean() < 500
    found = exact.features(ids, sae)
    # The factor is rounded to bfloat16 in the model, as in training.
    np.testing.assert_allclose(found.to_dense(), want, atol=2e-2)
    few = sae.only(np.unique(found.indices)[::5].tolist())
    assert_rows(exact.features(ids, few), subset(found, np.unique(found.indices)[::5]))
    # A reconstruction goes back in the model's scale: what stands there then reads it so.
    there = cabochon.SAE(folder, "resid_pre", 0)
    passing = exact.generate(ids, splice=[sae], watch=[there], max_tokens=1, **GREEDY).features[0]
    rebuilt = there.encode(sae.decode(found) * np.float32(np.sqrt(exact.hidden_size)))
    assert len(rebuilt.indices) > 10 * len(ids)
    np.testing.assert_allclose(passing.to_dense()[1 : len(ids)], rebuilt.to_dense()[1:], rtol=5e-2, atol=2e-1)
