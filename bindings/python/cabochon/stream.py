"""Generation as an iterator.

The answer is made on a thread of its own and handed over through a bounded queue, so that a slow
reader holds it up instead of filling memory, and a fast one never waits for the interpreter.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence, Tuple, Union

from .features import Features, empty, joined
from .generation import FeaturesHandler, Generation, TextHandler
from .sae import SAE

if TYPE_CHECKING:
    from .session import Session

QUEUE_LENGTH = 64


class WatchedText(str):
    """A piece of text with the features of its tokens: one ``Features`` for each watched dictionary."""

    features: List[Features]

    def __new__(cls, text: str, features: List[Features]) -> "WatchedText":
        piece = super().__new__(cls, text)
        piece.features = features
        return piece

    def __getnewargs__(self) -> Tuple[str, List[Features]]:  # type: ignore[override]
        return str(self), self.features


class WatchedPieces:
    """Puts text and features together: a token's features are known after its text, when it has passed
    through the layers, and all of them before the next token."""

    def __init__(self, on_piece: TextHandler, watch: Sequence[SAE], on_features: Optional[FeaturesHandler]) -> None:
        self.on_piece = on_piece
        self.also = on_features
        self.nothing = [empty(sae.width) for sae in watch]
        self.text = ""
        self.features = list(self.nothing)
        self.is_first = True

    def on_features(self, which: int, found: Features) -> None:
        self.features[which] = joined([self.features[which], found])
        if self.also is not None:
            self.also(which, found)

    def on_text(self, text: str) -> Any:
        # With nothing to give out, too, the reader is asked whether it has gone.
        stops = self.hand_over() if self.text or self.is_first else self.on_piece("")
        self.is_first = False
        self.text += text
        return stops

    def hand_over(self) -> Any:
        """Gives out what there is; features of tokens that brought no text wait for the next that does."""
        if not self.text and not any(map(len, self.features)):
            return self.on_piece("")
        piece = WatchedText(self.text, self.features)
        self.text, self.features = "", list(self.nothing)
        return self.on_piece(piece)


class _Worker:
    """The making side. It must not refer to the TextStream, or that would never be collected."""

    def __init__(self, session: "Session", produce: Callable[[TextHandler], Generation], is_held: bool) -> None:
        self.session = session
        self.produce = produce
        # Tokens that a guard holds back ask nobody whether to go on; until the first that it hands on, only
        # cancelling ends the answer.
        self.is_held = is_held
        self.lock = threading.Lock()
        self.is_generating = False
        self.is_cancelled = False
        self.items: "queue.Queue[Union[str, Generation, BaseException, None]]" = queue.Queue(QUEUE_LENGTH)
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self.work, name="cabochon.stream", daemon=True)

    def start(self) -> None:
        """Begins, once, or raises where another stream uses the session."""
        if self.thread.ident is None:
            self.session._begin_stream(self)
            self.is_generating = True
            self.thread.start()

    def is_current(self) -> bool:
        return self.thread is threading.current_thread()

    def work(self) -> None:
        item: Union[Generation, BaseException]
        try:
            item = self.produce(self.on_text)
        except BaseException as exception:  # noqa: B902 - it is raised again on the reader's side
            item = exception
        with self.lock:
            self.is_generating = False
        if self.is_cancelled:
            self.session._forget_cancellation()
        self.hand_over(item)
        if self.closed.is_set():
            self.session._end_stream(self)

    def on_text(self, text: str) -> bool:
        if text or isinstance(text, WatchedText):
            self.is_held = self.is_held and not text
            self.hand_over(text)
        return self.closed.is_set()

    def hand_over(self, item: Union[str, Generation, BaseException]) -> None:
        while not self.closed.is_set():
            try:
                return self.items.put(item, timeout=0.1)
            except queue.Full:
                continue

    def close(self) -> None:
        self.closed.set()
        with self.lock:
            if self.is_generating and self.is_held:
                self.is_cancelled = True
                self.session.cancel()
        # Wakes a reader that waits for the next piece; where the queue is full, none waits.
        with contextlib.suppress(queue.Full):
            self.items.put_nowait(None)
        # A handler that closes its own stream cannot wait for itself: `work` ends the use of the session then.
        if not self.is_current():
            if self.thread.is_alive():
                self.thread.join()
            self.session._end_stream(self)


class TextStream:
    """An iterator of text, split only at whole characters, with the rest of the answer at its end.

    ``generation`` is None until the iterator is exhausted. ``close`` (or leaving a ``with``, or
    dropping the last reference) ends the answer after the token under way; any thread may call it, and
    one that waits for the next piece finds the iterator exhausted. From its first piece until then the
    stream uses its session. Of an answer of which a guard has handed nothing on yet, nothing is kept; later
    in one that a guard holds back, the end comes with the next check.
    """

    def __init__(
        self, session: "Session", produce: Callable[[TextHandler], Generation], is_held: bool = False
    ) -> None:
        self.generation: Optional[Generation] = None
        self._worker = _Worker(session, produce, is_held)
        self._close = weakref.finalize(self, self._worker.close)

    def __iter__(self) -> "TextStream":
        return self

    def __next__(self) -> str:
        if self._worker.closed.is_set():
            raise StopIteration
        self._worker.start()
        item = self._worker.items.get()
        if isinstance(item, str) and not self._worker.closed.is_set():
            return item
        self._worker.close()
        if isinstance(item, BaseException):
            raise item
        if isinstance(item, Generation):
            self.generation = item
        raise StopIteration

    def close(self) -> None:
        """Ends the answer; what was read of it stays read."""
        self._close()

    def __enter__(self) -> "TextStream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
