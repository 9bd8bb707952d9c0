"""The iterator: the same text, whole characters, nothing left running."""

import contextlib
import gc
import threading
import time

import pytest

import cabochon
from binding import PROMPT, VARIED, error_of


def running():
    return [thread for thread in threading.enumerate() if thread.name == "cabochon.stream"]


@contextlib.contextmanager
def soon(stream):
    """Fails where what is inside waits for the stream, instead of waiting with it for ever."""
    waited = threading.Event()
    timer = threading.Timer(30, lambda: (waited.set(), stream.close()))
    timer.start()
    yield
    timer.cancel()
    assert not waited.is_set()


def test_the_pieces_are_the_answer(model):
    generation = model.generate(PROMPT, max_tokens=60, **VARIED)
    stream = model.stream(PROMPT, max_tokens=60, **VARIED)
    pieces = list(stream)
    assert "".join(pieces) == generation.text and all(pieces)
    assert stream.generation.tokens == generation.tokens
    assert list(stream) == []
    assert running() == []


def test_characters_are_never_split(model):
    # The bytes of characters that have no piece of their own, one token each, in random order.
    ids = [token for character in "🙂é" for token in model.tokenize(character, add_bos=False)]
    pieces = []
    bias = {token: 60.0 for token in ids}
    options = {"max_tokens": 80, "temperature": 8.0, "seed": 3, "ignore_eos": True, "logit_bias": bias}
    generation = model.generate("x", on_text=pieces.append, **options)
    assert "" in pieces, "a byte in the middle of a character releases nothing"
    assert "".join(pieces) == generation.text == model.detokenize(generation.tokens)


def test_closing_ends_the_answer(model):
    stream = model.stream(PROMPT, max_tokens=100_000, **VARIED)
    assert next(stream)
    stream.close()
    assert running() == [] and list(stream) == [] and stream.generation is None


def test_leaving_the_loop_and_dropping_the_stream_ends_the_answer(model):
    for _ in model.stream(PROMPT, max_tokens=100_000, **VARIED):
        break
    gc.collect()
    assert running() == []
    with model.stream(PROMPT, max_tokens=100_000, **VARIED) as stream:
        next(stream)
    assert running() == []


def test_a_slow_reader_holds_the_answer_up(model):
    with model.stream(PROMPT, max_tokens=1500, **VARIED) as stream:
        next(stream)
        time.sleep(0.5)
        # The queue is bounded: most of the answer has not been made yet.
        assert stream.generation is None and stream._worker.items.qsize() <= 64


def test_errors_come_out_of_the_iterator_or_before(model):
    assert error_of(model.stream, PROMPT, temperature=-1, max_tokens=0).code == "invalid_argument"
    stream = model.stream([model.vocab_size])
    with pytest.raises(cabochon.Error):
        next(stream)
    assert running() == []


def test_two_streams_of_one_model_at_once(model):
    alone = model.generate(PROMPT, max_tokens=40, **VARIED).text
    streams = [model.stream(PROMPT, max_tokens=40, **VARIED) for _ in range(3)]
    texts = ["" for _ in streams]
    for pieces in zip(*streams):
        texts = [text + piece for text, piece in zip(texts, pieces)]
    texts = [text + "".join(stream) for text, stream in zip(texts, streams)]
    assert all(text == alone for text in texts)


def test_a_session_that_a_stream_uses_refuses_calls_instead_of_waiting_for_its_own_reader(model, tmp_path):
    session = model.session()
    session.append([5])
    with session.stream(PROMPT, max_tokens=300, **VARIED) as stream:
        next(stream)
        calls = {
            "tokens": lambda: session.tokens,
            "append": lambda: session.append([5]),
            "logits": session.logits,
            "truncate": lambda: session.truncate(0),
            "fork": session.fork,
            "save": lambda: session.save(tmp_path / "session"),
            "generate": lambda: session.generate("x", max_tokens=1),
            "another stream": lambda: next(session.stream("x")),
        }
        for name, call in calls.items():
            with soon(stream):
                error = error_of(call)
            assert error.code == "invalid_argument" and "in use by a stream" in error.message, name
        text = "".join(stream)
    assert stream.generation.finish_reason == "length" and text
    # At its end the session is free again, and holds the answer.
    assert session.tokens[-len(stream.generation.tokens) :] == stream.generation.tokens


def test_other_threads_are_refused_as_well_and_a_call_under_way_is_waited_for(model):
    session = model.session()
    began, go_on, refused = threading.Event(), threading.Event(), []

    def answer():
        session.generate(PROMPT, max_tokens=5, on_text=lambda _: began.set() or go_on.wait() and None, **VARIED)

    other = threading.Thread(target=answer)
    other.start()
    began.wait()
    threading.Timer(0.2, go_on.set).start()
    with session.stream((), max_tokens=300, **VARIED) as stream:
        next(stream)
        assert go_on.is_set(), "the stream began beside a call"
        other.join()
        other = threading.Thread(target=lambda: refused.append(error_of(session.append, [5])))
        other.start()
        other.join(timeout=20)
        assert len(refused) == 1


def test_a_stream_leaves_its_session_when_closed_dropped_or_failed(model):
    session = model.session()
    stream = session.stream(PROMPT, max_tokens=100_000, **VARIED)
    assert session.tokens == [], "a stream that has not begun uses nothing"
    next(stream)
    stream.close()
    assert session.tokens
    for _ in session.stream((), max_tokens=100_000, **VARIED):
        break
    gc.collect()
    assert session.tokens
    stream = session.stream([model.vocab_size])
    error_of(next, stream)
    assert session.tokens
    assert session.generate((), max_tokens=3, **VARIED).finish_reason == "length"


def test_closing_a_session_ends_the_stream_that_uses_it(model):
    session = model.session()
    stream = session.stream(PROMPT, max_tokens=100_000, **VARIED)
    next(stream)
    with soon(stream):
        session.close()
    assert list(stream) == [] and running() == []
    assert error_of(session.append, [5]).code == "invalid_handle"


def test_a_handler_of_a_stream_may_ask_the_session(model, model_path):
    sae = cabochon.SAE(model_path / "expected/scope/resid_post_layer2.npz", site="resid_post", layer=2)
    session = model.session()
    lengths = []
    handler = lambda which, found: lengths.append(len(session.tokens))  # noqa: E731
    stream = session.stream(PROMPT, max_tokens=3, watch=[sae], on_features=handler, **VARIED)
    assert "".join(stream) and lengths == sorted(lengths) and lengths


def test_closing_from_another_thread_ends_a_reader_that_waits(model, model_path):
    # Control tokens have no text, and text that there is not gives no piece: the reader waits. The handler sees to it that
    # the answer is long.
    sae = cabochon.SAE(model_path / "expected/scope/resid_post_layer2.npz", site="resid_post", layer=2)
    session = model.session()
    options = {"max_tokens": 100_000, "temperature": 0, "ignore_eos": True, "logit_bias": {model.bos_id: 1000.0}}
    stream = session.stream(PROMPT, watch=[sae], on_features=lambda which, found: time.sleep(0.01), **options)
    pieces, reading = [], threading.Event()

    def read():
        reading.set()
        pieces.extend(stream)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reading.wait()
    time.sleep(0.3)
    stream.close()
    reader.join(timeout=20)
    assert not reader.is_alive() and stream.generation is None and running() == []
    assert session.tokens
