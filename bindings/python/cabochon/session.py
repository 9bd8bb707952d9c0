"""One conversation: the tokens read so far, and what the model remembers of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Union

import numpy as np

from . import _declarations as c
from ._calls import Ids, c_string, call, filled_ids, float_pointer, ids_array, int_pointer, integer, make
from ._handle import Handle
from ._library import library
from .errors import Error
from .generation import Generation, Messages, Options, Prompt, TextHandler, is_chat, prompt_words, run
from .stream import TextStream, WatchedPieces, _Worker

if TYPE_CHECKING:
    from .model import Model


class Session(Handle):
    """A conversation with a model, made by ``Model.session``, ``Model.restore`` or ``fork``.

    Calls from several threads wait for each other; only ``cancel`` does not. While a stream uses the
    session, from its first piece until it is read to its end or closed, they raise instead, on every
    thread: a stream waits for its reader, who may be the one that calls. A call that fails or is
    cancelled, or whose handler raises, leaves the session as it was before.
    """

    def __init__(self, model: "Model", handle: int, vocabulary: "Model") -> None:
        super().__init__(handle, library().cabochon_session_free)
        self.model = model
        # The session's own, for text: `model` is its owner's to close.
        self._vocabulary = vocabulary
        self._lock = threading.RLock()
        # The stream that uses the session; it holds no lock, and begins only while no call does.
        self._stream: Optional[_Worker] = None

    def close(self) -> None:
        """Frees the memory now instead of when Python finds the session unused; ends a stream that uses it."""
        stream = self._stream
        if stream is not None:
            stream.close()
        with self._lock:
            super().close()
            self._vocabulary.close()

    def _about(self) -> str:
        return f" of {self.length} tokens"

    @property
    def length(self) -> int:
        """Tokens held."""
        return int(library().cabochon_session_length(self._handle))

    def __len__(self) -> int:
        return self.length

    @property
    def context_length(self) -> int:
        """Tokens that can be held."""
        return int(library().cabochon_session_context_length(self._handle))

    @property
    def tokens(self) -> List[int]:
        """The tokens held, oldest first."""
        with self._turn():
            return filled_ids("cabochon_session_tokens", self._handle, guess=self.length)

    def append(self, ids: Ids) -> None:
        """Reads tokens: all of them or, where it raises, none.

        Any division into calls gives the same results.
        """
        array = ids_array(ids)
        with self._turn():
            call("cabochon_session_append", self._handle, int_pointer(array), len(array))

    def logits(self) -> np.ndarray:
        """What the model expects after the last token: float32 [vocab], after the final softcap."""
        logits = np.empty(self._vocabulary.vocab_size, np.float32)
        length = ctypes.c_size_t(logits.size)
        with self._turn():
            call("cabochon_session_logits", self._handle, float_pointer(logits), ctypes.byref(length))
        return logits

    def truncate(self, length: int) -> None:
        """Forgets all but the first ``length`` tokens."""
        with self._turn():
            call("cabochon_session_truncate", self._handle, integer("length", length, 0, 2**63 - 1))

    def fork(self) -> "Session":
        """A second session with the same tokens, which goes its own way; no token is read again."""
        with self._turn():
            return Session(self.model, make("cabochon_session_fork", self._handle), self._vocabulary._retained())

    def save(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Writes a file from which ``Model.restore`` goes on as if nothing had happened."""
        with self._turn():
            call("cabochon_session_save", self._handle, c_string("path", path))

    def cancel(self) -> None:
        """Stops the call that is running, or else the next one, within one layer; any thread.

        That call raises ``Error("cancelled", ...)``, and the session is as before it.
        """
        library().cabochon_session_cancel(self._open_handle)

    def generate(self, prompt: Prompt = (), *, on_text: Optional[TextHandler] = None, **options: Any) -> Generation:
        """Reads ``prompt`` after what the session holds, and generates an answer.

        Afterwards the session holds both. An empty prompt goes on where the last answer ended.
        Messages are the new turns only, the user's first; text gets a BOS in an empty session.
        Options are those of ``Model.generate``.
        """
        with self._turn():
            return run(self._handle, self._ids(prompt), Options(**options), on_text, prompt_words(prompt))

    def stream(self, prompt: Prompt = (), **options: Any) -> TextStream:
        """As ``generate``, as an iterator of text; see ``Model.stream``."""
        checked = Options(**options)
        checked.encode()

        def produce(on_text: TextHandler) -> Generation:
            if not checked.watch:
                return run(self._handle, self._ids(prompt), checked, on_text, prompt_words(prompt))
            pieces = WatchedPieces(on_text, checked.watch, checked.on_features)
            watching = replace(checked, on_features=pieces.on_features)
            generation = run(self._handle, self._ids(prompt), watching, pieces.on_text, prompt_words(prompt))
            pieces.hand_over()
            return generation

        return TextStream(self, produce, is_held=checked.guard is not None and checked.guard.mode != "audit")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The session for one call, after those of other threads."""
        stream = self._stream
        if stream is not None and stream.is_current():
            # A handler of the stream's own. It takes no lock, so that whoever waits for the stream may hold it.
            yield
            return
        with self._lock:
            self._refuse_stream()
            yield

    def _refuse_stream(self) -> None:
        if self._stream is not None:
            raise Error("invalid_argument", "the session is in use by a stream: read that to its end, or close it")

    def _begin_stream(self, stream: _Worker) -> None:
        with self._lock:
            self._refuse_stream()
            self._stream = stream

    def _end_stream(self, stream: _Worker) -> None:
        if self._stream is stream:
            self._stream = None

    def _forget_cancellation(self) -> None:
        """Answers a request to cancel that came when the call that it was meant for was over."""
        with contextlib.suppress(Error):
            if self.length > 0:
                self.logits()
            else:
                self.append([0])
                self.truncate(0)

    def _ids(self, prompt: Prompt) -> Ids:
        if isinstance(prompt, str):
            return self._vocabulary.tokenize(prompt, add_bos=self.length == 0)
        if is_chat(prompt):
            return self._turn_ids(prompt)  # type: ignore[arg-type]
        return prompt  # type: ignore[return-value]

    def _turn_ids(self, messages: Messages) -> Ids:
        """The tokens with which messages follow what the session holds, however far that has come."""
        model, held = self._vocabulary, self.tokens
        if held in ([], [model.bos_id]):
            return model.render_chat(messages)[len(held) :]
        # A conversation that was appended, and not generated, ends with the line feed after its last turn.
        feed = model.tokenize("\n", add_bos=False)
        has_feed = held[-len(feed) :] == feed and held[-len(feed) - 1 : -len(feed)] in ([end] for end in model.eos_ids)
        closed = c.CHAT_TURN_IS_CLOSED if has_feed or held[-1] in model.eos_ids else 0
        return model._render("cabochon_model_render_turn", messages, closed)[len(feed) if has_feed else 0 :]
