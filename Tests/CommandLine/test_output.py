"""Where results go and input comes from: what cannot be written is a failure, with words unless a reader went away; what
is no file is not replaced by one; what cannot be read is a failure, too."""

import json
import os
import stat
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


@pytest.fixture
def atlas(tmp_path):
    """The arguments of a command that writes a page, but for the page's place."""
    rows = tmp_path / "texts.jsonl"
    rows.write_text(json.dumps({"text": "The song of the sea"}))
    return ["features", "--model", TINY, "--sae", DICTIONARY, "--site", "resid_post", "--layer", "2", "--input", rows,
            "--limit", "3", "--html"]


def test_a_page_goes_through_a_pipe_that_stays_one(cabochon, atlas, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        done = cabochon.run(*atlas, pipe)
        page = reader.communicate(timeout=60)[0]
    assert done.returncode == 0 and page.startswith(b"<!") and page.rstrip().endswith(b"</html>")
    assert stat.S_ISFIFO(os.stat(pipe).st_mode) and sorted(os.listdir(tmp_path)) == ["pipe", "texts.jsonl"]


def test_a_page_for_standard_output_goes_there_behind_what_it_holds(cabochon, atlas, tmp_path):
    # As /dev/stdout is, which a program that is wrong would take away from the whole system.
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")
    assert cabochon.text(*atlas, link).startswith("<!")
    with open(tmp_path / "out", "wb") as output:
        output.write(b"before\n")
        output.flush()
        assert run(cabochon, [*atlas, link], output).returncode == 0
        output.write(b"after\n")
    written = (tmp_path / "out").read_text()
    assert written.startswith("before\n<!") and written.endswith("after\n")


def test_a_page_leaves_devices_and_links_what_they_are(cabochon, atlas, tmp_path):
    link, page = tmp_path / "link", tmp_path / "page.html"
    page.write_text("old")
    link.symlink_to(page)
    assert cabochon.run(*atlas, link).returncode == 0
    assert os.readlink(link) == str(page) and page.read_text().startswith("<!")
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    assert f"{full}: No space left on device" in cabochon.failure(*atlas, full)
    assert os.readlink(full) == "/dev/full"


def test_a_page_that_cannot_be_written_names_its_place_and_leaves_what_is_there(cabochon, atlas, tmp_path):
    message = cabochon.failure(*atlas, tmp_path / "missing" / "page.html")
    assert f"{tmp_path}/missing/page.html: No such file or directory" in message
    assert f"{tmp_path}: Is a directory" in cabochon.failure(*atlas, tmp_path)
    assert os.listdir(tmp_path) == ["texts.jsonl"]


@pytest.fixture
def verdicts(tmp_path):
    """The arguments of a command that judges two rows, but for the place of the verdicts."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    return ["classify", "--model", TINY, "--input", rows, "--output"]


def test_verdicts_go_through_a_pipe_and_to_standard_output(cabochon, verdicts, tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "stdout"
    os.mkfifo(pipe)
    link.symlink_to("/proc/self/fd/1")
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert cabochon.run(*verdicts, pipe).returncode == 0
        written = reader.communicate(timeout=60)[0]
    assert [json.loads(line)["line"] for line in written.splitlines()] == [1, 2]
    assert cabochon.text(*verdicts, link).encode() == written


def test_verdicts_are_not_read_back_from_a_device(cabochon, verdicts, tmp_path):
    for device in ("full", "null"):
        (tmp_path / device).symlink_to(f"/dev/{device}")
    assert f"{tmp_path}/full: No space left on device" in cabochon.failure(*verdicts, tmp_path / "full")
    assert cabochon.text(*verdicts, tmp_path / "null") == ""
    assert f"{tmp_path}: Is a directory" in cabochon.failure(*verdicts, tmp_path)


def run_closed(cabochon, closed, arguments, **options):
    """Runs a command by a shell that closes standard descriptors for it."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, cwd=cabochon.home,
                          env=cabochon.environment, **options)


def test_no_file_takes_the_place_of_a_standard_descriptor_that_is_closed(cabochon, verdicts, tmp_path):
    for command in (["chat", "--model", TINY_GGUF, "--max-tokens", "4"], ["tokenize", "--model", TINY_GGUF]):
        done = run_closed(cabochon, "<&-", command)
        assert done.returncode == 1 and done.stdout == b""
        assert done.stderr == b"cabochon: standard input: Bad file descriptor\n"
    done = run_closed(cabochon, ">&-", ["tokenize", "--model", TINY_GGUF, "Hello"])
    assert done.returncode == 1 and done.stderr == b"cabochon: standard output: Bad file descriptor\n"
    output = tmp_path / "verdicts.jsonl"
    assert run_closed(cabochon, "<&- >&- 2>&-", [*verdicts, output, "--verbose"]).returncode == 0
    assert [json.loads(line)["line"] for line in output.read_text().splitlines()] == [1, 2]


def test_what_cannot_be_read_is_a_failure_and_no_end(cabochon, tmp_path):
    dictionary = ["--model", TINY, "--sae", DICTIONARY, "--site", "resid_post", "--layer", "2"]
    readers = [
        ["classify", "--model", TINY, "--output", tmp_path / "verdicts.jsonl"],
        ["encode", *dictionary, "--output", tmp_path / "features"],
        ["features", *dictionary, "--html", tmp_path / "page.html"],
    ]
    for path, words in ((tmp_path, "Is a directory"), ("/proc/self/mem", "Input/output error")):
        for command in readers:
            assert f"{path}: {words}" in cabochon.failure(*command, "--input", path), command
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        done = subprocess.run([PROGRAM, "chat", "--model", TINY], stdin=folder, capture_output=True, timeout=60,
                              env=cabochon.environment)
    finally:
        os.close(folder)
    assert done.returncode == 1 and b"standard input: Is a directory" in done.stderr and done.stdout == b""
