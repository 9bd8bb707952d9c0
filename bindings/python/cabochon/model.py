"""A loaded checkpoint."""

from __future__ import annotations

import ctypes
import json
import os
from collections import abc
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np

from . import _declarations as c
from ._calls import (
    Ids, c_string, call, choice, filled_ids, filled_text, float_pointer, ids_array, int_pointer, integer, make, members,
    utf8,
)
from ._handle import Handle
from ._library import library
from .engine import engine
from .errors import Error
from .features import taken
from .generation import Generation, Messages, Prompt, TextHandler
from .sae import SAE, Steer, interventions
from .session import Session
from .stream import TextStream

Path = Union[str, "os.PathLike[str]"]


class Model(Handle):
    """A Gemma 2 or Gemma 3 text model: a GGUF file, or a folder in the Hugging Face layout.

    ``backend`` is a name out of ``cabochon.backends()``, "simd" for the best SIMD one, or the path
    of a backend's library; None takes CABOCHON_BACKEND, or else the best. ``threads`` None is one
    for each processor. ``kv_type`` "f16", "f32" or "q8_0" is what sessions keep keys and values in;
    "q8_0", a byte an element, halves their memory.
    ``vocab_only`` loads the tokenizer and no weights; ``copy`` reads weights into memory, where nobody
    who truncates the file can hurt, instead of mapping them. Everything but assigning ``backend`` leaves a
    model as it is, and any number of threads may use it at once.
    """

    def __init__(
        self,
        path: Path,
        backend: Optional[str] = None,
        threads: Optional[int] = None,
        kv_type: str = "f16",
        vocab_only: bool = False,
        *,
        context_length: int = 0,
        embedding_scale: Optional[str] = None,
        copy: bool = False,
    ) -> None:
        options = c.ModelOptions()
        library().cabochon_model_options_init(ctypes.byref(options), ctypes.sizeof(options))
        options.backend = None if backend is None else c_string("backend", backend)
        options.kv_type = choice("kv_type", kv_type, c.KV_TYPES)
        if embedding_scale is not None:
            options.embedding_scale = choice("embedding_scale", embedding_scale, c.EMBEDDING_SCALES)
        options.flags = (c.LOAD_VOCABULARY_ONLY if vocab_only else 0) | (c.LOAD_COPY if copy else 0)
        options.context_length = integer("context_length", context_length, 0, 2**32 - 1)
        with engine(threads) as engine_handle:
            handle = make("cabochon_model_load", engine_handle, c_string("path", path), ctypes.byref(options))
        super().__init__(handle, library().cabochon_model_free)

    def _retained(self) -> "Model":
        """The same model, which stays open when this one is closed."""
        other = Model.__new__(Model)
        Handle.__init__(other, library().cabochon_model_retain(self._handle) or 0, library().cabochon_model_free)
        return other

    def close(self) -> None:
        """Frees the model now instead of when Python finds it unused; its sessions and guards keep what they need."""
        super().close()

    def _about(self) -> str:
        return f" {self.architecture}, {self.layer_count} layers, on {self.backend or 'no backend'}"

    @property
    def architecture(self) -> str:
        """ "gemma2" or "gemma3"."""
        return str(library().cabochon_model_architecture(self._handle) or b"", "ascii")

    @property
    def vocab_size(self) -> int:
        """Token ids are 0 to this - 1."""
        return int(library().cabochon_model_vocab_size(self._handle))

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return int(library().cabochon_model_hidden_size(self._handle))

    @property
    def layer_count(self) -> int:
        return int(library().cabochon_model_layer_count(self._handle))

    @property
    def context_length(self) -> int:
        """Tokens that a session holds unless it says otherwise."""
        return int(library().cabochon_model_context_length(self._handle))

    @property
    def bos_id(self) -> int:
        """The token that begins every prompt."""
        return int(library().cabochon_model_bos_id(self._handle))

    @property
    def eos_ids(self) -> List[int]:
        """Tokens at which generation stops: end of sequence and end of turn."""
        return filled_ids("cabochon_model_eos_ids", self._handle, guess=8)

    @property
    def backend(self) -> str:
        """The backend that computes. Assigning another name swaps it: each computation that begins
        later uses it, sessions included, and so does the next token of an answer under way."""
        return filled_text("cabochon_model_backend", self._handle)

    @backend.setter
    def backend(self, name: str) -> None:
        call("cabochon_model_set_backend", self._handle, c_string("backend", name))

    def describe(self) -> Dict[str, Any]:
        """What the file says: hyper-parameters, metadata, tensors."""
        described: Dict[str, Any] = json.loads(filled_text("cabochon_model_describe", self._handle, guess=1 << 16))
        return described

    # Text

    def tokenize(self, text: str, add_bos: bool = True, parse_special: bool = False) -> List[int]:
        """Token ids, as SentencePiece gives them.

        With ``parse_special`` control tokens that are spelled out in the text count as such; never
        do that with text from users.
        """
        encoded = utf8("text", text)
        flags = (c.TOKENIZE_ADD_BOS if add_bos else 0) | (c.TOKENIZE_PARSE_SPECIAL if parse_special else 0)
        return filled_ids("cabochon_model_tokenize", self._handle, encoded, len(encoded), flags, guess=len(encoded) + 8)

    def detokenize(self, ids: Ids) -> str:
        """The text of tokens, as SentencePiece makes it, but for bytes that are no whole character.

        These become U+FFFD, one for each part of a character that is as long as can be, as Unicode
        recommends and ``bytes.decode(errors="replace")`` does; SentencePiece gives one for each byte.
        """
        array = ids_array(ids)
        guess = 16 * len(array) + 64
        return filled_text("cabochon_model_detokenize", self._handle, int_pointer(array), len(array), guess=guess)

    def token_piece(self, token: int) -> str:
        """The vocabulary's own spelling of a token."""
        return filled_text("cabochon_model_token_piece", self._handle, integer("token", token, 0, 2**31 - 1))

    def apply_chat_template(self, messages: Messages, add_generation_prompt: bool = True) -> str:
        """A conversation in Gemma's chat format, to be read; ``render_chat`` is what a model is fed.

        ``messages`` are mappings with "role" ("user", "assistant" or "system") and "content".
        """
        flags = c.CHAT_ADD_GENERATION_PROMPT if add_generation_prompt else 0
        array, alive = _messages(messages)
        text = filled_text("cabochon_model_apply_chat_template", self._handle, array, len(array), flags, guess=4096)
        del alive
        return text

    def render_chat(self, messages: Messages, add_generation_prompt: bool = True) -> List[int]:
        """A conversation as tokens. Whatever a message's content spells, it never becomes a control token."""
        flags = c.CHAT_ADD_GENERATION_PROMPT if add_generation_prompt else 0
        return self._render("cabochon_model_render_chat", messages, flags)

    def _render(self, function: str, messages: Messages, flags: int) -> List[int]:
        array, alive = _messages(messages)
        ids = filled_ids(function, self._handle, array, len(array), flags, guess=4096)
        del alive
        return ids

    # Numbers

    def logits(self, ids: Ids, steer: Sequence[Steer] = (), splice: Sequence[SAE] = ()) -> np.ndarray:
        """Logits of every position: float32 [tokens, vocab], after the final softcap.

        ``steer`` holds edits, ``cabochon.Steer``; ``splice`` holds dictionaries, ``cabochon.SAE``, each of
        which replaces its site by its reconstruction at every position but BOS.
        """
        array = ids_array(ids)
        logits = np.empty((len(array), self.vocab_size), np.float32)
        length = ctypes.c_size_t(logits.size)
        wanted, alive = interventions(steer, splice)
        arguments = (int_pointer(array), len(array), ctypes.byref(wanted), float_pointer(logits), ctypes.byref(length))
        call("cabochon_model_logits_with", self._handle, *arguments)
        del alive
        return logits

    def features(self, ids: Ids, sae: Union[SAE, Sequence[SAE]]) -> Any:
        """The features of each token, in one pass that ends at the dictionary's layer.

        Every token has a row; those of BOS and the like are marked in ``Features.excluded``. For a
        sequence of dictionaries, a list of Features.
        """
        saes = [sae] if isinstance(sae, SAE) else members("sae", sae, SAE)
        array = ids_array(ids)
        handles = (ctypes.c_void_p * len(saes))(*[one._handle for one in saes])
        out = (ctypes.c_void_p * max(len(saes), 1))()
        call("cabochon_model_features", self._handle, int_pointer(array), len(array), handles, len(saes), out)
        try:
            found = [taken(handle) for handle in out[: len(saes)]]
        finally:
            for handle in out[: len(saes)]:
                library().cabochon_features_free(handle)
        return found[0] if isinstance(sae, SAE) else found

    def activations(self, ids: Ids, sites: Union[str, Sequence[str]]) -> Dict[str, np.ndarray]:
        """What passes the named sites: for each a float32 [tokens, width].

        A site is "12.resid_post", or its TransformerLens name "blocks.12.hook_resid_post". No layer
        past the last one asked for runs.
        """
        names = [sites] if isinstance(sites, str) else members("sites", sites, str)
        array = ids_array(ids)
        width = ctypes.c_size_t()
        values: Dict[str, np.ndarray] = {}
        for name in names:
            call("cabochon_model_site_width", self._handle, c_string("site", name), ctypes.byref(width))
            values[name] = np.empty((len(array), width.value), np.float32)
        count = len(values)
        encoded = (ctypes.c_char_p * count)(*[c_string("site", name) for name in values])
        outputs = (ctypes.POINTER(ctypes.c_float) * count)(*[float_pointer(value) for value in values.values()])
        lens = (ctypes.c_size_t * count)(*[value.size for value in values.values()])
        arguments = (int_pointer(array), len(array), encoded, count, outputs, lens)
        call("cabochon_model_activations", self._handle, *arguments)
        return values

    def cancel(self) -> None:
        """Stops all of this model's ``logits``, ``features`` and ``activations`` calls; any thread.

        They raise ``Error("cancelled", ...)`` within one layer. If none is running, the next one does.
        Answers are not reached: ``Session.cancel`` stops those.
        """
        library().cabochon_model_cancel(self._open_handle)

    # Generation

    def session(self, context_length: Optional[int] = None) -> Session:
        """A new conversation, which holds ``context_length`` tokens, or the model's number of them."""
        options = c.SessionOptions()
        library().cabochon_session_options_init(ctypes.byref(options), ctypes.sizeof(options))
        if context_length is not None:
            options.context_length = integer("context_length", context_length, 1, 2**32 - 1)
        return Session(self, make("cabochon_session_create", self._handle, ctypes.byref(options)), self._retained())

    def restore(self, path: Path) -> Session:
        """The session that ``Session.save`` wrote, for this same checkpoint and ``kv_type``."""
        return Session(self, make("cabochon_session_restore", self._handle, c_string("path", path)), self._retained())

    def generate(self, prompt: Prompt, *, on_text: Optional[TextHandler] = None, **options: Any) -> Generation:
        """Generates an answer.

        ``prompt`` is text (a BOS is put before it; control tokens in it stay text), token ids, or
        chat messages. ``on_text`` gets each bit of text as it becomes certain, and ends the answer
        by returning something true. What a handler raises comes out of this call, and so does Ctrl-C, where
        there is a handler at the next token. Options, all by keyword:

        - ``max_tokens`` 256; ``ignore_eos`` False: whether to go on past the end of the turn
        - ``temperature`` 1.0: 0 is greedy; ``top_k`` 0 and ``top_p`` 1.0: all tokens; ``min_p`` 0.0
        - ``seed`` None: the same number gives the same answer; None draws one, ``Generation.seed``
        - ``stop`` (): text or texts before which the answer ends
        - ``repetition_penalty`` 1.0 over the last ``penalty_window`` 64 tokens (None: all),
          ``presence_penalty`` 0.0, ``frequency_penalty`` 0.0, ``logit_bias`` {token: added}
        - ``logprobs`` 0: how many alternatives to report for each token, up to 20
        - ``guard`` None: a ``Guarding``, which judges the prompt before and the answer while it is made
        - ``assist`` None: a smaller ``Model`` with the same vocabulary, or "prompt-lookup", guesses
          tokens ahead; the answer stays the same, to the bit on backends that give the same bits
        - ``steer`` (): edits of features, ``cabochon.Steer``; ``splice`` (): dictionaries that replace their site
        - ``watch`` (): dictionaries, ``cabochon.SAE``, whose features end up in ``Generation.features``; from
          the same forward pass, and not together with ``assist``. ``on_features`` gets them as they come:
          which dictionary, and Features with ``positions``. ``sae.only([12, 400])`` watches two features, and
          costs what two cost
        """
        with self.session() as session:
            return session.generate(prompt, on_text=on_text, **options)

    def stream(self, prompt: Prompt, **options: Any) -> TextStream:
        """As ``generate``, as an iterator of text, split only at whole characters.

        Closing the iterator ends the answer; at its end ``.generation`` holds the rest of it. With
        ``watch`` each piece of text has ``.features``, one ``Features`` for each dictionary, with the rows of
        the piece's tokens; it comes when these have passed through the layers, one token later than
        without. The first piece is "", with the rows of the prompt. Where a ``guard`` holds text
        back, its rows come with the text before it.
        """
        return self.session().stream(prompt, **options)


def _messages(messages: Messages) -> Any:
    """The C array, and the bytes that must stay alive as long as it is used."""
    alive = []
    messages = members("messages", messages, abc.Mapping)
    array = (c.Message * len(messages))()
    for target, message in zip(array, messages):
        if not {"role", "content"} <= message.keys():
            raise Error("invalid_argument", f"a message is {{'role': str, 'content': str}}, not {message!r}")
        role, content = utf8("role", message["role"]), utf8("content", message["content"])
        target.role, target.role_len = role, len(role)
        target.content, target.content_len = content, len(content)
        alive.append((role, content))
    return array, alive
