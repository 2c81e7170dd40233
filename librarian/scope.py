"""A search through chosen documents only: LightRAG's storages, seen through a filter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from librarian.evidence import SEPARATOR
from librarian.holdings import Holdings
from librarian.lexicon import Lexicon

if TYPE_CHECKING:
    from lightrag import LightRAG

Row = dict[str, Any]
Within = Callable[[str], bool]


def within(rag: LightRAG, documents: frozenset[str], holdings: Holdings) -> LightRAG:
    """The same LightRAG, whose questions see nothing but documents of these ids.

    LightRAG 1.5.7 has no filter by document. Filtering what it found would lose a short document
    beside a long one: the best 20 passages may all be of the other. So the filter is in front of
    the search: vectors of other documents are not compared, and nodes and edges tell only what the
    chosen documents said. Where a description was made from several documents, nobody can tell
    whose sentence is whose; such an entity keeps its name and its passages and loses the
    description. An entity with more sources than LightRAG lists on a node (300) may be missed.
    """

    def chosen(chunk: str) -> bool:
        return chunk.rpartition("-chunk-")[0] in documents

    scoped = copy.copy(rag)
    scoped.chunks_vdb = _Vectors(rag.chunks_vdb, chosen, documents, holdings)
    scoped.entities_vdb = _Vectors(rag.entities_vdb, chosen, documents, holdings)
    scoped.relationships_vdb = _Vectors(rag.relationships_vdb, chosen, documents, holdings)
    scoped.text_chunks = _Texts(rag.text_chunks, chosen)
    scoped.chunk_entity_relation_graph = _Network(rag.chunk_entity_relation_graph, chosen)
    return scoped


def worded(
    rag: LightRAG, lexicon: Lexicon, documents: frozenset[str], holdings: Holdings
) -> LightRAG:
    """The same LightRAG, whose search for passages goes by their words, too.

    For vectors that are hashes of words: 512 numbers hold too little of a passage of 600 different
    words. `documents` are the ids of those that may be found; without any, all may.
    """

    def chosen(chunk: str) -> bool:
        return not documents or chunk.rpartition("-chunk-")[0] in documents

    scoped = copy.copy(rag)
    scoped.chunks_vdb = _Worded(rag.chunks_vdb, chosen, lexicon, holdings)
    return scoped


async def learned(holdings: Holdings, lexicon: Lexicon) -> None:
    """Reads all passages, so that the next question need not wait for that."""
    rows = await holdings.chunks()
    await to_thread.run_sync(lexicon.take, rows, abandon_on_cancel=True)


class _Seen:
    """A storage whose other methods are its own."""

    def __init__(self, inner: Any, keep: Callable[..., bool]) -> None:
        self._inner = inner
        self._keep = keep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Vectors(_Seen):
    def __init__(
        self, inner: Any, keep: Within, documents: frozenset[str], holdings: Holdings
    ) -> None:
        super().__init__(inner, keep)
        self._documents = documents
        self._holdings = holdings

    async def query(self, query: str, top_k: int, query_embedding: Any = None) -> list[Row]:
        """The nearest rows of the chosen documents."""
        if query_embedding is None:
            query_embedding = (await self._inner.embedding_func([query], context="query"))[0]
        nearest = self._holdings.nearest
        return await nearest(self._inner, query_embedding, top_k, self._documents)


class _Worded(_Seen):
    def __init__(self, inner: Any, keep: Within, lexicon: Lexicon, holdings: Holdings) -> None:
        super().__init__(inner, keep)
        self._lexicon = lexicon
        self._holdings = holdings

    async def query(self, query: str, top_k: int, query_embedding: Any = None) -> list[Row]:
        """Rows that hold the question's words, best first; then those that are only near."""
        rows = await self._holdings.chunks()
        ranked = self._lexicon.ranked
        held = await to_thread.run_sync(
            ranked, query, rows, top_k, self._keep, abandon_on_cancel=True
        )
        found = {id_: rows[id_] | {"id": id_} for id_ in held}
        for row in await self._inner.query(query, top_k, query_embedding):
            found.setdefault(row["id"], row)
        return list(found.values())[:top_k]


class _Texts(_Seen):
    async def get_by_ids(self, ids: Sequence[str]) -> list[Row | None]:
        """The chunks in the order of the ids; None for those of other documents."""
        rows = await self._inner.get_by_ids(ids)
        return [row if self._keep(id_) else None for id_, row in zip(ids, rows, strict=True)]


class _Network(_Seen):
    async def get_nodes_batch(self, names: list[str]) -> dict[str, Row]:
        """The nodes that the chosen documents name."""
        return self._told(await self._inner.get_nodes_batch(names))

    async def get_edges_batch(self, pairs: list[dict[str, str]]) -> dict[tuple[str, str], Row]:
        """The edges that the chosen documents tell of."""
        return self._told(await self._inner.get_edges_batch(pairs))

    def _told(self, rows: dict[Any, Row]) -> dict[Any, Row]:
        told = {}
        for key, row in rows.items():
            chunks = [each for each in str(row.get("source_id", "")).split(SEPARATOR) if each]
            own = list(filter(self._keep, chunks))
            if own:
                shared = {} if len(own) == len(chunks) else {"description": "", "keywords": ""}
                told[key] = row | shared | {"source_id": SEPARATOR.join(own)} | {"file_path": ""}
        return told
