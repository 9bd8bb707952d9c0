"""Answers: sampling, stopping, log-probabilities, callbacks."""

import time

import numpy as np
import pytest

import cabochon

import checkpoints
import reference
from binding import GREEDY, PROMPT, VARIED, error_of


def test_the_same_seed_gives_the_same_answer(model):
    first = model.generate(PROMPT, max_tokens=24, **VARIED)
    assert model.generate(PROMPT, max_tokens=24, **VARIED).tokens == first.tokens
    assert model.generate(PROMPT, max_tokens=24, **{**VARIED, "seed": 12}).tokens != first.tokens


def test_without_a_seed_the_one_used_is_reported(model):
    drawn = model.generate(PROMPT, max_tokens=16, temperature=3.0)
    again = model.generate(PROMPT, max_tokens=16, temperature=3.0, seed=drawn.seed)
    assert again.tokens == drawn.tokens
    assert model.generate(PROMPT, max_tokens=16, temperature=3.0).seed != drawn.seed


def test_zero_temperature_is_the_likeliest_token(model):
    ids = model.tokenize(PROMPT)
    generation = model.generate(ids, max_tokens=1, temperature=0, ignore_eos=True)
    assert generation.tokens == [int(model.logits(ids)[-1].argmax())]


@pytest.mark.parametrize("temperature", [0.001, 1e-37])
def test_a_temperature_near_zero_comes_to_the_likeliest_token(model, temperature):
    greedy = model.generate("The gem", max_tokens=12, temperature=0, ignore_eos=True)
    assert model.generate("The gem", max_tokens=12, temperature=temperature, ignore_eos=True).tokens == greedy.tokens


@pytest.mark.parametrize("option", ["temperature", "repetition_penalty"])
def test_any_positive_number_is_taken_that_a_float_of_c_holds(model, option):
    for number in (1e-37, 1e-3, 1e3, 3e38):
        assert len(model.generate("The gem", max_tokens=2, ignore_eos=True, **{option: number}).tokens) == 2
    for number in (1e-46, 1e39, -1.0, float("nan")):
        assert error_of(model.generate, "x", max_tokens=2, **{option: number}).code == "invalid_argument"


def test_top_k_one_is_greedy(model):
    greedy = model.generate(PROMPT, max_tokens=12, temperature=0, ignore_eos=True)
    assert model.generate(PROMPT, max_tokens=12, top_k=1, **VARIED).tokens == greedy.tokens
    assert model.generate(PROMPT, max_tokens=12, top_p=1e-6, **VARIED).tokens == greedy.tokens
    assert model.generate(PROMPT, max_tokens=12, min_p=1.0, **VARIED).tokens == greedy.tokens


def test_the_answer_is_the_text_of_its_tokens(model):
    generation = model.generate(PROMPT, max_tokens=40, **VARIED)
    assert generation.finish_reason == "length" and len(generation.tokens) == 40
    assert generation.text == model.detokenize(generation.tokens)
    assert generation.timings.prompt_tokens == len(model.tokenize(PROMPT))
    assert generation.timings.decode_tokens == 40 and generation.timings.decode_seconds > 0


def test_the_time_of_the_prompt_and_of_the_answer_are_told_apart(model):
    start = time.perf_counter()
    timings = model.generate(PROMPT, max_tokens=4, on_text=lambda _: time.sleep(0.02), **VARIED).timings
    whole = time.perf_counter() - start
    # However slow the machine is: the callback's time is the answer's, and no time is in both.
    assert timings.decode_seconds >= 4 * 0.02
    assert timings.prompt_seconds > 0 and timings.prompt_seconds + timings.decode_seconds <= whole


@pytest.mark.parametrize("start", [0, 3, 17, 29])
def test_a_stop_text_ends_the_answer_before_itself(model, start):
    whole = model.generate(PROMPT, max_tokens=60, **VARIED).text
    stop = whole[start : start + 5]
    pieces = []
    generation = model.generate(PROMPT, max_tokens=60, stop=["never there", stop], on_text=pieces.append, **VARIED)
    assert generation.finish_reason == "stop"
    assert generation.text == whole[: whole.index(stop)] == "".join(pieces)


def test_a_stop_text_that_never_comes_is_not_missed(model):
    whole = model.generate(PROMPT, max_tokens=20, **VARIED).text
    pieces = []
    generation = model.generate(PROMPT, max_tokens=20, stop=whole[-3:] + "\u2603", on_text=pieces.append, **VARIED)
    assert generation.text == whole == "".join(pieces)


def test_text_held_back_for_a_stop_that_never_came_is_in_the_answer_at_the_end_of_turn(model):
    # Random weights end no answer of their own accord, so the dice decide.
    options = dict(max_tokens=30, temperature=3.0, logit_bias={model.eos_ids[-1]: 12.0})
    answers = ((seed, model.generate(PROMPT, seed=seed, **options)) for seed in range(200))
    seed, whole = next((seed, one) for seed, one in answers if one.finish_reason == "eos" and len(one.tokens) >= 3)
    pieces = []
    generation = model.generate(PROMPT, stop=whole.text[-2:] + "\u2603", on_text=pieces.append, seed=seed, **options)
    assert generation.finish_reason == "eos" and generation.tokens == whole.tokens
    assert generation.text == whole.text == "".join(pieces) == model.detokenize(whole.tokens)
    # A piece for each token, and one that was held back until the end.
    assert len(pieces) == len(whole.tokens) + 1 and pieces[-1]


def test_text_held_back_for_a_stop_that_never_came_is_in_the_answer_that_a_callback_ended(model):
    text = model.detokenize(model.generate(PROMPT, max_tokens=4, **VARIED).tokens)
    pieces = []

    def enough(piece):
        pieces.append(piece)
        return len(pieces) == 4

    generation = model.generate(PROMPT, max_tokens=50, stop=text[-2:] + "\u2603", on_text=enough, **VARIED)
    assert generation.finish_reason == "callback" and generation.text == text
    assert "".join(pieces) == text[:-2]


def test_end_of_turn_stops_unless_ignored(model):
    end = model.eos_ids[-1]
    stopped = model.generate(PROMPT, max_tokens=5, temperature=0, logit_bias={end: 1e6})
    assert stopped.finish_reason == "eos" and stopped.tokens == []
    ignored = model.generate(PROMPT, max_tokens=5, temperature=0, logit_bias={end: 1e6}, ignore_eos=True)
    assert ignored.tokens == [end] * 5


def test_log_probabilities(model):
    ids = model.tokenize(PROMPT)
    generation = model.generate(ids, max_tokens=6, temperature=0, ignore_eos=True, logprobs=3)
    logits = model.logits(ids + generation.tokens)[len(ids) - 1 : -1].astype(np.float64)
    logprobs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(-1, keepdims=True)
    assert [one.token for one in generation.logprobs] == generation.tokens
    for row, one in zip(logprobs, generation.logprobs):
        best = np.argsort(-row)[:3]
        assert [token for token, _ in one.top] == best.tolist()
        assert np.allclose([value for _, value in one.top], row[best], atol=1e-3)
        assert one.logprob == pytest.approx(row[one.token], abs=1e-3)
    assert model.generate(ids, max_tokens=2).logprobs is None


@pytest.mark.parametrize("backend", [name for name in cabochon.backends() if name != "blas"])
def test_an_assisted_answer_is_the_plain_one(model_path, backend):
    model = cabochon.Model(model_path, backend=backend)
    prompt = model.tokenize("The widow and the lighthouse, the widow and the lighthouse, the widow")
    for options in ({"temperature": 0, "ignore_eos": True}, VARIED):
        plain = model.generate(prompt, max_tokens=40, **options)
        for assist in ("prompt-lookup", model):
            assisted = model.generate(prompt, max_tokens=40, assist=assist, **options)
            assert assisted.tokens == plain.tokens
            assert 0 <= assisted.timings.accepted_tokens <= assisted.timings.guessed_tokens
    assert model.generate(prompt, max_tokens=20, temperature=0, assist=model).timings.accepted_tokens > 5
    assert error_of(model.generate, prompt, assist="luck").code == "invalid_argument"


@pytest.fixture(scope="module")
def padded_path(model_path, tmp_path_factory):
    """The small model with 24 rows more than pieces, as some checkpoints have, which beat those they are made from."""
    _, tensors = reference.load(model_path)
    rows = tensors["model.embed_tokens.weight"]
    tensors["model.embed_tokens.weight"] = np.concatenate([rows, 40 * rows[300:312], -40 * rows[300:312]])
    folder = tmp_path_factory.mktemp("padded") / "model"
    return checkpoints.write(folder, model_path, tensors, "F32", vocab_size=len(rows) + 24)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 3.0}, {"top_k": 3}, {"logprobs": 3}])
def test_rows_without_a_piece_are_never_drawn(model, padded_path, options):
    padded = cabochon.Model(padded_path)
    options = {"max_tokens": 24, "seed": 11, "ignore_eos": True, **options}
    ids = padded.tokenize(PROMPT)
    assert padded.logits(ids)[-1].argmax() >= model.vocab_size
    answer = padded.generate(ids, **options)
    assert answer.tokens == model.generate(ids, **options).tokens


def test_a_draft_model_may_have_other_rows_without_a_piece(model, padded_path):
    padded = cabochon.Model(padded_path)
    options = {"max_tokens": 24, **GREEDY}
    for prompt in (model.tokenize(PROMPT), padded.tokenize(PROMPT) + [model.vocab_size]):
        for one, other in ((model, padded), (padded, model)):
            if max(prompt) < one.vocab_size:
                assert one.generate(prompt, assist=other, **options).tokens == one.generate(prompt, **options).tokens


def test_penalties_make_repetition_rarer(model):
    plain = model.generate(PROMPT, max_tokens=40, temperature=0, ignore_eos=True)
    for penalty in ({"repetition_penalty": 5.0}, {"presence_penalty": 50.0}, {"frequency_penalty": 50.0}):
        varied = model.generate(PROMPT, max_tokens=40, temperature=0, ignore_eos=True, **penalty)
        assert len(set(varied.tokens)) > len(set(plain.tokens)), penalty


def penalised(logits, before, answer, bias=0.0, repetition=1.0, presence=0.0, frequency=0.0, window=64):
    """What cabochon.h says of logits [vocab] after the tokens of the prompt and of the answer so far."""
    logits = logits.astype(np.float64) + bias
    for token in set((before + answer)[-window:] if window else before + answer):
        logits[token] = logits[token] / repetition if logits[token] > 0 else logits[token] * repetition
    for token in set(answer):
        logits[token] -= presence + frequency * answer.count(token)
    return logits


def log_softmax(logits):
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def penalty_errors(model, ids, given, assumed, bias=0.0):
    """How far the log-probabilities of a greedy answer are from what these penalties give, for each that is assumed."""
    options = {"penalty_window" if name == "window" else f"{name}_penalty": value for name, value in given.items()}
    biases = dict.fromkeys(range(model.vocab_size), bias)
    generation = model.generate(ids, max_tokens=24, temperature=0, ignore_eos=True, logprobs=20, logit_bias=biases, **options)
    rows = model.logits(ids + generation.tokens)[len(ids) - 1 : -1]

    def error(penalties):
        largest = 0.0
        for place, (row, one) in enumerate(zip(rows, generation.logprobs)):
            want = log_softmax(penalised(row, ids, generation.tokens[:place], bias, **penalties))
            values = np.array([one.logprob] + [value for _, value in one.top])
            tokens = [one.token] + [token for token, _ in one.top]
            in_order = np.sort(want)[::-1][[0, *range(20)]]
            largest = max(largest, np.abs(values - want[tokens]).max(), np.abs(values - in_order).max())
        return largest

    return [error(penalties) for penalties in assumed]


@pytest.mark.parametrize("bias", [0.0, -60.0])
@pytest.mark.parametrize("penalties", [
    {"repetition": 1.6}, {"repetition": 0.7}, {"presence": 1.5}, {"presence": -1.5}, {"frequency": 0.4},
    {"frequency": -0.4}, {"repetition": 1.3, "presence": 0.5, "frequency": 0.25},
], ids=str)  # fmt: skip
def test_penalties_change_logits_as_documented(model, penalties, bias):
    # With the bias all logits are negative.
    ids = model.tokenize("The widow and the lighthouse, the keeper and the sea.")
    right, none = penalty_errors(model, ids, penalties, [penalties, {}], bias)
    assert right < 1e-3 and none > 1e-2


def test_a_repetition_penalty_looks_at_the_last_tokens_only(model):
    # Of the prompt's 99 tokens the default looks at 64. The reward for what repeats makes the window show.
    ids = [2, *range(300, 398)]
    windows = [{"repetition": 0.8, "window": window} for window in (3, 63, 64, 65, None)]
    for given in [*windows, {"repetition": 0.8}]:
        for assumed, error in zip(windows, penalty_errors(model, ids, given, windows, bias=-60.0)):
            is_right = given.get("window", 64) == assumed["window"]
            assert error < 1e-3 if is_right else error > 5e-3, (given, assumed)


def test_on_text_can_end_the_answer(model):
    pieces = []

    def enough(text):
        pieces.append(text)
        return len(pieces) == 4

    generation = model.generate(PROMPT, max_tokens=50, on_text=enough, **VARIED)
    assert generation.finish_reason == "callback" and len(generation.tokens) == 4


def test_an_exception_in_on_text_comes_out(model):
    def broken(_):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.generate(PROMPT, on_text=broken, **VARIED)


@pytest.mark.parametrize("last", [1, 5])
def test_an_exception_in_on_text_leaves_the_session_as_before(model, last):
    # Also at the answer's last token, when there is nothing left to stop.
    session = model.session()
    session.generate(PROMPT, max_tokens=3, **VARIED)
    tokens, logits = session.tokens, session.logits()
    pieces = []

    def broken(text):
        pieces.append(text)
        if len(pieces) == last:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        session.generate("And then", max_tokens=5, on_text=broken, **VARIED)
    assert len(pieces) == last and session.tokens == tokens and np.array_equal(session.logits(), logits)


def test_on_text_cannot_use_its_own_session(model):
    session = model.session()
    refused = []
    session.generate(PROMPT, max_tokens=3, on_text=lambda _: refused.append(error_of(session.append, [5])), **VARIED)
    assert [error.code for error in refused] == ["invalid_argument"] * 3
    assert session.length == len(model.tokenize(PROMPT)) + 3


def test_options_out_of_range(model):
    wrong = [
        {"max_tokens": 0}, {"max_tokens": -1}, {"temperature": -1}, {"temperature": float("nan")}, {"top_k": -1},
        {"top_p": 1.5}, {"min_p": -0.1}, {"repetition_penalty": 0}, {"logprobs": 21}, {"seed": -1}, {"seed": 2**64},
        {"stop": ""}, {"stop": ["\ud800"]}, {"logit_bias": {10**6: 1.0}},
    ]  # fmt: skip
    for options in wrong:
        assert error_of(model.generate, PROMPT, **options).code in ("invalid_argument", "invalid_utf8"), options
    with pytest.raises(TypeError):
        model.generate(PROMPT, temprature=1)


def test_prompts_of_all_three_kinds(model):
    messages = [{"role": "user", "content": "Hi"}]
    options = {"max_tokens": 4, "temperature": 0, "ignore_eos": True}
    assert model.generate(messages, **options).tokens == model.generate(model.render_chat(messages), **options).tokens
    assert model.generate(PROMPT, **options).tokens == model.generate(np.array(model.tokenize(PROMPT)), **options).tokens
    assert error_of(model.generate, []).code == "invalid_argument"


def test_a_prompt_longer_than_the_context_says_both_numbers(model):
    with model.session(context_length=8) as session:
        error = error_of(session.generate, list(range(10, 30)))
    assert error.code == "context_exceeded" and "20" in error.message and "8" in error.message


def test_a_full_context_ends_the_answer(model):
    with model.session(context_length=12) as session:
        generation = session.generate([2, 5, 7], max_tokens=100, temperature=0, ignore_eos=True)
        assert generation.finish_reason == "context" and session.length == 12


@pytest.mark.parametrize("bias", [float("nan"), float("inf")])
def test_a_bias_that_leaves_no_probabilities_is_refused(model, bias):
    error = error_of(model.generate, PROMPT, max_tokens=1, temperature=0, logprobs=1, logit_bias={7: bias})
    assert error.code == "invalid_argument" and "token 7" in error.message
