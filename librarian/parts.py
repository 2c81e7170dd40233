"""Which part of the graph is shown: the core of it, what is around an entity, a path, a choice."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2s

from librarian.knowledge import Graph, Relation

Neighbours = Mapping[str, Sequence[str]]

EXPANDED = 100  # neighbours that an expanded entity brings along, the best-connected first


def part(
    graph: Graph,
    *,
    centre: str | None = None,
    depth: int = 1,
    limit: int = 300,
    types: frozenset[str] = frozenset(),
    documents: frozenset[str] = frozenset(),
    names: tuple[str, ...] = (),
    ends: tuple[str, str] | None = None,
    hidden: frozenset[str] = frozenset(),
    expanded: frozenset[str] = frozenset(),
    least_degree: int = 0,
    least_weight: float = 0.0,
) -> Graph:
    """What was chosen of a graph, and all relations within it that the filters leave.

    `names` are drawn as they are; `ends` are those of a shortest path; a `centre` has what is
    around it; with none of them it is the best-connected core. Unknown names have nothing around.
    Filters do not apply to what was named; `hidden` does.
    """
    named = frozenset((*names, *(ends or ()), *([centre] if centre else ()), *expanded)) - hidden
    relations = _relations(graph, documents, least_weight)
    count = Counter(end for one in relations for end in {one.source, one.target})
    entities = {
        entity.name: entity
        for entity in graph.entities
        if entity.name in named
        or entity.name not in hidden
        and (not types or entity.type in types)
        and (not documents or not documents.isdisjoint(entity.documents))
        and count[entity.name] >= least_degree
    }
    near: dict[str, list[str]] = {name: [] for name in entities}
    for relation in relations:
        if relation.source in near and relation.target in near:
            near[relation.source].append(relation.target)
            near[relation.target].append(relation.source)
    if names:
        kept = {name for name in names if name in near}
    elif ends:
        kept = set(path(near, *ends)) or {end for end in ends if end in near}
    else:
        kept = _core(near, limit) if centre is None else _around(near, centre, depth, limit)
    for name in sorted(expanded):
        kept |= _around(near, name, 1, EXPANDED)
    asked = (
        graph.version, centre, depth, limit, sorted(types), sorted(documents), names, ends,
        sorted(hidden), sorted(expanded), least_degree, least_weight,
    )  # fmt: skip
    return Graph(
        entities=tuple(entities[name] for name in entities if name in kept),
        relations=tuple(one for one in relations if one.source in kept and one.target in kept),
        version=blake2s(repr(asked).encode(errors="backslashreplace"), digest_size=12).hexdigest(),
    )


def _relations(graph: Graph, documents: frozenset[str], least_weight: float) -> list[Relation]:
    return [
        relation
        for relation in graph.relations
        if relation.weight >= least_weight
        and (not documents or not documents.isdisjoint(relation.documents))
    ]


def path(near: Neighbours, start: str, end: str) -> list[str]:
    """The names of a shortest way from one entity to another; empty when there is none."""
    before = {start: start} if start in near and end in near else {}
    step = list(before)
    while step and end not in before:
        reached = []
        for name in step:
            for other in near[name]:
                if other not in before:
                    before[other] = name
                    reached.append(other)
        step = reached
    way = [end] if end in before else []
    while way and way[-1] != start:
        way.append(before[way[-1]])
    return way[::-1]


def _core(near: Neighbours, limit: int) -> set[str]:
    """Grows from the best-connected entity of the largest component, always to the best next."""
    kept: set[str] = set()
    for component in sorted(_components(near), key=len, reverse=True):
        first = max(component, key=lambda name: len(near[name]))
        found, waiting = {first}, [(0, 0, first)]
        while waiting and len(kept) < limit:
            _, _, name = heapq.heappop(waiting)
            kept.add(name)
            for other in near[name]:
                if other not in found:
                    found.add(other)
                    heapq.heappush(waiting, (-len(near[other]), len(found), other))
        if len(kept) >= limit:
            break
    return kept


def _components(near: Neighbours) -> list[list[str]]:
    found: set[str] = set()
    components = []
    for start in near:
        if start in found:
            continue
        found.add(start)
        component = [start]
        for name in component:  # grows while it is read
            for other in near[name]:
                if other not in found:
                    found.add(other)
                    component.append(other)
        components.append(component)
    return components


def _around(near: Neighbours, centre: str, depth: int, limit: int) -> set[str]:
    """Breadth first, the best-connected of a step first; all of it hangs together."""
    kept = {centre} if centre in near else set()
    step = list(kept)
    for _ in range(depth):
        reached = {other for name in step for other in near[name]} - kept
        step = sorted(reached, key=lambda name: (-len(near[name]), name))[: limit - len(kept)]
        kept.update(step)
    return kept
