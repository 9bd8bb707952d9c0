"""Files of dictionaries that are damaged, or mean something else than they seem to: none is read as it should not be."""

import json
import struct
import zipfile

import numpy as np
import pytest

import cabochon
from binding import error_of
from test_encoder_cache import damage
from test_scope_sites import write_safetensors

NAMES = ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"]


def arrays(width=70, size=80):
    rng = np.random.default_rng(21)
    shapes = [(size, width), (width, size), (width,), (size,), (width,)]
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in zip(NAMES, shapes)}


@pytest.fixture
def stored(tmp_path):
    np.savez(tmp_path / "params.npz", **arrays())
    return tmp_path / "params.npz"


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", [*NAMES, "affine_skip_connection", "scaling_factor"])
def test_a_stored_array_that_is_not_what_its_checksum_says_is_refused(stored, tmp_path, name, cached):
    np.savez(stored, affine_skip_connection=np.eye(80, dtype=np.float32), scaling_factor=np.ones(70, np.float32), **arrays())
    assert cabochon.SAE(stored, "res", 0, cache=False).width == 70
    damage(stored, name)
    error = error_of(cabochon.SAE, stored, "res", 0, cache=tmp_path / "cache" if cached else False)
    assert error.code == "invalid_file" and f"array '{name}': its checksum" in error.message


def test_a_checksum_is_of_all_bytes_whatever_their_number(tmp_path):
    # Members end at each distance from a whole block, and from a whole word.
    for width in (*range(1, 9), 65_536, 65_537, 131_071):
        path = tmp_path / f"{width}.npz"
        np.savez(path, **{name: array.astype(np.float16) for name, array in arrays(width, 3).items()})
        assert cabochon.SAE(path, "res", 0, cache=False).width == width


def test_a_directory_that_leads_to_another_member_is_refused(stored):
    with zipfile.ZipFile(stored) as archive:
        places = [archive.getinfo(f"{name}.npy").header_offset for name in ("b_enc", "threshold")]
        start = archive.start_dir
    data = stored.read_bytes()
    packed = [struct.pack("<I", place) for place in places]
    directory = data[start:].replace(packed[0], b"\0swap").replace(packed[1], packed[0]).replace(b"\0swap", packed[1])
    assert len(directory) == len(data) - start
    stored.write_bytes(data[:start] + directory)
    error = error_of(cabochon.SAE, stored, "res", 0)
    assert error.code == "invalid_file" and "'b_enc.npy'" in error.message and "has another name" in error.message


def test_what_follows_a_header_is_blanks(tmp_path):
    path = tmp_path / "params.npz"
    np.savez(path, **arrays())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for end in (b" 1\n", b"\0\0\n", b",)\n"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                stop = 10 + struct.unpack("<H", data[8:10])[0]
                archive.writestr(name, data[: stop - 3] + end + data[stop:] if name == "W_dec.npy" else data)
        error = error_of(cabochon.SAE, path, "res", 0)
        assert error.code == "invalid_file" and "array 'W_dec'" in error.message and "blanks" in error.message


SAELENS = {
    "architecture": "jumprelu", "apply_b_dec_to_input": False, "normalize_activations": "none", "hook_head_index": None,
    "reshape_activations": "none", "d_in": 80, "d_sae": 70,
}  # fmt: skip


def test_what_saelens_does_to_inputs_is_refused_where_it_does_anything(tmp_path):
    path, config = tmp_path / "sae_weights.safetensors", tmp_path / "cfg.json"
    write_safetensors(path, arrays())
    config.write_text(json.dumps(SAELENS))
    assert cabochon.SAE(path, "res", 0).width == 70
    config.write_text(json.dumps({"architecture": "jumprelu", "metadata": {"hook_head_index": None}}))
    assert cabochon.SAE(path, "res", 0).width == 70
    changes = {
        "apply_b_dec_to_input": [True, 1], "normalize_activations": ["layer_norm", "expected_average_only_in"],
        "architecture": ["gated", "jumprelu_skip_transcoder", 3], "hook_head_index": [0],
    }  # fmt: skip
    for key, values in changes.items():
        for value in values:
            for document in ({**SAELENS, key: value}, {"metadata": {key: value}}):
                config.write_text(json.dumps(document))
                error = error_of(cabochon.SAE, path, "res", 0)
                assert error.code == "unsupported" and f"cfg.json: dictionaries with this {key}" in error.message
    config.write_text("{")
    assert error_of(cabochon.SAE, path, "res", 0).code == "invalid_file"
    # An .npz is Gemma Scope's own, and says by its path what it is.
    np.savez(tmp_path / "params.npz", **arrays())
    assert cabochon.SAE(tmp_path / "params.npz", "res", 0).width == 70


@pytest.mark.parametrize("architecture", ["topk", 3, ["jump_relu"]])
def test_another_architecture_is_refused(tmp_path, architecture):
    write_safetensors(tmp_path / "params.safetensors", arrays())
    for known in ("jump_relu", None):
        (tmp_path / "config.json").write_text(json.dumps({"architecture": known}))
        assert cabochon.SAE(tmp_path, "res", 0).width == 70
    (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture}))
    error = error_of(cabochon.SAE, tmp_path, "res", 0)
    assert error.code == "unsupported" and "config.json: architecture" in error.message


@pytest.mark.parametrize("name", ["params.npz", "config.json", "cfg.json"])
def test_a_link_that_leads_nowhere_is_no_file_that_was_left_out(tmp_path, name):
    write_safetensors(tmp_path / "params.safetensors", arrays())
    assert cabochon.SAE(tmp_path, "res", 0).width == 70
    (tmp_path / name).symlink_to("../blobs/0123")
    error = error_of(cabochon.SAE, tmp_path, "res", 0)
    assert error.code == "io" and f"cannot open {tmp_path / name}" in error.message
