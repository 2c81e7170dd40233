"""Graphs as they lie on the disk, and what two of them do not have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import kept
from tests.bench.processes import Broken
from tests.bench.report import Row

SEPARATOR = "<SEP>"  # LightRAG's, inside the fields of nodes and edges

Fields = Mapping[str, Any]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes by name and edges by their ends in alphabetical order, with all that LightRAG says."""

    nodes: dict[str, Fields]
    edges: dict[Pair, Fields]
    vectors: frozenset[str]  #: the ids of all that has a vector: chunks, nodes, edges


def read(home: Path) -> Graph:
    """The graph of a library that nobody has open."""
    folders = [path for path in home.glob("lightrag_cache/*") if any(path.iterdir())]
    if len(folders) != 1:
        raise Broken(f"There are {len(folders)} graphs in {home}.")
    graph = kept.graph(folders[0])
    return Graph(
        vectors=frozenset(id_ for path in kept.vectors(folders[0]) for id_ in kept.rows(path)),
        nodes=dict(graph.nodes(data=True)),
        edges={(min(pair), max(pair)): fields for *pair, fields in graph.edges(data=True)},
    )


def differences(what: str, found: Graph, wanted: Graph) -> list[Row]:
    """Rows of how far a graph is from what it should be."""
    common = [(found.nodes[each], wanted.nodes[each]) for each in found.nodes & wanted.nodes.keys()]
    common += [
        (found.edges[each], wanted.edges[each]) for each in found.edges & wanted.edges.keys()
    ]
    total = f"of {len(common)} nodes and edges"
    nodes, edges = (
        found.nodes.keys() ^ wanted.nodes.keys(),
        found.edges.keys() ^ wanted.edges.keys(),
    )
    return [
        Row(what=f"{what}: nodes in one graph only", value=len(nodes), most=0),
        Row(what=f"{what}: edges in one graph only", value=len(edges), most=0),
        Row(what=f"{what}: vectors of one only", value=len(found.vectors ^ wanted.vectors), most=0),
        Row(what=f"{what}: other chunks, {total}", value=_unlike(common, "source_id")),
        Row(what=f"{what}: another weight, {total}", value=_unlike(common, "weight")),
        Row(what=f"{what}: another type, {total}", value=_unlike(common, "entity_type")),
        Row(what=f"{what}: another description, {total}", value=_unlike(common, "description")),
        Row(what=f"{what}: the same in another order", value=_reordered(common)),
    ]


def _unlike(pairs: list[tuple[Fields, Fields]], field: str) -> int:
    """How many have something else in a field; the order of its parts does not count."""
    return sum(_parts(one.get(field)) != _parts(other.get(field)) for one, other in pairs)


def _reordered(pairs: list[tuple[Fields, Fields]]) -> int:
    return sum(
        one.get("description") != other.get("description")
        and _parts(one.get("description")) == _parts(other.get("description"))
        for one, other in pairs
    )


def _parts(value: object) -> list[str]:
    return sorted(str(value or "").split(SEPARATOR))
