"""How the library is found, and that three descriptions of its functions agree."""

import ctypes
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import cabochon
from binding import error_of
from cabochon import _declarations, _library

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = ROOT / "Include" / "cabochon" / "cabochon.h"


def header_functions():
    """{name: signature}, a letter for each type as in Tests/ABI/ffi.c: p, z, u, i, f or v."""
    code = re.sub(r"/\*.*?\*/", " ", HEADER.read_text(), flags=re.S)
    code = re.sub(r"typedef[^;{]*;|#.*", " ", code)
    functions = {}
    for result, name, arguments in re.findall(r"([a-z0-9_ ]+[\s*]+)(cabochon_\w+)\(([^)]*)\);", code):
        types = [] if arguments.strip() == "void" else arguments.split(",")
        functions[name] = "".join(letter(one) for one in [result, *types])
    return functions


def letter(declaration):
    if "*" in declaration or "_callback" in declaration:
        return "p"
    for word, one in (("size_t", "z"), ("uint32_t", "u"), ("int32_t", "i"), ("cabochon_status", "i"), ("void", "v")):
        if re.search(rf"\b{word}\b", declaration):
            return one
    raise AssertionError(declaration)


def test_the_binding_declares_what_the_header_does():
    letters = {ctypes.c_size_t: "z", ctypes.c_uint32: "u", ctypes.c_int32: "i", None: "v"}
    declared = {
        name: "".join(letters.get(one, "p") for one in [result, *arguments])
        for name, (result, arguments) in _declarations.FUNCTIONS.items()
    }
    assert declared == header_functions()


def test_the_libffi_test_knows_every_function():
    table = (ROOT / "Tests" / "ABI" / "ffi.c").read_text()
    assert dict(re.findall(r'\{"(cabochon_\w+)", "(\w+)"\}', table)) == header_functions()


def test_the_structs_have_the_headers_sizes():
    sizes = dict(re.findall(r"SIZE\((cabochon_\w+), (\d+)\)", (ROOT / "Tests" / "ABI" / "layout.c").read_text()))
    for name, size in sizes.items():
        pascal = "".join("SAE" if word == "sae" else word.capitalize() for word in name.split("_")[1:])
        assert ctypes.sizeof(getattr(_declarations, pascal)) == int(size), name


def test_the_version_is_one_of_the_header():
    parts = re.findall(r"#define CABOCHON_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", HEADER.read_text())
    assert cabochon.version() == cabochon.__version__ == ".".join(parts)


@pytest.mark.parametrize("path", ["/nowhere/libcabochon.so.1", "libm.so.6"])
def test_a_missing_or_wrong_library_is_an_error_that_says_so(path):
    program = "import cabochon\ntry: cabochon.backends()\nexcept cabochon.Error as e: print(e.code, e.message)"
    environment = {"CABOCHON_LIBRARY": path, "PYTHONPATH": str(ROOT / "bindings" / "python")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("library ") and path in done.stdout


def test_a_package_in_the_root_folder_looks_for_its_library_like_any_other(monkeypatch):
    monkeypatch.setattr(_library, "__file__", "/cabochon/_library.py")
    assert list(_library._candidates()) == ["/cabochon/libcabochon.so.1", "/cabochon/lib/libcabochon.so.1"]


def test_the_loaders_library_is_found_without_running_anything(tmp_path):
    shutil.copytree(ROOT / "bindings" / "python" / "cabochon", tmp_path / "cabochon")
    program = """
import sys, cabochon
def refuse(event, arguments):
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "tempfile.mkstemp"): sys.exit(f"{event}: {arguments}")
sys.addaudithook(refuse)
print(cabochon.version())
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "LD_LIBRARY_PATH": str(ROOT / "build" / "lib")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.stderr, done.stdout) == ("", cabochon.__version__ + "\n")


def test_importing_needs_no_library():
    environment = {"CABOCHON_LIBRARY": "/nowhere", "PYTHONPATH": str(ROOT / "bindings" / "python")}
    subprocess.run([sys.executable, "-c", "import cabochon"], env=environment, check=True)


def test_integers_that_do_not_fit_are_errors_and_never_wrap_around(model, model_path):
    sae = cabochon.SAE(model_path / "expected/scope/resid_post_layer2.npz", site="resid_post", layer=2)
    session = model.session()
    session.append([5, 6, 7])
    steered = {"mode": "ablate"}
    features = model.features([5, 6, 7], sae)
    for number in (2**64, 2**64 + 1, 2**32 + 1, -(2**32) + 1, -(2**64) + 1, 1.5):
        calls = {
            "truncate": lambda: session.truncate(number),
            "append": lambda: session.append([number]),
            "token_piece": lambda: model.token_piece(number),
            "logit_bias": lambda: model.generate("x", max_tokens=1, logit_bias={number: 1.0}),
            "max_tokens": lambda: model.generate("x", max_tokens=number),
            "only": lambda: sae.only([number]),
            "direction": lambda: sae.direction(number),
            "feature": lambda: model.logits([5], steer=[cabochon.Steer(sae, number, **steered)]),
            "context_length": lambda: model.session(context_length=number),
            "threads": lambda: cabochon.Model(model_path, threads=number),
            "indices": lambda: sae.decode(dataclasses.replace(features, indices=[number, *features.indices[1:].tolist()])),
        }
        for name, call in calls.items():
            assert error_of(call).code == "invalid_argument", (name, number)
    for number in (2**64 + 1, -1, 1.5):
        edit = cabochon.Steer(sae, 1, positions=[number], **steered)
        assert error_of(model.logits, [5, 6], steer=[edit]).code == "invalid_argument"
    assert session.tokens == [5, 6, 7]


def test_integers_of_numpy_are_integers(model):
    session = model.session(context_length=np.int64(64))
    session.append([5, 6, 7])
    session.truncate(np.uint8(1))
    answer = session.generate((), max_tokens=np.int32(2), temperature=0, ignore_eos=True, logit_bias={np.int16(9): 99.0})
    assert answer.tokens == [9, 9] and model.token_piece(np.int64(9)) == model.token_piece(9)
