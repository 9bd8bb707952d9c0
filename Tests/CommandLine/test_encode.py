"""`cabochon encode`, `scope-eval` and --steer, on the small checkpoint and its dictionaries."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from commandline import PROGRAM, TINY

SAE = TINY / "expected" / "scope" / "resid_post_layer2.npz"
DICTIONARY = ["--sae", SAE, "--site", "res", "--layer", 2]


@pytest.fixture
def encode(tiny):
    return ["encode", "--model", tiny, *DICTIONARY]


def test_the_table_and_both_json_shapes_say_the_same(cabochon, encode, tmp_path):
    text = "The lighthouse keeper"
    rows = tmp_path / "rows.npz"
    source = cabochon.json(*encode, "--prompt", text, "--npz", rows)["results"][0]
    by_token = cabochon.json(*encode, "--prompt", text, "--by-token", "--top", 512)["results"]
    assert [row["token"] for row in by_token] == source["tokens"] and source["tokens"][0] == "<bos>"
    assert by_token[0]["topFeatures"] == []
    for position, row in enumerate(by_token):
        assert row["tokenPosition"] == position
        values = [one["activationValue"] for one in row["topFeatures"]]
        assert values == sorted(values, reverse=True)
        for one in row["topFeatures"]:
            found = dict(map(tuple, source["activeFeatures"][str(one["featureIndex"])]))
            assert found[position] == pytest.approx(one["activationValue"], abs=1e-3)
    assert sum(map(len, source["activeFeatures"].values())) == sum(len(row["topFeatures"]) for row in by_token)
    with np.load(rows) as arrays:
        assert arrays["format"] == b"csr" and arrays["shape"].tolist() == [len(by_token), 512]
        counts = np.diff(arrays["indptr"])[~arrays["excluded"]]
        assert counts.tolist() == [len(row["topFeatures"]) for row in by_token[1:]]
    lines = cabochon.text(*encode, "--prompt", text, "--top", 1).splitlines()
    assert len(lines) == 1 + len(by_token)
    strongest = by_token[1]["topFeatures"][0]
    assert f"{strongest['featureIndex']}: {strongest['activationValue']:.1f}" in lines[2]


def test_what_does_not_fit_is_said(cabochon, tiny, tmp_path):
    assert "site" in cabochon.failure("encode", "--model", tiny, "--sae", SAE, "--prompt", "x")
    words = cabochon.failure("encode", "--model", tiny, "--sae", SAE, "--site", "res", "--layer", 9, "--prompt", "x")
    assert "layer 9" in words
    assert "no-such" in cabochon.failure("encode", "--model", tiny, "--sae", tmp_path / "no-such", "--prompt", "x")
    cabochon.failure("encode", "--model", tiny, *DICTIONARY, "--prompt", "x", "--by-token", status=2)


def read(folder):
    """All shards as one."""
    parts = [dict(np.load(path)) for path in sorted(folder.glob("shard-*.npz"))]
    return {name: np.concatenate([part[name] for part in parts]) for name in ("tokens", "line", "position", "data", "indices")}


def test_a_data_set_goes_on_where_it_stopped(cabochon, encode, tmp_path):
    texts = [f"The {word} of the sea is older than its {word}." * 3 for word in ("song", "name", "light", "salt", "map")]
    rows = [json.dumps({"text": text}) for text in texts]
    whole, half = tmp_path / "whole.jsonl", tmp_path / "half.jsonl"
    whole.write_text("\n".join(rows) + "\n")
    done = cabochon.json(*encode, "--input", whole, "--output", tmp_path / "a", "--context", 16, "--shard-tokens", 40)
    assert done["lines"] == 5 and done["shards"] >= 3 and done["tokens"] == len(read(tmp_path / "a")["tokens"])
    # The same work, cut off after two lines: what is there stays, and nothing comes twice.
    half.write_text("\n".join(rows[:2]) + "\n")
    cabochon.json(*encode, "--input", half, "--output", tmp_path / "b", "--context", 16, "--shard-tokens", 40)
    half.write_text("\n".join(rows) + "\n")
    before = (tmp_path / "b" / "shard-00000.npz").read_bytes()
    again = cabochon.json(*encode, "--input", half, "--output", tmp_path / "b", "--context", 16, "--shard-tokens", 40)
    assert again["lines"] == 5 and (tmp_path / "b" / "shard-00000.npz").read_bytes() == before
    first, second = read(tmp_path / "a"), read(tmp_path / "b")
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    words = cabochon.failure(*encode, "--input", whole, "--output", tmp_path / "b")
    assert "another input" in words
    half.write_text("\n".join(rows) + '\n{"txt": 1}\n')
    assert "line 6" in cabochon.failure(*encode, "--input", half, "--output", tmp_path / "b")


@pytest.mark.parametrize("key", ["lines", "tokens", "shards", "counted_tokens", "active"])
@pytest.mark.parametrize("value", [2**63 - 1, 2**62, -1, 0.5, 1e30, None, "1"])
def test_counts_that_are_none_do_not_cost_the_shards_that_are_there(cabochon, encode, tmp_path, key, value):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "o"
    rows.write_text('{"text": "The song of the sea"}\n' * 3)
    arguments = [*encode, "--input", rows, "--output", output]
    cabochon.json(*arguments)
    shard = (output / "shard-00000.npz").read_bytes()
    progress = json.loads((output / "progress.json").read_text())
    (output / "progress.json").write_text(json.dumps({**progress, "lines": 0, key: value}))
    assert f"progress.json: {key} is no count" in cabochon.failure(*arguments)
    assert (output / "shard-00000.npz").read_bytes() == shard


def test_a_progress_that_cannot_be_opened_does_not_cost_them_either(cabochon, encode, tmp_path):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "o"
    rows.write_text('{"text": "The song of the sea"}\n')
    arguments = [*encode, "--input", rows, "--output", output]
    cabochon.json(*arguments)
    shard = (output / "shard-00000.npz").read_bytes()
    (output / "progress.json").unlink()
    (output / "progress.json").symlink_to("elsewhere")
    rows.write_text('{"text": "The name of the sea"}\n')
    assert "progress.json: No such file" in cabochon.failure(*arguments)
    assert (output / "shard-00000.npz").read_bytes() == shard


def test_an_input_shorter_than_what_is_done_is_another_one(cabochon, encode, tmp_path):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "o"
    rows.write_text('{"text": "The song of the sea"}\n' * 3)
    arguments = [*encode, "--input", rows, "--output", output]
    cabochon.json(*arguments)
    rows.write_text('{"text": "The name of the sea"}\n' * 2)
    assert "2 lines, but " in cabochon.failure(*arguments)


def test_lines_of_blanks_are_no_texts(cabochon, encode, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b'\t\n \t\r\n\n{"text": "The song"}\r\n\r\n')
    done = cabochon.json(*encode, "--input", rows, "--output", tmp_path / "o")
    assert done["lines"] == 5 and set(read(tmp_path / "o")["line"].tolist()) == {3}


def test_control_c_writes_what_there_is_also_while_a_line_is_waited_for(cabochon, encode, tmp_path):
    rows = [json.dumps({"text": f"The {word} of the sea"}) + "\n" for word in ("song", "name", "light", "salt", "map")]
    path, output = tmp_path / "rows.jsonl", tmp_path / "o"
    arguments = [*encode, "--input", path, "--output", output, "--shard-tokens", "12"]
    os.mkfifo(path)
    command = [str(word) for word in (PROGRAM, *arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=cabochon.environment) as process:
        with open(path, "w") as writer:
            writer.writelines(rows[:3])
            writer.flush()
            while not (output / "progress.json").exists():
                assert process.poll() is None
                os.sched_yield()
            # Time for the third text, of which no shard has been written.
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            _, words = process.communicate(timeout=60)
    assert process.returncode == 1 and b"stopped by Ctrl-C; the same command goes on at line 4" in words
    assert set(read(output)["line"].tolist()) == {0, 1, 2}
    path.unlink()
    path.write_text("".join(rows))
    cabochon.json(*arguments)
    assert set(read(output)["line"].tolist()) == set(range(5))


def test_no_control_c_is_forgotten_between_short_texts(cabochon, encode, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n' * 40_000)
    for round in range(4):
        output = tmp_path / str(round)
        arguments = [*encode, "--input", path, "--output", output, "--shard-tokens", "1000"]
        with subprocess.Popen(list(map(str, [PROGRAM, *arguments])), stderr=subprocess.PIPE, env=cabochon.environment) as process:
            while not (output / "progress.json").exists():
                assert process.poll() is None
                os.sched_yield()
            time.sleep(0.01 * round)
            process.send_signal(signal.SIGINT)
            _, words = process.communicate(timeout=60)
        assert process.returncode == 1 and b"stopped by Ctrl-C" in words


def test_steering_changes_the_answer(cabochon, tiny, tmp_path):
    folder = tmp_path / "small-pt-res" / "layer_2"
    folder.mkdir(parents=True)
    path = folder / "params.npz"
    path.write_bytes(SAE.read_bytes())
    options = ["generate", "--model", tiny, "--prompt", "Hello", "--temperature", 0, "--ignore-eos", "--max-tokens", 12]
    plain = cabochon.json(*options)["tokens"]
    assert cabochon.json(*options, "--steer", f"{path}:121:0")["tokens"] == plain
    assert cabochon.json(*options, "--steer", f"{path}:121:200", "--steer-answer")["tokens"] != plain
    assert "feature 512" in cabochon.failure(*options, "--steer", f"{path}:512:1")
    cabochon.failure(*options, "--steer", "nothing", status=2)


def test_scope_eval_measures_what_numpy_does(cabochon, tiny, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The history of the lighthouse begins with a shipwreck and a widow. " * 6)
    found = cabochon.json("scope-eval", "--model", tiny, *DICTIONARY, "--input", text, "--context", 64)
    assert found["explained_variance"] == pytest.approx(1 - found["fvu"])
    assert found["delta_loss"] == pytest.approx(found["spliced_loss"] - found["loss"])
    recovered = (found["zero_loss"] - found["spliced_loss"]) / (found["zero_loss"] - found["loss"])
    assert found["loss_recovered"] == pytest.approx(recovered)
    # L0 by way of encode, piece by piece as scope-eval reads it.
    ids = cabochon.json("tokenize", "--model", tiny, input=text.read_text())["tokens"]
    rows = tmp_path / "text.jsonl"
    rows.write_text(json.dumps({"text": text.read_text()}) + "\n")
    done = cabochon.json(
        "encode", "--model", tiny, *DICTIONARY, "--input", rows, "--output", tmp_path / "o", "--context", 64)
    assert found["tokens"] == done["counted_tokens"] == len(ids)
    assert found["l0"] == pytest.approx(done["active"] / done["counted_tokens"])
    same = cabochon.json("scope-eval", "--model", tiny, *DICTIONARY, "--input", text, "--against", tiny)
    assert same["surviving"] == 1 and same["features_surviving"] == 1


def test_a_text_that_is_not_utf8_is_said_to_be_none(cabochon, tiny, tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(b"\xff")
    for command in ("scope-eval", "encode"):
        option = "--input" if command == "scope-eval" else "--prompt-file"
        assert f"{path}: not UTF-8 text" in cabochon.failure(command, "--model", tiny, *DICTIONARY, option, path)


def test_features_are_gathered_into_a_page_that_needs_nothing_else(cabochon, tiny, tmp_path):
    texts = ["The song of the sea", "A name for the </script> light", "The salt of the map"]
    rows = tmp_path / "texts.jsonl"
    rows.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    page = tmp_path / "page.html"
    found = cabochon.json("features", "--model", tiny, *DICTIONARY, "--input", rows, "--html", page, "--limit", 40)
    written = page.read_text()
    assert written.count("</script>") == 2 and "http" not in written.replace("http://www.w3.org/2000/svg", "")
    data = written.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data) == found and len(found["features"]) == 40
    # The same from encode, text by text.
    counts, best = {}, {}
    for text in texts:
        source = cabochon.json("encode", "--model", tiny, *DICTIONARY, "--prompt", text)["results"][0]
        for feature, places in source["activeFeatures"].items():
            counts[int(feature)] = counts.get(int(feature), 0) + len(places)
            best[int(feature)] = max([best.get(int(feature), 0)] + [value for _, value in places])
    assert found["fired"] == len(counts)
    for one in found["features"]:
        assert one["density"] * found["tokens"] == pytest.approx(counts[one["feature"]])
        assert one["maximum"] == pytest.approx(best[one["feature"]], abs=1e-3)
        assert one["examples"][0][0] == one["maximum"] and sum(one["histogram"]) == counts[one["feature"]]
    densities = [one["density"] for one in found["features"]]
    assert densities == sorted(densities, reverse=True)
    with np.load(SAE) as arrays:
        rows = arrays["W_dec"] / np.linalg.norm(arrays["W_dec"], axis=1, keepdims=True)
    numbers = [one["feature"] for one in found["features"]]
    for one in found["features"][:5]:
        cosines = {other: float(rows[one["feature"]] @ rows[other]) for other in numbers if other != one["feature"]}
        assert one["nearest"][0][0] == max(cosines, key=cosines.get)
        assert one["nearest"][0][1] == pytest.approx(max(cosines.values()), abs=1e-4)


def test_directions_outside_the_residual_stream_promote_no_tokens(cabochon, tiny, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "The song of the sea"}\n')
    for name, site, layer, promotes in (
        ("attn_z_layer1", "att", 1, 0), ("mlp_out_layer3", "mlp", 3, 8), ("mlp_in_normalized_layer1", "transcoder", 1, 8),
    ):  # fmt: skip
        dictionary = ["--sae", SAE.parent / f"{name}.npz", "--site", site, "--layer", layer]
        found = cabochon.json("features", "--model", tiny, *dictionary, "--input", rows, "--limit", 3)
        for one in found["features"]:
            assert len(one["promotes"]) == len(one["suppresses"]) == promotes


@pytest.fixture
def placed(tmp_path):
    """The dictionary under a path that says where it stands."""
    folder = tmp_path / "small-pt-res" / "layer_2"
    folder.mkdir(parents=True)
    (folder / "params.npz").write_bytes(SAE.read_bytes())
    return folder


def active(result):
    """(feature, position) of one result, with its value."""
    return {(int(feature), position): value for feature, places in result["activeFeatures"].items() for position, value in places}


def test_listed_features_are_those_of_the_whole_encode(cabochon, encode, tmp_path):
    text = ["--prompt", "The lighthouse keeper"]
    whole = active(cabochon.json(*encode, *text)["results"][0])
    listed = sorted({feature for feature, _ in whole})[::9]
    numbers = ",".join(map(str, reversed(listed)))
    some = active(cabochon.json(*encode, *text, "--features", numbers)["results"][0])
    assert some == {key: value for key, value in whole.items() if key[0] in listed} and some
    assert "feature 512" in cabochon.failure(*encode, *text, "--features", "3,512")
    assert "feature 3 " in cabochon.failure(*encode, *text, "--features", "3,4,3")
    for wrong in ("", "3,", "3;4", "-1"):
        cabochon.failure(*encode, *text, f"--features={wrong}", status=2)
    # A folder of one selection does not take in another.
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": text[1]}) + "\n")
    many = [*encode, "--input", rows, "--output", tmp_path / "o"]
    assert cabochon.json(*many, "--features", numbers)["active"] == len(some)
    assert "another selection" in cabochon.failure(*many)


def test_an_answer_comes_with_the_features_of_its_tokens(cabochon, tiny, placed):
    options = ["generate", "--model", tiny, "--prompt", "The lighthouse", "--temperature", 0, "--ignore-eos", "--max-tokens", 6]
    plain = cabochon.json(*options)
    assert "features" not in plain
    listed = "12,121,300,7,40,41,42,43,44,45"
    watched = cabochon.json(*options, "--watch", placed, "--watch", f"{placed / 'params.npz'}:{listed}")
    assert watched["tokens"] == plain["tokens"]
    whole, some = watched["features"]
    assert whole["site"] == some["site"] == "2.resid_post" and whole["sae"] == some["sae"] == str(placed / "params.npz")
    result = whole["results"][0]
    assert len(result["tokens"]) == 1 + len(cabochon.json("tokenize", "--model", tiny, input="The lighthouse")["tokens"]) + 6
    assert len(active(result)) > 20 and {position for _, position in active(result)} == set(range(1, len(result["tokens"])))
    numbers = set(map(int, listed.split(",")))
    assert active(some["results"][0]) == {key: value for key, value in active(result).items() if key[0] in numbers}
    lines = cabochon.text(*options, "--watch", placed).splitlines()
    table = lines[lines.index(f"2.resid_post of {placed / 'params.npz'}") + 1 :]
    assert table[0].split()[:3] == ["position", "token", "active"] and len(table) == 1 + len(result["tokens"])
    strongest = max((value, feature) for (feature, position), value in active(result).items() if position == 1)
    assert f"{strongest[1]}: {strongest[0]:.1f}" in table[2]
    assert "feature 512" in cabochon.failure(*options, "--watch", f"{placed}:512")
    assert "no-such" in cabochon.failure(*options, "--watch", "no-such:3")
    assert "layer" in cabochon.failure(*options, "--watch", SAE)


def test_a_chat_watches_each_turn(cabochon, tiny, placed):
    lines = cabochon.text(
        "chat", "--model", tiny, "--temperature", 0, "--max-tokens", 4, "--watch", placed, "--json", input="Hello\nAnd you?\n")
    first, second = map(json.loads, lines.splitlines())
    texts = ["".join(turn["features"][0]["results"][0]["tokens"]) for turn in (first, second)]
    assert "Hello" in texts[0] and "And you?" in texts[1] and "Hello" not in texts[1]
    assert all(active(turn["features"][0]["results"][0]) for turn in (first, second))


def test_encoders_are_kept_where_the_user_says(cabochon, tiny, placed, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The song of the sea is older than its name. " * 3)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "The song of the sea"}\n')
    model = ["--model", tiny]
    answer = ["generate", *model, "--prompt", "Hi", "--max-tokens", 2]
    commands = [
        ["encode", *model, "--sae", placed, "--prompt", "Hi"],
        ["features", *model, "--sae", placed, "--input", rows],
        ["scope-eval", *model, "--sae", placed, "--input", text],
        [*answer, "--watch", placed],
        [*answer, "--steer", f"{placed}:3:1"],
    ]
    for number, command in enumerate(commands):
        folder = tmp_path / f"cache{number}"
        cabochon.json(*command, "--cache", folder)
        assert [path.suffix for path in folder.iterdir()] == [".encoder"]
        cabochon.json(*command, "--cache", "off")
        assert not (cabochon.home / "off").exists() and not list(cabochon.home.glob(".cache/**/*.encoder"))
    assert "cannot make the folder" in cabochon.failure(*commands[0], "--cache", text / "below")
    cabochon.failure(*commands[0], "--cache", "", status=2)
