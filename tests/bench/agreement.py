"""Whether a library that nobody has open agrees with itself: files, statuses, graph, vectors."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from librarian.intake import ENDINGS
from tests.bench import kept
from tests.bench.graphs import SEPARATOR
from tests.bench.processes import Json

SHOWN = 5  # names of a disagreement


def disagreements(home: Path, wanted: Mapping[str, set[str | None]]) -> list[str]:
    """What does not fit, in words; `wanted` are the ids that a document of each name may have.

    None among them is for a document that may be gone.
    """
    manifest = json.loads((home / "library.json").read_text(encoding="utf-8"))
    folder = home / "lightrag_cache" / manifest["workspace"]
    rows = _documents(home)
    found = [*_names(rows, wanted), *_originals(home, rows), *_statuses(folder, rows)]
    return [*found, *_chunks(folder, {row["id"] for row in rows}), *_graph(folder)]


def _documents(home: Path) -> list[Json]:
    with closing(sqlite3.connect(home / "catalogue.sqlite3")) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT id, name, file, status FROM documents")]


def _names(rows: list[Json], wanted: Mapping[str, set[str | None]]) -> Iterator[str]:
    has = {row["name"]: row["id"] for row in rows}
    for name, ids in wanted.items():
        if has.get(name) not in ids:
            yield f"{name} is {has.get(name)}, which nobody asked for; it may be {ids}"
    yield from _apart("documents that nobody added", has.keys(), wanted.keys(), both=False)


def _originals(home: Path, rows: list[Json]) -> Iterator[str]:
    there = {path.name for path in (home / "files").iterdir()}
    files = {row["file"] for row in rows}
    yield from _apart("documents without their original", files, there, both=False)
    known = {f"{file}{ending}" for file in files for ending in ENDINGS}
    yield from _apart("files of no document", there, known, both=False)


def _statuses(folder: Path, rows: list[Json]) -> Iterator[str]:
    kept = _kv(folder, "doc_status")
    yield from _apart("statuses and documents", kept.keys(), {row["id"] for row in rows})
    for row in rows:
        theirs = kept.get(row["id"], {}).get("status")
        if (row["status"], theirs) != ("processed", "processed"):
            yield f"{row['name']} is {row['status']}, and LightRAG says {theirs}"


def _chunks(folder: Path, ids: set[str]) -> Iterator[str]:
    chunks = _kv(folder, "text_chunks")
    yield from _apart("chunks and their vectors", chunks.keys(), set(_vectors(folder, "chunks")))
    yield from _apart("owners of chunks", {each["full_doc_id"] for each in chunks.values()}, ids)
    yield from _apart("full texts", _kv(folder, "full_docs").keys(), ids)
    listed = {
        chunk for row in _kv(folder, "doc_status").values() for chunk in row.get("chunks_list", ())
    }
    yield from _apart("chunks and their lists", chunks.keys(), listed)


def _graph(folder: Path) -> Iterator[str]:
    graph = kept.graph(folder)
    chunks, nodes = _kv(folder, "text_chunks").keys(), set(graph.nodes)
    edges = {_pair(*pair) for pair in graph.edges}
    named = {row["entity_name"] for row in _vectors(folder, "entities").values()}
    paired = {
        _pair(row["src_id"], row["tgt_id"]) for row in _vectors(folder, "relationships").values()
    }
    yield from _apart("entities and their vectors", nodes, named)
    yield from _apart("relations and their vectors", edges, paired)
    for what, each in (("entity", graph.nodes), ("relation", graph.edges)):
        for key, fields in each(data="source_id") if what == "entity" else _edges(graph):
            sources = set(str(fields or "").split(SEPARATOR)) - {""}
            if not sources or not sources <= chunks:
                yield f"the {what} {key} is of chunks that are gone: {sorted(sources - chunks)}"
    brought = _brought(folder, "full_entities", "entity_names")
    yield from _apart("entities and what documents brought", nodes, set(brought))
    pairs = {_pair(*each) for each in _brought(folder, "full_relations", "relation_pairs")}
    yield from _apart("relations and what documents brought", edges, pairs)
    yield from _apart("entities and their chunks", nodes, _kv(folder, "entity_chunks").keys())


def _edges(graph: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    return (((one, other), said) for one, other, said in graph.edges(data="source_id"))


def _brought(folder: Path, name: str, field: str) -> list[Any]:
    return [each for row in _kv(folder, name).values() for each in row[field]]


def _kv(folder: Path, name: str) -> dict[str, Json]:
    return kept.rows(folder / f"kv_store_{name}.json")


def _vectors(folder: Path, name: str) -> dict[str, Json]:
    path = folder / f"vdb_{name}.json"
    if path.exists():
        stored = json.loads(path.read_bytes())
        numbers = len(base64.b64decode(stored["matrix"])) // 4
        if numbers != len(stored["data"]) * stored["embedding_dim"]:
            raise ValueError(f"{path} has {numbers} numbers for {len(stored['data'])} rows")
    return kept.rows(path)


def _pair(one: str, other: str) -> tuple[str, str]:
    return min(one, other), max(one, other)


def _apart(what: str, one: Any, other: Any, *, both: bool = True) -> Iterator[str]:
    """What only one of two sets has, or of the first alone."""
    for side, only in (("first", set(one) - set(other)), ("second", set(other) - set(one))):
        if only and (both or side == "first"):
            names = ", ".join(str(each) for each in sorted(only, key=str)[:SHOWN])
            yield f"{what}: {len(only)} in the {side} only: {names}"
