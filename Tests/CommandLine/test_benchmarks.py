"""Benchmarks/: what its programs do where something cannot be measured. Their numbers are no test's business."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys

import pytest

from commandline import ROOT, TINY_GGUF

QUICK = ["--rounds", "1", "--prefill", "8", "--decode", "4", "--threads", "1", "--backend", "scalar"]


def compare(*arguments):
    """compare.py with a model whose memory is quick to warm."""
    command = [sys.executable, str(ROOT / "Benchmarks" / "compare.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def runtime(tmp_path, body):
    """An interpreter that is none: whatever it is asked to run, it does `body`."""
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable}\nimport os, sys\n{body}\n")
    path.chmod(0o755)
    return path


DIES_LATER = """print("1.5\\tsome runtime", flush=True)
if sys.stdin.readline():
    sys.exit("the runtime has met its end")"""


@pytest.mark.parametrize("body, words", [
    (DIES_LATER, "the runtime has met its end"),
    ("print('Welcome!', flush=True); sys.stdin.read()", "no answer"),
    ("os.abort()", "no answer"),
])
def test_a_runtime_that_fails_is_left_out_by_name_and_the_rest_is_kept(tmp_path, body, words):
    done = compare(TINY_GGUF, *QUICK, "--llama-python", runtime(tmp_path, body))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "llama.cpp is left out: " in done.stderr and words in done.stderr
    assert "| decode 4, tokens/s | " in done.stdout and "llama.cpp" not in done.stdout.split("\n", 1)[1]


def test_an_interpreter_that_is_not_there_is_left_out_and_the_rest_is_kept(tmp_path):
    done = compare(TINY_GGUF, *QUICK, "--llama-python", tmp_path / "none")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "llama.cpp is left out: " in done.stderr and str(tmp_path / "none") in done.stderr
    assert "| decode 4, tokens/s | " in done.stdout


def test_a_runtime_that_is_not_installed_is_left_out_without_failing():
    if importlib.util.find_spec("llama_cpp"):
        pytest.skip("llama_cpp is installed")
    done = compare(TINY_GGUF, *QUICK, "--llama-python", sys.executable)
    assert "llama.cpp is left out: No module named 'llama_cpp'" in done.stderr and done.returncode == 0


@pytest.mark.parametrize("depth", [0, 8])
def test_without_cabochon_nothing_is_said_of_the_others(tmp_path, depth):
    python = runtime(tmp_path, DIES_LATER)
    done = compare(TINY_GGUF, *QUICK, "--backend", "abacus", "--depth", depth, "--llama-python", python)
    assert done.returncode == 1 and "Cabochon is left out" in done.stderr and "abacus" in done.stderr
    assert f"{TINY_GGUF}: not measured" in done.stderr and "\n| " not in done.stdout


@pytest.mark.parametrize("arguments", [
    ["--threads", "0"], ["--rounds", "0"], ["--prefill", "0"], ["--decode", "0"], ["--depth", "-4"],
    ["--openvino", "/no/such/folder,128"], ["--transformers", "/no/such/folder"],
])
def test_what_cannot_be_measured_is_bad_usage(arguments):
    done = compare(TINY_GGUF, *arguments)
    assert done.returncode == 2 and done.stdout == "" and "error:" in done.stderr


def test_a_model_that_is_not_there_is_bad_usage():
    done = compare("/no/such/model.gguf")
    assert done.returncode == 2 and "/no/such/model.gguf" in done.stderr


def test_runtimes_with_vocabularies_of_their_own_read_the_same_tokens():
    specification = importlib.util.spec_from_file_location("compare", ROOT / "Benchmarks" / "compare.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    of_gemma_2, of_gemma_3 = module.tokens(256_000, 512), module.tokens(262_144, 512)
    assert of_gemma_2 == of_gemma_3 and len(set(of_gemma_2)) > 500
    assert max(module.tokens(300, 512)) < 300


PLUGIN = """#include "cabochon/backend.h"
static const cabochon_backend_ops ops = {.struct_size = sizeof ops};
const cabochon_backend_descriptor cabochon_backend_v1 = {
    .struct_size = sizeof(cabochon_backend_descriptor), .abi_major = CABOCHON_BACKEND_ABI_MAJOR,
    .abi_minor = CABOCHON_BACKEND_ABI_MINOR, .name = "impossible", .version = "1", .ops = &ops,
    .cpu_features = 1ull << 63};
"""


@pytest.mark.skipif(platform.machine() != "x86_64" or not shutil.which("cc"), reason="needs a C compiler for x86-64")
@pytest.mark.parametrize("program, sources", [
    ("kernels", ["CabochonShims/cpu.c"]),
    ("attention", ["CabochonShims/cpu.c", "MachineLimits/kernels.c", "MachineLimits/limits.c"]),
])
def test_programs_that_call_ops_refuse_what_this_processor_cannot_run(tmp_path, program, sources):
    include = [f"-I{ROOT / folder}" for folder in (
        "Include", "Sources/CabochonShims/include", "Sources/MachineLimits/include")]
    files = [ROOT / "Benchmarks" / f"{program}.c", *(ROOT / "Sources" / source for source in sources)]
    subprocess.run(["cc", "-O1", *include, *files, "-lpthread", "-ldl", "-o", tmp_path / program], check=True)
    (tmp_path / "plugin.c").write_text(PLUGIN)
    plugin = tmp_path / "plugin.so"
    subprocess.run(["cc", "-shared", "-fPIC", *include, tmp_path / "plugin.c", "-o", plugin], check=True)
    libm = subprocess.run(["cc", "-print-file-name=libm.so.6"], check=True, capture_output=True, text=True).stdout.strip()
    for library, words in ((plugin, "this processor lacks"), (libm, "cabochon_backend_v1"), ("/no/such.so", "/no/such.so")):
        done = subprocess.run([tmp_path / program, library], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and words in done.stderr, (library, done)


def test_head_screen_says_what_it_needs_and_helps_without_it(tmp_path):
    command = [sys.executable, str(ROOT / "Benchmarks" / "head_screen.py")]
    (tmp_path / "gguf.py").write_text("raise ModuleNotFoundError(\"No module named 'gguf'\", name='gguf')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0 and "--bits" in done.stdout
    done = subprocess.run([*command, TINY_GGUF, TINY_GGUF], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1 and "pip install gguf" in done.stderr and "Traceback" not in done.stderr
