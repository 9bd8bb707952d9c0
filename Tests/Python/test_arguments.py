"""Arguments of the wrong type: a TypeError, and a cabochon.Error, that names the argument and what it should be."""

import os
from types import MappingProxyType

import pytest

import cabochon
from binding import error_of


@pytest.fixture(scope="module")
def sae(model_path):
    return cabochon.SAE(model_path / "expected/scope/resid_post_layer2.npz", site="resid_post", layer=2)


@pytest.fixture(scope="module")
def guard(model):
    return cabochon.Guard(model)


def test_options_of_an_answer(model, guard, sae):
    wrong = {
        "max_tokens": ["a", 1.5], "temperature": ["a", None, [1]], "top_k": ["a"], "top_p": ["a"], "min_p": ["a"],
        "repetition_penalty": ["a"], "presence_penalty": ["a"], "frequency_penalty": ["a"], "seed": ["a"],
        "logit_bias": [[1], 5, {5: "a"}], "stop": [5, [5]], "assist": [5, sae], "guard": [guard, "hold"],
        "watch": [sae, [5]], "splice": [sae, [model]], "steer": [cabochon.Steer(sae, 1), [sae]],
    }  # fmt: skip
    for name, values in wrong.items():
        for value in values:
            error = error_of(model.generate, "a", **{"max_tokens": 1, name: value})
            assert isinstance(error, TypeError) and error.code == "invalid_argument" and name in error.message, (name, value)


def test_other_arguments(model, guard, sae):
    steered = lambda **fields: model.logits([2, 5], steer=[cabochon.Steer(sae, 1, **fields)])  # noqa: E731
    guarded = lambda guarding: model.generate("a", guard=guarding)  # noqa: E731
    wrong = [
        ("prompt", lambda: model.generate({"role": "user", "content": "a"})),
        ("prompt", lambda: model.generate(5)),
        ("content", lambda: model.generate([{"role": "user", "content": 5}])),
        ("messages", lambda: model.render_chat({"role": "user", "content": "a"})),
        ("messages", lambda: model.render_chat("a")),
        ("token ids", lambda: model.logits(["a"])),
        ("text", lambda: model.tokenize(5)),
        ("path", lambda: cabochon.Model(5)),
        ("backend", lambda: cabochon.Model("x.gguf", backend=5)),
        ("kv_type", lambda: cabochon.Model("x.gguf", kv_type=["f16"])),
        ("path", lambda: cabochon.SAE(None)),
        ("activations", lambda: sae.encode("a")),
        ("features", lambda: sae.decode([1])),
        ("sae", lambda: model.features([2, 5], 5)),
        ("sites", lambda: model.activations([2, 5], 5)),
        ("sae", lambda: model.logits([2, 5], steer=[cabochon.Steer(model, 1)])),
        ("strength", lambda: steered(strength="a")),
        ("mode", lambda: steered(mode=["add"])),
        ("condition", lambda: steered(condition=5)),
        ("condition", lambda: steered(condition=(sae, 1))),
        ("condition's sae", lambda: steered(condition=(5, 1, 1.0))),
        ("condition's threshold", lambda: steered(condition=(sae, 1, "a"))),
        ("model", lambda: cabochon.Guard(None)),
        ("template", lambda: cabochon.Guard(model, 5)),
        ("prompt", lambda: guard.classify(5)),
        ("policies", lambda: guard.classify("a", policies=5)),
        ("rows", lambda: guard.classify_rows("abc")),
        ("rows", lambda: guard.classify_rows([("a",)])),
        ("rows", lambda: guard.classify_rows([5])),
        ("guard", lambda: guarded(cabochon.Guarding(model, thresholds=1.0))),
        ("thresholds", lambda: guarded(cabochon.Guarding(guard, thresholds="a"))),
        ("mode", lambda: guarded(cabochon.Guarding(guard, mode=5, thresholds=1.0))),
    ]
    for number, (name, call) in enumerate(wrong):
        error = error_of(call)
        assert isinstance(error, TypeError) and error.code == "invalid_argument" and name in error.message, (number, name)


def test_messages_may_be_any_mappings(model):
    message = {"role": "user", "content": "Hi"}
    options = {"max_tokens": 3, "temperature": 0}
    assert model.generate([MappingProxyType(message)], **options).tokens == model.generate([message], **options).tokens


def test_paths_may_be_bytes(model, model_path):
    assert cabochon.Model(os.fsencode(model_path)).tokenize("Hello") == model.tokenize("Hello")
    assert error_of(cabochon.Model, b"/nowhere/\xff.gguf").code == "invalid_utf8"
