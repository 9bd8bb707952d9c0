"""What checkpoints that others made have and Gemma's own do not: a head of its own, tokens added, ends named elsewhere."""

import json
import os
import shutil

import numpy as np
import pytest

import cabochon
import reference
from binding import error_of
from checkpoints import write

BACKENDS = cabochon.backends()
IDS = [2, *range(300, 330)]
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def with_head(tmp_path_factory, model_path):
    """The small checkpoint, and it again with a head that has the embedding's rows from the last to the first."""
    _, tensors = reference.load(model_path)
    folder = tmp_path_factory.mktemp("heads")
    tied = write(folder / "tied", model_path, tensors, "F32")
    tensors["lm_head.weight"] = tensors[EMBEDDING][::-1]
    return tied, write(folder / "own", model_path, tensors, "F32", tie_word_embeddings=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_head_of_its_own_makes_the_logits(with_head, backend):
    tied, own = (cabochon.Model(path, backend=backend, threads=2) for path in with_head)
    want = tied.logits(IDS)[:, ::-1]
    # BLAS may sum a row otherwise where it stands elsewhere.
    assert np.allclose(own.logits(IDS), want, rtol=0, atol=1e-4 if backend == "blas" else 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_head_of_its_own_is_drawn_from_and_screened(with_head, backend):
    model = cabochon.Model(with_head[1], backend=backend, threads=2)
    options = dict(max_tokens=130, temperature=0, ignore_eos=True)
    # A log-probability needs all logits.
    assert model.generate(IDS, **options).tokens == model.generate(IDS, logprobs=1, **options).tokens


def test_a_head_of_its_own_answers_a_guard(with_head):
    model = cabochon.Model(with_head[1])
    pieces = [model.token_piece(token) for token in range(model.vocab_size)]
    yes, no = model.logits(IDS)[-1][[pieces.index("Yes"), pieces.index("No")]]
    score = cabochon.Guard(model).score(IDS)
    assert score == pytest.approx(1 / (1 + np.exp(np.float64(no) - yes)), abs=1e-6)


def test_a_head_counts_also_where_the_configuration_says_that_there_is_none(with_head, tmp_path):
    shutil.copytree(with_head[1], tmp_path / "model")
    change(tmp_path / "model" / "config.json", lambda config: config.update(tie_word_embeddings=True))
    assert np.array_equal(
        cabochon.Model(tmp_path / "model").logits(IDS), cabochon.Model(with_head[1]).logits(IDS)
    )


def test_a_head_that_the_configuration_tells_of_and_that_is_missing_is_named(with_head, tmp_path):
    shutil.copytree(with_head[0], tmp_path / "model")
    change(tmp_path / "model" / "config.json", lambda config: config.update(tie_word_embeddings=False))
    error = error_of(cabochon.Model, tmp_path / "model")
    assert error.code == "invalid_file" and "lm_head.weight is missing" in error.message


def change(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


CHAT = "<|im_start|>user\nhello<|im_end|>\n"


@pytest.fixture
def chat_tokens(tmp_path, model_path):
    """A checkpoint tuned for chats of another form: the base's tokenizer.model, and two more tokens in tokenizer.json."""
    config, tensors = reference.load(model_path)
    count = config["vocab_size"]
    tensors[EMBEDDING] = np.concatenate([tensors[EMBEDDING], tensors[EMBEDDING][:2]])
    folder = write(tmp_path / "model", model_path, tensors, "F32", vocab_size=count + 2)
    tokens = {count: "<|im_start|>", count + 1: "<|im_end|>"}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    entries = [{"id": token, "content": content, **plain} for token, content in tokens.items()]
    change(folder / "tokenizer.json", lambda document: document["added_tokens"].extend(entries))
    decoder = {str(entry.pop("id")): entry for entry in entries}
    change(folder / "tokenizer_config.json", lambda document: document.update(added_tokens_decoder=decoder))
    return folder, list(tokens)


def test_tokens_added_beside_the_tokenizer_of_the_base_are_tokens(chat_tokens):
    folder, (start, end) = chat_tokens
    model = cabochon.Model(folder)
    ids = model.tokenize(CHAT, parse_special=True)
    assert [token for token in ids if token >= start] == [start, end] and ids[1] == start
    assert [model.token_piece(token) for token in (start, end)] == ["<|im_start|>", "<|im_end|>"]
    # What is no added token is as ever.
    (folder / "tokenizer.model").unlink()
    assert cabochon.Model(folder).tokenize(CHAT, parse_special=True) == ids


def test_an_added_token_may_end_an_answer(chat_tokens):
    folder, (start, end) = chat_tokens
    change(folder / "generation_config.json", lambda document: document.update(eos_token_id=[1, end]))
    model = cabochon.Model(folder)
    answer = model.generate("Hi", logit_bias={end: 1000}, max_tokens=3)
    assert answer.finish_reason == "eos" and answer.tokens == []
    change(folder / "generation_config.json", lambda document: document.update(eos_token_id=[1, end + 1]))
    error = error_of(cabochon.Model, folder)
    assert f"names token {end + 1}" in error.message and "generation_config.json" in error.message


def test_an_added_token_that_no_file_has_with_its_pieces_is_named(chat_tokens):
    folder, (start, _) = chat_tokens
    (folder / "tokenizer.json").unlink()
    error = error_of(cabochon.Model, folder)
    assert error.code == "unsupported" and f'token {start}, "<|im_start|>"' in error.message


def test_ends_are_those_of_the_configuration_where_no_other_file_names_them(tmp_path, model_path):
    _, tensors = reference.load(model_path)
    folder = write(tmp_path / "model", model_path, tensors, "F32", eos_token_id=[1, 70])
    answer = lambda: cabochon.Model(folder).generate("Hi", logit_bias={70: 1000}, max_tokens=2)
    assert answer().finish_reason == "length"
    (folder / "generation_config.json").unlink()
    assert answer().finish_reason == "eos"


def test_a_folder_is_described_after_a_change_of_the_working_directory(tmp_path, model_path, monkeypatch):
    monkeypatch.chdir(model_path)
    model = cabochon.Model(".")
    described = model.describe()
    os.chdir(tmp_path)
    assert model.describe() == described


@pytest.mark.parametrize(
    "key, value, code",
    [
        ("hidden_activation", "gelu", "unsupported"), ("hidden_activation", 3, "unsupported"),
        ("hidden_activation", {"name": "silu"}, "unsupported"), ("rope_parameters", 7, "invalid_file"),
        ("rope_parameters", [{"rope_theta": 5000}], "invalid_file"), ("rope_scaling", "linear", "invalid_file"),
        ("rope_parameters", {"full_attention": 5000, "sliding_attention": {}}, "invalid_file"),
        ("rope_parameters", {"sliding_attention": 5000}, "invalid_file"),
    ],
)  # fmt: skip
def test_settings_of_another_kind_are_not_taken_for_gemmas_own(tmp_path, model_path, key, value, code):
    folder = tmp_path / "model"
    shutil.copytree(model_path, folder, ignore=shutil.ignore_patterns("expected", "*.gguf"))
    for harmless in (None, {"rope_parameters": {"rope_theta": 10000.0}, "rope_scaling": {}}.get(key)):
        change(folder / "config.json", lambda config: config.update({key: harmless}))
        assert np.array_equal(cabochon.Model(folder).logits(IDS), cabochon.Model(model_path).logits(IDS))
    change(folder / "config.json", lambda config: config.update({key: value}))
    error = error_of(cabochon.Model, folder)
    assert error.code == code and "config.json" in error.message


@pytest.mark.parametrize("kind", ["dangling", "loop"])
@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.model", "tokenizer.json", "model.safetensors"]
)  # fmt: skip
def test_a_link_that_leads_nowhere_is_no_file_that_was_left_out(tmp_path, model_path, name, kind):
    folder = tmp_path / "model"
    shutil.copytree(model_path, folder, ignore=shutil.ignore_patterns("expected", "*.gguf"))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to({"dangling": "../blobs/0123", "loop": name}[kind])
    error = error_of(cabochon.Model, folder)
    assert error.code == "io" and f"cannot open {folder / name}" in error.message
    if name == "config.json":
        assert name in error_of(cabochon.Model, folder, vocab_only=True).message
