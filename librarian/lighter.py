"""What LightRAG does for each entity and relation, with less work and the same results.

It is made for several processes that share a library; ours has one process and one loop. These are
the places: its locks, its log lines, its lists of chunks, what it cleans, copies and packs.
`tests/test_lighter.py` holds each against what it takes the place of.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import networkx as nx  # type: ignore[import-untyped]
import orjson

from librarian import graphml
from librarian.logbook import CHATTER
from librarian.merges import (
    Locks,
    Name,
    PerLoop,
    Turns,
    asked_first,
    away,
    in_turn,
    relations_too,
)
from librarian.recalled import never_nothing, sources_repaired

if TYPE_CHECKING:
    from lightrag import LightRAG

LONG = 1 << 16  # characters of a text that is more than a prompt
PROMPTS = 16
_SHORT = 6  # characters; LightRAG looks closer at numbers that are shorter
_ODD = re.compile(  # what LightRAG changes in a name or a description, or decides by
    "^[\"']|</?[BPbp]"
    "|[\u00a0\u2014\u2018\u2019\u201c\u201d\u202f\u3000\u300a\u4e00-\u9fa5\uff00-\uff5e]"
)

Merge = Callable[[Iterable[str] | None, Iterable[str] | None], list[str]]
Repair = Callable[..., Any]
Write = Callable[..., Awaitable[None]]
Say = Callable[..., None]
Clean = Callable[..., str]

_locks = PerLoop(Locks)


def lighten() -> None:
    """Lightens LightRAG in this process; a second time changes nothing.

    Its locks, several for every entity and relation, spawn a task for each release. A line of its
    log costs as much as a merge, whether it is kept or not. Its lists of chunks are split name by
    name, and copied, and those of a name that a whole book has are long. What it cleans of a
    chunk's answer is mostly clean. What it packs is hardly smaller. It has all of a
    graph's file in memory as XML before there is a graph.
    """
    from lightrag import operate, pipeline, utils
    from lightrag.kg import (
        json_doc_status_impl,
        json_kv_impl,
        nano_vector_db_impl,
        networkx_impl,
    )
    from lightrag.kg.shared_storage import NamespaceLock, _KeyedLockContext

    if _KeyedLockContext.__aenter__ is _enter_keyed:
        return
    _KeyedLockContext.__aenter__, _KeyedLockContext.__aexit__ = _enter_keyed, _leave_keyed
    NamespaceLock.__aenter__, NamespaceLock.__aexit__ = _enter, _leave
    utils.logger.info = terse(utils.logger.info)
    operate.merge_source_ids = merging(utils.merge_source_ids, utils.GRAPH_FIELD_SEP)
    operate.safe_vdb_operation_with_exception = untimed(utils.safe_vdb_operation_with_exception)
    turns = PerLoop(Turns)
    operate._merge_nodes_then_upsert = in_turn(operate._merge_nodes_then_upsert, turns, "entities")
    operate._merge_edges_then_upsert = in_turn(operate._merge_edges_then_upsert, turns, "relations")
    operate._summarize_descriptions = away(operate._summarize_descriptions, turns)
    operate.wait_tasks_with_drain = relations_too(operate.wait_tasks_with_drain)
    # After a deletion all chunks of what it shared with others are read anew, in one go.
    operate._rebuild_from_extraction_result = in_turn(
        operate._rebuild_from_extraction_result, PerLoop(lambda: Turns(most=1))
    )
    # These two cost what they cost; see `recalled`.
    for name in ("_rebuild_single_entity", "_rebuild_single_relationship"):
        setattr(operate, name, sources_repaired(getattr(operate, name)))
    operate._get_cached_extraction_results = never_nothing(operate._get_cached_extraction_results)
    pipeline.merge_nodes_and_edges = asked_first(operate.merge_nodes_and_edges)
    utils.normalize_extracted_info = where_odd(utils.normalize_extracted_info)
    utils.sanitize_text_for_encoding = where_unclean(utils.sanitize_text_for_encoding)
    operate.sanitize_text_for_encoding = utils.sanitize_text_for_encoding
    utils.remove_think_tags = where_thought(utils.remove_think_tags)
    operate.repair_vlm_json_escape_damage_nested = where_needed(
        utils.repair_vlm_json_escape_damage_nested
    )
    json_kv_impl.copy = json_doc_status_impl.copy = SimpleNamespace(deepcopy=plain_copy)
    nano_vector_db_impl.zlib = SimpleNamespace(compress=stored, decompress=zlib.decompress)
    networkx_impl.NetworkXStorage.load_nx_graph = staticmethod(graph_at)


def lock_lightly(rag: LightRAG) -> None:
    """Gives each storage a plain lock, which is cheaper yet."""
    from lightrag.kg.shared_storage import NamespaceLock

    for storage in vars(rag).values():
        for name in ("_storage_lock", "_flush_lock"):
            if isinstance(getattr(storage, name, None), NamespaceLock):
                setattr(storage, name, asyncio.Lock())


def graph_at(file_name: str) -> nx.Graph | None:
    """The graph of a file, if it is there; see `graphml`."""
    path = Path(file_name)
    return graphml.read(path) if path.exists() else None


def merging(merge: Merge, separator: str) -> Merge:
    """The same as `merge` of LightRAG, in one go where no id holds the separator."""

    @wraps(merge)
    def merged(existing_ids: Iterable[str] | None, new_ids: Iterable[str] | None) -> list[str]:
        ids = [*(existing_ids or ()), *(new_ids or ())]
        if all(type(each) is str for each in ids) and separator not in "\0".join(ids):
            return list(filter(None, dict.fromkeys(each.strip() for each in ids)))
        return merge(ids, None)

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


def where_unclean(clean: Clean) -> Clean:
    """The same as `clean` of LightRAG, which looks for what cannot be stored several times.

    Most texts are lines of letters without `&`, which begins what HTML writes in other words. Of
    the others, most are the same instructions for each chunk.
    """
    known = lru_cache(PROMPTS)(clean)

    @wraps(clean)
    def cleaned(text: str, replacement_char: str = "") -> str:
        if not text:
            return text
        if "&" not in text and text.replace("\n", " ").isprintable():
            return text.strip()
        return (known if len(text) < LONG else clean)(text, replacement_char)

    return cleaned


def where_thought(remove: Clean) -> Clean:
    """The same as `remove` of LightRAG, which looks at each letter of an answer for a thought."""

    @wraps(remove)
    def removed(text: str) -> str:
        return remove(text) if "</think>" in text or type(text) is not str else text.strip()

    return removed


def where_odd(normalize: Clean) -> Clean:
    """The same as `normalize` of LightRAG, which looks for each sign of Chinese by itself."""

    @wraps(normalize)
    def normalized(name: str, remove_inner_quotes: bool = False) -> str:
        plain = name.strip()
        if (len(plain) >= _SHORT or plain.isalpha()) and not _ODD.search(name):
            return plain
        return normalize(name, remove_inner_quotes)

    return normalized


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


async def _enter_keyed(self: Any) -> Any:
    if self._ul is not None:
        raise RuntimeError("These locks are held in this context already.")
    names = tuple((self._namespace, key) for key in dict.fromkeys(self._keys))
    await _locks().take(names)
    self._ul = names
    return self


async def _leave_keyed(self: Any, *_: object) -> None:
    names, self._ul = self._ul, None
    _locks().give(names or ())


async def _enter(self: Any) -> None:
    await _locks().take((_name_of(self),))


async def _leave(self: Any, *_: object) -> None:
    _locks().give((_name_of(self),))


def _name_of(lock: Any) -> Name:
    from lightrag.kg.shared_storage import get_final_namespace

    name: Name | None = getattr(lock, "_light", None)
    if name is None:
        name = lock._light = (get_final_namespace(lock._namespace, lock._workspace), "default_key")
    return name
