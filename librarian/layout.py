"""Where each entity of a drawn graph stands: forces within a component, components side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from librarian.knowledge import Graph

SMALLEST, LARGEST = 5.0, 34.0  # radii of drawn nodes
GAP = 9.0  # free space around a node
SEED = 7
EXACT = 1200  # up to here every node pushes every other; above, groups of near nodes push
GROUPS = 512
CELLS = 120_000  # of a distance matrix at once; for more, BLAS starts threads, which is slower
PIVOTS = 24
PULL = 2.0
GRAVITY = np.array([0.017, 0.029], dtype=np.float32)  # screens are wider than high

Points: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.intp]


def radius(degree: int) -> float:
    """How large a node with so many relations is drawn."""
    return min(LARGEST, SMALLEST + 2.2 * math.sqrt(degree))


def degrees(graph: Graph) -> Counter[str]:
    """How many relations to others each entity of a graph has."""
    found = Counter(relation.source for relation in graph.relations)
    found.update(relation.target for relation in graph.relations)
    return found


def layout(graph: Graph) -> dict[str, tuple[float, float]]:
    """Positions of all entities; the same graph gives the same picture."""
    names = [entity.name for entity in graph.entities]
    edges = _edges(graph, names)
    size = np.bincount(edges.ravel(), minlength=len(names))
    radii = np.array([radius(int(degree)) for degree in size], dtype=np.float32)
    points = np.zeros((len(names), 2), dtype=np.float32)
    parts = _components(len(names), edges)
    for members, inner in parts:
        points[members] = _component(inner, radii[members])
    _pack(points, radii, [members for members, _ in parts])
    return {
        name: (round(float(x), 1), round(float(y), 1))
        for name, (x, y) in zip(names, points, strict=True)
    }


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


def _component(edges: Indices, radii: Points) -> Points:
    """Positions of a connected component around (0, 0)."""
    count = len(radii)
    if count == 1:
        return np.zeros((1, 2), dtype=np.float32)
    points = _forces(_start(count, edges), edges)
    points *= _scale(points, radii)
    _separate(points, radii)
    points -= (points.min(axis=0) + points.max(axis=0)) / 2
    if np.ptp(points[:, 0]) < np.ptp(points[:, 1]):
        points = points[:, ::-1].copy()
    return points


def _start(count: int, edges: Indices) -> Points:
    """Distances from a few far-apart nodes, seen from their two widest sides (pivot MDS)."""
    noise = np.random.default_rng(SEED).normal(size=(count, 2))
    nearest = np.full(count, count)
    pivot = int(np.bincount(edges.ravel(), minlength=count).argmax())
    columns = []
    for _ in range(min(PIVOTS, count)):
        steps = _steps(count, edges, pivot)
        columns.append(steps.astype(float) ** 2)
        nearest = np.minimum(nearest, steps)
        pivot = int(nearest.argmax())
    table = np.stack(columns, axis=1)
    table -= table.mean(axis=0) + table.mean(axis=1, keepdims=True) - table.mean()
    _, vectors = np.linalg.eigh(table.T @ table)
    axes = vectors[:, -2:] if vectors.shape[1] > 1 else np.hstack([vectors, vectors])
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1, 1)
    points = table @ axes
    spread = points.std(axis=0)
    points = points / np.where(spread > 1e-6, spread, 1.0) + 0.25 * noise
    return np.asarray(points * math.sqrt(count), dtype=np.float32)


def _steps(count: int, edges: Indices, source: int) -> Indices:
    """Breadth-first distances of a connected component."""
    steps = np.full(count, -1, dtype=np.intp)
    steps[source] = 0
    reached = np.zeros(count, dtype=bool)
    reached[source] = True
    for step in range(1, count):
        after = reached.copy()
        after[edges[reached[edges[:, 0]], 1]] = True
        after[edges[reached[edges[:, 1]], 0]] = True
        steps[after & ~reached] = step
        if after.all():
            break
        reached = after
    return steps


def _forces(points: Points, edges: Indices) -> Points:
    """Related nodes pull, all nodes push, hubs push most; each round allows a smaller move."""
    count = len(points)
    mass = (np.bincount(edges.ravel(), minlength=count) + 1).astype(np.float32)
    rounds = int(np.clip(160_000 / count, 60, 160))
    widest = math.sqrt(count)
    groups = np.arange(count)
    for turn in range(rounds):
        if count > EXACT and turn % 6 == 0:
            groups = _groups(points)
        force = _push(points, mass, groups)
        force += _pull(points, edges)
        force -= points * mass[:, None] * GRAVITY
        force /= np.sqrt(mass)[:, None]
        length = np.sqrt((force**2).sum(axis=1, keepdims=True)) + 1e-9
        allowed = widest * 0.5 * (1 - turn / rounds) ** 1.5 + 0.02
        points = points + force * (np.minimum(length * 0.5, allowed) / length)
    return points


def _push(points: Points, mass: Points, groups: Indices) -> Points:
    """Repulsion by mass over distance, of every node by the middle of every group."""
    weight = np.bincount(groups, weights=mass).astype(np.float32)
    middle = np.stack(
        [np.bincount(groups, weights=mass * points[:, axis]) / weight for axis in (0, 1)], axis=1
    ).astype(np.float32)
    square = (middle**2).sum(axis=1)
    force = np.empty_like(points)
    rows = max(16, CELLS // len(middle))
    for first in range(0, len(points), rows):
        here = points[first : first + rows]
        pressure = here @ (-2 * middle.T)
        pressure += square
        pressure += (here**2).sum(axis=1, keepdims=True)
        np.maximum(pressure, 0.05, out=pressure)
        np.divide(weight, pressure, out=pressure)
        force[first : first + rows] = here * pressure.sum(axis=1, keepdims=True) - pressure @ middle
    return force * mass[:, None]


def _pull(points: Points, edges: Indices) -> Points:
    """Attraction along edges; it grows slower than the distance, which lets clusters part."""
    ends = points[edges[:, 1]] - points[edges[:, 0]]
    length = np.sqrt((ends**2).sum(axis=1)) + 1e-6
    ends *= (PULL / np.sqrt(length))[:, None]
    force = np.empty_like(points)
    for axis in (0, 1):
        force[:, axis] = np.bincount(edges[:, 0], ends[:, axis], len(points))
        force[:, axis] -= np.bincount(edges[:, 1], ends[:, axis], len(points))
    return force


def _groups(points: Points) -> Indices:
    """Splits points by halves, across their wider side, into groups of equal size."""
    groups = [np.arange(len(points))]
    while len(groups) < GROUPS:
        halves = []
        for group in groups:
            here = points[group]
            axis = int(np.ptp(here[:, 1]) > np.ptp(here[:, 0]))
            order = np.argpartition(here[:, axis], len(group) // 2)
            halves += [group[order[: len(group) // 2]], group[order[len(group) // 2 :]]]
        groups = halves
    owner = np.empty(len(points), dtype=np.intp)
    for number, group in enumerate(groups):
        owner[group] = number
    return owner


def _scale(points: Points, radii: Points) -> float:
    """From the forces' units to those of the radii: room for all, in proportion to their area."""
    area = float(((radii + GAP) ** 2).sum()) * math.pi
    width, height = np.percentile(points, 97, axis=0) - np.percentile(points, 3, axis=0)
    room = 3.2 + 120 / len(points)  # names fit between a few nodes
    return math.sqrt(area * room / max(float(width * height), 1e-3))


def _separate(points: Points, radii: Points) -> None:
    """Moves overlapping nodes apart, comparing each with those after it from left to right."""
    reach = radii + GAP / 2
    for _ in range(80):
        order = np.argsort(points[:, 0], kind="stable")
        here, room = points[order], reach[order]
        shift = np.zeros_like(here)
        met = False
        for offset in range(1, len(here)):
            between = here[offset:] - here[:-offset]
            if between[:, 0].min() > 2 * float(room.max()):
                break
            need = room[offset:] + room[:-offset]
            close = np.flatnonzero((between**2).sum(axis=1) < need**2)
            if not len(close):
                continue
            met = True
            between = between[close] + np.float32(1e-3)
            length = np.sqrt((between**2).sum(axis=1)) + 1e-6
            step = between * ((need[close] - length) / length * 0.52)[:, None]
            share = (room[close] / need[close])[:, None]  # small nodes give way to large ones
            shift[close + offset] += step * share
            shift[close] -= step * (1 - share)
        if not met:
            return
        points[order] += shift


def _pack(points: Points, radii: Points, parts: Sequence[Indices]) -> None:
    """Puts smaller components on rings around the largest one, and the single nodes in rows."""
    parts = [one for one in parts if len(one) > 1] or list(parts[:1])
    reach = [float(np.hypot(*points[one].T).max() + radii[one].max()) + 2 * GAP for one in parts]
    inner, at = (reach[0] if parts else 0.0), 1
    while at < len(parts):
        widest = reach[at]  # they come largest first
        ring, angle = inner + widest, 0.0
        while at < len(parts):
            step = 2 * math.asin(min(1.0, reach[at] / ring))
            if angle and angle + step > 2 * math.pi:
                break
            middle = angle + step / 2
            points[parts[at]] += np.array([math.cos(middle), math.sin(middle)]) * ring
            angle += step
            at += 1
        inner = ring + widest
    placed = np.concatenate(parts) if parts else np.empty(0, dtype=np.intp)
    _rows(points, np.setdiff1d(np.arange(len(points)), placed), placed)


def _rows(points: Points, single: Indices, placed: Indices) -> None:
    """Single nodes stand in rows below all others."""
    if not len(single):
        return
    step = 2 * SMALLEST + 2.5 * GAP
    low, high = points[placed].min(axis=0), points[placed].max(axis=0)
    columns = max(math.ceil(math.sqrt(3 * len(single))), int((high[0] - low[0]) * 0.6 / step))
    columns = min(columns, len(single))
    number = np.arange(len(single))
    points[single, 0] = (low[0] + high[0]) / 2 + (number % columns - (columns - 1) / 2) * step
    points[single, 1] = high[1] + LARGEST + 3 * GAP + number // columns * step
