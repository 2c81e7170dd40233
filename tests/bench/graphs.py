"""Graphs as they lie on the disk, and what two of them do not have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx

from tests.bench.processes import Broken
from tests.bench.report import Row

FILE = "graph_chunk_entity_relation.graphml"
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
    paths = list(home.glob(f"lightrag_cache/*/{FILE}"))
    if len(paths) != 1:
        raise Broken(f"There are {len(paths)} graphs in {home}.")
    graph = nx.read_graphml(paths[0])
    rows = [
        row
        for path in paths[0].parent.glob("vdb_*.json")
        for row in json.loads(path.read_bytes())["data"]
    ]
    return Graph(
        vectors=frozenset(row["__id__"] for row in rows),
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
