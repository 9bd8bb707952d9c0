"""Fixtures of the command-line tests."""

import json
import pathlib
import signal

import pytest

from commandline import PROGRAM, TINY, TINY_GGUF, CommandLine

# Commands of the tests begin with what these have, and those in a shell's background have SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def cabochon(tmp_path) -> CommandLine:
    assert PROGRAM.exists(), f"{PROGRAM} is not there: run `make build`"
    return CommandLine(tmp_path)


@pytest.fixture
def tiny() -> pathlib.Path:
    """The small Gemma 2 checkpoint, as a folder."""
    return TINY


@pytest.fixture
def tiny_gguf() -> pathlib.Path:
    return TINY_GGUF


@pytest.fixture(scope="session")
def expected() -> dict:
    """What transformers makes of the small checkpoint."""
    return json.loads((TINY / "expected" / "expected.json").read_text())
