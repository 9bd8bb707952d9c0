"""The head's screen: an answer that draws from the largest logits only is the one that computes them all.

After 97 such tokens a head of floats is screened on backends that bound their products. A log-probability needs
all logits, so an answer that reports one is the reference. The heads try to make the screen fail: rows that are equal
or differ in one bit, outlier dimensions, logits that softcap makes equal, rows of extreme sizes, one that is no number.
"""

import pathlib
import shutil

import numpy as np
import pytest

import cabochon
import reference
from checkpoints import ENCODINGS, write

BACKENDS = cabochon.backends()
PATIENCE = 100


def save(folder, original, dtype, change=lambda tensors, rng: None, **config):
    """The small checkpoint with other weights, in one file."""
    _, tensors = reference.load(original)
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    change(tensors, np.random.default_rng(3))
    return write(folder, original, tensors, dtype, **config)


def check(path, backend):
    model = cabochon.Model(path, backend=backend, threads=2)
    rng = np.random.default_rng(5)
    model.generate([2, 3], max_tokens=PATIENCE, temperature=0, ignore_eos=True)
    for _ in range(6):
        prompt = [2] + [int(token) for token in rng.integers(3, model.vocab_size, 5)]
        for options in (
            dict(temperature=0), dict(temperature=3.0, top_k=2), dict(temperature=4.0, top_k=40, top_p=0.9),
            dict(temperature=1.0, top_k=64, min_p=0.01),
        ):  # fmt: skip
            options = dict(max_tokens=40, ignore_eos=True, seed=7, **options)
            want = model.generate(prompt, logprobs=1, **options)
            assert model.generate(prompt, **options).tokens == want.tokens, (backend, options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ENCODINGS)
def test_heads_of_floats(tmp_path, model_path, dtype, backend):
    check(save(tmp_path / "model", model_path, dtype), backend)


HEAD = "model.embed_tokens.weight"


def equal_rows(tensors, rng):
    head = tensors[HEAD]
    head[1000:2000] = head[:1000]


def rows_that_differ_in_one_bit(tensors, rng):
    head = tensors[HEAD]
    half = len(head) // 2
    head[half : 2 * half] = head[:half]
    bits = head.view(np.uint32)
    bits[np.arange(half) + half, rng.integers(0, head.shape[1], half)] ^= 1 << 16


def outlier_dimensions(tensors, rng):
    gain = tensors["model.norm.weight"]
    gain[[3, 20, 41]] = 40.0, 300.0, -2000.0


def logits_at_the_cap(tensors, rng):
    tensors["model.norm.weight"][:] = 3000


def logits_near_the_cap(tensors, rng):
    tensors["model.norm.weight"][:] += 60


def rows_of_extreme_sizes(tensors, rng):
    head = tensors[HEAD]
    head *= np.exp(rng.normal(0, 4, (len(head), 1)))
    head[::7] *= 1e-30
    head[::5, ::2] = 0
    head[::11] = 0


def rows_that_are_no_numbers(tensors, rng):
    # Of a head of its own: as embeddings they would make the logits after them no numbers, and end the answer.
    head = tensors["lm_head.weight"] = tensors[HEAD].copy()
    head[[1700, 1800], [5, 60]] = np.nan, np.inf


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize(
    "change",
    [equal_rows, rows_that_differ_in_one_bit, outlier_dimensions, logits_at_the_cap, logits_near_the_cap,
     rows_of_extreme_sizes, rows_that_are_no_numbers],
)  # fmt: skip
def test_heads_that_are_hard_to_screen(tmp_path, model_path, change, dtype, backend):
    check(save(tmp_path / "model", model_path, dtype, change), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_whose_copies_are_as_far_off_as_they_can_be(tmp_path, model_path, backend):
    """Row 900 is the largest, but its copy's product is far below that of row 901, whose copy is rounded up."""
    prompt = [2, 100, 200, 300]
    plain = cabochon.Model(model_path, backend="scalar")
    site = f"{plain.layer_count - 1}.resid_post"

    def change(tensors, rng):
        x = plain.activations(prompt, site)[site][-1] * (1 + tensors["model.norm.weight"])
        codes = np.full((2, len(x)), [[20.49], [20.51]], np.float32)
        codes[0, 5::11] += 1
        codes[:, ::32] = 127
        tensors[HEAD][900:902] = codes * np.sign(x) / 64

    model = cabochon.Model(save(tmp_path / "model", model_path, "F32", change), backend=backend, threads=2)
    model.generate([2, 3], max_tokens=PATIENCE, temperature=0, ignore_eos=True)
    assert model.generate(prompt, max_tokens=1, temperature=0, ignore_eos=True).tokens == [900]
    logits = model.logits(prompt)[-1]
    assert sorted(logits)[-2] == logits[901] < logits[900]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_that_is_largest_by_what_the_input_loses_in_bytes_is_found(tmp_path, model_path, backend):
    """Two rows that their copies hold without error; but their order is another for the input rounded to bytes."""
    prompt = [2, 100, 200, 300]
    plain = cabochon.Model(model_path, backend="scalar")
    site = f"{plain.layer_count - 1}.resid_post"
    residual = plain.activations(prompt, site)[site][-1].astype(np.float64)

    def change(tensors, rng):
        x = residual / np.sqrt(np.mean(residual**2) + 1e-6) * (1.0 + tensors["model.norm.weight"])
        step = np.repeat(np.abs(x.reshape(-1, 32)).max(1) / 127, 32)
        loss = np.rint(x / step) * step - x
        near = np.rint(90 * x / np.abs(x).max())
        # The first row is against what the loss adds, the second for it.
        codes = np.clip(near - np.outer([25, -25], np.sign(loss)), -120, 120)
        # A code of 127 in each block, where the input is least, so that the copies' scales are 1/64.
        least = [np.argmin(np.abs(x[:32])), 32 + np.argmin(np.abs(x[32:]))]
        codes[:, least] = 127
        # The first becomes the larger one, by little, in places where the input is small.
        small = [place for place in np.argsort(np.abs(x)) if place not in least][:30]
        for turn in range(10_000):
            lead = (codes[0] - codes[1]) @ x
            if 0 < lead < np.abs(x[small]).max():
                break
            place = small[turn % len(small)]
            codes[0, place] += np.sign(x[place]) * (1 if lead <= 0 else -1)
        assert np.abs(codes).max() == 127 and (codes[0] - codes[1]) @ (x + loss) < 0 < (codes[0] - codes[1]) @ x
        tensors[HEAD][900:902] = codes / 64

    model = cabochon.Model(save(tmp_path / "model", model_path, "F32", change), backend=backend, threads=2)
    model.generate([2, 3], max_tokens=PATIENCE, temperature=0, ignore_eos=True)
    assert model.generate(prompt, max_tokens=1, temperature=0, ignore_eos=True).tokens == [900]
    logits = model.logits(prompt)[-1]
    assert sorted(logits)[-2] == logits[901] < logits[900]


def rows_whose_scales_are_subnormal(tensors, rng):
    # Scales of 4e-6 and less are rounded by a hundredth of themselves and more: down, a code of 128 would be needed.
    tensors[HEAD] *= 5e-4 / np.abs(tensors[HEAD]).max()
    tensors["model.norm.weight"][:] = (1 + tensors["model.norm.weight"]) * 1000


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_whose_copies_have_subnormal_scales(tmp_path, model_path, backend):
    path = save(tmp_path / "model", model_path, "F32", rows_whose_scales_are_subnormal)
    model = cabochon.Model(path, backend=backend, threads=2)
    options = dict(temperature=0, ignore_eos=True)
    model.generate([2, 3], max_tokens=PATIENCE, **options)
    rng = np.random.default_rng(5)
    for _ in range(40):
        prompt = [2, *(int(token) for token in rng.integers(3, model.vocab_size, 5))]
        want = model.generate(prompt, max_tokens=20, logprobs=1, **options).tokens
        assert model.generate(prompt, max_tokens=20, **options).tokens == want


LARGE = 256_000
TOKENIZER = pathlib.Path(__file__).resolve().parents[1] / "Fixtures" / "tokenizer" / "gemma2-like.model"


def large_head(tensors, rng):
    head = tensors[HEAD]
    more = rng.normal(0, head.std(), (LARGE - len(head), head.shape[1]))
    tensors[HEAD] = np.concatenate([head, more.astype(np.float32)])


def large_head_at_the_cap_but_for_its_beginning(tensors, rng):
    large_head(tensors, rng)
    logits_at_the_cap(tensors, rng)
    tensors[HEAD][:20_000] *= 1e-6


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name not in ("scalar", "blas")])
@pytest.mark.parametrize("change", [large_head, large_head_at_the_cap_but_for_its_beginning])
def test_a_head_of_many_pieces_is_screened_with_the_same_tokens(tmp_path, model_path, change, backend):
    """As large as real ones are: packed in 17 pieces, and looked through in 32 parts."""
    path = save(tmp_path / "model", model_path, "BF16", change, vocab_size=LARGE)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (path / name).unlink()
    shutil.copy(TOKENIZER, path / "tokenizer.model")
    model = cabochon.Model(path, backend=backend, threads=2)
    # Also while it is made, a piece with each token.
    options = dict(max_tokens=PATIENCE + 30, temperature=0, ignore_eos=True)
    want = model.generate([2, 3], logprobs=1, **options).tokens
    assert model.generate([2, 3], **options).tokens == want
    rng = np.random.default_rng(5)
    for _ in range(3):
        prompt = [2, *(int(token) for token in rng.integers(3, LARGE, 5))]
        for sampling in (dict(temperature=0), dict(temperature=3.0, top_k=40, seed=7)):
            options = dict(max_tokens=12, ignore_eos=True, **sampling)
            want = model.generate(prompt, logprobs=1, **options).tokens
            assert model.generate(prompt, **options).tokens == want, sampling


def test_all_logits_are_there_after_a_screened_answer(tmp_path, model_path):
    model = cabochon.Model(save(tmp_path / "model", model_path, "BF16"), threads=2)
    with model.session() as session:
        tokens = session.generate([2, 3], max_tokens=2 * PATIENCE, temperature=0, ignore_eos=True).tokens
        logits = session.logits()
    assert np.isfinite(logits).all()
    assert np.array_equal(logits, model.logits([2, 3, *tokens])[-1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_copied_model_keeps_its_head_when_a_screen_is_made_of_it(tmp_path, model_path, backend):
    model = cabochon.Model(save(tmp_path / "model", model_path, "F32"), backend=backend, threads=2, copy=True)
    before = model.logits([2, 9, 700])
    model.generate([2, 3], max_tokens=PATIENCE, temperature=0, ignore_eos=True)
    assert np.array_equal(model.logits([2, 9, 700]), before)


def test_swapping_the_backend_swaps_the_screen(tmp_path, model_path):
    model = cabochon.Model(save(tmp_path / "model", model_path, "F32"), backend=BACKENDS[0], threads=2)
    for backend in [*BACKENDS, BACKENDS[0]]:
        model.backend = backend
        options = dict(max_tokens=2 * PATIENCE, temperature=0, ignore_eos=True)
        assert model.generate([2, 9], **options).tokens == model.generate([2, 9], logprobs=1, **options).tokens
