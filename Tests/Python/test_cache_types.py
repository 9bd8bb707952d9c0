"""What sessions keep keys and values in: q8_0, a byte an element, beside f16 and f32."""

import pathlib

import numpy as np
import pytest

import cabochon
import reference
from checkpoints import write

VARIANT = pathlib.Path(__file__).resolve().parents[1] / "Fixtures" / "variants" / "gemma2-scaled"
BACKENDS = cabochon.backends()
TOKENS = [2, *np.random.default_rng(7).integers(3, 600, 150).tolist()]


def load(kv_type: str, backend: str = "scalar", threads: int = 2) -> cabochon.Model:
    return cabochon.Model(VARIANT, backend=backend, threads=threads, kv_type=kv_type)


@pytest.mark.parametrize("backend", BACKENDS)
def test_q8_0_gives_nearly_the_logits_of_f32(backend):
    exact = load("f32", backend).logits(TOKENS)
    rounded = load("q8_0", backend).logits(TOKENS)
    # Keys and values of size one are off by 0.005, a third of a step of a 127th of a block's largest: 0.011 of the
    # logits' spread behind three layers.
    error = np.sqrt(np.mean((rounded - exact) ** 2)) / np.std(exact)
    assert 0 < error < 0.02


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "scalar"])
def test_q8_0_of_a_backend_is_q8_0_of_the_scalar_one(backend, tmp_path):
    # Weights of float32: products of bfloat16 pairs (AVX-512) move the logits by 0.006 of their spread before any cache.
    model = write(tmp_path / "model", VARIANT, reference.load(VARIANT)[1], "F32")
    want, got = (
        cabochon.Model(model, backend=name, kv_type="q8_0").logits(TOKENS) for name in ("scalar", backend))
    # A key on the edge between two bytes may fall to either side.
    assert np.sqrt(np.mean((got - want) ** 2)) < 0.01 * np.std(want)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "blas"])
def test_any_cut_of_a_prompt_and_any_count_of_threads_gives_the_same_bits(backend):
    together = load("q8_0", backend).logits(TOKENS)
    for threads, cuts in ((1, [1, 40, 41, 90]), (3, range(1, 130)), (2, [64, 128])):
        with load("q8_0", backend, threads).session() as session:
            for start, end in zip([0, *cuts], [*cuts, len(TOKENS)]):
                session.append(TOKENS[start:end])
                assert np.array_equal(session.logits(), together[end - 1]), (threads, end)


def test_forks_and_steps_back_keep_what_was_cached():
    model = load("q8_0")
    together = model.logits(TOKENS)
    with model.session() as session:
        session.append(TOKENS[:100])
        with session.fork() as other:
            other.truncate(70)
            other.append(TOKENS[70:])
            assert np.array_equal(other.logits(), together[-1])
        session.append(TOKENS[100:120])
        assert np.array_equal(session.logits(), together[119])


def test_a_saved_session_takes_34_bytes_for_32_elements_and_goes_on_in_its_own_type_only(tmp_path):
    sizes = {}
    for kv_type in ("f16", "q8_0"):
        model = load(kv_type)
        together = model.logits(TOKENS)
        with model.session() as session:
            session.append(TOKENS[:-1])
            session.save(tmp_path / kv_type)
        sizes[kv_type] = (tmp_path / kv_type).stat().st_size
        with model.restore(tmp_path / kv_type) as session:
            session.append(TOKENS[-1:])
            assert np.array_equal(session.logits(), together[-1])
    elements = 3 * 2 * 2 * 32 * (len(TOKENS) - 1)  # layers, keys and values, KV heads, head size
    assert sizes["f16"] - sizes["q8_0"] == elements * 2 - elements // 32 * 34
    with pytest.raises(cabochon.Error, match="KV type"):
        load("f16").restore(tmp_path / "q8_0")


def test_a_backend_swapped_in_reads_what_another_cached():
    for start in BACKENDS:
        model = load("q8_0", start)
        want = model.logits(TOKENS)[-1]
        for other in BACKENDS:
            model.backend = start
            with model.session() as session:
                session.append(TOKENS[:-1])
                model.backend = other
                session.append(TOKENS[-1:])
                assert np.sqrt(np.mean((session.logits() - want) ** 2)) < 0.01 * np.std(want), (start, other)


def test_heads_that_are_not_whole_blocks_are_refused_with_both_numbers(model_path):
    with pytest.raises(cabochon.Error, match="heads of 16 elements are not whole blocks of 32") as refusal:
        cabochon.Model(model_path, kv_type="q8_0")
    assert refusal.value.code == "unsupported" and str(model_path) in str(refusal.value)
    assert cabochon.Model(model_path, kv_type="q8_0", vocab_only=True).vocab_size == 2073
