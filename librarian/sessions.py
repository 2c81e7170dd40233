"""The browsers that have logged in. They are forgotten when the server ends."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

IDLE_S = 12 * 3600.0  # a browser that brings its tabs back also brings back its cookies
MOST = 1000


class Sessions:
    """Hands out random keys and knows them again. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: OrderedDict[bytes, float] = OrderedDict()  # by hash: a lookup takes its time

    def begin(self) -> str:
        """The key of a new session; the one that was not used for longest may end for it."""
        key = secrets.token_urlsafe(32)
        self._used[_hash(key)] = self._clock()
        while len(self._used) > MOST:
            self._used.popitem(last=False)
        return key

    def knows(self, key: str) -> bool:
        """Whether a key is of a session; it is in use again from now on."""
        name, now = _hash(key), self._clock()
        used = self._used.pop(name, None)
        if used is None or now - used > IDLE_S:
            return False
        self._used[name] = now
        return True

    def end(self, key: str) -> None:
        """Forgets a session."""
        self._used.pop(_hash(key), None)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
