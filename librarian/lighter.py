"""What LightRAG does for each entity and relation, with less work and the same results.

It is made for several processes that share a library; ours has one process and one loop. These are
the places: its locks, its log lines, its lists of chunks, what it cleans, copies and packs.
`tests/test_lighter.py` holds each against what it takes the place of.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache, wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import orjson

from librarian.logbook import CHATTER

if TYPE_CHECKING:
    from lightrag import LightRAG

AT_ONCE = 8  # entities or relations merged before the loop looks at anything else
FIRST = 40  # of the 64 that LightRAG merges at a time; the rest of them go on meanwhile
TEXTS = 8192  # names come again with each relation and each chunk

Merge = Callable[[Iterable[str] | None, Iterable[str] | None], list[str]]
MergeOne = Callable[..., Awaitable[Any]]
MergeAll = Callable[..., Awaitable[None]]
Repair = Callable[..., Any]
Write = Callable[..., Awaitable[None]]
Say = Callable[..., None]
Name = tuple[str, str]
Said = Mapping[Any, list[dict[str, Any]]]  # of entities by name, or of relations by both ends


def lighten() -> None:
    """Lightens LightRAG in this process; a second time changes nothing.

    Its locks, several for every entity and relation, spawn a task for each release. A line of its
    log costs as much as a merge, whether it is kept or not. Its lists of chunks are split name by
    name, and copied, and those of a name that a whole book has are long. What it cleans of a
    chunk's answer are mostly names that it has cleaned before. What it packs is hardly smaller.
    """
    from lightrag import operate, pipeline, utils
    from lightrag.kg import json_doc_status_impl, json_kv_impl, nano_vector_db_impl
    from lightrag.kg.shared_storage import NamespaceLock, _KeyedLockContext

    if _KeyedLockContext.__aenter__ is _enter_keyed:
        return
    _KeyedLockContext.__aenter__, _KeyedLockContext.__aexit__ = _enter_keyed, _leave_keyed
    NamespaceLock.__aenter__, NamespaceLock.__aexit__ = _enter, _leave
    utils.logger.info = terse(utils.logger.info)
    operate.merge_source_ids = merging(utils.merge_source_ids, utils.GRAPH_FIELD_SEP)
    operate.safe_vdb_operation_with_exception = untimed(utils.safe_vdb_operation_with_exception)
    turns = Turns()
    operate._merge_nodes_then_upsert = in_turn(operate._merge_nodes_then_upsert, turns)
    operate._merge_edges_then_upsert = in_turn(operate._merge_edges_then_upsert, turns)
    # After a deletion all chunks of what it shared with others are read anew, in one go.
    operate._rebuild_from_extraction_result = in_turn(
        operate._rebuild_from_extraction_result, Turns(most=1)
    )
    pipeline.merge_nodes_and_edges = asked_first(operate.merge_nodes_and_edges)
    utils.normalize_extracted_info = lru_cache(TEXTS)(utils.normalize_extracted_info)
    operate.sanitize_text_for_encoding = lru_cache(TEXTS)(utils.sanitize_text_for_encoding)
    operate.repair_vlm_json_escape_damage_nested = where_needed(
        utils.repair_vlm_json_escape_damage_nested
    )
    json_kv_impl.copy = json_doc_status_impl.copy = SimpleNamespace(deepcopy=plain_copy)
    nano_vector_db_impl.zlib = SimpleNamespace(compress=stored, decompress=zlib.decompress)


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


def asked_first(merge: MergeAll) -> MergeAll:
    """The same as `merge` of LightRAG, beginning with what the model is asked to sum up.

    The others are merged while it is at that. LightRAG has so many in hand at a time, and goes by
    the order in which they were found: few would be asked about at once, and some at the very end.
    """

    @wraps(merge)
    async def merged(
        chunk_results: Sequence[tuple[Said, Said]],
        *args: Any,
        global_config: Mapping[str, Any],
        **more: Any,
    ) -> None:
        least = int(global_config["force_llm_summary_on_merge"])
        entities = _together(each for found, _ in chunk_results for each in found.items())
        relations = _together(
            (tuple(sorted(ends)), said)
            for _, found in chunk_results
            for ends, said in found.items()
        )
        ordered = [(in_turns(entities, least), in_turns(relations, least))]
        await merge(ordered, *args, global_config=global_config, **more)

    return merged


def in_turns(found: Said, least: int) -> Said:
    """First those with `least` descriptions or more, most first; from the `FIRST` of them on, the
    others are spread between them."""
    sizes = {each: len({one.get("description") for one in said}) for each, said in found.items()}
    many = sorted((each for each in found if sizes[each] >= least), key=lambda each: -sizes[each])
    few = [each for each in found if sizes[each] < least]
    order, late = many[:FIRST], many[FIRST:]
    share = -(-len(few) // (len(late) + 1))
    for number, each in enumerate(late):
        order += [*few[number * share : (number + 1) * share], each]
    order += few[len(late) * share :]
    return {each: found[each] for each in order}


class Turns:
    """Lets only so many begin in each round of the loop, so that others wait for no more."""

    def __init__(self, most: int = AT_ONCE) -> None:
        self._most = self._left = most

    async def wait(self) -> None:
        """Returns when there is a turn."""
        while not self._left:  # noqa: ASYNC110 - the next round of the loop is what is waited for
            await asyncio.sleep(0)
        if self._left == self._most:
            asyncio.get_running_loop().call_soon(self._renew)
        self._left -= 1

    def _renew(self) -> None:
        self._left = self._most


def in_turn(merge: MergeOne, turns: Turns) -> MergeOne:
    """The same as `merge` of LightRAG, of which 64 would run in one go.

    An answer of the model takes several rounds of the loop until the next question is on its way.
    """

    @wraps(merge)
    async def merged(*args: Any, **more: Any) -> Any:
        await turns.wait()
        return await merge(*args, **more)

    return merged


def untimed(write: Write) -> Write:
    """The same as `write` of LightRAG, which gives each relation a task that may take so long.

    What is written there is only noted, for when the document ends.
    """

    @wraps(write)
    async def written(*args: Any, timeout_seconds: float | None = None, **more: Any) -> None:
        await write(*args, **more)

    return written


def terse(say: Say) -> Say:
    """The same as `say` of a logger, without the lines that the logbook leaves out."""

    def said(message: object, *args: object, stacklevel: int = 1, **more: Any) -> None:
        if not (isinstance(message, str) and message.startswith(CHATTER)):
            say(message, *args, stacklevel=stacklevel + 1, **more)

    return said


def where_needed(repair: Repair) -> Repair:
    """The same as `repair` of LightRAG, which looks at each text of an answer three times.

    What it mends begins with a control character, and all of these JSON writes with a backslash.
    """

    @wraps(repair)
    def repaired(value: Any, *, context: str = "") -> Any:
        try:
            if b"\\" not in orjson.dumps(value):
                return value
        except TypeError:  # half a letter, or a very large number
            pass
        return repair(value, context=context)

    return repaired


def plain_copy(value: Any) -> Any:
    """A deep copy of what JSON can say."""
    if isinstance(value, dict):
        return {name: plain_copy(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain_copy(each) if isinstance(each, (dict, list)) else each for each in value]
    return value


def stored(data: bytes) -> bytes:
    """Bytes in the form of zlib, as they are: the numbers of a vector hardly get smaller by it.

    Of 2,048 bytes of a model's vector 1,955 are left, for 53 millionths of a second.
    """
    return zlib.compress(data, 0)


def _together(found: Iterable[tuple[Any, list[dict[str, Any]]]]) -> Said:
    said = defaultdict(list)
    for each, some in found:
        said[each].extend(some)
    return said


class _Shared:
    """A lock, and how many have it or wait for it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Name, _Shared]] = WeakKeyDictionary()


async def _take(locks: dict[Name, _Shared], name: Name) -> None:
    if (shared := locks.get(name)) is None:
        shared = locks[name] = _Shared()
    shared.users += 1
    try:
        await shared.lock.acquire()
    except BaseException:
        _forget(locks, name)
        raise


def _give(locks: dict[Name, _Shared], name: Name) -> None:
    locks[name].lock.release()
    _forget(locks, name)


def _forget(locks: dict[Name, _Shared], name: Name) -> None:
    locks[name].users -= 1
    if not locks[name].users:
        del locks[name]


def _locks() -> dict[Name, _Shared]:
    return _shared.setdefault(asyncio.get_running_loop(), {})


async def _enter_keyed(self: Any) -> Any:
    if self._ul is not None:
        raise RuntimeError("These locks are held in this context already.")
    locks, self._ul = _locks(), []
    try:
        for key in dict.fromkeys(self._keys):  # in order: no two wait for each other
            await _take(locks, (self._namespace, key))
            self._ul.append(key)
    except BaseException:
        await _leave_keyed(self)
        raise
    return self


async def _leave_keyed(self: Any, *_: object) -> None:
    locks, held, self._ul = _locks(), self._ul or (), None
    for key in reversed(held):
        _give(locks, (self._namespace, key))


async def _enter(self: Any) -> None:
    await _take(_locks(), _name_of(self))


async def _leave(self: Any, *_: object) -> None:
    _give(_locks(), _name_of(self))


def _name_of(lock: Any) -> Name:
    from lightrag.kg.shared_storage import get_final_namespace

    name: Name | None = getattr(lock, "_light", None)
    if name is None:
        name = lock._light = (get_final_namespace(lock._namespace, lock._workspace), "default_key")
    return name
