"""Results that cannot be written: a full disk is a failure with words, a reader that went away one without."""

import os
import subprocess

import pytest

from commandline import PROGRAM, TINY, TINY_GGUF

DICTIONARY = TINY / "expected" / "scope" / "resid_post_layer2.npz"
ENCODE = ["encode", "--model", TINY, "--sae", DICTIONARY, "--site", "resid_post", "--layer", "2", "--prompt", "Hi"]
GENERATE = ["generate", "--model", TINY, "--prompt", "Hi", "--max-tokens", "20", "--ignore-eos"]
BENCH = ["bench", "--model", TINY_GGUF, "--prompt", "4", "--decode", "2", "--depth", "0", "--repetitions", "1"]
COMMANDS = [
    ["tokenize", "--model", TINY, "Hello"],
    ["tokenize", "--model", TINY, "Hello", "--pieces"],
    ["tokenize", "--model", TINY, "--decode", "9", "10"],
    ["inspect", "--model", TINY],
    ["inspect", "--model", TINY, "--json"],
    ["backends"],
    ["backends", "--json"],
    GENERATE,
    [*GENERATE, "--json"],
    ["chat", "--model", TINY, "--max-tokens", "5"],
    ["chat", "--model", TINY, "--max-tokens", "5", "--json"],
    ["classify", "--model", TINY, "--prompt", "Hi"],
    ["classify", "--model", TINY, "--prompt", "Hi", "--json"],
    ENCODE,
    [*ENCODE, "--json"],
    BENCH,
    [*BENCH, "--json"],
    [*BENCH, "--csv"],
    ["--help"],
    ["generate", "--help"],
]


def run(cabochon, arguments, output, **options):
    return subprocess.run([str(PROGRAM), *map(str, arguments)], input=b"Hello\n", stdout=output, stderr=subprocess.PIPE,
                          timeout=120, cwd=cabochon.home, env=cabochon.environment, **options)


def words(arguments):
    return " ".join(str(word) for word in arguments if not isinstance(word, os.PathLike))


@pytest.mark.parametrize("arguments", COMMANDS, ids=words)
def test_a_full_disk_is_a_failure_with_words(cabochon, arguments):
    with open("/dev/full", "wb") as full:
        done = run(cabochon, arguments, full)
    assert done.returncode == 1
    assert b"cabochon: standard output: No space left on device\n" in done.stderr


@pytest.mark.parametrize("ignores_signal", [False, True])
@pytest.mark.parametrize("arguments", [COMMANDS[0], GENERATE, ["--help"]], ids=words)
def test_a_reader_that_went_away_ends_a_command_quietly_and_not_with_0(cabochon, arguments, ignores_signal):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        # Python ignores SIGPIPE, and a child has that from it unless it is restored.
        done = run(cabochon, arguments, writer, restore_signals=not ignores_signal)
    finally:
        os.close(writer)
    assert done.returncode == (1 if ignores_signal else -13) and done.stderr == b""


def test_an_answer_ends_with_the_first_word_that_cannot_be_written(cabochon):
    with open("/dev/full", "wb") as full:
        done = run(cabochon, [*GENERATE[:-3], "--max-tokens", "1000000", "--context", "1000100", "--ignore-eos"], full)
    assert done.returncode == 1 and b"No space left" in done.stderr
