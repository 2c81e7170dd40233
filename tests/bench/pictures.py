"""Pictures of graphs of known sizes: how long their positions and maps take, and who waits."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from librarian.communities import communities, overview
from librarian.knowledge import Entity, Graph, Relation
from librarian.layout import degrees, layout
from librarian.positions import Places, Positions
from tests.bench.processes import own_folder
from tests.bench.report import Row

T = TypeVar("T")

LIMIT = 300  # entities; a larger graph opens as its map
TICK_S = 0.005
OUTSIDE = 0.15  # of the relations go to another group
TRIES = 3


def pictures(corpus: Path | None) -> list[Row]:
    """Layouts, communities and maps of made-up graphs; each time is the middle one of three."""
    small, middle, large, huge = (
        made_up(1000, 3000),
        made_up(5000, 15_000),
        made_up(20_000, 60_000),
        made_up(50_000, 150_000),
    )
    _, small_s = _timed(lambda: layout(small))
    before, middle_s = _timed(lambda: layout(middle))
    grown = made_up(5000, 15_000, more=500)
    after, grown_s = _timed(lambda: layout(grown, before=before))
    groups, leiden_s = _timed(lambda: communities(large))
    shown, map_s = _timed(lambda: overview(large, limit=LIMIT, groups=groups))
    _, degrees_s = _timed(lambda: degrees(huge))
    odd = {
        "in one chain": [(n, n + 1) for n in range(4999)],
        "around one": [(0, n) for n in range(1, 5000)],
        "in threes": [(n - n % 3, n) for n in range(5000) if n % 3],
    }
    return [
        Row(what="layout: 1,000 nodes, 3,000 edges", value=small_s, unit="s", most=1),
        Row(what="layout: 5,000 nodes, 15,000 edges", value=middle_s, unit="s", most=5),
        Row(what="layout: grown from 5,000 to 5,500 nodes", value=grown_s, unit="s", most=5),
        Row(what="layout: median move of the 5,000 then, of the width",
            value=100 * _moved(before, after), unit="%", most=5),
        Row(what="layout: another thread waits at most, 5,000 nodes",
            value=1e3 * _lag(lambda: layout(middle)), unit="ms", most=100),
        *(
            Row(what=f"layout: 5,000 nodes {how}", unit="s", most=5,
                value=_timed(partial(layout, _graph(5000, pairs)))[1])
            for how, pairs in odd.items()
        ),
        Row(what="map: communities of 20,000 nodes, 60,000 edges", value=leiden_s, unit="s"),
        Row(what="map: another thread waits at most, 20,000 nodes",
            value=1e3 * _lag(lambda: communities(large)), unit="ms", most=100),
        Row(what="map: nodes and edges summed up", value=map_s, unit="s"),
        Row(what="map: nodes", value=len(shown.nodes), most=100),
        *_opened(large),
        Row(what="degrees of 50,000 nodes, 150,000 edges", value=1e3 * degrees_s, unit="ms"),
    ]  # fmt: skip


def made_up(nodes: int, edges: int, more: int = 0) -> Graph:
    """Groups of very different sizes with hubs, as books give them; the same in every run.

    `more` nodes with three edges each are added to what it is without them.
    """
    dice, groups, left = random.Random(1), list[range](), nodes
    while left:
        size = min(left, nodes // 8, 8 + int(8 * dice.paretovariate(0.8)))
        groups.append(range(nodes - left, nodes - left + size))
        left -= size
    pools = [_hubs(group, dice) for group in groups]
    pairs = {
        (min(pair), max(pair)) for pool in pools for pair in zip(pool[::2], pool[1::2], strict=True)
    }
    pairs = {(a, b) for a, b in pairs if a != b}
    sizes = [len(pool) for pool in pools]
    while len(pairs) < edges:
        pool = dice.choices(pools, sizes)[0]
        other = dice.choices(pools, sizes)[0] if dice.random() < OUTSIDE else pool
        a, b = dice.choice(pool), dice.choice(other)
        if a != b:
            pairs.add((min(a, b), max(a, b)))
    everyone = [number for pool in pools for number in pool]
    new = [(nodes + n, dice.choice(everyone)) for n in range(more) for _ in range(3)]
    return _graph(nodes + more, sorted(pairs) + new)


def _graph(nodes: int, pairs: list[tuple[int, int]]) -> Graph:
    return Graph(
        entities=tuple(
            Entity(name=f"entity {n}", type="concept", description="") for n in range(nodes)
        ),
        relations=tuple(
            Relation(source=f"entity {a}", target=f"entity {b}", description="") for a, b in pairs
        ),
        version="1",
    )


def _hubs(group: range, dice: random.Random) -> list[int]:
    """Pairs of a tree one after the other: each joins one that has many already, most often."""
    pool = [group[0], group[0]]
    for number in group[1:]:
        pool += [number, dice.choice(pool)]
    return pool


def _opened(graph: Graph) -> list[Row]:
    """The map as the page has it: everything anew, then from the disk as after a restart."""
    with own_folder() as folder:

        def picture() -> None:
            shown = overview(graph, limit=LIMIT)
            Positions(folder / "pictures").of(
                shown.graph("1"), radii=shown.radii(), inside=shown.inside()
            )

        begun_s = time.perf_counter()
        picture()
        cold_s = time.perf_counter() - begun_s
        _, kept_s = _timed(picture)
    return [
        Row(what="map: of 20,000 nodes with its positions, cold", value=cold_s, unit="s"),
        Row(what="map: the same, positions kept on disk", value=kept_s, unit="s", most=1.5),
    ]


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    seconds = []
    for _ in range(TRIES):
        begun_s = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun_s)
    return result, statistics.median(seconds)


def _lag(work: Callable[[], object]) -> float:
    """The longest that a thread which wants to run every 5 ms has to wait: the event loop's lot."""
    ended, worst = threading.Event(), 0.0

    def tick() -> None:
        nonlocal worst
        while not ended.is_set():
            begun_s = time.perf_counter()
            time.sleep(TICK_S)
            worst = max(worst, time.perf_counter() - begun_s - TICK_S)

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        work()
    finally:
        ended.set()
        ticker.join()
    return worst


def _moved(before: Places, after: Places) -> float:
    """The median distance between two pictures, as a part of the first one's width."""
    width = max(x for x, _ in before.values()) - min(x for x, _ in before.values())
    return (
        statistics.median(
            ((x - after[name][0]) ** 2 + (y - after[name][1]) ** 2) ** 0.5
            for name, (x, y) in before.items()
        )
        / width
    )
