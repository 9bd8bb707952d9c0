"""Moderation with ShieldGemma: does a prompt, or a response to one, violate a policy?"""

from __future__ import annotations

import ctypes
from collections import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from . import _declarations as c
from ._calls import (
    Ids, c_string, call, choice, filled_ids, ids_array, int_pointer, integer, make, members, real, utf8, wrong_type,
)
from ._callbacks import Callbacks
from ._handle import Handle, handle_of
from ._library import library
from .errors import Error

if TYPE_CHECKING:
    from .model import Model

# Names of known policies, or the caller's own: name -> text.
Policies = Union[Sequence[str], Mapping[str, str]]
Row = Union[str, Tuple[str, Optional[str]]]


@dataclass(frozen=True)
class Verdict:
    """What a guard says of one policy.

    ``score`` is the probability of "Yes", it violates the policy, against "No"; ``logits`` are those
    of the two, after the final softcap. ``shortened``: the content was too long for the context and
    has lost its middle.
    """

    policy: str
    score: float
    logits: Tuple[float, float]
    template: str
    token_count: int = 0
    shortened: bool = False


class Guard(Handle):
    """A ShieldGemma model as a moderator; any number of threads may use it.

    ``template`` is the text around the content: "hf" (what transformers' ``apply_chat_template``
    gives), "paper" or "cookbook", or a caller's own as ``{"prompt": ..., "response": ...}`` with the
    places ``{prompt}``, ``{response}`` and ``{policy}``. Scores of different templates do not compare,
    and none has an official threshold. With ``shorten`` content that does not fit the context loses
    its middle instead of being refused.
    """

    def __init__(
        self,
        model: "Model",
        template: Union[str, Mapping[str, str]] = "hf",
        *,
        shorten: bool = False,
        token_budget: int = 0,
    ) -> None:
        from .model import Model

        options = c.GuardOptions()
        library().cabochon_guard_options_init(ctypes.byref(options), ctypes.sizeof(options))
        if isinstance(template, str):
            options.template_name = c_string("template", template)
        elif not isinstance(template, Mapping):
            raise wrong_type("template", 'str or {"prompt": str, "response": str}', template)
        else:
            unknown = set(template) - {"prompt", "response"}
            if unknown or "prompt" not in template:
                raise Error("invalid_argument", 'a template is {"prompt": str, "response": str}')
            options.template_name = b"custom"
            options.prompt_template = _text("template", template["prompt"])
            options.response_template = _text("template", template.get("response", ""))
        options.flags = c.GUARD_SHORTEN if shorten else 0
        options.token_budget = integer("token_budget", token_budget, 0, 2**32 - 1)
        self.model = model
        handle = make("cabochon_guard_create", handle_of("model", model, Model), ctypes.byref(options))
        super().__init__(handle, library().cabochon_guard_free)

    def _about(self) -> str:
        return f" on {self.model!r}"

    @property
    def policies(self) -> Dict[str, str]:
        """The four policies that ShieldGemma was trained on, in their wording for prompts."""
        lib = library()
        return {
            lib.cabochon_guard_policy_name(self._handle, index).decode(): (
                lib.cabochon_guard_policy_text(self._handle, index).decode()
            )
            for index in range(lib.cabochon_guard_policy_count(self._handle))
        }

    def classify(
        self, prompt: str, response: Optional[str] = None, policies: Optional[Policies] = None
    ) -> List[Verdict]:
        """Judges a prompt, or (where there is one, even "") a response to it: a verdict per policy.

        ``policies`` are names ("violence" and "obscenity" are known beside the four) or a mapping from
        names to texts of the caller's own; None is ``self.policies``. What they share is computed once.
        """
        names, array, _alive = self._policies(policies)
        verdicts = (c.Verdict * len(names))()
        length = ctypes.c_size_t(len(names))
        texts = _content(prompt, response)
        call("cabochon_guard_classify", self._handle, *texts, array, len(array), verdicts, ctypes.byref(length))
        return _verdicts(names, verdicts)

    def classify_rows(
        self, rows: Iterable[Row], policies: Optional[Policies] = None
    ) -> List[Union[List[Verdict], Error]]:
        """Judges many rows, prompts or (prompt, response), faster than one by one.

        A row that cannot be judged has its ``Error`` in the result, and the others go on. Ctrl-C ends the work
        at the next row.
        """
        if isinstance(rows, str) or not isinstance(rows, abc.Iterable):
            raise wrong_type("rows", "an iterable of rows", rows)
        names, array, _alive = self._policies(policies)
        # Lone surrogates go as bytes that are no UTF-8, which C tells of their row.
        texts = [_content(*_pair(row), errors="surrogatepass") for row in rows]
        given = (c.GuardRow * len(texts))(*texts)
        results: List[Union[List[Verdict], Error]] = []

        def on_row(_: Any, __: int, verdicts: Any, count: int, failure: Any) -> int:
            results.append(_verdicts(names, verdicts[:count]) if not failure else _error(failure))
            return 0

        callbacks = Callbacks()
        callback = callbacks.wrap(c.GUARD_ROW_CALLBACK, on_row)
        arguments = (given, len(given), array, len(array), callback, None)
        callbacks.call("cabochon_guard_classify_rows", self._handle, *arguments)
        return results

    def render(self, prompt: str, response: Optional[str] = None, policy: str = "", text: str = "") -> List[int]:
        """The tokens that a verdict is read after.

        ``policy`` is a name; with ``text``, of a policy of the caller's own.
        """
        given = c.GuardPolicy(_text("policy", policy), _text("text", text))
        content = _content(prompt, response)
        return filled_ids("cabochon_guard_render", self._handle, *content, ctypes.byref(given), guess=1024)

    def score(self, ids: Ids) -> float:
        """The probability of "Yes" against "No" after these tokens."""
        array = ids_array(ids)
        score = ctypes.c_double()
        call("cabochon_guard_score", self._handle, int_pointer(array), len(array), ctypes.byref(score))
        return score.value

    def cancel(self) -> None:
        """Stops all of this guard's ``classify``, ``classify_rows`` and ``score`` calls; any thread.

        They raise ``Error("cancelled", ...)`` within one layer. If none is running, the next one does.
        An answer that is guarded is not reached: ``Session.cancel`` stops that, checks included.
        """
        library().cabochon_guard_cancel(self._open_handle)

    def _policies(self, policies: Optional[Policies]) -> Tuple[List[str], Any, Any]:
        """Their names, the C array, and what must stay alive as long as it is used."""
        known = self.policies
        if policies is None:
            policies = list(known)
        if isinstance(policies, str):
            policies = [policies]
        # The guard's own texts stand for both of their wordings.
        texts = dict(policies) if isinstance(policies, Mapping) else {}
        names = members("policies", policies, str)
        given = [(name, "" if known.get(name) == texts.get(name, "") else texts.get(name, "")) for name in names]
        if not given:
            raise Error("invalid_argument", "no policy to check")
        encoded = [(_text("policies", name), _text("policies", text)) for name, text in given]
        return names, (c.GuardPolicy * len(encoded))(*encoded), encoded


@dataclass(frozen=True)
class Check:
    """One check of a guarded answer: of the prompt (``answer_tokens`` None), or of the answer so far."""

    answer_tokens: Optional[int]
    verdicts: List[Verdict]


@dataclass
class Guarding:
    """How a guard stands before an answer: ``model.generate(prompt, guard=Guarding(guard, ...))``.

    The prompt is judged first, then the answer. ``mode`` "hold" hands nothing on before the whole
    answer is checked, "window" hands it on behind a check every ``interval`` tokens, "audit" hands it
    on at once and never stops it. A check runs on a thread of its own while up to ``interval`` more
    tokens are made, of which none is handed on or kept after a violation; with one thread, or where
    features are watched, checks and tokens take turns. A stop has the finish reason "content_filter",
    and names the policy in ``Generation.filter_policy``. ``thresholds`` is a number or a mapping from policies to numbers;
    only "audit" needs none. ``prompt_text`` is what the user asked, where the prompt is token ids; of
    messages, those of the user's last turn. ``on_check`` gets each ``Check``, on the caller's thread.
    """

    guard: Guard
    mode: str = "hold"
    thresholds: Union[None, float, Mapping[str, float]] = None
    interval: int = 0
    policies: Optional[Policies] = None
    check_prompt: bool = True
    prompt_text: Optional[str] = None
    on_check: Optional[Callable[[Check], Any]] = None

    def encode(self, prompt_text: Optional[str], callbacks: Callbacks) -> Tuple[c.GuardingOptions, bytes, Any]:
        """The C struct, the prompt's words, and what must stay alive as long as they are used."""
        handle_of("guard", self.guard, Guard)
        words = self.prompt_text if self.prompt_text is not None else prompt_text
        if words is None:
            raise Error("invalid_argument", "a guard needs prompt_text where the prompt has no user's words")
        options = c.GuardingOptions()
        library().cabochon_guarding_options_init(ctypes.byref(options), ctypes.sizeof(options))
        options.mode = choice("mode", self.mode, c.GUARDING_MODES)
        names, array, alive = self.guard._policies(self.policies)
        options.interval = integer("interval", self.interval, 0, 2**31 - 1)
        options.flags = 0 if self.check_prompt else c.GUARDING_SKIP_PROMPT
        options.policies, options.policy_count = array, len(array)
        thresholds = self._thresholds(names)
        options.thresholds, options.threshold_count = thresholds, len(thresholds)

        def on_check(_: Any, is_answer: int, answer_tokens: int, verdicts: Any, count: int) -> None:
            if self.on_check is not None:
                self.on_check(Check(answer_tokens if is_answer else None, _verdicts(names, verdicts[:count])))

        if self.on_check is not None:
            options.on_check = callbacks.wrap(c.GUARDING_CALLBACK, on_check)
        return options, utf8("prompt_text", words), (alive, array, thresholds)

    def _thresholds(self, names: Sequence[str]) -> Any:
        if self.thresholds is None:
            return (ctypes.c_double * 0)()
        if not isinstance(self.thresholds, Mapping):
            return (ctypes.c_double * 1)(real("thresholds", self.thresholds))
        missing = [name for name in names if name not in self.thresholds]
        if missing and self.mode != "audit":
            raise Error("invalid_argument", f"no threshold for {', '.join(missing)}: none is built in")
        return (ctypes.c_double * len(names))(*[real("thresholds", self.thresholds.get(name, float("inf"))) for name in names])


def _text(name: str, text: str) -> c.Text:
    encoded = utf8(name, text)
    return c.Text(encoded, len(encoded))


def _pair(row: Row) -> Tuple[str, Optional[str]]:
    if isinstance(row, str):
        return row, None
    try:
        prompt, response = row
    except (TypeError, ValueError):
        raise wrong_type("one of rows", "str or (prompt, response)", row) from None
    return prompt, response


def _content(
    prompt: str, response: Optional[str], errors: str = "strict"
) -> Tuple[bytes, int, Optional[bytes], int]:
    first = utf8("prompt", prompt, errors)
    second = None if response is None else utf8("response", response, errors)
    return first, len(first), second, 0 if second is None else len(second)


def _verdicts(names: Sequence[str], records: Iterable[Any]) -> List[Verdict]:
    return list(_each_verdict(names, records))


def _each_verdict(names: Sequence[str], records: Iterable[Any]) -> Iterator[Verdict]:
    for name, record in zip(names, records):
        yield Verdict(
            policy=name,
            score=record.score,
            logits=(record.yes_logit, record.no_logit),
            template=record.template_name.decode(),
            token_count=record.token_count,
            shortened=bool(record.flags & c.VERDICT_SHORTENED),
        )


def _error(failure: int) -> Error:
    lib = library()
    length = ctypes.c_size_t()
    message = ctypes.string_at(lib.cabochon_error_message(failure, ctypes.byref(length)), length.value)
    code = lib.cabochon_status_name(lib.cabochon_error_code(failure)).decode()
    return Error(code, message.decode("utf-8", "replace"))
