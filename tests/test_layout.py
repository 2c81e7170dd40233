"""Where entities stand in a picture."""

from __future__ import annotations

import math
import random

import pytest

from librarian.knowledge import Entity, Graph, Relation
from librarian.layout import LARGEST, degrees, layout, radius


def graph_of(names: list[str], pairs: list[tuple[str, str]]) -> Graph:
    return Graph(
        entities=tuple(Entity(name=name, type="concept", description="") for name in names),
        relations=tuple(Relation(source=a, target=b, description="") for a, b in pairs),
        version="1",
    )


def clusters(count: int, size: int, seed: int = 1) -> Graph:
    """Groups with many relations inside and one to the next group."""
    choice = random.Random(seed)
    names = [f"{group}/{number}" for group in range(count) for number in range(size)]
    pairs = [
        (f"{group}/{number}", f"{group}/{choice.randrange(number)}")
        for group in range(count)
        for number in range(1, size)
        for _ in range(4)
    ]
    pairs += [(f"{group}/0", f"{group + 1}/0") for group in range(count - 1)]
    return graph_of(names, pairs)


def overlaps(graph: Graph) -> int:
    positions, count = layout(graph), degrees(graph)
    names = list(positions)
    return sum(
        math.dist(positions[a], positions[b]) < radius(count[a]) + radius(count[b])
        for number, a in enumerate(names)
        for b in names[:number]
    )


def test_same_graph_has_the_same_positions() -> None:
    graph = clusters(5, 20)
    assert layout(graph) == layout(graph)


@pytest.mark.parametrize(("count", "size"), [(5, 10), (6, 50), (20, 50), (16, 100)])
def test_nodes_do_not_overlap(count: int, size: int) -> None:
    assert overlaps(clusters(count, size)) == 0


def test_every_entity_has_a_finite_place() -> None:
    graph = clusters(4, 400)  # more than are compared one by one
    positions = layout(graph)
    assert list(positions) == [entity.name for entity in graph.entities]
    assert all(math.isfinite(x) and math.isfinite(y) for x, y in positions.values())


def test_clusters_stand_apart() -> None:
    positions = layout(clusters(4, 25))
    groups: dict[str, list[tuple[float, float]]] = {}
    for name, position in positions.items():
        groups.setdefault(name.split("/")[0], []).append(position)
    middles = {
        group: (sum(x for x, _ in points) / 25, sum(y for _, y in points) / 25)
        for group, points in groups.items()
    }
    at_home = sum(
        min(middles, key=lambda other: math.dist(point, middles[other])) == group
        for group, points in groups.items()
        for point in points
    )
    assert at_home >= 90


def test_entities_without_relations_stand_near_the_others() -> None:
    linked = clusters(3, 20)
    single = graph_of([f"alone {number}" for number in range(40)], [])
    graph = Graph(
        entities=linked.entities + single.entities, relations=linked.relations, version="1"
    )
    positions = layout(graph)
    reach = max(math.hypot(*positions[entity.name]) for entity in linked.entities)
    assert overlaps(graph) == 0
    for entity in single.entities:
        assert math.hypot(*positions[entity.name]) < 2.5 * reach


def test_many_small_components_do_not_overlap() -> None:
    names = [f"{number}{side}" for number in range(120) for side in "ab"]
    assert overlaps(graph_of(names, [(f"{n}a", f"{n}b") for n in range(120)])) == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_graphs_of_a_few_entities_are_placed(count: int) -> None:
    names = [str(number) for number in range(count)]
    chain = graph_of(names, list(zip(names, names[1:], strict=False)))
    assert len(set(layout(chain).values())) == count
    assert len(set(layout(graph_of(names, [])).values())) == count


@pytest.mark.parametrize("size", [30, 400])
def test_stars_chains_and_cliques_are_placed_without_overlap(size: int) -> None:
    names = [str(number) for number in range(size)]
    star = [("0", name) for name in names[1:]]
    chain = list(zip(names, names[1:], strict=False))
    clique = [(a, b) for a in names[:30] for b in names[:30] if a < b]
    for pairs in (star, chain, clique):
        assert overlaps(graph_of(names, pairs)) == 0


def test_loops_and_repeated_relations_change_nothing() -> None:
    once = graph_of(["a", "b", "c"], [("a", "b"), ("b", "c")])
    more = graph_of(["a", "b", "c"], [("a", "b"), ("b", "a"), ("b", "c"), ("c", "c")])
    assert layout(once) == layout(more)


def test_radius_grows_with_the_degree_to_a_limit() -> None:
    assert radius(0) < radius(1) < radius(50) <= radius(100_000) == LARGEST
