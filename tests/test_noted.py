"""Storages that note what changes: what was there, and the changes, make what is there now."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nano_vectordb import NanoVectorDB

from librarian import graphml
from librarian.noted import NotedGraph, NotedRows, NotedVectors, Row

NAMES = st.sampled_from("abcdef")
STEPS = st.lists(st.tuples(st.sampled_from("put cut node edge".split()), NAMES, NAMES), max_size=30)


def graph_of(steps: list[tuple[str, str, str]], graph: NotedGraph) -> NotedGraph:
    for number, (step, one, other) in enumerate(steps):
        if step == "put":
            graph.add_edge(one, other, weight=number)
        elif step == "cut" and graph.has_edge(one, other):
            graph.remove_edge(one, other)
        elif step == "node" and graph.has_node(one):
            graph.remove_node(one)
        elif step == "edge":
            graph.add_node(one, **{other: number})
    return graph


def vectors() -> NotedVectors:
    stored = {"embedding_dim": 4, "data": [], "matrix": np.zeros((0, 4), np.float32)}
    return NotedVectors(stored, "vdb.json")


def row(name: str, number: int) -> Row:
    vector = np.random.default_rng(number).normal(size=4)
    return {"__id__": name, "content": f"{name} {number}", "__vector__": vector}


def vectors_of(steps: list[tuple[str, str, str]], found: NotedVectors) -> NotedVectors:
    for number, (step, one, other) in enumerate(steps):
        if step in ("put", "edge"):
            found.upsert([row(one, number), row(other + other, number + 1)])
        else:
            found.delete([one, other + other])
    return found


def held(found: NotedVectors) -> dict[str, tuple[str, list[float]]]:
    return {
        each["__id__"]: (each["content"], vector.tolist())
        for each, vector in zip(found.rows, found.matrix, strict=True)
    }


@given(STEPS, STEPS)
def test_a_graph_and_its_changes_are_the_graph_that_it_became(
    before: list[tuple[str, str, str]], after: list[tuple[str, str, str]]
) -> None:
    graph, copy = (graph_of(before, NotedGraph.of(nx.Graph())) for _ in range(2))
    graph.changed("g")
    graph_of(after, graph)
    changes = graph.changed("g")
    copy.replay(changes)
    copy.replay(changes)
    assert dict(copy.nodes(data=True)) == dict(graph.nodes(data=True))
    edges = {frozenset(each[:2]): each[2] for each in graph.edges(data=True)}
    assert {frozenset(each[:2]): each[2] for each in copy.edges(data=True)} == edges
    assert not copy.changed("g")


@given(STEPS, STEPS)
def test_vectors_and_their_changes_are_the_vectors_that_they_became(
    before: list[tuple[str, str, str]], after: list[tuple[str, str, str]]
) -> None:
    found, copy = (vectors_of(before, vectors()) for _ in range(2))
    found.changed("v")
    vectors_of(after, found)
    changes = found.changed("v")
    copy.replay(changes)
    copy.replay(changes)
    assert held(copy) == held(found)


def test_rows_note_every_way_in_which_lightrag_changes_them() -> None:
    rows = NotedRows({"a": {}, "b": {}, "c": {}, "d": {}})
    rows.update({"a": {"new": 1}})
    rows["e"] = {}
    rows.pop("b", None)
    del rows["c"]
    changes = rows.changed("kv")
    assert {each.key: each.value for each in changes} == {
        "a": {"new": 1}, "e": {}, "b": None, "c": None,
    }  # fmt: skip
    assert not rows.changed("kv")
    rows.unsaved(changes)
    rows.clear()
    assert {each.key for each in rows.changed("kv")} == set("abcde")


def test_the_nearest_vectors_are_those_of_a_search_through_all() -> None:
    found = vectors()
    found.upsert([row(str(number), number) for number in range(50)])
    found.delete(["7", "49", "0"])
    wanted = np.array([1.0, 2.0, -1.0, 0.5])
    cosines = {
        each["__id__"]: float(vector @ wanted / np.linalg.norm(wanted))
        for each, vector in zip(found.rows, found.matrix, strict=True)
    }
    best = sorted(cosines, key=lambda each: -cosines[each])[:5]
    assert [each["__id__"] for each in found.query(wanted, 5)] == best
    odd = [each for each in sorted(cosines, key=lambda each: -cosines[each]) if int(each) % 2]
    some = found.query(wanted, 3, 0.1, lambda each: int(each["__id__"]) % 2 == 1)
    assert [each["__id__"] for each in some] == [each for each in odd if cosines[each] >= 0.1][:3]
    assert found.query(wanted, 3, filter_lambda=lambda _: False) == []
    assert [each["__id__"] for each in found.get(["3", "7", "4"])] == ["3", "4"]


def test_many_rows_at_once_come_out_as_those_of_nano_vector_db(tmp_path: Path) -> None:
    given_ = [row(str(number % 700), number) for number in range(1000)]  # some come twice
    theirs = NanoVectorDB(4, storage_file=str(tmp_path / "vdb.json"))
    found = vectors()
    for each in (found, theirs):
        each.upsert(datas=[dict(one) for one in given_[:300]])
        each.upsert(datas=[dict(one) for one in given_[300:]])
    stored = theirs._NanoVectorDB__storage
    expected = {
        each["__id__"]: (each["content"], vector.tolist())
        for each, vector in zip(stored["data"], stored["matrix"], strict=True)
    }
    mine = held(found)
    assert mine.keys() == expected.keys()
    assert len(mine) == 700
    assert {name: words for name, (words, _) in mine.items()} == {
        name: words for name, (words, _) in expected.items()
    }
    for name, (_, vector) in mine.items():
        assert vector == pytest.approx(expected[name][1], abs=1e-6)


WRITTEN = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff", min_codepoint=32)
    | st.sampled_from("\t\n\r<>&\"'"),
)


@given(st.lists(st.tuples(WRITTEN, WRITTEN, WRITTEN, st.floats(0, 9) | st.integers(0, 9))))
def test_the_file_of_a_graph_reads_as_the_graph(
    rows: list[tuple[str, str, str, float]],
) -> None:
    graph = NotedGraph.of(nx.Graph())
    for one, other, text, weight in rows:
        graph.add_node(one, entity_id=one, description=text)
        graph.add_edge(one, other, weight=weight, description=text)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "graph.graphml"
        path.write_bytes(b"".join(graphml.pieces(graph)))
        read = graphml.read(path)
    assert dict(read.nodes(data=True)) == dict(graph.nodes(data=True))
    assert {frozenset(pair): row for *pair, row in read.edges(data=True)} == {
        frozenset(pair): row for *pair, row in graph.edges(data=True)
    }


@given(st.text(min_size=1))
def test_the_file_of_a_graph_can_be_read_whatever_is_in_it(text: str) -> None:
    graph = NotedGraph.of(nx.Graph())
    graph.add_edge("one" + text, "other" + text, description=text)
    assert nx.parse_graphml(b"".join(graphml.pieces(graph)).decode()).number_of_edges() == 1


def large_graph() -> nx.Graph:
    """It is read in several parts."""
    graph = nx.Graph()
    for number in range(2_000):
        text = f"Маяк {number} \"у моря\"</node>\n</graph>\n<data key='d0'>\r & \n</node>\n" * 12
        graph.add_node(f"Маяк {number}\n", description=text, created_at=number, truncate="")
        graph.add_edge(f"Маяк {number // 2}\n", f"Маяк {number}\n", weight=number / 3, keywords="")
    return graph


def same(one: nx.Graph, other: nx.Graph) -> bool:
    return one._node == other._node and one._adj == other._adj


def test_a_large_graph_is_read_as_it_was_written(tmp_path: Path) -> None:
    path, graph = tmp_path / "graph.graphml", large_graph()
    path.write_bytes(b"".join(graphml.pieces(graph)))
    assert path.stat().st_size > 2 * graphml.AT_ONCE
    found, theirs = graphml.read(path), nx.read_graphml(path)
    assert same(found, graph)
    assert list(found) == list(graph)
    assert found.graph == theirs.graph
    for name, row in theirs.nodes(data=True):
        assert row == {key: value for key, value in graph.nodes[name].items() if key in row}


def test_a_file_of_networkx_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "graph.graphml"
    nx.write_graphml(large_graph(), path)
    assert same(graphml.read(path), nx.read_graphml(path))


@pytest.mark.parametrize("left", [0.0, 0.3, 0.999])
def test_a_damaged_file_is_no_graph(tmp_path: Path, left: float) -> None:
    path = tmp_path / "graph.graphml"
    data = b"".join(graphml.pieces(large_graph()))
    path.write_bytes(data[: int(left * len(data))])
    with pytest.raises(ElementTree.ParseError):
        graphml.read(path)
    with pytest.raises(ElementTree.ParseError):
        nx.read_graphml(path)
