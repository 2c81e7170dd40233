"""LightRAG's storages of the graph as one mapping: what is under a key, and what is to be there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from anyio.lowlevel import checkpoint

from librarian.evidence import graph_of
from librarian.holdings import Holdings, Row
from librarian.knowledge import Entity, Graph
from librarian.mending import Key, Value
from librarian.vectors import Rows, entity_rows, relation_rows
from librarian.wording import SEPARATOR

if TYPE_CHECKING:
    from lightrag import LightRAG

Values = Mapping[Key, Value]
AT_ONCE = 500  # entities or relations that are read before others have a turn


class Storages:
    """The graph, its vectors, the chunks of each entity, and what each document brought."""

    def __init__(self, rag: LightRAG, holdings: Holdings, reached: Callable[[str], None]) -> None:
        """`reached` hears of each step of a writing before it is taken."""
        self._rag = rag
        self._holdings = holdings
        self._reached = reached
        self._record = rag.full_entities.upsert  # later calls of others go through the gate

    async def part(self, names: Iterable[str]) -> dict[Key, Value]:
        """All that is stored of these entities."""
        rag, wanted = self._rag, set(names)
        keys: set[Key] = set()
        for name in wanted:
            keys |= {("node", name), ("chunks", name)}
            for pair in await rag.chunk_entity_relation_graph.get_node_edges(name) or ():
                keys |= {("edge", *sorted(pair)), ("chunks", *sorted(pair))}
        for doc_id, found in (await self._holdings.naming(wanted)).items():
            keys |= {("doc", doc_id, name) for name in found}
            pairs = await self._brought(doc_id)  # their ends are among the names
            keys |= {("doc", doc_id, *pair) for pair in pairs if not wanted.isdisjoint(pair)}
        return await self.now(keys)

    async def entities(self, names: Iterable[str]) -> tuple[Entity, ...]:
        """Those of these that there are now."""
        nodes = await _in_parts(self._rag.chunk_entity_relation_graph.get_nodes_batch, [*names])
        return graph_of([{**node, "id": name} for name, node in nodes.items()], (), "").entities

    async def around(self, name: str) -> Graph:
        """An entity as it is now, its relations and their other ends; nothing if it is gone."""
        graph = self._rag.chunk_entity_relation_graph
        pairs = await graph.get_node_edges(name) or ()
        ends = [{"src": one, "tgt": other} for one, other in pairs]
        edges = await _in_parts(graph.get_edges_batch, ends)
        nodes = await _in_parts(graph.get_nodes_batch, [*dict.fromkeys((name, *chain(*pairs)))])
        return graph_of(
            [{**node, "id": name} for name, node in nodes.items()],
            [{**edge, "source": one, "target": other} for (one, other), edge in edges.items()],
            "",
        )

    async def now(self, keys: Iterable[Key]) -> dict[Key, Value]:
        """What is stored under keys."""
        from lightrag.utils import make_relation_chunk_key

        rag, graph, found = self._rag, self._rag.chunk_entity_relation_graph, dict[Key, Value]()
        brought: dict[str, set[tuple[str, ...]]] = {}
        for key in keys:
            match key:
                case ("node", name):
                    found[key] = await graph.get_node(name)
                case ("edge", source, target):
                    found[key] = await graph.get_edge(source, target)
                case ("chunks", name):
                    found[key] = _chunks(await rag.entity_chunks.get_by_id(name))
                case ("chunks", *pair):
                    row = await rag.relation_chunks.get_by_id(make_relation_chunk_key(*pair))
                    found[key] = _chunks(row)
                case ("doc", doc_id, *ends):
                    if doc_id not in brought:
                        brought[doc_id] = await self._brought(doc_id)
                    found[key] = tuple(ends) in brought[doc_id] or None
        return found

    async def _brought(self, doc_id: str) -> set[tuple[str, ...]]:
        """The names and the sorted pairs that LightRAG has noted of a document."""
        names = await self._rag.full_entities.get_by_id(doc_id) or {}
        pairs = await self._rag.full_relations.get_by_id(doc_id) or {}
        return {(name,) for name in names.get("entity_names", ())} | {
            tuple(sorted(pair)) for pair in pairs.get("relation_pairs", ())
        }

    def vectors(self, values: Values) -> tuple[Rows, Rows]:
        from lightrag.operate import _truncate_vdb_content
        from lightrag.utils import compute_mdhash_id

        limits = {
            "embedding_token_limit": self._rag.embedding_token_limit,
            "tokenizer": self._rag.tokenizer,
        }

        def cut(content: str, label: str) -> str:
            return str(_truncate_vdb_content(content, limits, label))

        nodes = [{**v, "id": k[1]} for k, v in values.items() if k[0] == "node" and v]
        edges = [
            {**v, "source": k[1], "target": k[2]} for k, v in values.items() if k[0] == "edge" and v
        ]
        return (
            entity_rows(nodes, compute_mdhash_id, cut),
            relation_rows(edges, compute_mdhash_id, cut),
        )

    async def write(self, values: Values) -> None:
        """Brings the storages to these values, and to the disk. Twice is as good as once."""
        rag = self._rag
        entities, relations = self.vectors(values)
        self._reached("graph")
        await self._write_graph(values)
        self._reached("vectors")
        await self._drop_vectors(values)
        await rag.entities_vdb.upsert(entities)
        await rag.relationships_vdb.upsert(relations)
        self._reached("tracking")
        await self._write_chunks(values)
        await self._write_documents(values)
        await self.save()
        self._reached("saved")

    async def left(self, values: Values) -> Values:
        """The same, of chunks that are still there: documents may have been deleted since."""
        ids = sorted({chunk for key, value in values.items() for chunk in _sources(key, value)})
        rows = await self._rag.text_chunks.get_by_ids(ids)
        files = {id_: str(row["file_path"]) for id_, row in zip(ids, rows, strict=True) if row}
        if len(files) == len(ids):
            return values
        found = {key: _of(key, value, files) for key, value in values.items()}
        gone = {key[1] for key, value in values.items() if key[0] == "node" and value} - {
            key[1] for key, value in found.items() if key[0] == "node" and value
        }
        lost = {key for key in found if key[0] in ("edge", "chunks") and gone.intersection(key[1:])}
        return {**found, **dict.fromkeys(lost)}

    async def save(self) -> None:
        """Writes the graph, its vectors and what is known of both to the disk."""
        rag = self._rag
        for storage in (
            rag.full_entities,
            rag.full_relations,
            rag.chunk_entity_relation_graph,
            rag.entities_vdb,
            rag.relationships_vdb,
            rag.entity_chunks,
            rag.relation_chunks,
        ):
            self._reached(f"saving {storage.namespace}")
            await storage.index_done_callback()

    async def _write_graph(self, values: Values) -> None:
        graph = self._rag.chunk_entity_relation_graph
        for kind, *ends in values:
            value = values[(kind, *ends)]
            if kind == "node" and value is not None:
                await graph.upsert_node(ends[0], value)
        gone = []
        for kind, *ends in values:
            value = values[(kind, *ends)]
            if kind == "edge" and value is not None:
                await graph.upsert_edge(*ends, value)
            elif kind == "edge":
                gone.append((ends[0], ends[1]))
        await graph.remove_edges(gone)
        await graph.remove_nodes([k[1] for k, v in values.items() if k[0] == "node" and v is None])

    async def _drop_vectors(self, values: Values) -> None:
        from lightrag.utils import compute_mdhash_id, make_relation_vdb_ids

        rag = self._rag
        absent = [key for key, value in values.items() if value is None]
        nodes = [compute_mdhash_id(key[1], prefix="ent-") for key in absent if key[0] == "node"]
        await rag.entities_vdb.delete(nodes)
        edges = [id_ for k in absent if k[0] == "edge" for id_ in make_relation_vdb_ids(k[1], k[2])]
        await rag.relationships_vdb.delete(edges)

    async def _write_chunks(self, values: Values) -> None:
        from lightrag.utils import make_relation_chunk_key

        for storage, length in ((self._rag.entity_chunks, 2), (self._rag.relation_chunks, 3)):
            rows: dict[str, Any] = {
                key[1] if length == 2 else make_relation_chunk_key(key[1], key[2]): value
                for key, value in values.items()
                if key[0] == "chunks" and len(key) == length
            }
            there = {name: ids for name, ids in rows.items() if ids is not None}
            await storage.upsert(
                {name: {"chunk_ids": ids, "count": len(ids)} for name, ids in there.items()}
            )
            await storage.delete([name for name in rows if name not in there])

    async def _write_documents(self, values: Values) -> None:
        rag = self._rag
        for storage, write, field, length in (
            (rag.full_entities, self._record, "entity_names", 3),
            (rag.full_relations, rag.full_relations.upsert, "relation_pairs", 4),
        ):
            by_doc: dict[str, dict[Key, Value]] = {}
            for key, value in values.items():
                if key[0] == "doc" and len(key) == length:
                    by_doc.setdefault(key[1], {})[key[2:]] = value
            for doc_id, named in by_doc.items():
                row = await storage.get_by_id(doc_id)
                if row is None:
                    continue  # deleted since; it does not come back
                listed = [(each,) if length == 3 else tuple(sorted(each)) for each in row[field]]
                kept = {each for each in listed if named.get(each, True)}
                kept |= {each for each, there in named.items() if there}
                items = sorted(each[0] if length == 3 else list(each) for each in kept)
                await write({doc_id: {field: items, "count": len(items)}})


async def brought(rag: LightRAG, doc_id: str, version: str) -> Graph:
    """What of the graph LightRAG has noted of a document, as it is now."""
    noted = await rag.full_entities.get_by_id(doc_id) or {}
    pairs = (await rag.full_relations.get_by_id(doc_id) or {}).get("relation_pairs", ())
    graph = rag.chunk_entity_relation_graph
    nodes = await _in_parts(graph.get_nodes_batch, list(noted.get("entity_names", ())))
    ends = [{"src": one, "tgt": other} for one, other in pairs]
    edges = await _in_parts(graph.get_edges_batch, ends)
    return await to_thread.run_sync(
        graph_of,
        [{**node, "id": name} for name, node in nodes.items()],
        [{**edge, "source": one, "target": other} for (one, other), edge in edges.items()],
        version,
    )


async def _in_parts(
    get: Callable[[list[Any]], Awaitable[dict[Any, Row]]], wanted: list[Any]
) -> dict[Any, Row]:
    """A book has thousands, which files give without ever letting go of the loop."""
    found: dict[Any, Row] = {}
    for start in range(0, len(wanted), AT_ONCE):
        found |= await get(wanted[start : start + AT_ONCE])
        await checkpoint()
    return found


def _sources(key: Key, value: Value) -> list[str]:
    """The ids of the chunks that a value names."""
    if key[0] == "chunks":
        return list(value or ())
    if key[0] in ("node", "edge") and value:
        return [each for each in str(value.get("source_id") or "").split(SEPARATOR) if each]
    return []


def _of(key: Key, value: Value, files: Mapping[str, str]) -> Value:
    """A value of the chunks that have a file; None where it has none of them."""
    kept = [each for each in _sources(key, value) if each in files]
    if key[0] == "doc" or not value:
        return value
    if not kept or key[0] == "chunks":
        return kept or None
    paths = SEPARATOR.join(dict.fromkeys(files[each] for each in kept))
    return {**value, "source_id": SEPARATOR.join(kept), "file_path": paths}


def _chunks(row: Mapping[str, Any] | None) -> list[str] | None:
    return None if row is None else list(row.get("chunk_ids", ()))
