"""Exit statuses, help, and which stream carries what."""

import os
import subprocess

import pytest

from commandline import PROGRAM

COMMANDS = ["generate", "chat", "classify", "encode", "tokenize", "inspect", "bench", "backends"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_common_options_and_gives_an_example(cabochon, command):
    text = cabochon.text(command, "--help")
    assert f"cabochon {command}" in text.split("Example:", 1)[1]
    for option in ("--model", "--backend", "--threads", "--json"):
        assert option in text


def test_arguments_that_cannot_be_read_are_a_failure_and_no_success_of_the_bare_command(cabochon):
    # Swift takes them from /proc, which a chroot may lack.
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$0" backends', str(PROGRAM)]
    if subprocess.run([*hidden[:4], "mount -t tmpfs none /proc"], capture_output=True).returncode != 0:
        pytest.skip("only root hides /proc")
    done = subprocess.run(hidden, capture_output=True, env=cabochon.environment)
    assert (done.returncode, done.stdout) == (1, b"") and b"/proc/self/cmdline" in done.stderr


@pytest.mark.parametrize("command", ["generate", "chat", "bench"])
def test_help_names_the_types_of_a_cache_and_which_is_the_default(cabochon, command):
    text = " ".join(cabochon.text(command, "--help").rsplit("--kv-type <type>", 1)[1].split())
    assert "(values: f16, f32, q8_0; default: f16)" in text.split("--", 1)[0]


def test_bare_help_lists_every_command_once(cabochon):
    text = cabochon.text("--help")
    assert [text.count(f"\n  {command} ") for command in COMMANDS] == [1] * len(COMMANDS)


def test_version_is_three_numbers(cabochon):
    assert [part.isdigit() for part in cabochon.text("--version").strip().split(".")] == [True] * 3


@pytest.mark.parametrize("arguments", [
    ["generate"],
    ["generate", "--model"],
    ["generate", "--model", "x", "--no-such-option"],
    ["generate", "--model", "x", "--prompt", "a", "--prompt-file", "b"],
    ["generate", "--model", "x", "--prompt", "a", "--system", "no chat"],
    ["generate", "--model", "x", "--prompt", "a", "--temperature", "-1"],
    ["generate", "--model", "x", "--prompt", "a", "--top-p", "0"],
    ["generate", "--model", "x", "--prompt", "a", "--logit-bias", "twelve"],
    ["generate", "--model", "x", "--prompt", "a", "--logprobs", "21", "--json"],
    ["generate", "--model", "x", "--prompt", "a", "--threads", "0"],
    ["generate", "--model", "x", "--prompt", "a", "--context", "0"],
    ["generate", "--model", "x", "--prompt", "a", "--context", "16777217"],
    ["tokenize", "--model", "", "a"],
    ["generate", "--model", "x", "--prompt", "a", "--backend", ""],
    ["bench", "--model", ""],
    ["bench", "--model", "x", "--backend", ""],
    ["generate", "--model", "x", "--prompt", "a", "--kv-type", "q8"],
    ["tokenize", "--model", "x", "--decode", "--pieces", "1"],
    ["no-such-command"],
    ["help", "no-such-command"],
    ["help", "generate", "no-such-command"],
])
def test_bad_usage_exits_with_2_and_prints_nothing_on_standard_output(cabochon, arguments):
    message = cabochon.failure(*arguments, status=2)
    assert "Error:" in message and "sage:" in message


@pytest.mark.parametrize("arguments", [
    ["generate", "--max-tokens"], ["generate", "--temperature"], ["generate", "--top-k"], ["generate", "--seed"],
    ["generate", "--threads"], ["generate", "--context"], ["generate", "--logprobs"], ["chat", "--min-p"],
    ["bench", "--threads"], ["bench", "--depth"], ["classify", "--threshold"], ["classify", "--batch-tokens"],
    ["encode", "--sae", "x", "--layer"], ["scope-eval", "--sae", "x", "--max-tokens"],
])
def test_a_negative_number_is_a_value_and_said_to_be_a_wrong_one(cabochon, arguments):
    needed = {"classify": ["--prompt", "a"], "encode": [], "scope-eval": ["--input", "x"]}.get(arguments[0], [])
    message = cabochon.failure(*arguments, "-1", "--model", "x", *needed, status=2)
    assert arguments[-1] in message and "Missing value" not in message


@pytest.mark.parametrize("arguments", [["help"], ["help", "generate"], ["help", "help"], ["generate", "--help"]])
def test_help_for_what_there_is_succeeds(cabochon, arguments):
    assert "USAGE: cabochon " in cabochon.text(*arguments)


@pytest.mark.parametrize("command", ["generate", "chat", "tokenize", "inspect", "bench"])
def test_a_missing_model_is_an_error_that_names_its_path(cabochon, command):
    message = cabochon.failure(command, "--model", "/no/such/model.gguf", input="hello\n")
    assert "/no/such/model.gguf" in message and "No such file" in message


def test_a_file_that_is_no_model_is_an_error_that_names_it(cabochon, tmp_path):
    path = tmp_path / "notes.gguf"
    path.write_text("These are notes, not a model.")
    assert str(path) in cabochon.failure("inspect", "--model", path)


@pytest.mark.parametrize("command", ["inspect", "tokenize", "generate"])
@pytest.mark.parametrize("content", [b"", b"GGU", b"# Notes"])
def test_a_gguf_file_without_its_beginning_is_judged_as_gguf_by_every_command(cabochon, tmp_path, command, content):
    path = tmp_path / "cut.gguf"
    path.write_bytes(content)
    message = cabochon.failure(command, "--model", path, input="hello")
    assert str(path) in message and ("magic number" in message or "not a GGUF file" in message)


@pytest.mark.parametrize("arguments", [["tokenize", "--model", "x", b"caf\xe9"], ["inspect", "--model", b"caf\xe9.gguf"]])
def test_an_argument_that_is_not_utf8_is_refused_and_not_repaired(cabochon, arguments):
    message = cabochon.failure(*map(os.fsdecode, arguments), status=2)
    assert f"Argument {len(arguments)} is not UTF-8" in message


def test_an_unknown_backend_is_an_error_that_lists_the_known_ones(cabochon, tiny):
    message = cabochon.failure("generate", "--model", tiny, "--prompt", "a", "--backend", "abacus")
    assert "abacus" in message and "scalar" in message


def test_verbose_logs_to_standard_error_only(cabochon, tiny):
    arguments = ["tokenize", "--model", tiny, "Hello"]
    quiet, verbose = cabochon.run(*arguments), cabochon.run(*arguments, "--verbose")
    assert quiet.stderr == b"" and quiet.stdout == verbose.stdout
    assert b"info" in verbose.stderr
