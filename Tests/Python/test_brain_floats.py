"""BF16 weights in rows that a backend may keep in a form of its own: the file's numbers, exactly."""

import numpy as np
import pytest

import cabochon
import test_head_screen
from checkpoints import write_wide

BACKENDS = cabochon.backends()


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "blas"])
def test_a_prompt_has_the_bits_of_its_tokens_one_by_one(tmp_path, model_path, backend):
    model = cabochon.Model(write_wide(tmp_path / "model", model_path, "BF16"), backend=backend, threads=2)
    tokens = [2, *range(100, 139)]
    together = model.logits(tokens)
    with model.session() as session:
        for position, token in enumerate(tokens):
            session.append([token])
            assert np.array_equal(session.logits(), together[position]), position


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_are_the_scalar_backends(tmp_path, model_path, backend):
    path = write_wide(tmp_path / "model", model_path, "BF16")
    tokens = [2, *range(300, 420)]
    want = cabochon.Model(path, backend="scalar").logits(tokens)
    difference = cabochon.Model(path, backend=backend, threads=2).logits(tokens) - want
    # Activations rounded to bfloat16, 2^-9 of each: four layers' worth. One wrong weight in a thousand is far beyond.
    assert np.sqrt(np.mean(difference**2)) < 0.01 * np.std(want)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", [test_head_screen.equal_rows, test_head_screen.rows_of_extreme_sizes])
def test_a_head_in_such_a_form_is_screened_with_the_same_tokens(tmp_path, model_path, change, backend):
    test_head_screen.check(write_wide(tmp_path / "model", model_path, "BF16", change=change), backend)
