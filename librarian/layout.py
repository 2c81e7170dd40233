"""Where each entity of a drawn graph stands: forces within a component, components side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from librarian.forces import SMALL, Indices, Points, eased, settled, squares
from librarian.knowledge import Graph

SMALLEST, LARGEST = 5.0, 34.0  # radii of drawn nodes
GAP = 9.0  # free space around a node
WIDE = 1.6  # width over height of a screen
OLD = 2 / 3  # of a component's nodes: from here on it keeps its picture, else it is drawn anew
LOOSE, TIGHT = 0.6, 2.0  # how far an earlier picture may be from the width that it would have
GOLDEN = 2.399963  # the golden angle
ROUNDS = 80  # of moving overlapping nodes apart


def radius(degree: int) -> float:
    """How large a node with so many relations is drawn."""
    return min(LARGEST, SMALLEST + 2.2 * math.sqrt(degree))


def degrees(graph: Graph) -> Counter[str]:
    """How many relations to others each entity of a graph has."""
    found = Counter(relation.source for relation in graph.relations)
    found.update(relation.target for relation in graph.relations)
    return found


def layout(
    graph: Graph,
    *,
    before: Mapping[str, tuple[float, float]] | None = None,
    radii: Mapping[str, float] | None = None,
) -> dict[str, tuple[float, float]]:
    """Positions of all entities in pixels; the same arguments give the same picture.

    With the positions of an earlier picture in `before`, what was on it stays near its place, and
    new entities come near those they are related to; those that share an earlier place spread
    around it. `radii` are how large nodes are drawn; without them it follows from their degrees. No
    two nodes overlap.
    """
    names = sorted(entity.name for entity in graph.entities)
    edges = _edges(graph, names)
    if radii is None:
        size = np.bincount(edges.ravel(), minlength=len(names))
        sizes = np.array([radius(int(degree)) for degree in size], dtype=np.float32)
    else:
        sizes = np.array([radii[name] for name in names], dtype=np.float32)
    known = np.array([(before or {}).get(name, (math.nan,) * 2) for name in names], np.float32)
    known = known.reshape(-1, 2)
    points = np.zeros_like(known)
    parts = _components(len(names), edges)
    shapes: dict[tuple[bytes, ...], Points] = {}  # hundreds of small components are alike
    for members, inner in parts:
        shape = (inner.tobytes(), sizes[members].tobytes(), known[members].tobytes())
        if shape not in shapes:
            shapes[shape] = _component(inner, sizes[members], known[members])
        points[members] = shapes[shape]
    _pack(points, sizes, [members for members, _ in parts])
    places = {
        name: (round(x, 1), round(y, 1))
        for name, (x, y) in zip(names, points.tolist(), strict=True)
    }
    return {entity.name: places[entity.name] for entity in graph.entities}


def _edges(graph: Graph, names: Sequence[str]) -> Indices:
    """Pairs of indices, each once, without loops."""
    index = {name: number for number, name in enumerate(names)}
    pairs = {
        (min(a, b), max(a, b))
        for relation in graph.relations
        if (a := index.get(relation.source, -1)) >= 0
        and (b := index.get(relation.target, -1)) >= 0
        and a != b
    }
    return np.array(sorted(pairs), dtype=np.intp).reshape(-1, 2)


def _components(count: int, edges: Indices) -> list[tuple[Indices, Indices]]:
    """Members of each connected component and its edges in their own numbers, largest first."""
    whole = nx.empty_graph(count)
    whole.add_edges_from(edges.tolist())
    found = sorted(map(sorted, nx.connected_components(whole)), key=lambda one: (-len(one), one[0]))
    owner = np.empty(count, dtype=np.intp)
    place = np.empty(count, dtype=np.intp)
    for number, members in enumerate(found):
        owner[members] = number
        place[members] = np.arange(len(members))
    order = np.argsort(owner[edges[:, 0]], kind="stable")
    bounds = np.searchsorted(owner[edges[order, 0]], np.arange(len(found) + 1))
    return [
        (np.array(members, dtype=np.intp), place[edges[order[bounds[i] : bounds[i + 1]]]])
        for i, members in enumerate(found)
    ]


def _component(edges: Indices, radii: Points, known: Points) -> Points:
    """Positions of a connected component; `known` has its earlier ones, or no numbers."""
    count = len(radii)
    if count < 3:
        apart = float(radii.sum()) + 3 * GAP
        return np.array([[0.0, 0.0], [apart, 0.0]], dtype=np.float32)[:count]
    kept = _kept(edges, known)
    points = _grown(edges, radii, known, kept) if kept.sum() >= max(3, OLD * count) else None
    if points is None:
        points = settled(count, edges)
        points *= _scale(points, radii)
        if np.ptp(points[:, 0]) < np.ptp(points[:, 1]):
            points = points[:, ::-1].copy()
        if kept.sum() >= 3:
            points = _turned(points, known, kept)
    _separate(points, radii)
    if kept.any():
        points += np.median(known[kept] - points[kept], axis=0)
    return points


def _grown(edges: Indices, radii: Points, known: Points, kept: NDArray[np.bool_]) -> Points | None:
    """The earlier picture with the new nodes in it, or None if its width is wrong for them."""
    points = _beside(edges, radii, known, kept)
    _spread(points, radii, kept)
    if len(points) <= SMALL and kept.all():
        return points
    points = eased(points, edges, ~kept)
    wider = _scale(points, radii)
    if not LOOSE < wider < TIGHT:
        return None
    return points * np.float32(max(wider, 1.0))


def _kept(edges: Indices, known: Points) -> NDArray[np.bool_]:
    """The largest group of nodes with earlier positions that hangs together without the others.

    What was in other components before is far away: it moves as new nodes do.
    """
    old = np.asarray(np.isfinite(known).all(axis=1))
    if not old.any():
        return old
    inner = edges[old[edges].all(axis=1)]
    first = _components(len(known), inner)[0][0]  # the largest; a single node may be a new one
    kept = np.zeros_like(old)
    kept[first] = True
    kept &= old
    return kept


def _beside(edges: Indices, radii: Points, known: Points, kept: NDArray[np.bool_]) -> Points:
    """Kept nodes where they were; each other in the middle of its placed neighbours, or beside."""
    count = len(radii)
    points = np.where(kept[:, None], known, 0).astype(np.float32)
    placed = kept.copy()
    ways = np.vstack([edges, edges[:, ::-1]])
    while not placed.all():
        ready = ways[~placed[ways[:, 0]] & placed[ways[:, 1]]]
        near = np.bincount(ready[:, 0], minlength=count)
        now = np.flatnonzero(near)
        for axis in (0, 1):
            total = np.bincount(ready[:, 0], points[ready[:, 1], axis], count)
            points[now, axis] = total[now] / near[now]
        angle = now * GOLDEN  # no two in the same direction
        away = (radii[now] + LARGEST)[:, None]
        points[now] += np.stack([np.cos(angle), np.sin(angle)], axis=1) * away
        placed[now] = True
    return points


def _spread(points: Points, radii: Points, kept: NDArray[np.bool_]) -> None:
    """Nodes that were at one place go around it as the seeds of a sunflower; others make room."""
    groups: dict[tuple[float, float], list[int]] = {}
    for number in np.flatnonzero(kept).tolist():
        groups.setdefault(tuple(points[number].tolist()), []).append(number)
    for group in groups.values():
        if len(group) < 2:
            continue
        middle = points[group].mean(axis=0)
        order = np.arange(len(group))
        away = np.sqrt(order) * (float(radii[group].mean()) + GAP) * 1.5
        hole = float(away[-1]) + LARGEST
        from_middle = points - middle
        length = np.sqrt(squares(from_middle))[:, None] + 1e-3
        points[:] = middle + from_middle / length * np.sqrt(length**2 + hole**2)
        points[group, 0] = middle[0] + np.cos(order * GOLDEN) * away
        points[group, 1] = middle[1] + np.sin(order * GOLDEN) * away


def _turned(points: Points, known: Points, kept: NDArray[np.bool_]) -> Points:
    """The picture turned or mirrored so that kept nodes are nearest to where they were.

    Orthogonal Procrustes: Schoenemann, Psychometrika 31, 1966.
    """
    here, there = points[kept], known[kept]
    middle = here.mean(axis=0)
    left, _, right = np.linalg.svd((here - middle).T @ (there - there.mean(axis=0)))
    return np.asarray((points - middle) @ (left @ right) + there.mean(axis=0), dtype=np.float32)


def _scale(points: Points, radii: Points) -> float:
    """From the forces' units to those of the radii: room for all, in proportion to their area."""
    area = float(((radii + GAP) ** 2).sum()) * math.pi
    width, height = np.percentile(points, 97, axis=0) - np.percentile(points, 3, axis=0)
    room = 3.2 + 6 / math.sqrt(len(points))  # names fit between a few nodes
    return math.sqrt(area * room / max(float(width * height), 1e-3))


def _separate(points: Points, radii: Points) -> None:
    """Moves overlapping nodes apart, comparing each with those after it from left to right."""
    reach = radii + GAP / 2
    for _ in range(ROUNDS):
        order = np.argsort(points[:, 0], kind="stable")
        here, room = points[order], reach[order]
        shift = np.zeros_like(here)
        met = False
        for offset in range(1, len(here)):
            between = here[offset:] - here[:-offset]
            if between[:, 0].min() > 2 * float(room.max()):
                break
            need = room[offset:] + room[:-offset]
            close = np.flatnonzero(squares(between) < need**2)
            if not len(close):
                continue
            met = True
            between = between[close] + np.float32(1e-3)
            length = np.sqrt(squares(between)) + 1e-6
            step = between * ((need[close] - length) / length * 0.52)[:, None]
            share = (room[close] / need[close])[:, None]  # small nodes give way to large ones
            shift[close + offset] += step * share
            shift[close] -= step * (1 - share)
        if not met:
            return
        points[order] += shift


def _pack(points: Points, radii: Points, parts: Sequence[Indices]) -> None:
    """Puts all components but the largest on shelves below it, as high as their highest."""
    if not parts:
        return
    first = parts[0]
    if len(first) == 1:
        points[first] = 0
    low = (points[first] - radii[first, None]).min(axis=0)
    high = (points[first] + radii[first, None]).max(axis=0)
    boxes = [np.ptp(points[one], axis=0) + 2 * radii[one].max() + 2 * GAP for one in parts[1:]]
    area = float(sum(width * height for width, height in boxes))
    width = max(float(high[0] - low[0]), math.sqrt(area * WIDE))
    left, top = (low[0] + high[0] - width) / 2, high[1] + 2 * GAP
    x, deepest = left, 0.0
    for one, (wide, deep) in zip(parts[1:], boxes, strict=True):
        if x > left and x + wide > left + width:
            x, top, deepest = left, top + deepest, 0.0
        corner = points[one].min(axis=0) - radii[one].max() - GAP
        points[one] += np.array([x, top]) - corner
        x, deepest = x + wide, max(deepest, deep)
