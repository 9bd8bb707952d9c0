"""`cabochon generate` on the small checkpoint, whose words mean nothing and always are the same."""

import json
import os
import signal
import subprocess
import time

import pytest

from checkpoints import write_wide
from commandline import PROGRAM

GREEDY = ["--temperature", "0", "--ignore-eos"]
WILD = ["--temperature", "3", "--ignore-eos", "--prompt", "Hello"]
LONG = [*GREEDY, "--prompt", "Hello", "--max-tokens", "1800", "--backend", "scalar"]


def prompt_text(cabochon, model, ids: list[int]) -> str:
    """A text that encodes to these ids, BOS apart."""
    assert ids[0] == 2
    return cabochon.json("tokenize", "--model", model, "--decode", *ids[1:])["text"]


@pytest.mark.parametrize("source", ["tiny", "tiny_gguf"])
def test_greedy_tokens_are_those_of_the_reference(cabochon, expected, request, source):
    model, checked = request.getfixturevalue(source), 0
    for case in expected["prompts"]:
        text = prompt_text(cabochon, model, case["ids"])
        if [2, *cabochon.json("tokenize", "--model", model, input=text)["tokens"]] != case["ids"]:
            continue
        # Beyond a near-tie of the two best logits the rounding of the day decides.
        sure = next((i for i, margin in enumerate(case["margins"]) if margin < 0.05), len(case["greedy"]))
        length = len(case["greedy"])
        found = cabochon.json("generate", "--model", model, *GREEDY, "--max-tokens", length, "--prompt", text)
        assert found["tokens"][:sure] == case["greedy"][:sure]
        checked += sure
    assert checked > 0


def test_json_is_one_object_that_says_what_was_done(cabochon, tiny):
    found = cabochon.json("generate", "--model", tiny, *GREEDY, "--prompt", "Hello", "--max-tokens", 5, "--threads", 1)
    assert set(found) == {"text", "tokens", "finish_reason", "seed", "model", "backend", "threads", "timings"}
    assert len(found["tokens"]) == 5 and found["finish_reason"] == "length" and found["threads"] == 1
    assert found["model"] == str(tiny) and found["backend"]
    timings = found["timings"]
    prompt = cabochon.json("tokenize", "--model", tiny, "--bos", "Hello")["tokens"]
    assert timings["prompt_tokens"] == len(prompt)
    # The first token comes with the prompt's time.
    assert timings["decode_tokens"] == 5 and timings["prompt_seconds"] > 0 and timings["decode_seconds"] > 0
    assert timings["decode_tokens_per_second"] == pytest.approx(4 / timings["decode_seconds"])


@pytest.mark.parametrize("backend", ["amx", "avx512", "avxvnni", "avx2"])
def test_a_long_greedy_answer_gets_a_screen_of_the_head(cabochon, tiny, backend):
    if not any(entry["name"] == backend for entry in cabochon.json("backends")["backends"]):
        pytest.skip(f"no {backend} here")
    arguments = ["generate", "--model", tiny, *GREEDY, "--prompt", "Hello", "--backend", backend, "--verbose"]
    assert "has a screen" not in cabochon.run(*arguments, "--max-tokens", 90).stderr.decode()
    words = cabochon.run(*arguments, "--max-tokens", 400).stderr.decode()
    assert "the head has a screen of 2073 rows" in words and "given up" not in words


@pytest.mark.parametrize("intermediate, is_screened", [(256, True), (2048, False)])
def test_a_head_that_is_little_of_the_model_gets_no_screen(cabochon, tiny, tmp_path, intermediate, is_screened):
    if not any(entry["name"] == "avx2" for entry in cabochon.json("backends")["backends"]):
        pytest.skip("no avx2 here")
    model = write_wide(tmp_path / "model", tiny, "BF16", intermediate=intermediate)
    arguments = ["--prompt", "Hello", "--backend", "avx2", "--verbose", "--max-tokens", 400]
    words = cabochon.run("generate", "--model", model, *GREEDY, *arguments).stderr.decode()
    assert ("has a screen" in words) == is_screened


def test_one_token_has_no_decode_rate(cabochon, tiny):
    arguments = ["generate", "--model", tiny, *GREEDY, "--prompt", "Hello", "--max-tokens", 1]
    timings = cabochon.json(*arguments)["timings"]
    assert timings["decode_tokens"] == 1 and timings["decode_tokens_per_second"] is None
    assert timings["prompt_tokens_per_second"] > 0
    assert "; decode 1 token; " in cabochon.run(*arguments).stderr.decode()


def test_text_goes_to_standard_output_and_timings_to_standard_error(cabochon, tiny):
    arguments = ["generate", "--model", tiny, *GREEDY, "--prompt", "Hello", "--max-tokens", 8]
    done, object = cabochon.run(*arguments), cabochon.json(*arguments)
    assert done.stdout.decode().rstrip("\n") == object["text"].rstrip("\n")
    assert "tokens/s" in done.stderr.decode() and object["backend"] in done.stderr.decode()


def test_the_text_comes_while_it_is_made(cabochon, tiny):
    command = [PROGRAM, "generate", "--model", tiny, *LONG]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=cabochon.environment
    ) as process:
        first = os.read(process.stdout.fileno(), 4096)
        assert process.poll() is None
        rest = process.stdout.read()
    assert 0 < len(first) < len(rest)


def test_the_prompt_comes_from_an_option_a_file_or_standard_input(cabochon, tiny, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("Hello world\n")
    arguments = ["generate", "--model", tiny, *GREEDY, "--max-tokens", 6]
    tokens = cabochon.json(*arguments, "--prompt", "Hello world")["tokens"]
    assert cabochon.json(*arguments, "--prompt-file", path)["tokens"] == tokens
    assert cabochon.json(*arguments, input="Hello world\n")["tokens"] == tokens
    assert str(path) + "x" in cabochon.failure(*arguments, "--prompt-file", str(path) + "x")


def test_the_same_seed_gives_the_same_text_and_another_seed_another(cabochon, tiny):
    arguments = ["generate", "--model", tiny, *WILD, "--max-tokens", 24]
    one, again, other = (cabochon.json(*arguments, "--seed", seed) for seed in (7, 7, 8))
    assert one["tokens"] == again["tokens"] != other["tokens"]
    drawn = cabochon.json(*arguments)
    assert cabochon.json(*arguments, "--seed", drawn["seed"])["tokens"] == drawn["tokens"]


def test_a_stop_text_ends_the_answer_before_it(cabochon, tiny):
    arguments = ["generate", "--model", tiny, *WILD, "--max-tokens", 40, "--seed", 1]
    text = cabochon.json(*arguments)["text"]
    stop = text[10:14]
    found = cabochon.json(*arguments, "--stop", stop)
    assert found["finish_reason"] == "stop" and found["text"] == text[:text.index(stop)]


def test_a_biased_token_wins_and_a_banned_one_never_comes(cabochon, tiny):
    arguments = ["generate", "--model", tiny, *GREEDY, "--prompt", "Hello", "--max-tokens", 6]
    usual = cabochon.json(*arguments)["tokens"]
    assert set(cabochon.json(*arguments, "--logit-bias", "1700:1000")["tokens"]) == {1700}
    assert usual[0] not in cabochon.json(*arguments, "--logit-bias", f"{usual[0]}:-inf")["tokens"]


def test_logprobs_come_with_every_token_best_first(cabochon, tiny):
    found = cabochon.json("generate", "--model", tiny, *GREEDY, "--prompt", "Hello", "--max-tokens", 4, "--logprobs", 3)
    assert [entry["token"] for entry in found["logprobs"]] == found["tokens"]
    for entry in found["logprobs"]:
        best = [top["logprob"] for top in entry["top"]]
        assert len(best) == 3 and best == sorted(best, reverse=True)
        assert entry["token"] == entry["top"][0]["token"]
        assert entry["logprob"] == pytest.approx(best[0]) and best[0] <= 0


def test_chat_wraps_the_prompt_as_a_turn(cabochon, tiny):
    arguments = ["generate", "--model", tiny, *GREEDY, "--max-tokens", 2]
    turn = "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    length = len(cabochon.json("tokenize", "--model", tiny, "--special", input=turn)["tokens"])
    found = cabochon.json(*arguments, "--chat", "--system", "Be brief.", "--prompt", "Hi")
    assert found["timings"]["prompt_tokens"] == length


def test_a_prompt_longer_than_the_context_is_an_error_with_both_numbers(cabochon, tiny):
    message = cabochon.failure("generate", "--model", tiny, "--prompt", "word " * 100, "--context", 50)
    length = len(cabochon.json("tokenize", "--model", tiny, "--bos", "word " * 100)["tokens"])
    assert str(length) in message and "50" in message


def test_every_usable_backend_gives_the_same_greedy_tokens(cabochon, tiny):
    arguments = ["generate", "--model", tiny, *GREEDY, "--prompt", "Hello world", "--max-tokens", 12]
    names = [backend["name"] for backend in cabochon.json("backends")["backends"]]
    found = {name: cabochon.json(*arguments, "--backend", name) for name in names}
    assert [answer["backend"] for answer in found.values()] == names
    assert len({tuple(answer["tokens"]) for answer in found.values()}) == 1


def test_control_c_stops_with_what_there_is_and_exits_with_1(cabochon, tiny):
    command = [PROGRAM, "generate", "--model", tiny, *LONG]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cabochon.environment) as process:
        first = os.read(process.stdout.fileno(), 4096)
        process.send_signal(signal.SIGINT)
        rest, words = process.communicate(timeout=60)
    assert process.returncode == 1
    assert first and rest.endswith(b"\n") and b"stopped by Ctrl-C" in words


def test_where_sigint_is_ignored_it_stays_ignored(cabochon, tiny):
    command = [PROGRAM, "generate", "--model", tiny, *LONG, "--max-tokens", "300", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cabochon.environment,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as process:
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and json.loads(output)["finish_reason"] == "length"


def test_control_c_before_the_first_token_reports_a_cancelled_answer(cabochon, tiny):
    prompt = "word " * 450
    command = [PROGRAM, "generate", "--model", tiny, *LONG, "--prompt", prompt, "--threads", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cabochon.environment) as process:
        # When the handler stands is not told; a signal before that ends the process by SIGINT.
        time.sleep(0.15)
        process.send_signal(signal.SIGINT)
        output, words = process.communicate(timeout=60)
    assert process.returncode in (1, -signal.SIGINT)
    if process.returncode == 1:
        assert b'"finish_reason": "cancelled"' in output
