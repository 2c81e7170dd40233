"""What LightRAG does for each entity and relation, with less work and the same results.

It is made for several processes that share a library; ours has one process and one loop.
`tests/test_lighter.py` holds what is here against what it takes the place of.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache, partial, wraps
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from lightrag import LightRAG

TEXTS = 8192  # names come again with each relation and each chunk

Merge = Callable[[Iterable[str] | None, Iterable[str] | None], list[str]]

# By namespace; LightRAG's are by namespace too, and its instances make one for each use.
_locks: defaultdict[str, anyio.Lock] = defaultdict(partial(anyio.Lock, fast_acquire=True))


def lighten() -> None:
    """Lightens LightRAG in this process; a second time changes nothing.

    Its lock of the pipeline's status, taken for every entity and relation, spawns a task for each
    release. Its lists of chunks are split name by name, and those of a name that a whole book has
    are long. What it cleans of a chunk's answer are mostly names that it has cleaned before.
    """
    from lightrag import operate, utils
    from lightrag.kg.shared_storage import NamespaceLock

    if NamespaceLock.__aenter__ is _enter:
        return
    NamespaceLock.__aenter__ = _enter
    NamespaceLock.__aexit__ = _leave
    operate.merge_source_ids = merging(utils.merge_source_ids, utils.GRAPH_FIELD_SEP)
    utils.normalize_extracted_info = lru_cache(TEXTS)(utils.normalize_extracted_info)


def lock_lightly(rag: LightRAG) -> None:
    """Gives each storage a plain lock, which is cheaper yet."""
    from lightrag.kg.shared_storage import NamespaceLock

    for storage in vars(rag).values():
        for name in ("_storage_lock", "_flush_lock"):
            if isinstance(getattr(storage, name, None), NamespaceLock):
                setattr(storage, name, asyncio.Lock())


def merging(merge: Merge, separator: str) -> Merge:
    """The same as `merge` of LightRAG, in one go where no id holds the separator."""

    @wraps(merge)
    def merged(existing_ids: Iterable[str] | None, new_ids: Iterable[str] | None) -> list[str]:
        ids = [*(existing_ids or ()), *(new_ids or ())]
        if all(type(each) is str for each in ids) and separator not in "\0".join(ids):
            return list(filter(None, dict.fromkeys(each.strip() for each in ids)))
        return merge(ids, None)

    return merged


async def _enter(self: Any) -> None:
    await _lock_of(self).acquire()


async def _leave(self: Any, *_: object) -> None:
    _lock_of(self).release()


def _lock_of(lock: Any) -> anyio.Lock:
    from lightrag.kg.shared_storage import get_final_namespace

    return _locks[get_final_namespace(lock._namespace, lock._workspace)]
