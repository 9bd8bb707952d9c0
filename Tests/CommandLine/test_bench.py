"""`cabochon bench`: what it measures and how it reports it. Whether the numbers are good is no test's business."""

import csv
import io
import json
import os
import time

import pytest

import reference
from checkpoints import write

QUICK = ("--prompt", "8", "--decode", "3", "--depth", "0,20", "--repetitions", "3", "--backend", "scalar")
FIELDS = """model file_type backend threads what tokens depth repetitions tokens_per_second tokens_per_second_min
    tokens_per_second_max bytes_per_token kv_type kv_bytes_per_token bytes_per_second operations_per_token
    operations_per_second limit_bytes_per_second limit_int8_per_second limit_bf16_per_second limit_f32_per_second
    share_of_limit""".split()


def test_json_has_a_row_for_each_case_with_all_repetitions(cabochon, tiny_gguf):
    results = cabochon.json("bench", "--model", tiny_gguf, *QUICK)["results"]
    assert [(row["what"], row["tokens"], row["depth"]) for row in results] == [
        ("prefill", 8, 0), ("decode", 3, 0), ("decode", 3, 20)]
    for row in results:
        assert list(row) == [*FIELDS, "samples"]
        assert row["model"] == str(tiny_gguf) and row["backend"] == "scalar"
        samples = sorted(row["samples"])
        assert len(samples) == 3 == row["repetitions"] and samples[0] > 0
        assert samples == [row["tokens_per_second_min"], row["tokens_per_second"], row["tokens_per_second_max"]]
        assert row["share_of_limit"] is None and row["limit_bytes_per_second"] is None


def test_bytes_and_operations_follow_from_the_file(cabochon, tiny_gguf):
    inspected = cabochon.json("inspect", "--model", tiny_gguf)
    prefill, decode, deep = cabochon.json("bench", "--model", tiny_gguf, *QUICK)["results"]
    assert prefill["bytes_per_token"] == inspected["totals"]["bytes"]
    matrices = [tensor["shape"] for tensor in inspected["tensors"]
                if tensor["name"].startswith("blk.") and len(tensor["shape"]) == 2]
    assert prefill["operations_per_token"] == 2 * sum(rows * columns for rows, columns in matrices)
    assert prefill["bytes_per_second"] is None
    # Three tokens from position 20 on attend to 22 positions on average, in the two sliding layers to 12;
    # keys and values are 2 heads of 16 numbers of 2 bytes each.
    assert deep["kv_bytes_per_token"] == (2 * 22 + 2 * 12) * 2 * 2 * 16 * 2
    assert decode["kv_bytes_per_token"] < deep["kv_bytes_per_token"]
    read = deep["tokens_per_second"] * (deep["bytes_per_token"] + deep["kv_bytes_per_token"])
    assert deep["bytes_per_second"] == pytest.approx(read)


def test_bytes_of_a_cache_are_those_of_its_type(cabochon, tiny):
    model = tiny.parent / "variants" / "gemma2-scaled"
    for kv_type, bytes_per_head in (("f32", 128), ("f16", 64), ("q8_0", 34)):
        arguments = ("--prompt", "0", "--decode", "1", "--depth", "7", "--repetitions", "1", "--kv-type", kv_type)
        row, = cabochon.json("bench", "--model", model, *arguments)["results"]
        # Eight positions, which the window of eight holds, in three layers; keys and values of 2 heads of 32 numbers.
        assert row["kv_type"] == kv_type and row["kv_bytes_per_token"] == 8 * 3 * 2 * 2 * bytes_per_head


def test_limits_are_measured_and_give_a_share(cabochon, tiny_gguf):
    results = cabochon.json("bench", "--model", tiny_gguf, *QUICK, "--threads", "1", "--limits")["results"]
    for row in results:
        assert row["limit_bytes_per_second"] > 1e8 and row["share_of_limit"] > 0


def test_limits_of_a_processor_with_tiles_are_the_tiles(cabochon, tiny_gguf):
    if "amx" not in [backend["name"] for backend in cabochon.json("backends")["backends"]]:
        pytest.skip("no AMX here")
    row = cabochon.json("bench", "--model", tiny_gguf, *QUICK, "--threads", "1", "--limits")["results"][0]
    assert row["limit_int8_per_second"] > 10 * row["limit_f32_per_second"]
    assert row["limit_bf16_per_second"] > 5 * row["limit_f32_per_second"]


def test_csv_has_the_fields_of_json_as_headings(cabochon, tiny_gguf):
    rows = list(csv.reader(io.StringIO(cabochon.text("bench", "--model", tiny_gguf, *QUICK, "--csv"))))
    assert rows[0] == FIELDS
    assert [row[4:7] for row in rows[1:]] == [["prefill", "8", "0"], ["decode", "3", "0"], ["decode", "3", "20"]]
    assert all(len(row) == len(FIELDS) and row[-1] == "" for row in rows[1:])


def test_the_table_is_aligned_and_names_file_and_case(cabochon, tiny_gguf):
    lines = cabochon.text("bench", "--model", tiny_gguf, *QUICK).splitlines()
    assert len(lines) == 4 and lines[0].startswith("file ")
    column = lines[0].index("what")
    assert [line[column:].split("  ")[0] for line in lines[1:]] == ["prefill 8", "decode 3 @ 0", "decode 3 @ 20"]
    assert all(line.startswith(tiny_gguf.name) for line in lines[1:])


def test_the_bytes_of_a_token_in_the_table_include_keys_and_values_as_its_bytes_a_second_do(cabochon, tiny_gguf):
    arguments = ["bench", "--model", tiny_gguf, *QUICK, "--depth", "2000"]
    deep = cabochon.json(*arguments)["results"][1]
    lines = cabochon.text(*arguments).splitlines()
    end = lines[0].index("MB/token") + len("MB/token")
    read = (deep["bytes_per_token"] + deep["kv_bytes_per_token"]) / 1e6
    assert deep["kv_bytes_per_token"] > 200_000
    assert float(lines[2][:end].split()[-1]) == pytest.approx(read, abs=0.06)


def test_results_stand_where_a_later_model_fails(cabochon, tiny_gguf, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_text("This is no model.")
    for form in ([], ["--csv"], ["--json"]):
        done = cabochon.run("bench", "--model", tiny_gguf, "--model", broken, *QUICK, *form)
        assert done.returncode == 1 and str(broken) in done.stderr.decode()
        text = done.stdout.decode()
        rows = json.loads(text)["results"] if form == ["--json"] else text.splitlines()[1:]
        assert len(rows) == 3


def test_a_model_or_backend_that_is_not_there_is_found_before_anything_is_measured(cabochon, tiny_gguf):
    start = ["bench", "--model", tiny_gguf, *QUICK]
    assert "/no/such.gguf" in cabochon.failure(*start, "--model", "/no/such.gguf")
    assert "abacus" in cabochon.failure(*start, "--backend", "abacus")
    assert "/no/such.so" in cabochon.failure(*start, "--backend", "/no/such.so")


def test_limits_are_those_of_the_processors_there_are_whatever_the_count_of_threads(cabochon, tiny_gguf):
    """More threads than processors would also take as many times as long."""
    def seconds(threads):
        start = time.monotonic()
        cabochon.json("bench", "--model", tiny_gguf, "--prompt", "4", "--decode", "0", "--repetitions", "1",
                      "--backend", "scalar", "--limits", "--threads", threads)
        return time.monotonic() - start

    assert seconds(256) < 5 + 5 * seconds(len(os.sched_getaffinity(0)))


def test_every_model_backend_and_thread_count_is_measured(cabochon, tiny, tiny_gguf):
    arguments = ["--prompt", "4", "--decode", "0", "--repetitions", "1", "--threads", "1,2"]
    results = cabochon.json("bench", "--model", tiny, "--model", tiny_gguf, "--backend", "scalar", *arguments)["results"]
    assert [(row["model"], row["threads"]) for row in results] == [
        (str(tiny), 1), (str(tiny), 2), (str(tiny_gguf), 1), (str(tiny_gguf), 2)]


@pytest.mark.parametrize("arguments", [
    ["--json", "--csv"], ["--prompt", "0", "--decode", "0"], ["--prompt", "many"], ["--threads", "0"],
    ["--repetitions", "0"], ["--decode", "-1"], ["--depth", "1,"], ["--prompt", "99999999"],
])
def test_bad_usage_exits_with_2(cabochon, tiny_gguf, arguments):
    cabochon.failure("bench", "--model", tiny_gguf, *arguments, status=2)


def test_a_backend_that_is_not_there_is_an_error_that_names_it(cabochon, tiny_gguf):
    assert "abacus" in cabochon.failure("bench", "--model", tiny_gguf, "--backend", "abacus")


def test_prefill_is_held_against_the_arithmetic_on_its_weights_and_decode_against_the_memory(cabochon, tiny, tmp_path):
    _, tensors = reference.load(tiny)
    for dtype, limit in (("F32", "f32"), ("BF16", "bf16")):
        model = write(tmp_path / dtype, tiny, tensors, dtype)
        arguments = ("--prompt", "8", "--decode", "1", "--depth", "0", "--repetitions", "1", "--threads", "1", "--limits")
        prefill, decode = cabochon.json("bench", "--model", model, *arguments)["results"]
        # Where the processor does not multiply BF16, it is held against float32, too.
        most = prefill[f"limit_{limit}_per_second"] or prefill["limit_f32_per_second"]
        # Of one repetition, so that all are of the same one.
        assert prefill["share_of_limit"] == pytest.approx(prefill["operations_per_second"] / most), dtype
        expected = decode["bytes_per_second"] / decode["limit_bytes_per_second"]
        assert decode["share_of_limit"] == pytest.approx(expected), dtype


def test_depths_come_in_any_order(cabochon, tiny_gguf):
    arguments = ("--prompt", "0", "--decode", "2", "--depth", "20,0,9", "--repetitions", "1")
    results = cabochon.json("bench", "--model", tiny_gguf, *arguments)["results"]
    assert [row["depth"] for row in results] == [20, 0, 9]
    assert results[1]["kv_bytes_per_token"] < results[2]["kv_bytes_per_token"] < results[0]["kv_bytes_per_token"]


def test_the_median_of_two_repetitions_is_their_mean(cabochon, tiny_gguf):
    arguments = ("--prompt", "4", "--decode", "0", "--repetitions", "2")
    row, = cabochon.json("bench", "--model", tiny_gguf, *arguments)["results"]
    assert len(row["samples"]) == 2 and row["tokens_per_second"] == pytest.approx(sum(row["samples"]) / 2, rel=1e-9)


def test_an_image_encoder_is_none_of_the_bytes_of_a_token(cabochon, tiny):
    model = tiny.parent / "variants" / "gemma3-images"
    row, = cabochon.json("bench", "--model", model, "--prompt", "4", "--decode", "0", "--repetitions", "1")["results"]
    tensors = cabochon.json("inspect", "--model", model)["tensors"]
    text = [one for one in tensors if not one["name"].startswith(("vision_tower.", "multi_modal_projector."))]
    assert 0 < len(text) < len(tensors)
    assert row["bytes_per_token"] == sum(one["bytes"] for one in text)


def test_a_path_with_commas_and_quotation_marks_stays_one_field_of_csv(cabochon, tiny_gguf, tmp_path):
    path = tmp_path / 'one, "two".gguf'
    path.symlink_to(tiny_gguf)
    lines = cabochon.text("bench", "--model", path, "--prompt", "4", "--decode", "0", "--repetitions", "1", "--csv")
    headings, row = csv.reader(io.StringIO(lines))
    assert len(row) == len(headings) == len(FIELDS) and row[0] == str(path)


def test_bytes_of_keys_and_values_are_the_mean_over_positions_where_a_prompt_passes_the_window(cabochon, tiny_gguf):
    arguments = ("--prompt", "20", "--decode", "1", "--depth", "2", "--repetitions", "1", "--backend", "scalar")
    prefill, decode = cabochon.json("bench", "--model", tiny_gguf, *arguments)["results"]
    # Two of four layers slide over 12 positions; keys and values are 2 heads of 16 numbers of 2 bytes each.
    attended = [2 * position + 2 * min(position, 12) for position in range(1, 21)]
    assert prefill["kv_bytes_per_token"] == round(sum(attended) / 20 * 2 * 2 * 16 * 2)
    assert decode["kv_bytes_per_token"] == 4 * 3 * 2 * 2 * 16 * 2


def test_a_file_name_with_a_line_break_stays_in_its_row(cabochon, tiny_gguf, tmp_path):
    path = tmp_path / "one\ntwo.gguf"
    path.symlink_to(tiny_gguf)
    lines = cabochon.text("bench", "--model", path, "--prompt", "4", "--decode", "0", "--repetitions", "1").splitlines()
    assert len(lines) == 2 and lines[1].startswith('"one\\ntwo.gguf" ')
    assert lines[0].index("what") == lines[1].index("prefill")
