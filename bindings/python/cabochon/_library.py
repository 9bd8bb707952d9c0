"""Finds libcabochon and declares its functions, once, at the first use.

Importing the package loads nothing, so that a missing library is a cabochon.Error which says where
it was looked for, not an import that fails.
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Iterator

from ._declarations import FUNCTIONS
from .errors import Error

NAME = "libcabochon.so.1"
MAJOR_VERSION = 1


def _candidates() -> Iterator[str]:
    package = Path(__file__).resolve().parent
    tree = package.parent.parent
    if tree.name == "bindings":
        yield str(tree.parent / "build" / "lib" / NAME)
    yield str(package / NAME)
    yield str(package / "lib" / NAME)


def _open() -> ctypes.CDLL:
    forced = os.environ.get("CABOCHON_LIBRARY")
    if forced:
        return ctypes.CDLL(forced)
    for path in _candidates():
        if os.path.exists(path):
            return ctypes.CDLL(path)
    # The loader looks for it itself. ctypes.util would run a compiler to do so, and take any major version.
    return ctypes.CDLL(NAME)


@functools.lru_cache(maxsize=None)
def library() -> ctypes.CDLL:
    """The library, with the types of every function set."""
    try:
        opened = _open()
    except OSError as reason:
        tried = ", ".join(_candidates())
        raise Error(
            "library",
            f"{NAME} cannot be loaded: {reason}; looked at CABOCHON_LIBRARY, {tried} and the system's "
            "libraries (`make build` in the source tree makes one)",
        ) from None
    try:
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(opened, name)
            function.restype = result
            function.argtypes = arguments
    except AttributeError as reason:
        raise Error("library", f"{opened._name} is no libcabochon of 1.0 or later: {reason}") from None
    found = opened.cabochon_abi_version()
    if found >> 16 != MAJOR_VERSION:
        raise Error("library", f"{opened._name} has ABI {found >> 16}, this package needs {MAJOR_VERSION}")
    return opened
