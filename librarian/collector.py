"""Python's collector of garbage, which stops every thread while it looks through what there is."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def spare() -> None:
    """Lets it look less often."""
    gc.set_threshold(5_000, 20, 60)


def keep() -> None:
    """Says that what is there now will stay; it is never looked at again.

    What is part of a ring of references is not freed later either: call it before people come.
    """
    gc.freeze()


@contextmanager
def paused() -> Iterator[None]:
    """While very much is made, and nothing thrown away: looks at it are half of the time.

    Of two at once, the one that ends first lets it look again; it is never left off.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
