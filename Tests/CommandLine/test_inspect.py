"""`cabochon inspect` and `cabochon backends`."""

import math

import pytest


@pytest.mark.parametrize("source", ["tiny", "tiny_gguf"])
def test_inspect_gives_hyper_parameters_and_every_tensor(cabochon, request, source):
    model = request.getfixturevalue(source)
    found = cabochon.json("inspect", "--model", model)
    parameters = found["hyper_parameters"]
    assert (parameters["architecture"], parameters["hidden_size"], parameters["layer_count"]) == ("gemma2", 64, 4)
    assert (parameters["head_count"], parameters["kv_head_count"], parameters["head_size"]) == (4, 2, 16)
    assert parameters["sliding_window"] == 12 and parameters["sliding_layers"] == [0, 2]
    assert parameters["attention_softcap"] == 50 and parameters["final_softcap"] == 30
    # 11 tensors a layer, the embedding and the last norm.
    assert len(found["tensors"]) == 4 * 11 + 2 == found["totals"]["tensors"]
    assert all(tensor["bytes"] == 4 * math.prod(tensor["shape"]) for tensor in found["tensors"])
    assert found["totals"]["parameters"] == sum(math.prod(tensor["shape"]) for tensor in found["tensors"])
    assert found["path"] == str(model) and found["format"] and isinstance(found["metadata"], dict)


def test_inspect_for_people_has_the_same_facts(cabochon, tiny_gguf):
    text = cabochon.text("inspect", "--model", tiny_gguf)
    assert "gemma2" in text and "general.architecture" in text and "blk.3.ffn_down.weight" in text
    assert "blk.3" not in cabochon.text("inspect", "--model", tiny_gguf, "--no-tensors")


def test_a_file_name_with_a_line_break_stays_in_its_row(cabochon, tiny_gguf, tmp_path):
    path = tmp_path / "one\ntwo.gguf"
    path.symlink_to(tiny_gguf)
    lines = cabochon.text("inspect", "--model", path).splitlines()
    assert [line.split(None, 1)[1] for line in lines if line.startswith("model ")] == [f'"{tmp_path}/one\\ntwo.gguf"']


def test_backends_are_listed_best_first_with_scalar_last(cabochon):
    found = cabochon.json("backends")
    names = [backend["name"] for backend in found["backends"]]
    priorities = [backend["priority"] for backend in found["backends"]]
    assert names[-1] == "scalar" and found["backends"][-1]["path"] == ""
    assert priorities == sorted(priorities, reverse=True) and found["threads"] >= 1
    table = cabochon.text("backends").splitlines()
    assert [line.split()[0] for line in table[1:] if not line.startswith("not used")] == names


def test_a_plugin_that_cannot_be_used_is_listed_with_its_reason(cabochon, tmp_path):
    bad = tmp_path / "libcabochon-bad.so"
    bad.write_text("This is no library.")
    rejected = cabochon.json("backends", CABOCHON_BACKEND_PATH=str(tmp_path))["rejected"]
    assert [bool(entry["reason"]) for entry in rejected if entry["path"] == str(bad)] == [True]
    [line] = [line for line in cabochon.text("backends", CABOCHON_BACKEND_PATH=str(tmp_path)).splitlines() if str(bad) in line]
    assert line.startswith(f"not used: {bad}: ") and line.count(f"{bad}: {bad}") == 0


def test_backends_says_whether_a_named_one_is_there(cabochon):
    assert cabochon.run("backends", "--backend", "scalar").returncode == 0
    assert "abacus" in cabochon.failure("backends", "--backend", "abacus")
