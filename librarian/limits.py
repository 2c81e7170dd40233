"""How often something may be done: a bucket of tokens for each who does it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

KEPT = 4096  # buckets; whoever was away longest begins anew with a full one


class Buckets:
    """Fill by `per_s` tokens a second up to `burst`. For one thread."""

    def __init__(
        self, *, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def wait_s(self, key: str) -> float:
        """Seconds until there is a token; 0 where there is one."""
        return max(0.0, (1.0 - self._tokens(key)) / self._per_s)

    def take(self, key: str) -> float:
        """Takes a token; where there is none, the seconds until there is one."""
        wait_s = self.wait_s(key)
        if not wait_s:
            self._held[key] = (self._tokens(key) - 1.0, self._clock())
            self._held.move_to_end(key)
            while len(self._held) > KEPT:
                self._held.popitem(last=False)
        return wait_s

    def _tokens(self, key: str) -> float:
        tokens, at = self._held.get(key, (float(self._burst), self._clock()))
        return min(float(self._burst), tokens + (self._clock() - at) * self._per_s)


def party(address: str) -> str:
    """Who an address belongs to: of IPv6 a household has a whole network of them."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and not found.is_loopback:
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
    return str(found)
