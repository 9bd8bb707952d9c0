"""What is made in C and freed there: a Model, Session, Guard or SAE."""

from __future__ import annotations

import weakref
from typing import Any, Callable, NoReturn, Type, TypeVar

from ._calls import wrong_type
from .errors import Error


Self = TypeVar("Self", bound="Handle")


class Handle:
    """Owns a reference of C's until it is closed or Python finds it unused. It means nothing in another process."""

    def __init__(self, handle: int, free: Callable[[int], None]) -> None:
        # 0 once it is closed, which C takes for none.
        self._open_handle = handle
        self._finalizer = weakref.finalize(self, free, handle)

    @property
    def _handle(self) -> int:
        if not self._open_handle:
            raise Error("invalid_handle", f"the {type(self).__name__} is closed")
        return self._open_handle

    def close(self) -> None:
        """Frees the memory now instead of when Python finds this unused."""
        self._finalizer()
        self._open_handle = 0

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<cabochon.{type(self).__name__}{self._about() if self._open_handle else ', closed'}>"

    def _about(self) -> str:
        """What `repr` says of it while it is open."""
        return ""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} can be neither pickled nor copied: load it anew in each process")


def handle_of(name: str, owner: Any, kind: Type[Handle]) -> int:
    """The handle of an argument, which must be one of this kind, and open."""
    if not isinstance(owner, kind):
        raise wrong_type(name, f"a {kind.__name__}", owner)
    return owner._handle
