"""What generation takes and gives: options, and the finished answer."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import _declarations as c
from ._calls import (
    Ids, call, choice, filled_ids, ids_array, int_pointer, integer, members, real, real_within, utf8, wrong_type,
)
from ._callbacks import Callbacks
from ._handle import handle_of
from ._library import library
from .features import Features, before, empty, joined, taken
from .guard import Guarding
from .sae import SAE, Steer, interventions

Messages = Sequence[Mapping[str, str]]
Prompt = Union[str, Ids, Messages]

# From the least to the greatest that C's float holds with all its bits: what is rounded to zero would be the default.
POSITIVE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TokenLogprob:
    """A token of the answer, and how probable it was.

    ``logprob`` is the natural logarithm of its probability before temperature and the like; ``top``
    holds the likeliest tokens at this place, (id, logprob), most probable first.
    """

    token: int
    logprob: float
    top: List[Tuple[int, float]]


@dataclass(frozen=True)
class Timings:
    """How long an answer took. The prompt's time runs until the first token is chosen.

    Of an assisted answer ``guessed_tokens`` were guessed ahead, and ``accepted_tokens`` of them held. With
    a guard, ``decode_tokens`` are all that were made, handed on or not.
    """

    prompt_tokens: int
    prompt_seconds: float
    decode_tokens: int
    decode_seconds: float
    guessed_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def prompt_rate(self) -> float:
        """Tokens of the prompt per second."""
        return self.prompt_tokens / self.prompt_seconds if self.prompt_seconds > 0 else 0.0

    @property
    def decode_rate(self) -> float:
        """Tokens of the answer per second, after the first."""
        return max(0, self.decode_tokens - 1) / self.decode_seconds if self.decode_seconds > 0 else 0.0


@dataclass(frozen=True)
class Generation:
    """A finished answer.

    ``tokens`` are without an end-of-turn token that ended it. ``finish_reason`` is "eos", "stop", "length",
    "callback", "context" or "content_filter"; of the last, ``filter_policy`` says which policy a guard
    found violated. ``guard_seconds`` is how long a guard's checks of the answer ran, for the most part
    beside the making of it. ``logprobs`` is None unless asked for. ``seed`` is the one that was used, also
    where none was given: with it the answer can be had again. ``features``, one for each dictionary of
    ``watch``, hold a row for each token of the prompt and of the answer.
    """

    text: str
    tokens: List[int]
    finish_reason: str
    logprobs: Optional[List[TokenLogprob]]
    timings: Timings
    seed: int = field(default=0)
    features: Optional[List[Features]] = None
    filter_policy: Optional[str] = None
    guard_seconds: float = 0.0


# Gets which of `watch` it is, and the features of the tokens that have passed since the last call.
FeaturesHandler = Callable[[int, Features], Any]


@dataclass
class Options:
    """The keyword arguments of ``generate``; ``Model.generate`` says what each means."""

    max_tokens: int = 256
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_window: Optional[int] = 64
    logit_bias: Optional[Mapping[int, float]] = None
    seed: Optional[int] = None
    stop: Union[str, Sequence[str]] = ()
    ignore_eos: bool = False
    assist: Any = None
    guard: Optional[Guarding] = None
    steer: Sequence[Steer] = ()
    splice: Sequence[SAE] = ()
    watch: Sequence[SAE] = ()
    on_features: Optional[FeaturesHandler] = None
    logprobs: int = 0

    def encode(self) -> Tuple[c.GenerationOptions, Any]:
        """The C struct, and what must stay alive as long as it is used."""
        from .model import Model

        options = c.GenerationOptions()
        library().cabochon_generation_options_init(ctypes.byref(options), ctypes.sizeof(options))
        options.max_tokens = integer("max_tokens", self.max_tokens, 1, 2**32 - 1)
        if real("temperature", self.temperature) == 0:
            options.sampling = c.SAMPLING_GREEDY
        else:
            options.sampling = c.SAMPLING_RANDOM
            options.temperature = real_within("temperature", self.temperature, *POSITIVE)
        options.top_k = integer("top_k", self.top_k, 0, 2**31 - 1)
        # In C zero stands for the default, so the least value that is no zero stands for zero.
        options.top_p = max(real_within("top_p", self.top_p, 0.0, 1.0), 1e-30)
        options.min_p = real_within("min_p", self.min_p, 0.0, 1.0)
        options.repetition_penalty = real_within("repetition_penalty", self.repetition_penalty, *POSITIVE)
        options.presence_penalty = real("presence_penalty", self.presence_penalty)
        options.frequency_penalty = real("frequency_penalty", self.frequency_penalty)
        options.penalty_window = (
            2**32 - 1 if self.penalty_window is None else integer("penalty_window", self.penalty_window, 1, 2**31 - 1)
        )
        if isinstance(self.assist, str):
            options.flags |= choice("assist", self.assist, {"prompt-lookup": c.GENERATE_PROMPT_LOOKUP})
        elif self.assist is not None:
            options.draft = handle_of("assist", self.assist, Model)
        options.logprobs = integer("logprobs", self.logprobs, 0, 20)
        if self.ignore_eos:
            options.flags |= c.GENERATE_IGNORE_EOS
        if self.seed is not None:
            options.flags |= c.GENERATE_SEEDED
            options.seed = integer("seed", self.seed, 0, 2**64 - 1)
        stop = [self.stop] if isinstance(self.stop, str) else members("stop", self.stop, str)
        stops = [utf8("stop", text) for text in stop]
        texts = (c.Text * len(stops))(*[c.Text(text, len(text)) for text in stops])
        options.stop, options.stop_count = texts, len(stops)
        if self.logit_bias is not None and not isinstance(self.logit_bias, Mapping):
            raise wrong_type("logit_bias", "a mapping of tokens to numbers", self.logit_bias)
        bias = [
            c.LogitBias(integer("token", token, 0, 2**31 - 1), real("logit_bias", added))
            for token, added in (self.logit_bias or {}).items()
        ]
        biases = (c.LogitBias * len(bias))(*bias)
        options.logit_bias, options.logit_bias_count = biases, len(bias)
        if self.guard is not None and not isinstance(self.guard, Guarding):
            raise wrong_type("guard", "a Guarding", self.guard)
        wanted, used = interventions(self.steer, self.splice, self.watch)
        options.interventions = ctypes.pointer(wanted)
        return options, (texts, biases, stops, wanted, used)


# Gets the text that a token completes (maybe ""); something true ends the generation.
TextHandler = Callable[[str], Any]


def run(
    session: int, prompt: Ids, options: Options, on_text: Optional[TextHandler], prompt_text: Optional[str] = None
) -> Generation:
    """Generates in a session, given by its handle; ``prompt_text`` is what a guard judges."""
    encoded, alive = options.encode()
    ids = ids_array(prompt)
    callbacks = Callbacks(stop=lambda: library().cabochon_session_cancel(session))
    logprobs: List[TokenLogprob] = []

    def on_token(_: Any, pointer: Any) -> int:
        token = pointer.contents
        if options.logprobs:
            top = [(one.token, one.logprob) for one in token.alternatives[: token.alternative_count]]
            logprobs.append(TokenLogprob(token.id, token.logprob, top))
        if on_text is None:
            return 0
        return 1 if on_text(ctypes.string_at(token.text, token.text_len).decode("utf-8")) else 0

    watched: List[List[Features]] = [[] for _ in options.watch]

    def on_features(_: Any, index: int, positions: Any, found: Any) -> None:
        rows = library().cabochon_features_row_count(found)
        features = taken(found, np.ctypeslib.as_array(positions, (rows,)).astype(np.int64))
        watched[index].append(features)
        if options.on_features is not None:
            options.on_features(index, features)

    if options.watch:
        encoded.on_features = callbacks.wrap(c.FEATURES_CALLBACK, on_features)
    # Without a handler every token would still cross into Python only to be dropped.
    is_heard = on_text is not None or options.logprobs or options.watch
    callback = callbacks.wrap(c.TOKEN_CALLBACK, on_token) if is_heard else c.TOKEN_CALLBACK()
    handle = ctypes.c_void_p()
    given = (int_pointer(ids), len(ids))
    rest = (callback, None, ctypes.byref(handle))
    held = library().cabochon_session_length(session)
    try:
        if options.guard is None:
            callbacks.call("cabochon_session_generate", session, *given, ctypes.byref(encoded), *rest)
        else:
            guarding, words, alive_too = options.guard.encode(prompt_text, callbacks)
            judged = (words, len(words), ctypes.byref(encoded), ctypes.byref(guarding))
            callbacks.call("cabochon_guard_generate", options.guard.guard._handle, session, *given, *judged, *rest)
            del alive_too
        del alive
        # Of an answer that a guard cut the session holds what was handed on, and of a refused prompt nothing.
        kept = library().cabochon_session_length(session)
        found = [before(joined([empty(sae.width), *parts]), kept) for sae, parts in zip(options.watch, watched)]
        return _finished(handle, logprobs if options.logprobs else None, found if options.watch else None)
    except BaseException:
        if handle:
            _undo(session, held, is_steered=bool(options.steer or options.splice))
        raise
    finally:
        library().cabochon_generation_free(handle)


def _undo(session: int, length: int, is_steered: bool) -> None:
    """Takes back an answer that C has finished, as C does with one that fails.

    What was the last token before may have been read during the answer, and steered: it is read again.
    """
    kept = max(length - 1, 0) if is_steered else length
    again = ids_array(filled_ids("cabochon_session_tokens", session)[kept:length])
    call("cabochon_session_truncate", session, kept)
    call("cabochon_session_append", session, int_pointer(again), len(again))


def is_chat(prompt: Prompt) -> bool:
    """Whether a prompt is messages, rather than text or token ids."""
    try:
        return not isinstance(prompt, str) and len(prompt) > 0 and isinstance(prompt[0], Mapping)
    except (TypeError, KeyError):
        raise wrong_type("prompt", "str, token ids or a list of messages", prompt) from None


def prompt_words(prompt: Prompt) -> Optional[str]:
    """What the user asked, as far as a prompt says so: its text, or the user's messages of their last turn.

    The chat template makes one turn of neighbours, so a model reads all of them as the question.
    """
    if isinstance(prompt, str):
        return prompt
    words: List[str] = []
    for message in reversed(prompt) if is_chat(prompt) else ():
        if message["role"] == "user":
            words.insert(0, message["content"])
        elif message["role"] != "system" and words:
            break
    return "\n\n".join(words) if words else None


def _finished(
    handle: ctypes.c_void_p, logprobs: Optional[List[TokenLogprob]], features: Optional[List[Features]]
) -> Generation:
    lib = library()
    length = ctypes.c_size_t()
    text = ctypes.string_at(lib.cabochon_generation_text(handle, ctypes.byref(length)), length.value).decode("utf-8")
    pointer = lib.cabochon_generation_tokens(handle, ctypes.byref(length))
    tokens = pointer[: length.value] if length.value else []
    summary = c.GenerationSummary(struct_size=ctypes.sizeof(c.GenerationSummary))
    call("cabochon_generation_get_summary", handle, ctypes.byref(summary))
    timings = Timings(
        summary.prompt_tokens,
        summary.prompt_nanoseconds / 1e9,
        summary.decode_tokens,
        summary.decode_nanoseconds / 1e9,
        summary.guessed_tokens,
        summary.accepted_tokens,
    )
    reason = c.FINISH_REASONS.get(summary.finish_reason, "unknown")
    policy = lib.cabochon_generation_filter_policy(handle)
    return Generation(
        text,
        tokens,
        reason,
        None if logprobs is None else logprobs[: len(tokens)],
        timings,
        summary.seed,
        features,
        None if policy is None else policy.decode(),
        summary.guard_nanoseconds / 1e9,
    )
