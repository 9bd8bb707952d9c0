"""Functions of Python that C calls: whatever they raise comes out of the call that they ran in.

An exception cannot pass through C, so it waits until the call is back. Most are caught where the function
runs. But a signal's exception, such as Ctrl-C's KeyboardInterrupt, can come on the way into a function,
before its first `try`: then ctypes hands it to sys.unraisablehook, and C a number by chance. So that hook
is a list's `append` while the call runs, which has no bytecode of its own that another signal could come
between.
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any, Callable, List, Optional

from ._calls import call
from .errors import Error


class Callbacks:
    """Those of one call, and what they have raised.

    ``stop`` ends the call from a callback whose result C does not ask for.
    """

    def __init__(self, stop: Callable[[], Any] = lambda: None) -> None:
        self._stop = stop
        self._raised: List[BaseException] = []
        self._unraisable: List[Any] = []
        self._hook: Callable[[Any], Any] = sys.unraisablehook

    def wrap(self, kind: Any, function: Callable[..., Optional[int]]) -> Any:
        """The function for C. Once one has raised, none is called again, and C gets 1: go no further."""
        return kind(functools.partial(self._run, function))

    def _run(self, function: Callable[..., Optional[int]], *arguments: Any) -> Optional[int]:
        try:
            self._find_lost()
            return 1 if self._raised else function(*arguments)
        except BaseException as exception:  # noqa: B902 - KeyboardInterrupt as well
            self._raised.append(exception)
            self._stop()
            return 1

    def _find_lost(self) -> None:
        """Raises what came on the way into a callback. What else nobody could raise goes where it would have gone."""
        while self._unraisable:
            one = self._unraisable.pop(0)
            if one.exc_traceback is not None and one.exc_traceback.tb_frame.f_code is Callbacks._run.__code__:
                raise one.exc_value
            self._hook(one)

    def call(self, name: str, *arguments: Any) -> None:
        """As ``_calls.call``; raises what the callbacks have raised, even where C is content."""
        failure: Optional[Error] = None
        keep = self._unraisable.append
        # Signals come to the main thread alone, and so its calls alone, one inside another, change the hook.
        is_main = threading.current_thread() is threading.main_thread()
        try:
            if is_main:
                self._hook, sys.unraisablehook = sys.unraisablehook, keep
            call(name, *arguments)
        except Error as error:
            failure = error
        finally:
            if is_main and sys.unraisablehook is keep:
                sys.unraisablehook = self._hook
        self._find_lost()
        if self._raised:
            raise self._raised[0] from None
        if failure is not None:
            raise failure
