"""The exceptions of this package."""

from __future__ import annotations


class Error(Exception):
    """A failed call.

    ``code`` is a word to switch on: ``invalid_argument``, ``out_of_memory``, ``io``,
    ``invalid_file``, ``unsupported``, ``context_exceeded``, ``cancelled``, ``backend``,
    ``invalid_handle``, ``invalid_utf8``, ``unsupported_option``, ``forked``, ``internal``; or
    ``library`` where libcabochon itself cannot be found or used. ``message`` is for people: it
    names the file, the key, the offset, the numbers. An error about an argument of the wrong type is
    a TypeError as well.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class WrongType(Error, TypeError):
    """An argument of the wrong type: what Python calls a TypeError, with the code ``invalid_argument``."""
