"""What LightRAG's cache of answers is made to do: it rebuilds entities and relations from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any

Row = dict[str, Any]
Rebuild = Callable[..., Awaitable[Any]]

#: For each answer of the cache, the chunks that it is about, of those a task has just looked at.
_ABOUT: ContextVar[Mapping[str, list[str]] | None] = ContextVar("about", default=None)


def keep_answers(rag: Any, is_makeshift: Callable[[str], bool]) -> None:
    """Has LightRAG's cache hold all that a rebuild needs, and no answer that only seems one."""
    _forget_makeshifts(rag.llm_response_cache, is_makeshift)
    _answer_each(rag.text_chunks, rag.llm_response_cache)
    _answers_first(rag)


def _forget_makeshifts(cache: Any, is_makeshift: Callable[[str], bool]) -> None:
    """Keeps LightRAG from remembering as an answer what only stands in for a missing one."""
    upsert = cache.upsert

    async def kept(data: dict[str, Row]) -> None:
        # The prompt is most of a row, nothing reads it, and the journal knows what was asked.
        real = {
            key: row | {"original_prompt": ""}
            for key, row in data.items()
            if not is_makeshift(str(row.get("return", "")))
        }
        if real:
            await upsert(real)

    cache.upsert = kept


def _answer_each(text_chunks: Any, cache: Any) -> None:
    """Gives an answer to each chunk that it is about.

    Chunks of the same text, as of two versions of a book, have one answer, and LightRAG writes down
    the chunk for which it was given: a rebuild would find nothing for the others, and would leave
    what is said of an entity as it was, or a relation to chunks that are gone.
    """
    look_up, recall = text_chunks.get_by_ids, cache.get_by_ids

    async def looked_up(ids: list[str]) -> list[Row | None]:
        rows: list[Row | None] = await look_up(ids)
        about = defaultdict(list)
        for chunk, row in zip(ids, rows, strict=False):
            for answer in (row or {}).get("llm_cache_list") or ():
                about[answer].append(chunk)
        _ABOUT.set(about)
        return rows

    async def recalled(ids: list[str]) -> list[Row | None]:
        rows: list[Row | None] = await recall(ids)
        about = _ABOUT.get() or {}
        others = [
            {**row, "chunk_id": chunk}
            for id_, row in zip(ids, rows, strict=False)
            if row
            for chunk in about.get(id_, ())
            if chunk != row.get("chunk_id")
        ]
        return [*rows, *others]

    text_chunks.get_by_ids, cache.get_by_ids = looked_up, recalled


def _answers_first(rag: Any) -> None:
    """Has what was extracted from chunks on the disk before the graph that was made of it.

    After a `kill -9` between the two, a rebuild would find the graph, and nothing to make it of.
    """
    write = rag.chunk_entity_relation_graph.index_done_callback

    async def written() -> Any:
        for storage in (rag.llm_response_cache, rag.text_chunks):
            await storage.index_done_callback()
        return await write()

    rag.chunk_entity_relation_graph.index_done_callback = written


def sources_repaired(rebuild: Rebuild) -> Rebuild:
    """The same as `rebuild` of LightRAG, of an entity or a relation after a deletion.

    Where no answer of the cache tells of it (a name that a person gave and let go, answers that
    were cleared), LightRAG leaves it of chunks that are gone. Here its words stay, and its chunks
    are those that are left: as LightRAG has it for the other of its two ways to take chunks out.
    """

    @wraps(rebuild)
    async def rebuilt(**given: Any) -> Any:
        return await rebuild(**{**given, "structural_fallback": True})

    return rebuilt


def never_nothing(look: Rebuild) -> Rebuild:
    """The same as `look` of LightRAG, which gives up a rebuild for which there is no answer."""

    @wraps(look)
    async def looked(*args: Any, **more: Any) -> Any:
        answers, chunks = await look(*args, **more)
        return answers or {"": []}, chunks

    return looked
