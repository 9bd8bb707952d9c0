"""How a call is made: status to exception, two-call buffers, arrays in and out."""

from __future__ import annotations

import ctypes
import operator
import os
from collections import abc
from typing import Any, Callable, List, Mapping, Sequence, Tuple, Union

import numpy as np

from . import _declarations as c
from ._library import library
from .errors import Error, WrongType

Ids = Union[Sequence[int], np.ndarray]


def call(name: str, *arguments: Any) -> None:
    """Calls a function that returns a status; its last parameter, the error, is added here."""
    failure = ctypes.c_void_p()
    status = getattr(library(), name)(*arguments, ctypes.byref(failure))
    if status != c.OK:
        raise _exception(status, failure)


def _exception(status: int, failure: ctypes.c_void_p) -> Error:
    lib = library()
    length = ctypes.c_size_t()
    message = lib.cabochon_error_message(failure, ctypes.byref(length))
    text = ctypes.string_at(message, length.value).decode("utf-8", "replace")
    lib.cabochon_error_free(failure)
    code = lib.cabochon_status_name(status).decode()
    return Error(code, text or f"status {status}")


def make(name: str, *arguments: Any) -> int:
    """Calls a function that gives out a handle before its error."""
    handle = ctypes.c_void_p()
    call(name, *arguments, ctypes.byref(handle))
    return handle.value or 0


def _fill(name: str, arguments: Tuple[Any, ...], guess: int, buffer: Callable[[int], Tuple[Any, Any]]) -> Tuple[Any, int]:
    """Two-call, with a guess that makes it one call where it is large enough."""
    length = ctypes.c_size_t(guess)
    while True:
        owner, pointer = buffer(length.value)
        failure = ctypes.c_void_p()
        status = getattr(library(), name)(*arguments, pointer, ctypes.byref(length), ctypes.byref(failure))
        if status == c.OK:
            return owner, length.value
        if status != c.BUFFER_TOO_SMALL:
            raise _exception(status, failure)
        library().cabochon_error_free(failure)


def filled_text(name: str, *arguments: Any, guess: int = 256) -> str:
    """The text that a two-call function writes."""

    def buffer(length: int) -> Tuple[Any, Any]:
        owner = ctypes.create_string_buffer(length + 1)
        return owner, owner

    owner, length = _fill(name, arguments, guess, buffer)
    return str(owner.raw[:length], "utf-8")


def filled_ids(name: str, *arguments: Any, guess: int = 256) -> List[int]:
    """The token ids that a two-call function writes."""

    def buffer(length: int) -> Tuple[Any, Any]:
        owner = np.empty(length + 1, np.int32)
        return owner, int_pointer(owner)

    owner, length = _fill(name, arguments, guess, buffer)
    return [int(one) for one in owner[:length]]


def int_pointer(array: np.ndarray) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))


def float_pointer(array: np.ndarray) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def wrong_type(name: str, wanted: str, value: Any) -> Error:
    """The error of an argument that is something else than what is wanted."""
    return WrongType("invalid_argument", f"{name}: {wanted}, not {type(value).__name__}")


def integer(name: str, value: Any, least: int, most: int) -> int:
    """An integer for C; ctypes by itself wraps around what does not fit."""
    try:
        number = operator.index(value)
    except TypeError:
        raise wrong_type(name, "an integer", value) from None
    if not least <= number <= most:
        raise Error("invalid_argument", f"{name} is {number}: from {least} to {most}")
    return number


def real(name: str, value: Any) -> float:
    """A number for C, of whatever kind."""
    try:
        return ctypes.c_double(value).value
    except TypeError:
        raise wrong_type(name, "a number", value) from None
    except OverflowError as reason:
        raise Error("invalid_argument", f"{name}: {reason}") from None


def real_within(name: str, value: Any, least: float, most: float) -> float:
    number = real(name, value)
    if not least <= number <= most:
        raise Error("invalid_argument", f"{name} is {number}: from {least} to {most}")
    return number


def choice(name: str, value: str, values: Mapping[str, int]) -> int:
    """What C calls the value of this name."""
    if not isinstance(value, str):
        raise wrong_type(name, "str", value)
    if value not in values:
        raise Error("invalid_argument", f"{name} is {value!r}: one of {', '.join(values)}")
    return values[value]


def members(name: str, values: Any, kind: type) -> List[Any]:
    """Those of a sequence, all of one kind."""
    if isinstance(values, str) or not isinstance(values, abc.Collection):
        raise wrong_type(name, f"a sequence of {kind.__name__}", values)
    for one in values:
        if not isinstance(one, kind):
            raise wrong_type(f"one of {name}", kind.__name__, one)
    return list(values)


def integers(name: str, values: Any, kind: Any) -> np.ndarray:
    """A list of them, as a contiguous array of a kind of numpy's."""
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError) as reason:
        raise Error("invalid_argument", f"{name}: {reason}") from None
    if array.size == 0:
        return np.empty(0, kind)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise WrongType("invalid_argument", f"{name}: a sequence of int, not {array.ndim}-dimensional {array.dtype}")
    for extreme in (array.min(), array.max()):
        integer(f"one of {name}", extreme, np.iinfo(kind).min, np.iinfo(kind).max)
    return np.ascontiguousarray(array, kind)


def ids_array(ids: Ids) -> np.ndarray:
    """Token ids as contiguous int32."""
    return integers("token ids", ids, np.int32)


def utf8(name: str, text: str, errors: str = "strict") -> bytes:
    """UTF-8 of a string; lone surrogates have none, but what ``errors`` makes of them."""
    if not isinstance(text, str):
        raise wrong_type(name, "str", text)
    try:
        return text.encode("utf-8", errors)
    except UnicodeEncodeError as reason:
        raise Error("invalid_utf8", f"{name}: {reason}") from None


def c_string(name: str, text: Any) -> bytes:
    """A path or name as the NUL-terminated UTF-8 that the C functions take."""
    if not isinstance(text, (str, bytes, os.PathLike)):
        raise wrong_type(name, "str or a path", text)
    encoded = utf8(name, os.fsdecode(text))
    if b"\0" in encoded:
        raise Error("invalid_argument", f"{name}: {text!r} holds a NUL character")
    return encoded
