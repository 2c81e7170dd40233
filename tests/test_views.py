"""Views of a graph: what is chosen, what the address says of it, and what is found by name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest

from librarian.knowledge import Entity, Graph, Relation
from librarian.names import mention, search
from librarian.parts import part
from librarian.views import GraphRequest, GraphViews, shown_part
from tests.test_graph import graph_of, names, pairs, relation


def address(request: GraphRequest) -> str:
    return urlencode(request.address(), doseq=True)


def clusters(count: int, size: int) -> Graph:
    """Cliques, each tied to the next by one relation."""
    called = [[f"c{at} e{number}" for number in range(size)] for at in range(count)]
    relations = [
        Relation(source=a, target=b, description="")
        for group in called
        for at, a in enumerate(group)
        for b in group[:at]
    ]
    relations += [relation(a[0], b[0]) for a, b in zip(called, called[1:], strict=False)]
    entities = (Entity(name=name, type="concept", description="") for one in called for name in one)
    return Graph(entities=tuple(entities), relations=tuple(relations), version="1")


@pytest.mark.parametrize(
    "request_",
    [
        GraphRequest(),
        GraphRequest(centre="Пётр & <b>", depth=3, limit=50, colour_by="community", dark=True),
        GraphRequest(names=("b", "a"), hidden=frozenset({"x", "y"}), expanded=frozenset({"z"})),
        GraphRequest(opened=frozenset({"", "hub"}), least_degree=2, least_weight=1.5, core=True),
        GraphRequest(ends=("a", "b"), types=frozenset({"t"}), documents=frozenset({"d.txt"})),
    ],
)
def test_an_address_is_the_view(request_: GraphRequest) -> None:
    assert GraphRequest.read(parse_qsl(address(request_))) == request_


def test_what_makes_no_sense_in_an_address_is_passed_over() -> None:
    odd = (
        "depth=x&limit=-5&least_weight=1e9&least_degree=²&from=a&colour=red&centre=&name="
        + "x" * 9000
    )
    assert GraphRequest.read(parse_qsl(odd)) == GraphRequest()
    assert len(GraphRequest.read([("name", str(n)) for n in range(5000)]).names) == 200


def test_exactly_the_named_are_drawn_with_the_relations_between_them() -> None:
    graph = graph_of(*"abcd", pairs="ab bc cd")
    shown = part(graph, names=("a", "b", "d", "unknown"))
    assert names(shown) == set("abd")
    assert pairs(shown) == {"ab"}


def test_a_path_is_a_shortest_one() -> None:
    graph = graph_of(*"abcdef", pairs="ab bc cd ae ed")
    assert names(part(graph, ends=("a", "d"))) == set("aed")
    assert names(part(graph, ends=("a", "f"))) == set("af")
    assert names(part(graph, ends=("a", "a"))) == {"a"}


def test_hidden_is_gone_and_expanded_brings_its_neighbours() -> None:
    graph = graph_of(*"abcd", pairs="ab bc cd")
    assert names(part(graph, centre="b", hidden=frozenset("c"))) == set("ab")
    assert names(part(graph, centre="a", expanded=frozenset("b"))) == set("abc")


def test_least_degree_and_weight_leave_the_strong() -> None:
    graph = Graph(
        entities=graph_of(*"abc").entities,
        relations=(relation("a", "b", weight=3), relation("b", "c", weight=1)),
        version="1",
    )
    assert pairs(part(graph, least_weight=2)) == {"ab"}
    assert names(part(graph, least_weight=2, least_degree=1)) == set("ab")


def test_a_large_graph_opens_as_a_map_and_a_community_opens_in_it(tmp_path: Path) -> None:
    graph, views = clusters(8, 12), GraphViews(tmp_path)
    closed = views.page(graph, GraphRequest(limit=20))
    assert "click a circle to open it" in closed
    assert '"name": "c3 e5"' not in closed
    opened = views.page(graph, GraphRequest(limit=20, opened=frozenset({"c3 e5"})))
    assert '"name": "c3 e5"' in opened
    assert '"name": "c4 e5"' not in opened


def test_an_unknown_centre_is_not_taken_for_an_empty_graph(tmp_path: Path) -> None:
    request = GraphRequest(centre="nobody")
    assert "no entity of that name" in GraphViews(tmp_path).page(clusters(2, 5), request)
    assert "Nothing is indexed yet" in GraphViews(tmp_path).page(graph_of(), request)


def test_what_fits_is_drawn_whole(tmp_path: Path) -> None:
    page = GraphViews(tmp_path).page(clusters(2, 5), GraphRequest(limit=20))
    assert "open it" not in page
    assert all(f'"name": "c{a} e{b}"' in page for a in range(2) for b in range(5))


def test_the_part_of_a_map_is_the_whole_graph() -> None:
    graph = clusters(8, 12)
    assert len(shown_part(graph, GraphRequest(limit=20)).entities) == 96
    assert len(shown_part(graph, GraphRequest(limit=20, core=True)).entities) == 20


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Раскольникова", "Раскольников"),
        ("РАСКОЛЬНИКОВУ", "Раскольников"),
        ("Пётр Первого", "Петр Первый"),
        ("Петербурге", "Петербург"),
        ("stories", "Short Story"),
        ("lighthouses", "lighthouse keeper"),
    ],
)
def test_another_inflection_finds_the_entity(typed: str, name: str) -> None:
    assert search(graph_of(name, "совсем другое", "elsewhere"), typed) == (name,)


def test_what_is_written_so_comes_before_other_inflections() -> None:
    graph = graph_of("Раскольников", "Раскольникова Дуня")
    assert search(graph, "Раскольникова") == ("Раскольникова Дуня", "Раскольников")


def test_a_name_is_seen_in_a_text_in_its_cases() -> None:
    found = mention("Пётр Первый").findall("Петра Первого звали Пётр Первый, Петр  не первый")
    assert found == ["Петра Первого", "Пётр Первый"]
    assert not mention("!!!").search("text") and not mention("").search("text")
