"""What has a handle in C: closed, copied, sent to another process."""

import copy
import pickle

import numpy as np
import pytest

import cabochon
from binding import GREEDY, PROMPT, error_of

TEMPLATE = {"prompt": "{prompt} {policy}", "response": "{prompt} {response} {policy}"}


@pytest.fixture
def opened(model_path):
    """A dictionary, a guard, and a model of the test's own to close."""
    model = cabochon.Model(model_path)
    sae = cabochon.SAE(model_path / "expected/scope/resid_post_layer2.npz", site="resid_post", layer=2)
    return model, sae, cabochon.Guard(model, TEMPLATE)


def test_a_session_keeps_what_it_needs_of_a_closed_model(model, opened):
    other, _, guard = opened
    session, untouched = other.session(), model.session()
    verdicts = guard.classify("Hello")
    other.close()
    for one in (session, untouched):
        one.generate(PROMPT, max_tokens=3, **GREEDY)
        one.generate([{"role": "user", "content": "Hi"}], max_tokens=3, **GREEDY)
    assert session.tokens == untouched.tokens
    fork = session.fork()
    session.close()
    fork.append(model.tokenize("Hello"))
    untouched.append(model.tokenize("Hello"))
    assert np.array_equal(fork.logits(), untouched.logits())
    assert guard.classify("Hello") == verdicts


def test_a_closed_dictionary_is_refused_wherever_it_stands(model, opened):
    _, closed, _ = opened
    sae = closed.only([3])
    closed.close()
    calls = {
        "encode": lambda: closed.encode(np.zeros((1, 64), np.float32)),
        "only": lambda: closed.only([1]),
        "width": lambda: closed.width,
        "features": lambda: model.features([2, 5], closed),
        "steer": lambda: model.logits([2, 5], steer=[cabochon.Steer(closed, 3, 5.0)]),
        "condition": lambda: model.logits([2, 5], steer=[cabochon.Steer(sae, 3, 5.0, condition=(closed, 3, 1e9))]),
        "splice": lambda: model.logits([2, 5], splice=[closed]),
        "watch": lambda: model.generate("x", watch=[closed]),
    }
    for name, call in calls.items():
        error = error_of(call)
        assert error.code == "invalid_handle" and "SAE is closed" in error.message, name


def test_a_closed_guard_or_model_says_so(model, opened):
    closed, _, guard = opened
    closed.close()
    guard.close()
    calls = {
        "Guard": [
            lambda: guard.classify("a"),
            lambda: guard.classify_rows(["a"]),
            lambda: guard.policies,
            lambda: model.generate("a", guard=cabochon.Guarding(guard, thresholds=1.0)),
        ],
        "Model": [
            lambda: closed.vocab_size,
            lambda: closed.generate("a"),
            lambda: cabochon.Guard(closed),
            lambda: model.generate("a", assist=closed),
        ],
    }
    for kind, each in calls.items():
        for call in each:
            error = error_of(call)
            assert error.code == "invalid_handle" and f"{kind} is closed" in error.message


def test_closed_ones_have_a_repr_and_may_be_cancelled_and_closed_again(opened):
    model, sae, guard = opened
    session = model.session()
    for one in (session, guard, sae, model):
        name = type(one).__name__
        assert repr(one).startswith(f"<cabochon.{name} ") and "closed" not in repr(one)
        one.close()
        one.close()
        assert repr(one) == f"<cabochon.{name}, closed>"
    for one in (session, guard, model):
        one.cancel()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_handles_are_neither_copied_nor_pickled(opened, duplicate):
    model, sae, guard = opened
    for one in (model, sae, guard, model.session()):
        with pytest.raises(TypeError, match=f"a {type(one).__name__} can be neither pickled nor copied"):
            duplicate(one)
    assert model.tokenize("Hello") and sae.width and guard.policies
