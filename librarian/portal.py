"""The one event loop, on its own thread, and the way to it from every other thread."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, ExitStack
from importlib.util import find_spec
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

T = TypeVar("T")
# A thread that computes gives way to the others this often. While a book of 2 MB was indexed, one
# status request in twenty took over 44 ms, the slowest 160, at Python's 5 ms; so, 23 and 49.
SWITCH_S = 0.0005
_UVLOOP = find_spec("uvloop") is not None  # there is none for Windows


class Portal:
    """A running loop. What is entered through it is left again in reverse order on `close`."""

    def __init__(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        self._exits = ExitStack()
        self._portal: BlockingPortal = self._exits.enter_context(
            start_blocking_portal("asyncio", {"use_uvloop": _UVLOOP}, name="librarian-loop")
        )

    def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Opens something on the loop, for as long as the portal is open."""
        return self._exits.enter_context(self._portal.wrap_async_context_manager(manager))

    def call(self, do: Callable[..., Awaitable[T]], *args: object) -> T:
        """Runs a coroutine function on the loop and waits for its result."""
        return self._portal.call(do, *args)

    def start(self, do: Callable[..., Awaitable[T]], *args: object) -> Future[T]:
        """Starts a coroutine function on the loop; cancelling the future cancels it."""
        return self._portal.start_task_soon(do, *args)

    def close(self) -> None:
        """Cancels what runs, leaves what was entered, ends the thread."""
        self._exits.close()
