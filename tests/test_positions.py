"""Pictures that look the same after a restart."""

from __future__ import annotations

import json
import logging
import math
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from librarian.knowledge import Entity, Graph, Relation
from librarian.positions import HELD, PICTURES, Positions


def ring(count: int, prefix: str = "e") -> Graph:
    """Entities in a circle with shortcuts."""
    names = [f"{prefix}{number}" for number in range(count)]
    pairs = [(names[n], names[(n + step) % count]) for n in range(count) for step in (1, 2, 7)]
    return Graph(
        entities=tuple(Entity(name=name, type="concept", description="") for name in names),
        relations=tuple(Relation(source=a, target=b, description="") for a, b in pairs),
        version="1",
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def test_picture_is_the_same_after_a_restart(tmp_path: Path) -> None:
    graph = ring(60)
    first = Positions(tmp_path / "pictures").of(graph)
    kept = files(tmp_path / "pictures")
    made = kept[0].read_bytes()
    again = Positions(tmp_path / "pictures").of(replace(graph, version="another"))
    assert again == first
    assert [path.read_bytes() for path in kept] == [made]


def test_kept_picture_is_read_and_not_computed(tmp_path: Path) -> None:
    graph = ring(30)
    Positions(tmp_path).of(graph)
    (path,) = files(tmp_path)
    places = {name: [float(n), 0.0] for n, name in enumerate(json.loads(path.read_bytes()))}
    path.write_text(json.dumps(places), encoding="utf-8")
    assert Positions(tmp_path).of(graph) == {name: tuple(place) for name, place in places.items()}


def test_same_content_in_another_order_is_the_same_picture(tmp_path: Path) -> None:
    graph = ring(30)
    turned = Graph(
        entities=graph.entities[::-1],
        relations=tuple(
            replace(one, source=one.target, target=one.source) for one in graph.relations[::-1]
        ),
        version="2",
    )
    positions = Positions(tmp_path)
    assert positions.of(turned) == positions.of(graph)
    assert len(files(tmp_path)) == 1


def test_grown_graph_keeps_its_picture_over_a_restart(tmp_path: Path) -> None:
    graph = ring(100)
    before = Positions(tmp_path).of(graph)
    more = Graph(
        entities=(*graph.entities, Entity(name="new", type="", description="")),
        relations=(*graph.relations, Relation(source="new", target="e5", description="")),
        version="2",
    )
    after = Positions(tmp_path).of(more)
    width = max(x for x, _ in before.values()) - min(x for x, _ in before.values())
    assert statistics.median(math.dist(before[n], after[n]) for n in before) < 0.04 * width


def test_picture_made_anew_forgets_the_earlier_one(tmp_path: Path) -> None:
    graph = ring(40)
    free = Positions(tmp_path / "free").of(graph)
    positions = Positions(tmp_path / "kept")
    positions.of(graph)
    (path,) = files(tmp_path / "kept")
    path.write_text(json.dumps({name: [0.0, 0.0] for name in free}), encoding="utf-8")
    positions = Positions(tmp_path / "kept")
    assert positions.of(graph) != free
    assert positions.of(graph, anew=True) == free
    assert Positions(tmp_path / "kept").of(graph) == free


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00\xff\xfe",
        b"[]",
        b'{"e0": [1.0, 2.0]}',
        b'{"e0": [NaN, 2.0]}',
        b'{"e0": [1e999, 2.0]}',
        b'{"e0": {"x": 1}}',
        b'{"e0": "<script>"}',
        b"[" * 200_000,
    ],
)
def test_damaged_file_is_made_anew(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    graph = ring(20)
    first = Positions(tmp_path).of(graph)
    (path,) = files(tmp_path)
    good = path.read_bytes()
    path.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert Positions(tmp_path).of(graph).keys() == first.keys()
    assert path.read_bytes() == good
    assert path.name in caplog.text


def test_file_of_another_size_than_any_picture_is_not_read(tmp_path: Path) -> None:
    graph = ring(20)
    first = Positions(tmp_path).of(graph)
    (path,) = files(tmp_path)
    with path.open("r+b") as stream:
        stream.truncate(200 * 1024 * 1024)
    assert Positions(tmp_path).of(graph) == first
    assert path.stat().st_size < 10_000


def test_pictures_are_shown_where_they_cannot_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert len(Positions(tmp_path / "taken").of(ring(20))) == 20
    assert "could not be kept" in caplog.text


def test_oldest_pictures_are_removed(tmp_path: Path) -> None:
    for number in range(PICTURES + 20):
        path = tmp_path / f"{number:032x}.json"
        path.write_text('{"a": [1.0, 2.0]}', encoding="utf-8")
        os.utime(path, (1000 + number, 1000 + number))
    Positions(tmp_path).of(ring(20))
    left = files(tmp_path)
    assert len(left) == PICTURES
    assert not (tmp_path / f"{0:032x}.json").exists()


def test_picture_that_is_looked_at_is_not_the_oldest(tmp_path: Path) -> None:
    positions = Positions(tmp_path)
    positions.of(ring(20))
    (path,) = files(tmp_path)
    os.utime(path, (1000, 1000))
    positions.of(ring(20))
    assert path.stat().st_mtime > 1000


def test_hostile_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ["\ud800", "<script>", "a\nb\x00", "я" * 500, "../../etc"]
    graph = Graph(
        entities=tuple(Entity(name=name, type="", description="") for name in names),
        relations=(Relation(source=names[0], target=names[1], description=""),),
        version="1",
    )
    assert list(Positions(tmp_path).of(graph)) == names
    assert Positions(tmp_path).of(graph) == Positions(tmp_path / "other").of(graph)
    assert [path.parent for path in files(tmp_path)] == [tmp_path]


def test_what_is_returned_is_not_what_is_held(tmp_path: Path) -> None:
    positions, graph = Positions(tmp_path), ring(20)
    positions.of(graph).clear()
    assert len(positions.of(graph)) == 20


def test_other_radii_are_another_picture(tmp_path: Path) -> None:
    positions, graph = Positions(tmp_path), ring(20)
    wide = positions.of(graph, radii={entity.name: 60.0 for entity in graph.entities})
    assert wide != positions.of(graph)
    assert len(files(tmp_path)) == 2


def test_many_threads_and_many_pictures_at_once(tmp_path: Path) -> None:
    positions = Positions(tmp_path)
    graphs = [ring(20 + number, f"{number} ") for number in range(HELD + 3)] * 3
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(positions.of, graphs))
    third = len(graphs) // 3
    assert found[:third] == found[third : 2 * third] == found[2 * third :]


def test_opened_node_is_shown_where_it_was_closed(tmp_path: Path) -> None:
    """A map of rings, each as one node; then one of them with its members."""
    positions, closed = Positions(tmp_path), ring(24, "community ")
    before = positions.of(closed)
    members = ring(20, "member ")
    opened = Graph(
        entities=closed.entities[1:] + members.entities,
        relations=(
            *(one for one in closed.relations if "community 0" not in (one.source, one.target)),
            *members.relations,
            Relation(source="member 0", target="community 1", description=""),
            Relation(source="member 1", target="community 23", description=""),
        ),
        version="2",
    )
    inside = {entity.name: "community 0" for entity in members.entities}
    after = positions.of(opened, inside=inside)
    middle = (
        statistics.mean(after[name][0] for name in inside),
        statistics.mean(after[name][1] for name in inside),
    )
    nearest = min(closed.entities[1:], key=lambda each: math.dist(after[each.name], middle))
    was_near = sorted(
        closed.entities[1:], key=lambda each: math.dist(before[each.name], before["community 0"])
    )
    assert nearest in was_near[:6]
