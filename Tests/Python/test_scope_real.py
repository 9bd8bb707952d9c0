"""A real dictionary on the real Gemma 3 270M: the features that transformers' float32 activations have.

Fast backends quantise activations, which moves some features over their thresholds; hence the two limits.
"""

import json
import pathlib
import re
import subprocess

import numpy as np
import pytest

import cabochon
from test_real_model import ROOT, model, model_path  # noqa: F401 - fixtures

EXPECTED = json.loads((ROOT / "Tests" / "Fixtures" / "gemma3-270m" / "expected-scope.json").read_text())
PATH = ROOT / "Examples/scope/gemma-3-270m-pt-res/layer_9/width_4k/average_l0_40/params.npz"
FLOAT_PRODUCTS = ("scalar", "blas")


@pytest.fixture(scope="module")
def sae():
    return cabochon.SAE(PATH)


def test_the_shipped_dictionary_says_what_it_is(sae):
    assert (sae.site, sae.layer, sae.width, sae.input_size, sae.average_l0) == ("resid_post", 9, 4096, 640, 40)


def test_features_are_those_of_float32_activations(model, sae):  # noqa: F811
    overlaps = []
    for prompt in EXPECTED["prompts"]:
        found = model.features(prompt["ids"], sae)
        for row, want in enumerate(prompt["features"][1:], 1):
            got, wanted = set(found.row(row)[0].tolist()), {feature for feature, _ in want}
            overlaps.append(len(got & wanted) / max(1, len(got | wanted)))
    assert np.mean(overlaps) >= (0.99 if model.backend in FLOAT_PRODUCTS else 0.9)


# Feature, and the word in each text that it is expected to fire on most.
TEXTS = {
    3987: ("The old miller carried a bucket of water up the hill.", "water"),
    617: ("She left the house without a coat.", "without"),
    1980: ("He walked through the room and spoke obsessively about trains.", "ively"),
    57: ("After the concert we took the last train home.", "we"),
}


def test_features_mean_what_their_examples_say(model, sae):  # noqa: F811
    for feature, (text, word) in TEXTS.items():
        ids = model.tokenize(text)
        values = model.features(ids, sae).to_dense()[1:, feature]
        assert values.max() > 0
        assert word in model.detokenize([ids[1 + int(values.argmax())]]), (feature, text)


def plain(token: str) -> str:
    """Without spaces around it and in lower case; of nothing but spaces, whether they break the line."""
    token = token.replace("\u2581", " ")
    return token.strip().lower() or ("\n" if "\n" in token else " ")


def found_again(listed: list[set], examples: list[list[str]]) -> tuple[int, int]:
    """Of how many features the strongest token is listed, and at least half of the strongest ones."""
    hits = [[token in tokens for token in strongest] for tokens, strongest in zip(listed, examples)]
    return sum(hit[0] for hit in hits), sum(2 * sum(hit) >= len(hit) for hit in hits)


def test_listed_features_have_the_same_top_tokens_on_other_texts(model_path):  # noqa: F811
    command = [ROOT / "build" / "bin" / "cabochon", "features", "--model", model_path, "--sae", PATH, "--json"]
    texts = ROOT / "Examples/scope/gemma-3-270m-pt-res/texts.jsonl"
    run = subprocess.run([*command, "--input", texts, "--limit", "4096"], capture_output=True, text=True, check=True)
    atlas = {one["feature"]: one["examples"] for one in json.loads(run.stdout)["features"]}
    known = {int(feature): known["top"] for feature, known in EXPECTED["examples"].items()}
    assert known.keys() <= atlas.keys(), "features that never fire"
    listed = [{plain(re.search("«(.*)»", text, re.DOTALL)[1]) for _, text in top} for top in known.values()]
    examples = [[plain(token) for _, _, token, _ in atlas[feature]] for feature in known]
    # 47 and 48 of the 50. Of another feature in its place it is 4 at most: the texts do not make anything fit.
    assert min(found_again(listed, examples)) >= 45
    for shift in range(1, len(known)):
        assert max(found_again(listed, examples[shift:] + examples[:shift])) <= 5


def test_steering_makes_the_model_speak_of_it(model, sae):  # noqa: F811
    prompt = "Yesterday, on my way home, I thought about"
    options = dict(max_tokens=40, temperature=0, ignore_eos=True)
    plain = model.generate(prompt, **options).text
    # About as strong as on "water" itself, where 250 to 360 is the most.
    steered = model.generate(prompt, steer=[cabochon.Steer(sae, 3987, 300.0, positions="answer")], **options).text
    assert "water" not in plain and "water" in steered
