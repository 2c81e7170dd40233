"""The one event loop, on its own thread, and the way to it from every other thread."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from librarian.errors import Closed

T = TypeVar("T")
# A thread that computes gives way to the others this often. While a book of 2 MB was indexed, one
# status request in twenty took over 44 ms, the slowest 160, at Python's 5 ms; so, 23 and 49.
SWITCH_S = 0.0005
_STANDARD = str(Path(threading.__file__).parent) + os.sep
_UVLOOP = find_spec("uvloop") is not None  # there is none for Windows


class Portal:
    """A running loop. What is entered through it is left again in reverse order on `close`."""

    def __init__(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        self._exits = ExitStack()
        self._portal: BlockingPortal = self._exits.enter_context(
            start_blocking_portal("asyncio", {"use_uvloop": _UVLOOP}, name="librarian-loop")
        )
        self._thread = self._portal.call(threading.get_ident)
        self._closed = False

    def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Opens something on the loop, for as long as the portal is open."""
        return self._exits.enter_context(self._portal.wrap_async_context_manager(manager))

    def call(self, do: Callable[..., Awaitable[T]], *args: object) -> T:
        """Runs a coroutine function on the loop and waits for its result.

        Raises:
            Closed: the loop has ended; so has the library that lived on it.
        """
        if self._closed:
            raise Closed
        return self._portal.call(do, *args)

    def start(self, do: Callable[..., Awaitable[T]], *args: object) -> Future[T]:
        """Starts a coroutine function on the loop; cancelling the future cancels it.

        Raises:
            Closed: the loop has ended.
        """
        if self._closed:
            raise Closed
        return self._portal.start_task_soon(do, *args)

    def where(self) -> str:
        """What the loop's thread does at this moment, in a line: for a loop that does not move."""
        frame = sys._current_frames().get(self._thread)
        if frame is None:
            return ""
        calls = traceback.extract_stack(frame)[::-1]
        own = next((call for call in calls if not _is_standard(call.filename)), calls[0])
        shown = (f"{Path(c.filename).name}:{c.lineno} {c.name}" for c in (calls[0], own))
        return ", in ".join(dict.fromkeys(shown))

    def close(self) -> None:
        """Cancels what runs, leaves what was entered, ends the thread."""
        self._closed = True
        self._exits.close()


def _is_standard(file: str) -> bool:
    return file.startswith(_STANDARD) and "site-packages" not in file
