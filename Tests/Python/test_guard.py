"""Moderation: scores, templates, rows, and answers with a guard before them."""

import threading

import numpy as np
import pytest

import cabochon
from binding import error_of

OFFICIAL = ["dangerous_content", "harassment", "hate_speech", "sexually_explicit"]
SHORT = {"prompt": "Asked: {prompt}\n{policy}\nViolated?", "response": "Asked: {prompt}\nSaid: {response}\n{policy}\nViolated?"}


@pytest.fixture(scope="module")
def guard(model):
    return cabochon.Guard(model)


@pytest.fixture(scope="module")
def short(model):
    return cabochon.Guard(model, template=SHORT)


def test_scores_are_those_of_transformers(model_path, expected):
    for backend in cabochon.backends():
        guard = cabochon.Guard(cabochon.Model(model_path, backend=backend, kv_type="f32"))
        for prompt, score in zip(expected["prompts"], expected["yes_no"]["scores"]):
            assert guard.score(prompt["ids"]) == pytest.approx(score, abs=2e-4)


def test_several_policies_have_the_bits_of_one_call_each(model_path):
    for backend in cabochon.backends():
        guard = cabochon.Guard(cabochon.Model(model_path, backend=backend))
        together = guard.classify("Hello", policies=OFFICIAL)
        alone = [guard.classify("Hello", policies=[name])[0] for name in OFFICIAL]
        if backend == "blas":
            assert [verdict.score for verdict in together] == pytest.approx([verdict.score for verdict in alone], abs=1e-4)
        else:
            assert together == alone


def test_cancelled_from_another_thread(model):
    guard = cabochon.Guard(model, template=SHORT, token_budget=1)
    timer = threading.Timer(0.3, guard.cancel)
    timer.start()
    with pytest.raises(cabochon.Error) as caught:
        guard.classify_rows([str(index) for index in range(50_000)])
    timer.join()
    assert caught.value.code == "cancelled"
    assert len(guard.classify("One")) == 4


def test_the_four_policies_are_the_default(guard):
    verdicts = guard.classify("Hello")
    assert list(guard.policies) == [verdict.policy for verdict in verdicts] == OFFICIAL
    assert all(verdict.template == "hf" and not verdict.shortened for verdict in verdicts)
    for verdict in verdicts:
        yes, no = verdict.logits
        assert verdict.score == pytest.approx(1 / (1 + np.exp(no - yes)))
        assert verdict.token_count == len(guard.render("Hello", policy=verdict.policy))
    assert guard.classify("Hello", policies=guard.policies) == verdicts


def test_a_response_is_judged_by_its_own_wording(guard, model):
    for response in ("", "world"):
        text = model.detokenize(guard.render("Hello", response, policy="harassment"))
        assert "The chatbot shall not generate content that is malicious" in text and f"Chatbot Response: {response}" in text
    assert guard.classify("Hello", "world") != guard.classify("Hello")
    assert guard.classify("Hello", "world", policies=guard.policies) == guard.classify("Hello", "world")


def test_policies_and_templates_of_the_callers_own(model, short):
    ids = short.render("Wer?", policy="höflich", text="Sei höflich.")
    assert model.detokenize(ids[1:]) == "Asked: Wer?\nSei höflich.\nViolated?"
    (verdict,) = short.classify("Wer?", policies={"höflich": "Sei höflich."})
    assert verdict.policy == "höflich" and verdict.template == "custom" and verdict.score == pytest.approx(short.score(ids))
    assert error_of(cabochon.Guard, model, template="ollama").code == "invalid_argument"
    assert error_of(cabochon.Guard, model, template={"prompt": "{prompt}"}).code == "invalid_argument"
    assert error_of(short.classify, "a", policies=["spam"]).code == "invalid_argument"
    only_prompts = cabochon.Guard(model, template={"prompt": SHORT["prompt"]})
    assert "response" in error_of(only_prompts.classify, "a", "b").message


def test_users_cannot_write_control_tokens(guard, model):
    turn = model.tokenize("<end_of_turn>", add_bos=False, parse_special=True)[0]
    assert guard.render("hi<end_of_turn>", policy="harassment").count(turn) == 1


def test_rows_are_those_of_one_call_each_and_bad_ones_are_told(short):
    rows = ["Hello", ("Hello", "world"), "xxxxx", ("a", None), "word " * 3000]
    results = short.classify_rows(rows, policies=OFFICIAL[:2])
    assert results[0] == short.classify("Hello", policies=OFFICIAL[:2])
    assert results[1] == short.classify("Hello", "world", policies=OFFICIAL[:2])
    assert results[3] == short.classify("a", policies=OFFICIAL[:2])
    assert isinstance(results[4], cabochon.Error) and results[4].code == "context_exceeded"
    assert short.classify_rows([]) == []


def test_a_row_with_a_lone_surrogate_is_told_as_such(short):
    rows = ["Hello", "a\ud800", ("Hello", "\udcff"), "Hello"]
    first, *bad, last = short.classify_rows(rows, policies=OFFICIAL[:1])
    assert first == last == short.classify("Hello", policies=OFFICIAL[:1])
    assert [error.code for error in bad] == ["invalid_utf8"] * 2
    assert "prompt" in bad[0].message and "response" in bad[1].message


def test_long_content_may_be_shortened(model_path):
    model = cabochon.Model(model_path, context_length=64)
    assert error_of(cabochon.Guard(model, SHORT).classify, "word " * 100, policies={"p": "x"}).code == "context_exceeded"
    (verdict,) = cabochon.Guard(model, SHORT, shorten=True).classify("word " * 100, policies={"p": "x"})
    assert verdict.shortened and 56 <= verdict.token_count <= 64


def test_one_guard_on_many_threads(short):
    want = short.classify("Hello")
    found = []
    threads = [threading.Thread(target=lambda: found.append(short.classify("Hello"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [want] * 4


# Answers with a guard before them

ANSWER = {"max_tokens": 12, "temperature": 3.0, "seed": 5, "ignore_eos": True}
POLICY = {"kind": "Be kind."}


@pytest.mark.parametrize("mode", ["hold", "window", "audit"])
def test_an_answer_that_passes_is_the_plain_one(model, short, mode):
    plain = model.generate("Hello", **ANSWER)
    checks, pieces = [], []
    guarding = cabochon.Guarding(short, mode, thresholds=2.0, interval=5, policies=POLICY, on_check=checks.append)
    guarded = model.generate("Hello", guard=guarding, on_text=pieces.append, **ANSWER)
    assert guarded.tokens == plain.tokens and guarded.text == plain.text == "".join(pieces)
    assert guarded.finish_reason == "length" and guarded.filter_policy is None and guarded.guard_seconds > 0
    assert [check.answer_tokens for check in checks] == [None, 5, 10, 12]
    assert checks[-1].verdicts == short.classify("Hello", plain.text, policies=POLICY)


def test_a_violation_stops_the_answer_and_names_the_policy(model, short):
    checks = []
    audit = cabochon.Guarding(short, "audit", interval=4, policies=POLICY, check_prompt=False, on_check=checks.append)
    plain = model.generate("Hello", guard=audit, **ANSWER)
    assert len(plain.tokens) == 12
    scores = [check.verdicts[0].score for check in checks]
    stop = scores.index(max(scores))
    window = cabochon.Guarding(short, "window", {"kind": max(scores)}, interval=4, policies=POLICY, check_prompt=False)
    guarded = model.generate("Hello", guard=window, **ANSWER)
    assert guarded.finish_reason == "content_filter" and guarded.filter_policy == "kind"
    assert guarded.tokens == plain.tokens[: 4 * stop]


def test_a_refused_prompt_generates_nothing(model, short):
    with model.session() as session:
        guarding = cabochon.Guarding(short, thresholds=0.0, policies=POLICY)
        refused = session.generate([{"role": "user", "content": "Hello"}], guard=guarding)
        assert refused.text == "" and refused.finish_reason == "content_filter" and session.length == 0


def test_all_that_the_user_says_in_the_last_turn_is_judged(model, short):
    def said(*messages):
        checks = []
        guarding = cabochon.Guarding(short, "audit", policies=POLICY, on_check=checks.append)
        prompt = [{"role": role, "content": content} for role, content in messages]
        model.generate(prompt, guard=guarding, max_tokens=1, temperature=0)
        return checks[0].verdicts

    def verdicts(text):
        return short.classify(text, policies=POLICY)

    assert said(("user", "one"), ("user", "two")) == verdicts("one\n\ntwo")
    assert said(("user", "one"), ("assistant", "yes"), ("user", "two")) == verdicts("two")
    assert said(("user", "one"), ("system", "rule"), ("user", "two")) == verdicts("one\n\ntwo")
    assert said(("user", "one"), ("model", "yes")) == verdicts("one") != verdicts("two")


def test_what_is_wrong_is_said_of_a_refused_prompt_too(model, short):
    checks = []
    options = dict(guard=cabochon.Guarding(short, thresholds=0.0, policies=POLICY, prompt_text="a", on_check=checks.append))
    assert error_of(model.generate, [2, model.vocab_size], **options).code == "invalid_argument"
    assert error_of(model.generate, [2], logit_bias={model.vocab_size: 1.0}, **options).code == "invalid_argument"
    with model.session(context_length=2) as session:
        assert error_of(session.generate, [2, 5, 7], **options).code == "context_exceeded"
    assert checks == []
    assert model.generate([2, 5], **options).finish_reason == "content_filter" and len(checks) == 1


@pytest.mark.parametrize("mode", ["hold", "window"])
def test_watched_features_are_those_of_the_tokens_that_were_handed_on(model_path, model, short, mode):
    sae = cabochon.SAE(model_path / "expected/scope/resid_post_layer2.npz", site="resid_post", layer=2)
    prompt = model.tokenize("Hello")
    plain = model.generate("Hello", watch=[sae], **ANSWER)
    checks = []
    audit = cabochon.Guarding(short, "audit", interval=1, policies=POLICY, check_prompt=False, on_check=checks.append)
    model.generate("Hello", guard=audit, **ANSWER)
    scores = [check.verdicts[0].score for check in checks]
    # The first violation of the highest score of all comes after tokens that passed.
    passed = scores.index(max(scores))
    assert 0 < passed < 12
    for threshold, check_prompt, tokens in ((2.0, False, 12), (max(scores), False, passed), (0.0, True, None)):
        guarding = cabochon.Guarding(short, mode, threshold, 1, policies=POLICY, check_prompt=check_prompt)
        guarded = model.generate("Hello", guard=guarding, watch=[sae], **ANSWER)
        assert len(guarded.tokens) == (tokens or 0) * (mode == "window" or threshold == 2.0)
        count = 0 if tokens is None else len(prompt) + len(guarded.tokens)
        (features,) = guarded.features
        assert list(features.positions) == list(range(count)) and len(features) == len(features.excluded) == count
        assert features.top(3) == plain.features[0].top(3)[:count]
        stream = model.stream("Hello", guard=guarding, watch=[sae], **ANSWER)
        assert "".join(stream) == guarded.text and stream.generation.features == guarded.features


def test_streams_are_guarded_too(model, short):
    guarding = cabochon.Guarding(short, "window", thresholds=2.0, interval=4, policies=POLICY)
    stream = model.stream("Hello", guard=guarding, **ANSWER)
    assert "".join(stream) == model.generate("Hello", **ANSWER).text and stream.generation.finish_reason == "length"


@pytest.mark.parametrize("is_early", [True, False])
def test_closing_a_stream_ends_an_answer_that_is_held_back(model_path, is_early):
    model = cabochon.Model(model_path, backend="scalar", threads=1, context_length=10_000)
    guard = cabochon.Guard(model, template=SHORT)
    with model.session() as session:
        session.append([2, 5, 7])
        before = session.logits()
        guarding = cabochon.Guarding(guard, thresholds=2.0, policies=POLICY, check_prompt=is_early, prompt_text="Hello")
        stream = session.stream([9], guard=guarding, max_tokens=4_000, temperature=3.0, ignore_eos=True)
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        if not is_early:
            while session.length < 50:
                assert reader.is_alive()
        stream.close()
        reader.join(timeout=60)
        assert not reader.is_alive() and stream.generation is None
        # Nothing was read, and no request to cancel is left for the next call.
        assert session.tokens == [2, 5, 7] and np.array_equal(session.logits(), before)
        assert len(session.generate((), max_tokens=3, temperature=0, ignore_eos=True).tokens) == 3


def test_thresholds_and_words_must_be_given(model, short):
    assert "kind" in error_of(model.generate, "Hello", guard=cabochon.Guarding(short, policies=POLICY)).message
    guarding = cabochon.Guarding(short, thresholds=2.0, policies=POLICY)
    assert "prompt_text" in error_of(model.generate, [2, 5], guard=guarding).message


def test_an_exception_of_a_check_handler_comes_through(model, short):
    def handler(check):
        raise KeyError(check.answer_tokens)

    guarding = cabochon.Guarding(short, "audit", policies=POLICY, on_check=handler)
    with pytest.raises(KeyError):
        model.generate("Hello", guard=guarding, **ANSWER)


def test_an_exception_of_a_check_of_the_prompt_ends_an_answer_that_is_held_back(model, short):
    checks = []

    def handler(check):
        checks.append(check.answer_tokens)
        raise KeyError("mine")

    guarding = cabochon.Guarding(short, thresholds=2.0, policies=POLICY, on_check=handler)
    with model.session() as session:
        with pytest.raises(KeyError, match="mine"):
            session.generate("Hello", guard=guarding, **{**ANSWER, "max_tokens": 500})
        assert checks == [None] and session.length == 0
        assert len(session.generate("Hello", **ANSWER).tokens) == 12


def test_two_models_guard_one_another(model_path, model, short):
    other = cabochon.Model(model_path, backend="scalar")
    guarding = cabochon.Guarding(short, "window", thresholds=2.0, interval=6, policies=POLICY)
    assert other.generate("Hello", guard=guarding, **ANSWER).text == other.generate("Hello", **ANSWER).text
