"""Where entities stand in a picture."""

from __future__ import annotations

import math
import random
import statistics

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


def overlaps(graph: Graph, places: dict[str, tuple[float, float]] | None = None) -> int:
    positions, count = layout(graph) if places is None else places, degrees(graph)
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


def grown(graph: Graph, share: float, seed: int = 3) -> Graph:
    """More entities, each related to some that are there."""
    choice, names = random.Random(seed), [entity.name for entity in graph.entities]
    new = [f"new {number}" for number in range(int(len(names) * share))]
    more = graph_of(new, [(name, choice.choice(names)) for name in new for _ in range(3)])
    return Graph(
        entities=graph.entities + more.entities,
        relations=graph.relations + more.relations,
        version="2",
    )


def width(positions: dict[str, tuple[float, float]]) -> float:
    return max(x for x, _ in positions.values()) - min(x for x, _ in positions.values())


def moves(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> float:
    """The median movement of what is in both, as a part of the width."""
    return statistics.median(math.dist(before[name], after[name]) for name in before) / width(
        before
    )


@pytest.mark.parametrize(("count", "size"), [(5, 20), (10, 100), (20, 100)])
def test_what_was_there_stays_when_the_graph_grows(count: int, size: int) -> None:
    graph = clusters(count, size)
    before = layout(graph)
    more = grown(graph, 0.1)
    after = layout(more, before=before)
    assert moves(before, after) < 0.04
    assert overlaps(more, after) == 0


def test_new_entities_come_near_those_they_are_related_to() -> None:
    graph = clusters(6, 50)
    before = layout(graph)
    more = graph_of(["new"], [("new", "2/1"), ("new", "2/2"), ("new", "2/3")])
    after = layout(
        Graph(
            entities=graph.entities + more.entities,
            relations=graph.relations + more.relations,
            version="2",
        ),
        before=before,
    )
    distances = [
        (math.dist(after["new"], after[f"{group}/{number}"]), group)
        for group in range(6)
        for number in range(50)
    ]
    assert sum(group == 2 for _, group in sorted(distances)[:10]) >= 7


def test_chain_of_new_entities_is_placed_from_its_known_end() -> None:
    graph = clusters(4, 25)
    chain = [f"link {number}" for number in range(10)]
    more = graph_of(chain, [("0/0", chain[0]), *zip(chain, chain[1:], strict=False)])
    whole = Graph(
        entities=graph.entities + more.entities,
        relations=graph.relations + more.relations,
        version="2",
    )
    before = layout(graph)
    after = layout(whole, before=before)
    assert moves(before, after) < 0.04
    assert overlaps(whole, after) == 0


def test_much_larger_graph_is_drawn_anew_but_not_turned() -> None:
    graph = clusters(8, 30)
    more = grown(graph, 2.0)
    before = layout(graph)
    after = layout(more, before=before)
    middle = [(0.0, 0.0), (0.0, 0.0)]
    for index, places in enumerate((before, after)):
        middle[index] = (
            statistics.mean(places[name][0] for name in before),
            statistics.mean(places[name][1] for name in before),
        )
    same_side = sum(
        (before[name][0] - middle[0][0]) * (after[name][0] - middle[1][0]) > 0 for name in before
    )
    assert same_side > 0.7 * len(before)
    assert overlaps(more, after) == 0


def test_component_that_joins_the_largest_comes_to_it() -> None:
    graph = Graph(
        entities=clusters(3, 40).entities + graph_of(["p", "q", "r"], []).entities,
        relations=clusters(3, 40).relations
        + graph_of([], [("p", "q"), ("q", "r"), ("p", "r")]).relations,
        version="1",
    )
    before = layout(graph)
    joined = Graph(
        entities=graph.entities + graph_of(["bridge"], []).entities,
        relations=graph.relations + graph_of([], [("bridge", "0/5"), ("bridge", "p")]).relations,
        version="2",
    )
    after = layout(joined, before=before)
    assert math.dist(after["p"], after["0/5"]) < width(after) / 2
    assert moves(before, after) < 0.04


def test_removed_entities_leave_the_others_where_they_are() -> None:
    graph = clusters(6, 50)
    before = layout(graph)
    kept = {name for number, name in enumerate(before) if number % 12}
    fewer = Graph(
        entities=tuple(entity for entity in graph.entities if entity.name in kept),
        relations=tuple(
            relation
            for relation in graph.relations
            if relation.source in kept and relation.target in kept
        ),
        version="2",
    )
    after = layout(fewer, before=before)
    assert moves({name: before[name] for name in kept}, after) < 0.04


def test_earlier_places_of_strangers_and_without_sense_do_no_harm() -> None:
    graph = clusters(3, 20)
    nowhere = {entity.name: (7.0, 7.0) for entity in graph.entities}
    odd = {"0/0": (math.nan, math.inf), "0/1": (math.inf, 0.0), "stranger": (1.0, 1.0)}
    far = {entity.name: (1e7, float(n)) for n, entity in enumerate(graph.entities)}
    for before in (nowhere, odd, far):
        places = layout(graph, before=before)
        assert all(math.isfinite(x) and math.isfinite(y) for x, y in places.values())
        assert overlaps(graph, places) == 0


def test_order_of_entities_and_relations_does_not_change_the_picture() -> None:
    graph = clusters(5, 20)
    turned = Graph(entities=graph.entities[::-1], relations=graph.relations[::-1], version="1")
    assert layout(turned) == layout(graph)


def test_given_radii_keep_large_nodes_apart() -> None:
    graph = clusters(1, 12)
    radii = {entity.name: 80.0 for entity in graph.entities}
    places = list(layout(graph, radii=radii).values())
    assert all(math.dist(a, b) >= 160 for n, a in enumerate(places) for b in places[:n])


def test_small_components_take_little_room() -> None:
    """Hundreds of pairs beside a large component used to make it a dot in the middle."""
    graph = clusters(8, 50)
    pairs = [(f"left {number}", f"right {number}") for number in range(300)]
    dust = graph_of([name for pair in pairs for name in pair], pairs)
    whole = Graph(
        entities=graph.entities + dust.entities,
        relations=graph.relations + dust.relations,
        version="1",
    )
    alone, beside = layout(graph), layout(whole)
    assert width(beside) < 1.5 * width(alone)
    assert overlaps(whole, beside) == 0


def test_nothing_has_no_places() -> None:
    assert layout(graph_of([], [])) == {}


def test_those_that_share_an_earlier_place_spread_around_it_and_others_make_room() -> None:
    graph = clusters(6, 8)
    before = layout(graph)
    one = before["2/0"]
    opened = {**before, **{f"2/{number}": one for number in range(8)}}
    after = layout(graph, before=opened)
    assert overlaps(graph, after) == 0
    middle = [statistics.mean(after[f"2/{number}"][axis] for number in range(8)) for axis in (0, 1)]
    nearest = sorted(after, key=lambda name: math.dist(after[name], middle))[:8]
    assert sum(name.startswith("2/") for name in nearest) >= 6


def test_hundreds_of_small_components_of_the_same_shape_do_not_overlap() -> None:
    names = [f"{number:04}" for number in range(900)]
    pairs = [(names[n - n % 3], names[n]) for n in range(900) if n % 3]
    graph = graph_of(names, pairs)
    before = layout(graph)
    assert overlaps(graph, before) == 0
    assert layout(graph, before=before).keys() == before.keys()
    assert overlaps(graph, layout(graph, before=before)) == 0
