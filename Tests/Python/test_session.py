"""Conversations: append, step back, fork, save, cancel, go on; and backends swapped under them."""

import threading

import numpy as np
import pytest

import cabochon
import reference
from binding import GREEDY, PROMPT, VARIED, error_of
from checkpoints import write


@pytest.fixture
def ids(model):
    return model.tokenize("The history of the lighthouse begins with a shipwreck and a widow.")


def test_any_chunks_give_the_same_bits(model_path, ids):
    model = cabochon.Model(model_path, backend="scalar")
    reference = model.logits(ids)[-1]
    for size in (1, 3, len(ids)):
        with model.session() as session:
            for start in range(0, len(ids), size):
                session.append(ids[start : start + size])
            assert session.tokens == ids and session.length == len(session) == len(ids)
            assert np.array_equal(session.logits(), reference)


def test_truncating_and_forking(model, ids):
    session = model.session()
    session.append(ids)
    other = session.fork()
    other.append([5, 6, 7])
    assert session.length == len(ids) and other.length == len(ids) + 3
    other.truncate(len(ids))
    assert np.array_equal(other.logits(), session.logits())
    assert error_of(session.truncate, len(ids) + 1).code == "invalid_argument"
    assert error_of(session.truncate, -1).code == "invalid_argument"


def test_saved_and_restored(model, ids, tmp_path):
    session = model.session()
    session.append(ids)
    session.save(tmp_path / "conversation")
    restored = model.restore(tmp_path / "conversation")
    assert restored.tokens == ids
    assert restored.generate((), max_tokens=10, **GREEDY).tokens == session.generate((), max_tokens=10, **GREEDY).tokens
    damaged = tmp_path / "damaged"
    damaged.write_bytes((tmp_path / "conversation").read_bytes()[:-9])
    assert error_of(model.restore, damaged).code == "invalid_file"
    assert error_of(model.restore, tmp_path / "none").code == "io"
    assert error_of(session.save, tmp_path / "no" / "such" / "folder").code == "io"


def with_checksum(data):
    """What a saved session ends with: FNV-1a of all before it."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return bytes(data) + value.to_bytes(8, "little")


def test_a_saved_session_whose_numbers_contradict_each_other_is_refused(model, tmp_path):
    tokens = [2, 5, 7, 9, 11, 13]
    with model.session(context_length=16) as session:
        session.append(tokens)
        session.save(tmp_path / "whole")
    data = bytearray((tmp_path / "whole").read_bytes()[:-8])
    # Behind eight bytes of magic, eight numbers, of which the last three are these.
    context, length, cached = (slice(start, start + 4) for start in (28, 32, 36))
    assert [int.from_bytes(data[field], "little") for field in (context, length, cached)] == [16, 6, 6]
    # The cache of the positions is the last part: for each head, all keys or all values.
    file = tmp_path / "changed"

    def restored(changes, rows=6):
        changed = bytearray(data)
        for field, number in changes:
            changed[field] = number.to_bytes(4, "little")
        if rows < 6:
            head_count, head_bytes = 2 * 4 * 2, 2 * 16
            planes = np.frombuffer(data[-head_count * 6 * head_bytes :], np.uint8).reshape(head_count, 6, head_bytes)
            changed[-planes.size :] = planes[:, :rows].tobytes()
        file.write_bytes(with_checksum(changed))
        return model.restore(file)

    # The changes are made well: a last token that is not in the cache is legal.
    assert restored([]).tokens == restored([(cached, 5)], rows=5).tokens == tokens
    assert restored([(context, 6)]).context_length == 6
    contradictions = [
        ([(context, 5)], 6), ([(context, 1)], 6), ([(context, 0)], 6), ([(cached, 4)], 4), ([(cached, 2)], 2),
        ([(cached, 0)], 0), ([(cached, 5)], 6), ([(cached, 6)], 5), ([(cached, 7)], 6), ([(length, 5)], 6),
        ([(length, 7)], 6), ([(length, 2**32 - 1)], 6), ([(cached, 2**32 - 1)], 6),
        ([(length, 2**32 - 1), (cached, 2**32 - 1), (context, 2**32 - 1)], 6),
    ]  # fmt: skip
    for changes, rows in contradictions:
        assert error_of(restored, changes, rows).code == "invalid_file", (changes, rows)
    # The tokens stand behind the fingerprint of the checkpoint.
    first = slice(48, 52)
    assert restored([(first, 3)]).tokens == [3, *tokens[1:]]
    impossible = [(first, model.vocab_size), (first, 2**32 - 1), (context, 2**24 + 1), (context, 2**32 - 1)]
    for change in impossible:
        error = error_of(restored, [change])
        assert error.code == "invalid_file" and str(file) in error.message, change


def test_a_session_saved_with_another_model_of_the_same_shape_is_refused(model_path, tmp_path):
    _, tensors = reference.load(model_path)
    paths = [
        write(tmp_path / str(factor), model_path, {name: factor * tensor for name, tensor in tensors.items()}, "F32")
        for factor in (1.0, 1.5)
    ]
    with cabochon.Model(paths[0]).session() as session:
        session.append([2, 5, 7])
        session.save(tmp_path / "session")
    assert cabochon.Model(paths[0]).restore(tmp_path / "session").tokens == [2, 5, 7]
    error = error_of(cabochon.Model(paths[1]).restore, tmp_path / "session")
    assert error.code == "invalid_argument" and "another model" in error.message


def test_failed_calls_leave_no_trace(model, ids):
    session = model.session(context_length=len(ids) + 2)
    session.append(ids)
    before = session.logits()
    assert error_of(session.append, [5, 6, 7]).code == "context_exceeded"
    assert error_of(session.append, [5, -1]).code == "invalid_argument"
    assert session.tokens == ids and np.array_equal(session.logits(), before)
    assert error_of(model.session().logits).code == "invalid_argument"


def test_an_answer_goes_on_where_it_ended(model, ids):
    whole = model.generate(ids, max_tokens=30, **GREEDY)
    session = model.session()
    first = session.generate(ids, max_tokens=11, **GREEDY)
    rest = session.generate((), max_tokens=19, **GREEDY)
    assert first.tokens + rest.tokens == whole.tokens
    assert session.tokens == ids + whole.tokens


def test_a_conversation_reads_only_what_is_new(model):
    session = model.session()
    first = session.generate([{"role": "user", "content": "Hi"}], max_tokens=5, temperature=0)
    second = session.generate([{"role": "user", "content": "And then?"}], max_tokens=5, temperature=0)
    assert second.timings.prompt_tokens < session.length - len(second.tokens)
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "And then?"},
    ]
    # The text of an answer may have other tokens than those it was made of; the frame must agree.
    frame = model.render_chat(turns)
    assert session.tokens[: len(session.tokens) - len(second.tokens)][-8:] == frame[-8:]


def test_messages_follow_whatever_the_session_holds(model):
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]
    more = [{"role": "user", "content": "And then?"}]
    rendered = model.render_chat(history, add_generation_prompt=False)
    # Without the line feed after the last turn, and without that turn's end, as after an answer.
    for held in (rendered, rendered[:-1], rendered[:-2]):
        session = model.session()
        session.append(held)
        session.generate(more, max_tokens=1, **GREEDY)
        assert session.tokens[:-1] == model.render_chat(history + more)
    for held in ([], [model.bos_id]):
        session = model.session()
        session.append(held)
        session.generate(more, max_tokens=1, **GREEDY)
        assert session.tokens[:-1] == model.render_chat(more)
    # A line feed of the answer's own ends no turn.
    session = model.session()
    session.append(rendered[:-2] + model.tokenize("\n", add_bos=False))
    session.generate(more, max_tokens=1, **GREEDY)
    assert session.tokens[:-1] == rendered[:-2] + model.tokenize("\n", add_bos=False) + model._render(
        "cabochon_model_render_turn", more, 0
    )


def test_cancelled_from_another_thread(model, ids):
    session = model.session(context_length=1_000_000)
    session.append(ids)
    started = threading.Event()
    timer = threading.Thread(target=lambda: (started.wait(), session.cancel()))
    timer.start()
    with pytest.raises(cabochon.Error) as caught:
        session.generate((), max_tokens=900_000, on_text=lambda _: started.set(), **VARIED)
    timer.join()
    assert caught.value.code == "cancelled"
    assert session.tokens == ids
    assert session.generate((), max_tokens=3, **GREEDY).finish_reason == "length"


def test_threads_share_a_model_and_queue_for_a_session(model, ids):
    reference = model.generate(ids, max_tokens=10, **GREEDY).tokens
    shared = model.session()
    answers = []

    def work():
        answers.append(model.generate(ids, max_tokens=10, **GREEDY).tokens)
        shared.append([5])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [reference] * 4 and shared.tokens == [5] * 4


@pytest.mark.parametrize("start", cabochon.backends())
def test_a_backend_swapped_in_mid_answer(model_path, ids, start):
    model = cabochon.Model(model_path, backend=start, kv_type="f32")
    unswapped = model.session()
    reference = unswapped.generate(ids, max_tokens=30, **GREEDY)
    for other in cabochon.backends():
        model.backend = start
        session = model.session()
        seen = []

        def swap(text):
            seen.append(text)
            if len(seen) == 10:
                model.backend = other

        generation = session.generate(ids, max_tokens=30, on_text=swap, **GREEDY)
        assert model.backend == other
        assert generation.tokens == reference.tokens
        assert np.abs(session.logits() - unswapped.logits()).max() < 5e-3


def test_an_unknown_backend_leaves_the_old_one(model_path):
    model = cabochon.Model(model_path, backend="scalar")
    with pytest.raises(cabochon.Error) as caught:
        model.backend = "abacus"
    assert caught.value.code == "backend" and model.backend == "scalar"
    model.generate(PROMPT, max_tokens=2)
