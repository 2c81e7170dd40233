"""What is shown of the graph, how entities are found, and the page and files made of it."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any

import networkx as nx  # type: ignore[import-untyped]
import pytest

from librarian.communities import overview
from librarian.exports import to_csv, to_graphml, to_html
from librarian.graph import CAPTION, GREY, html
from librarian.knowledge import Entity, Graph, Relation
from librarian.layout import layout
from librarian.names import Names, search
from librarian.parts import part

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "a \"quoted\" & 'quoted' name",
    "two\nlines\r\nand\u2028more",
    "\u202eright to left\u202c שלום",
    "x" * 500,
    "👩‍👩‍👧‍👦 family",
    "half \ud83d of a pair",
    "nul \0 inside",
    '<a href="javascript:alert(3)">href</a>',
    "{{ 7 * 7 }} {% raw %} ${x} \\u003c \\",
    "]]> --> <!-- ",
    "",
    " ",
    "__proto__",
)


def entity(name: str, type: str = "concept", documents: tuple[str, ...] = ()) -> Entity:
    return Entity(name=name, type=type, description=f"about {name}", documents=documents)


def relation(source: str, target: str, *documents: str, weight: float = 1.0) -> Relation:
    return Relation(
        source=source, target=target, description="", weight=weight, documents=documents
    )


def graph_of(*names: str, pairs: str = "", version: str = "1") -> Graph:
    """A graph whose relations are written as pairs of letters."""
    return Graph(
        entities=tuple(entity(name) for name in names),
        relations=tuple(relation(pair[0], pair[1]) for pair in pairs.split()),
        version=version,
    )


def hostile() -> Graph:
    return Graph(
        entities=tuple(
            Entity(name=name, type=name, description=name * 3, documents=(name,))
            for name in HOSTILE
        ),
        relations=tuple(
            Relation(source=HOSTILE[0], target=name, description=name, keywords=name)
            for name in HOSTILE
        ),
        version="1",
    )


def names(graph: Graph) -> set[str]:
    return {one.name for one in graph.entities}


def pairs(graph: Graph) -> set[str]:
    return {one.source + one.target for one in graph.relations}


# What is shown


def core(graph: Graph, limit: int, **filters: frozenset[str]) -> Graph:
    return part(graph, centre=None, depth=2, limit=limit, **filters)


def test_core_is_the_best_connected_entities_and_the_relations_among_them() -> None:
    graph = graph_of(*"abcdef", pairs="ab ac ad bc cd ef")
    shown = core(graph, 3)
    assert names(shown) == set("abc") or names(shown) == set("acd")
    assert all(set(pair) <= names(shown) for pair in pairs(shown))


def test_core_hangs_together_even_if_another_hub_is_larger() -> None:
    star = [f"leaf {number}" for number in range(6)]
    chain = [f"link {number}" for number in range(20)]
    graph = Graph(
        entities=tuple(entity(name) for name in ["hub", *star, *chain]),
        relations=tuple(relation("hub", leaf) for leaf in star)
        + tuple(relation(a, b) for a, b in zip(chain, chain[1:], strict=False)),
        version="1",
    )
    assert names(core(graph, 5)) <= set(chain)


def test_core_shows_all_when_there_is_room() -> None:
    graph = graph_of(*"abcdef", pairs="ab bc de")
    assert names(core(graph, 100)) == set("abcdef")
    assert pairs(core(graph, 100)) == {"ab", "bc", "de"}


def test_centre_shows_what_is_within_the_depth() -> None:
    graph = graph_of(*"abcde", pairs="ab bc cd de")
    assert names(part(graph, centre="b", depth=1, limit=10)) == set("abc")
    assert names(part(graph, centre="b", depth=2, limit=10)) == set("abcd")
    assert names(part(graph, centre="b", depth=0, limit=10)) == {"b"}


def test_centre_is_kept_and_the_best_connected_neighbours_come_first() -> None:
    graph = graph_of(*"abcdef", pairs="ab ac ad de df")
    assert names(part(graph, centre="a", depth=3, limit=2)) == set("ad")
    assert names(part(graph, centre="a", depth=3, limit=1)) == {"a"}


def test_unknown_centre_has_nothing_around_it() -> None:
    assert part(graph_of(*"ab", pairs="ab"), centre="z", depth=2, limit=9).entities == ()


def test_types_and_documents_filter_entities_and_relations() -> None:
    graph = Graph(
        entities=(
            entity("a", "person", ("one",)),
            entity("b", "place", ("one", "two")),
            entity("c", "person", ("one", "two")),
        ),
        relations=(relation("a", "b", "one"), relation("a", "c", "one"), relation("b", "c", "two")),
        version="1",
    )
    assert pairs(core(graph, 9, types=frozenset({"person"}))) == {"ac"}
    assert pairs(core(graph, 9, documents=frozenset({"two"}))) == {"bc"}
    around = part(graph, centre="b", depth=1, limit=9, types=frozenset({"person"}))
    assert names(around) == set("abc")  # the centre passes every filter


def test_version_of_a_part_differs_with_the_graph_and_the_request() -> None:
    first, second = graph_of(*"ab", pairs="ab"), graph_of(*"ab", pairs="ab", version="2")
    assert core(first, 2).version == core(first, 2).version
    assert len({core(first, 2).version, core(first, 1).version, core(second, 2).version}) == 3


def test_part_of_an_empty_graph_is_empty() -> None:
    assert core(graph_of(), 10).entities == ()
    assert core(graph_of(*"ab"), 0).entities == ()


# Finding


def test_search_ranks_equal_names_then_beginnings_then_words_then_parts() -> None:
    graph = graph_of("пластинка", "древний лист", "лист", "листопад", "сплист")
    assert search(graph, "Лист") == ("лист", "листопад", "древний лист", "сплист")


def test_search_forgives_case_yo_and_spaces() -> None:
    graph = graph_of("Пётр  Первый", "STRASSE")
    assert search(graph, " петр первый ") == ("Пётр  Первый",)
    assert search(graph, "straße") == ("STRASSE",)


def test_search_takes_words_in_any_order_after_exact_phrases() -> None:
    graph = graph_of("Ivanov Petr", "Petr Ivanov")
    assert search(graph, "petr ivan") == ("Petr Ivanov", "Ivanov Petr")


def test_search_prefers_the_better_connected() -> None:
    graph = graph_of("a1", "a2", "b")
    graph = Graph(entities=graph.entities, relations=(relation("a2", "b"),), version="1")
    assert Names(graph).search("a") == ("a2", "a1")
    assert search(graph, "a", limit=1) == ("a2",)


def test_search_follows_the_graph_it_is_given() -> None:
    assert search(graph_of("old"), "o") == ("old",)
    assert search(graph_of("other"), "o") == ("other",)
    assert search(graph_of(), "o") == ()


def test_empty_search_lists_the_best_connected() -> None:
    assert search(graph_of(*"abc", pairs="bc"), "  ", limit=2) == ("b", "c")


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.strip()])
def test_hostile_names_are_found(name: str) -> None:
    assert search(hostile(), name)[0] == name


# The page


def page(graph: Graph, **options: Any) -> str:
    return html(graph, layout(graph), **{"title": "Graph", **options})


def data(text: str, kind: str) -> list[dict[str, Any]]:
    found = re.search(rf"{kind} = new vis\.DataSet\((\[.*?\])\);\n", text)
    assert found
    made: list[dict[str, Any]] = json.loads(found[1])
    return made


def test_page_asks_the_network_for_nothing() -> None:
    text = page(hostile())
    assert not re.search(r"<(?:script|link|img|iframe|base|form)\b[^>]*\b(?:src|href)\s*=", text)
    assert not re.search(r"url\(\s*['\"]?(?!data:)\w", text)
    assert "@import" not in text
    assert "default-src 'none'" in text
    for place in ("jsdelivr", "cdnjs", "unpkg", "bootstrap"):
        assert place not in text


def test_page_has_one_head_and_one_body() -> None:
    text = page(graph_of(*"ab", pairs="ab"))
    assert text.startswith("<!doctype html>")
    drawn = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    for tag in ("<html", "<head>", "</head>", "<body>", "</body>", "</html>", "<title>"):
        assert drawn.count(tag) == 1, tag
    assert "<h1>" not in drawn


def test_nodes_carry_position_size_and_texts() -> None:
    graph = Graph(
        entities=(entity("a" * 100, "person"), entity("b"), entity("c")),
        relations=(relation("a" * 100, "b"), relation("a" * 100, "c", weight=9.0)),
        version="1",
    )
    text = page(graph)
    first, second, _ = data(text, "nodes")
    assert first["name"] == "a" * 100
    assert len(first["caption"]) == CAPTION
    assert first["kind"] == "person"
    assert first["size"] > second["size"]
    assert (first["x"], first["y"]) == layout(graph)["a" * 100]
    thin, thick = data(text, "edges")
    assert thick["width"] > thin["width"]
    assert '"physics": {"enabled": false}' in text
    assert '"smooth": false' in text


def test_long_descriptions_are_shortened() -> None:
    graph = Graph(
        entities=(Entity(name="a", type="t", description="word " * 400),),
        relations=(),
        version="1",
    )
    assert len(data(page(graph), "nodes")[0]["words"]) <= 300


def test_hostile_texts_stay_data() -> None:
    plain, text = page(graph_of(*"ab", pairs="ab")), page(hostile(), title=HOSTILE[0])
    for tag in ("<script", "</script", "<img", "<a "):
        assert text.count(tag) == plain.count(tag), tag
    text.encode()
    kept = {node["name"] for node in data(text, "nodes")}
    assert set(HOSTILE) - kept == {"half \ud83d of a pair"}


def test_pyvis_never_shows_titles_as_html() -> None:
    """Its template does so when a title has the word href in it."""
    assert "innerHTML = nodeData" not in page(hostile())


def test_captions_have_no_line_breaks_or_direction_marks() -> None:
    captions = [node["caption"] for node in data(page(hostile()), "nodes")]
    assert all(captions)
    assert not re.search(r"[\n\r\0\u2028\u202e]", "".join(captions))


def test_types_keep_their_colour_in_every_view() -> None:
    def colour(graph: Graph, name: str) -> str:
        text = page(graph)
        group = next(node["group"] for node in data(text, "nodes") if node["name"] == name)
        config = re.search(r'id="config-data" type="application/json">(.*?)</script>', text)
        assert config
        return str(json.loads(config[1])["colours"][group])

    few = Graph(entities=(entity("a", "Person"), entity("x", "ritual")), relations=(), version="1")
    more = tuple(entity(str(number), f"type {number % 7}") for number in range(70))
    many = Graph(entities=(*more, *few.entities), relations=(), version="1")
    assert colour(few, "a") == colour(many, "a")
    assert colour(few, "x") == colour(many, "x")
    unknown = Graph(entities=(entity("a", "UNKNOWN"),), relations=(), version="1")
    assert colour(unknown, "a") == GREY


def test_legend_counts_types_and_gathers_the_smallest() -> None:
    graph = Graph(
        entities=tuple(
            entity(f"{kind}/{number}", f"type {kind}")
            for kind in range(60)
            for number in range(60 - kind)
        ),
        relations=(),
        version="1",
    )
    legend = re.findall(r"<span>([^<]*)</span><em>(\d+)</em>", page(graph))
    assert legend[0] == ("type 0", "60")
    assert legend[-1][0] == "smaller groups"
    assert sum(int(count) for _, count in legend) == len(graph.entities)


def test_communities_are_called_after_their_best_connected_entity() -> None:
    graph = graph_of(*"abcdefgh", pairs="ab ac ad bc ef eg eh fg")
    legend = re.findall(r"<span>([^<]*)</span><em>(\d+)</em>", page(graph, colour_by="community"))
    assert legend == [("a", "4"), ("e", "4")]


def test_a_map_is_coloured_by_communities_or_by_their_commonest_types() -> None:
    graph = graph_of(*"abcdefgh", pairs="ab ac ad bc ef eg eh fg")
    types = dict(zip("abcdefgh", ["person"] * 3 + ["event"] * 5, strict=True))
    typed = replace(
        graph, entities=tuple(replace(each, type=types[each.name]) for each in graph.entities)
    )
    drawn = overview(typed, limit=4)
    assert drawn.collapsed

    def legend(**look: Any) -> list[tuple[str, str]]:
        made = html(drawn, {node.key: (0.0, 0.0) for node in drawn.nodes}, title="", **look)
        return re.findall(r"<span>([^<]*)</span><em>(\d+)</em>", made)

    assert legend() == legend(colour_by="community") == [("a", "4"), ("e", "4")]
    assert legend(colour_by="type") == [("person", "4"), ("event", "4")]


def test_focus_is_marked_and_an_unknown_one_is_ignored() -> None:
    graph = graph_of(*"ab", pairs="ab")
    assert '"focus": 1' in page(graph, focus="b")
    assert '"focus": null' in page(graph, focus="z")


def test_dark_page_is_dark() -> None:
    assert 'class="dark"' in page(graph_of("a"), dark=True)
    assert 'class="light"' in page(graph_of("a"))


def test_loops_and_repeated_relations_are_drawn_safely() -> None:
    graph = graph_of(*"ab", pairs="aa ab ba ab")
    assert len(data(page(graph), "edges")) == 3


@pytest.mark.parametrize("dark", [False, True])
def test_page_of_nothing_says_so(dark: bool) -> None:
    text = page(graph_of(), title="<b>", dark=dark)
    assert "Nothing is indexed yet" in text
    assert "<title>&lt;b&gt;</title>" in text
    assert "<script" not in text


def test_page_of_an_unknown_entity_does_not_say_that_nothing_is_indexed() -> None:
    text = html(graph_of(), {}, title="x", indexed=True)
    assert "Nothing is indexed" not in text
    assert "no entity of that name" in text


# Files


def test_graphml_is_read_back_whole() -> None:
    graph = Graph(
        entities=(entity("Пётр", "person", ("one", "two")), entity("b")),
        relations=(relation("Пётр", "b", "one", weight=2.5),),
        version="1",
    )
    read = nx.parse_graphml(to_graphml(graph).decode())
    assert read.nodes["n0"]["label"] == "Пётр"
    assert read.nodes["n0"]["documents"] == "one; two"
    assert read.edges["n0", "n1"]["weight"] == 2.5


def test_graphml_of_hostile_names_is_valid() -> None:
    read = nx.parse_graphml(to_graphml(hostile()).decode())
    labels = {read.nodes[node]["label"] for node in read.nodes}
    assert "</script><script>alert(1)</script>" in labels
    assert "nul \ufffd inside" in labels


def test_files_of_nothing_are_valid() -> None:
    assert len(nx.parse_graphml(to_graphml(graph_of()).decode())) == 0
    assert [table.count(b"\n") for table in to_csv(graph_of())] == [1, 1]
    assert "Nothing is indexed yet" in to_html(graph_of())


def test_tables_hold_all_and_open_as_utf8() -> None:
    nodes, edges = to_csv(hostile())
    assert nodes.startswith(b"\xef\xbb\xbf") and edges.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(nodes.decode("utf-8-sig"), newline="")))
    assert rows[0] == ["name", "type", "description", "documents"]
    assert [row[0] for row in rows[1:]][:7] == list(HOSTILE[:7])
    assert len(list(csv.reader(io.StringIO(edges.decode("utf-8-sig"), newline="")))) == 16


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1"])
def test_tables_hold_no_formulas(text: str) -> None:
    graph = Graph(entities=(entity(text, text),), relations=(), version="1")
    rows = list(csv.reader(io.StringIO(to_csv(graph)[0].decode("utf-8-sig"), newline="")))
    assert rows[1][:2] == [f"'{text}", f"'{text}"]


def test_weights_stay_numbers_in_tables() -> None:
    graph = Graph(
        entities=(entity("a"),), relations=(relation("a", "a", weight=-1.5),), version="1"
    )
    assert b"a,a,-1.5," in to_csv(graph)[1]


def test_page_of_a_whole_graph_is_made_in_one_step() -> None:
    text = to_html(graph_of(*"abc", pairs="ab"))
    assert len(data(text, "nodes")) == 3
