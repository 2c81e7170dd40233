"""Groups of related entities, and the map that they make of a large graph."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from librarian.communities import GROUPS, OPENED, SMALL, Overview, communities, overview
from librarian.knowledge import Entity, Graph, Relation


def graph_of(names: list[str], pairs: list[tuple[str, str]]) -> Graph:
    return Graph(
        entities=tuple(Entity(name=name, type="concept", description="") for name in names),
        relations=tuple(Relation(source=a, target=b, description="") for a, b in pairs),
        version="1",
    )


def clusters(count: int, size: int, seed: int = 1) -> Graph:
    """Groups with three relations for each entity, nearly all inside its group."""
    choice = random.Random(seed)
    names = [f"{group}/{number}" for group in range(count) for number in range(size)]
    pairs = [
        (f"{group}/{number}", f"{group}/{choice.randrange(number)}")
        for group in range(count)
        for number in range(1, size)
        for _ in range(3)
    ]
    pairs += [(f"{group}/0", f"{choice.randrange(group)}/1") for group in range(1, count)]
    return graph_of(names, pairs)


def with_dust(graph: Graph, pairs: int, single: int) -> Graph:
    dust = graph_of(
        [f"dust {number}" for number in range(2 * pairs + single)],
        [(f"dust {2 * number}", f"dust {2 * number + 1}") for number in range(pairs)],
    )
    return Graph(
        entities=graph.entities + dust.entities,
        relations=graph.relations + dust.relations,
        version="1",
    )


def adds_up(graph: Graph, shown: Overview) -> None:
    """Every entity and every relation is in one node or one edge."""
    keys = [node.key for node in shown.nodes]
    assert len(set(keys)) == len(keys)
    assert sum(node.members for node in shown.nodes) == len(graph.entities)
    inside = sum(node.inside for node in shown.nodes)
    between = sum(edge.count for edge in shown.edges)
    loops = sum(relation.source == relation.target for relation in graph.relations)
    assert inside + between + loops == len(graph.relations)
    assert {end for edge in shown.edges for end in (edge.source, edge.target)} <= set(keys)


def test_communities_are_the_clusters_with_the_largest_first() -> None:
    graph = clusters(3, 20)
    found = communities(graph)
    assert set(found) == {entity.name for entity in graph.entities}
    assert len({found[f"1/{number}"] for number in range(20)}) == 1
    assert len(set(found.values())) == 3
    sizes = [list(found.values()).count(number) for number in range(3)]
    assert sizes == sorted(sizes, reverse=True)
    assert communities(graph) == found


def test_communities_of_nothing_are_none() -> None:
    assert communities(graph_of([], [])) == {}


def test_entities_without_relations_are_communities_of_one() -> None:
    assert communities(graph_of(["b", "a"], [])) == {"b": 0, "a": 1}


def test_hostile_names_and_weights_are_grouped_like_any_other() -> None:
    names = ["\ud800", "<script>", "a\nb\x00", "я" * 500]
    graph = graph_of(names, [])
    relations = [
        Relation(source=names[0], target=names[1], description="", weight=weight)
        for weight in (float("nan"), float("inf"), -1.0, 0.0)
    ]
    graph = Graph(entities=graph.entities, relations=tuple(relations), version="1")
    found = communities(graph)
    assert found[names[0]] == found[names[1]]
    adds_up(graph, overview(graph, limit=2))


def test_order_of_relations_does_not_change_the_communities() -> None:
    graph = clusters(6, 30)
    turned = Graph(entities=graph.entities, relations=graph.relations[::-1], version="1")
    assert communities(turned) == communities(graph)


def test_graph_within_the_limit_is_shown_whole() -> None:
    graph = clusters(5, 10)
    shown = overview(graph, limit=50)
    assert not shown.collapsed
    assert [node.entity for node in shown.nodes] == list(graph.entities)
    adds_up(graph, shown)


def test_graph_above_the_limit_is_shown_as_its_communities() -> None:
    graph = clusters(5, 10)
    shown = overview(graph, limit=49)
    assert shown.collapsed
    assert [node.kind for node in shown.nodes] == ["community"] * 5
    assert {node.members for node in shown.nodes} == {10}
    adds_up(graph, shown)


def test_opened_community_shows_its_entities_and_the_other_nodes_stay() -> None:
    graph = clusters(5, 10)
    closed = overview(graph, limit=40)
    key = closed.nodes[2].community
    shown = overview(graph, limit=40, opened=frozenset({key}))
    assert shown.opened == {key}
    assert {node.community for node in shown.nodes if node.kind == "entity"} == {key}
    assert Counter(node.kind for node in shown.nodes) == {"entity": 10, "community": 4}
    assert {node.key for node in closed.nodes} - {node.key for node in shown.nodes} == {
        f"community:{key}"
    }
    adds_up(graph, shown)


def test_large_community_opens_to_its_best_connected_and_a_rest() -> None:
    graph = clusters(4, 500)
    key = overview(graph, limit=1000).nodes[0].community
    shown = overview(graph, limit=1000, opened=frozenset({key}))
    rest = [node for node in shown.nodes if node.kind == "rest"]
    seen = [node for node in shown.nodes if node.kind == "entity"]
    assert len(seen) == OPENED
    assert len(rest) == 1 and rest[0].members >= 300 and str(rest[0].members) in rest[0].label
    assert seen[0].label == key
    adds_up(graph, shown)


def test_every_community_opened_at_once_keeps_to_the_limit() -> None:
    graph = clusters(40, 100)
    keys = frozenset(node.community for node in overview(graph, limit=500).nodes)
    shown = overview(graph, limit=500, opened=keys)
    assert sum(node.kind == "entity" for node in shown.nodes) <= 500
    adds_up(graph, shown)


def test_any_member_opens_its_community_and_strangers_open_none() -> None:
    graph = clusters(5, 10)
    member = overview(graph, limit=40, opened=frozenset({"3/7"}))
    assert {node.label for node in member.nodes if node.kind == "entity"} >= {"3/7", "3/0"}
    stranger = overview(graph, limit=40, opened=frozenset({"no such", "<script>"}))
    assert stranger == overview(graph, limit=40)


def test_keys_stay_when_the_graph_grows() -> None:
    small, choice = clusters(10, 50), random.Random(2)
    new = [f"{number % 10}/new {number}" for number in range(50)]
    more = graph_of(new, [(name, f"{name[0]}/{choice.randrange(50)}") for name in new])
    large = Graph(
        entities=small.entities + more.entities,
        relations=small.relations + more.relations,
        version="2",
    )
    before = {node.community for node in overview(small, limit=100).nodes}
    after = {node.community for node in overview(large, limit=100).nodes}
    assert len(before & after) >= 8


@pytest.mark.parametrize("size", [5_000, 20_000])
def test_map_of_a_large_graph_has_about_a_hundred_nodes(size: int) -> None:
    graph = with_dust(clusters(size // 100, 80), pairs=size // 20, single=size // 10)
    assert len(graph.entities) == size
    shown = overview(graph, limit=300)
    assert len(shown.nodes) <= GROUPS + 1
    small = [node for node in shown.nodes if node.kind == "small"]
    assert len(small) == 1 and small[0].groups >= size // 20 + size // 10
    assert f"{small[0].groups} small groups" in small[0].label
    adds_up(graph, shown)


def test_small_groups_open_as_well() -> None:
    graph = with_dust(clusters(5, 20), pairs=100, single=100)
    shown = overview(graph, limit=200, opened=frozenset({SMALL}))
    seen = [node for node in shown.nodes if node.kind == "entity"]
    assert len(seen) == OPENED and {node.community for node in seen} == {SMALL}
    adds_up(graph, shown)


def test_only_single_entities_open_by_themselves() -> None:
    graph = graph_of([str(number) for number in range(1000)], [])
    shown = overview(graph, limit=300)
    assert Counter(node.kind for node in shown.nodes) == {"entity": OPENED, "rest": 1}
    adds_up(graph, shown)


def test_star_opens_to_its_middle_and_a_part_of_its_ends() -> None:
    names = [str(number) for number in range(2000)]
    graph = graph_of(names, [("0", name) for name in names[1:]])
    shown = overview(graph, limit=300)
    assert shown.nodes[0].label == "0"
    assert Counter(node.kind for node in shown.nodes) == {"entity": OPENED, "rest": 1}
    adds_up(graph, shown)


def test_clique_opens_in_part() -> None:
    names = [str(number) for number in range(100)]
    graph = graph_of(names, [(a, b) for a in names for b in names if a < b])
    shown = overview(graph, limit=60)
    assert sum(node.kind == "entity" for node in shown.nodes) == 60
    adds_up(graph, shown)


def test_nothing_has_an_empty_map() -> None:
    assert overview(graph_of([], []), limit=10) == Overview(
        nodes=(), edges=(), collapsed=False, opened=frozenset()
    )


def test_edges_between_closed_communities_add_up() -> None:
    inner = [("a", "b"), ("b", "c"), ("a", "c"), ("x", "y"), ("y", "z"), ("x", "z")]
    graph = graph_of(list("abcxyz"), [*inner, ("a", "x")])
    shown = overview(graph, limit=5)
    assert len(shown.edges) == 1
    assert shown.edges[0].count == 1 and shown.edges[0].relation == graph.relations[-1]
    assert [node.inside for node in shown.nodes] == [3, 3]


def test_map_can_be_laid_out_as_a_graph() -> None:
    shown = overview(clusters(5, 10), limit=20)
    graph = shown.graph("2")
    assert [entity.name for entity in graph.entities] == [node.key for node in shown.nodes]
    assert shown.radii().keys() == {node.key for node in shown.nodes}
    assert len(graph.relations) == len(shown.edges)


def test_opened_node_says_where_it_was_and_closed_ones_too() -> None:
    graph = clusters(4, 500)
    closed = overview(graph, limit=1000)
    key = closed.nodes[0].community
    opened = overview(graph, limit=1000, opened=frozenset({key}))
    assert set(opened.inside().values()) <= {
        *(node.key for node in closed.nodes),
        *(f"rest:{node.community}" for node in closed.nodes),
    }
    of_it = [node.key for node in opened.nodes if node.community == key]
    assert {opened.inside()[each] for each in of_it} == {closed.nodes[0].key}
    rest = next(node for node in opened.nodes if node.kind == "rest")
    assert closed.inside()[closed.nodes[0].key] == rest.key


def test_groups_without_weight_in_a_large_graph_are_small_ones() -> None:
    graph = clusters(2, 3000)
    triples = graph_of(
        [f"t{n}" for n in range(30)], [(f"t{n}", f"t{n - n % 3}") for n in range(30)]
    )
    whole = Graph(
        entities=graph.entities + triples.entities,
        relations=graph.relations + triples.relations,
        version="1",
    )
    shown = overview(whole, limit=300)
    assert [node.groups for node in shown.nodes if node.kind == "small"] == [10]
    adds_up(whole, shown)
