"""All rows that LightRAG has of a library, brought from one set of storages into another."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from librarian.holdings import KEYED, VECTORS, Holdings, Row

if TYPE_CHECKING:
    from lightrag import LightRAG

BATCH = 500  # rows
GRAPH = "chunk_entity_relation_graph"
CLOSE = 1e-6  # a number of a vector; LightRAG's files make its length 1 again, which rounds
#: What is of a storage and not of the row: LightRAG's own times of writing, and other names.
_LEFT_OUT = frozenset(
    ("id", "_id", "__id__", "workspace", "create_time", "update_time", "return_value")
)


@dataclass(frozen=True, slots=True)
class Store:
    """An open LightRAG, and what tells of its storages."""

    rag: LightRAG
    holdings: Holdings

    async def empty(self) -> bool:
        """Whether it has no row of the library."""
        for name in (*KEYED, *VECTORS):
            if await self.holdings.ids(getattr(self.rag, name)):
                return False
        return not await self.rag.chunk_entity_relation_graph.get_all_labels()

    async def drop(self) -> None:
        """Takes all rows of the library out."""
        for name in (*KEYED, *VECTORS, GRAPH):
            await getattr(self.rag, name).drop()


@dataclass(frozen=True, slots=True)
class Part:
    """One storage as it is: its rows, and a SHA-256 of them without their vectors."""

    name: str
    rows: int
    sha256: str
    vectors: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


class Mirror:
    """Makes a target the same as its source; what is the same already is not written again."""

    def __init__(self, source: Store, target: Store, moved: Callable[[int], None]) -> None:
        """`moved` hears of rows that are where they should be."""
        self._source = source
        self._target = target
        self._moved = moved

    async def total(self) -> int:
        """How many rows there are."""
        graph = self._source.rag.chunk_entity_relation_graph
        count = len(await graph.get_all_nodes()) + len(await graph.get_all_edges())
        for name in (*KEYED, *VECTORS):
            count += len(await self._source.holdings.ids(getattr(self._source.rag, name)))
        return count

    async def run(self) -> None:
        """Copies everything; begun again after an interruption, it goes on."""
        for name in KEYED:
            await self._keyed(name)
        await self._graph()
        for name in VECTORS:
            await self._vectors(name)

    async def _keyed(self, name: str) -> None:
        source, target = getattr(self._source.rag, name), getattr(self._target.rag, name)
        there = await self._surplus(name)
        for ids in _batches(await self._source.holdings.ids(source)):
            rows = dict(zip(ids, await source.get_by_ids(ids), strict=True))
            known = [each for each in ids if each in there]
            same = dict(zip(known, await target.get_by_ids(known) if known else (), strict=True))
            new = {
                id_: _bare(row)
                for id_, row in rows.items()
                if row and (id_ not in same or _line(id_, same[id_]) != _line(id_, row))
            }
            if new:
                await target.upsert(new)
            self._moved(len(ids))
        await target.index_done_callback()

    async def _graph(self) -> None:
        source, target = self._source.rag, self._target.rag
        there, here = await graph_of(self._target), await graph_of(self._source)
        graph = target.chunk_entity_relation_graph
        if there != here:
            if there.rows:
                await graph.drop()
            for nodes in _batches(await source.chunk_entity_relation_graph.get_all_nodes()):
                await graph.upsert_nodes_batch(
                    [(each["id"], {"entity_id": each["id"]} | _bare(each)) for each in nodes]
                )
            for edges in _batches(await source.chunk_entity_relation_graph.get_all_edges()):
                await graph.upsert_edges_batch(
                    [(e["source"], e["target"], _edge(e)) for e in edges]
                )
            await graph.index_done_callback()
        self._moved(here.rows)

    async def _vectors(self, name: str) -> None:
        source, target = getattr(self._source.rag, name), getattr(self._target.rag, name)
        there = await self._surplus(name)
        given = _Given()
        target.embedding_func = replace(target.embedding_func, func=given)
        for ids in _batches(await self._source.holdings.ids(source)):
            rows = await self._source.holdings.vector_rows(source, ids)
            known = [each for each in ids if each in there]
            same = await self._target.holdings.vector_rows(target, known) if known else {}
            new = {
                id_: row
                for id_, (row, vector) in rows.items()
                if id_ not in same
                or _line(id_, same[id_][0]) != _line(id_, row)
                or apart(vector, same[id_][1]) > CLOSE
            }
            if name == "chunks_vdb" and new:
                texts = await self._source.rag.text_chunks.get_by_ids(list(new))
                for row, text in zip(new.values(), texts, strict=True):
                    row |= {
                        key: (text or {}).get(key, 0) for key in ("tokens", "chunk_order_index")
                    }
            for id_, row in new.items():
                given.add(row["content"], rows[id_][1])
            await target.upsert(new)
            if self._target.holdings.tables:
                await target.index_done_callback()  # files are written once, at the end
            self._moved(len(ids))
        await target.index_done_callback()

    async def _surplus(self, name: str) -> set[str]:
        """The ids that the target has, after those were taken out that the source has not."""
        target = getattr(self._target.rag, name)
        wanted = set(await self._source.holdings.ids(getattr(self._source.rag, name)))
        there = set(await self._target.holdings.ids(target))
        if gone := there - wanted:
            await target.delete(sorted(gone))
        return there & wanted


class _Given:
    """Gives the vectors that were there already, where LightRAG asks for new ones."""

    def __init__(self) -> None:
        self._held: defaultdict[str, deque[Any]] = defaultdict(deque)

    def add(self, text: str, vector: Any) -> None:
        self._held[text].append(vector)

    async def __call__(self, texts: Sequence[str], **_: object) -> Any:
        return np.array([self._held[text].popleft() for text in texts], dtype=np.float32)


async def parts_of(store: Store) -> AsyncIterator[Part]:
    """Every storage, read anew: what two have to agree on."""
    for name in KEYED:
        storage, digest, count = getattr(store.rag, name), hashlib.sha256(), 0
        for ids in _batches(await store.holdings.ids(storage)):
            for id_, row in zip(ids, await storage.get_by_ids(ids), strict=True):
                digest.update(_line(id_, row or {}))
            count += len(ids)
        yield Part(name, count, digest.hexdigest())
    yield await graph_of(store)
    for name in VECTORS:
        storage, digest = getattr(store.rag, name), hashlib.sha256()
        vectors: dict[str, Any] = {}
        for ids in _batches(await store.holdings.ids(storage)):
            rows = await store.holdings.vector_rows(storage, ids)
            for id_ in ids:
                digest.update(_line(id_, rows[id_][0]))
                vectors[id_] = np.asarray(rows[id_][1], dtype=np.float32)
        yield Part(name, len(vectors), digest.hexdigest(), vectors)


async def graph_of(store: Store) -> Part:
    """The graph: its nodes and its edges, which have no direction."""
    graph = store.rag.chunk_entity_relation_graph
    nodes = {str(each["id"]): _bare(each) for each in await graph.get_all_nodes()}
    edges = {
        "\t".join(sorted((each["source"], each["target"]))): _edge(each)
        for each in await graph.get_all_edges()
    }
    digest = hashlib.sha256()
    for rows in (nodes, edges):
        for id_ in sorted(rows):
            digest.update(_line(id_, rows[id_]))
    return Part(GRAPH, len(nodes) + len(edges), digest.hexdigest())


def apart(one: Any, other: Any) -> float:
    """How far two vectors are apart, in the number that differs most."""
    return float(np.max(np.abs(np.asarray(one) - np.asarray(other)), initial=0.0))


def _edge(edge: Row) -> Row:
    return {key: value for key, value in _bare(edge).items() if key not in ("source", "target")}


def _bare(row: Mapping[str, Any]) -> Row:
    return {key: value for key, value in row.items() if key not in _LEFT_OUT}


def _line(id_: str, row: Mapping[str, Any]) -> bytes:
    """A row in one form, whichever storage it is from; what is empty says nothing."""
    said = {key: value for key, value in _bare(row).items() if value not in (None, "", [], {})}
    said.pop("entity_id", None)  # of a node: its id
    return (json.dumps([id_, said], ensure_ascii=False, sort_keys=True) + "\n").encode(
        errors="surrogatepass"
    )


def _batches(items: Sequence[Any]) -> list[Any]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
