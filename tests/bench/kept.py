"""What LightRAG's storages hold on the disk: its files, with what has changed since."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import networkx as nx

from librarian import graphml
from librarian.changes import NAME, Change, Changes
from librarian.noted import NotedGraph, NotedRows
from tests.bench.processes import Json

GRAPH = "graph_chunk_entity_relation.graphml"


def rows(path: Path) -> dict[str, Json]:
    """The rows of a storage by their keys, whether or not the file is there; without vectors."""
    data = json.loads(path.read_bytes()) if path.exists() else {}
    if path.name.startswith("vdb_"):
        data = {row["__id__"]: row for row in data.get("data", ())}
    found = NotedRows(data)
    found.replay(_changes(path))
    return dict(found)


def graph(folder: Path) -> Any:
    """The graph of LightRAG's folder, empty where there is none."""
    path = folder / GRAPH
    found = NotedGraph.of(graphml.read(path) if path.exists() else nx.Graph())
    found.replay(_changes(path))
    return found


def vectors(folder: Path) -> Iterator[Path]:
    """The paths of the storages of vectors, whether or not the files are there."""
    return (folder / f"vdb_{name}.json" for name in ("chunks", "entities", "relationships"))


def changed(folder: Path) -> bool:
    """Whether the files lack something."""
    if not (folder / NAME).exists():
        return False
    with closing(sqlite3.connect(folder / NAME)) as db:
        return bool(db.execute("SELECT count(*) FROM changes").fetchone()[0])


def _changes(path: Path) -> list[Change]:
    if not (path.parent / NAME).exists():
        return []
    with closing(Changes(path.parent / NAME)) as changes:
        return changes.read(path.name)
