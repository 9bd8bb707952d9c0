"""Threads and backends of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import json
from typing import Any, Dict, Iterator, List, Optional

from . import _declarations as c
from ._calls import filled_text, integer, make
from ._library import library


@contextlib.contextmanager
def engine(threads: Optional[int] = None) -> Iterator[int]:
    """A new engine's handle for the length of a ``with``; models made in it keep it alive."""
    options = c.EngineOptions()
    library().cabochon_engine_options_init(ctypes.byref(options), ctypes.sizeof(options))
    if threads is not None:
        options.threads = integer("threads", threads, 1, 256)
    handle = make("cabochon_engine_create", ctypes.byref(options))
    try:
        yield handle
    finally:
        library().cabochon_engine_free(handle)


def backends() -> List[str]:
    """Names of the backends that this machine can run, best first, "scalar" last."""
    with engine() as handle:
        count = library().cabochon_engine_backend_count(handle)
        return [library().cabochon_engine_backend_name(handle, index).decode() for index in range(count)]


def describe() -> Dict[str, Any]:
    """The library's version, threads and backends, and which backends were rejected and why."""
    with engine() as handle:
        described: Dict[str, Any] = json.loads(filled_text("cabochon_engine_describe", handle, guess=4096))
        return described


def version() -> str:
    """The version of libcabochon, such as "1.0.0"."""
    return str(library().cabochon_version(), "ascii")
