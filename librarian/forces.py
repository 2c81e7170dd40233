"""Forces between the nodes of one connected component: where each comes to rest."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SEED = 7
EXACT = 1200  # up to here every node pushes every other; above, groups of near nodes push
GROUPS = 512
CELLS = 120_000  # of a distance matrix at once; for more, BLAS starts threads, which is slower
PIVOTS = 24
PULL = 2.0
GRAVITY = np.array([0.017, 0.029], dtype=np.float32)  # screens are wider than high
WARM, COOL = 0.5, 0.02  # the longest moves in the first round, in widths, and in the last, in units
SMALL, FEW = 12, 40  # so many nodes need so few rounds
EASED = 24  # rounds for positions that are nearly right

Points: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.intp]


def settled(count: int, edges: Indices) -> Points:
    """Positions of a connected component, found anew; the unit is that of the forces."""
    rounds = FEW if count <= SMALL else int(np.clip(500_000 / count, 60, 150))
    return _moved(_start(count, edges), edges, rounds, np.float32(WARM * math.sqrt(count)))


def eased(points: Points, edges: Indices, loose: NDArray[np.bool_]) -> Points:
    """Positions like the given ones with the forces nearer to rest; only `loose` nodes move far."""
    middle = points.mean(axis=0)  # gravity pulls to (0, 0)
    unit = _unit(points - middle, edges)
    width = math.sqrt(len(points))
    reach = np.where(loose, 0.05 * width, 0.012 * width).astype(np.float32)[:, None]
    moved = _moved((points - middle) * unit, edges, EASED, reach)
    return np.asarray(moved / unit + middle, dtype=np.float32)


def squares(vectors: Points) -> Points:
    """Squared lengths; much quicker than a sum over an axis of two."""
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors))


def _start(count: int, edges: Indices) -> Points:
    """Distances from a few far-apart nodes, seen from their two widest sides.

    Pivot MDS: Brandes and Pich, Eigensolver methods for progressive multidimensional scaling, 2006.
    """
    noise = np.random.default_rng(SEED).normal(size=(count, 2))
    near, nearest = _neighbours(count, edges), np.full(count, count)
    pivot = int(np.bincount(edges.ravel(), minlength=count).argmax())
    columns = []
    for _ in range(min(PIVOTS, count)):
        steps = _steps(near, pivot)
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


def _neighbours(count: int, edges: Indices) -> list[list[int]]:
    near: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges.tolist():
        near[a].append(b)
        near[b].append(a)
    return near


def _steps(near: list[list[int]], source: int) -> Indices:
    """Breadth-first distances of a connected component, in the time that its edges take."""
    steps = [-1] * len(near)
    steps[source] = 0
    reached = [source]
    for number in reached:  # grows while it is read
        after = steps[number] + 1
        for other in near[number]:
            if steps[other] < 0:
                steps[other] = after
                reached.append(other)
    return np.array(steps, dtype=np.intp)


def _moved(points: Points, edges: Indices, rounds: int, furthest: Points | np.float32) -> Points:
    """Related nodes pull, all nodes push, hubs push most; each round allows a smaller move."""
    count = len(points)
    mass = _mass(count, edges)
    slow = np.sqrt(mass)[:, None]
    groups = np.arange(count)
    for turn in range(rounds):
        if count > EXACT and turn % 6 == 0:
            groups = _groups(points)
        force = _push(points, mass, groups) + _pull(points, edges)
        force -= points * mass[:, None] * GRAVITY
        force /= slow
        length = np.sqrt(squares(force))[:, None] + 1e-9
        allowed = furthest * (1 - turn / rounds) ** 1.5 + COOL
        points = points + force * (np.minimum(length * 0.5, allowed) / length)
    return np.asarray(points, dtype=np.float32)


def _mass(count: int, edges: Indices) -> Points:
    return (np.bincount(edges.ravel(), minlength=count) + 1).astype(np.float32)


def _push(points: Points, mass: Points, groups: Indices) -> Points:
    """Repulsion by mass over distance, of every node by the middle of every group."""
    weight = np.bincount(groups, weights=mass).astype(np.float32)
    middle = np.stack(
        [np.bincount(groups, weights=mass * points[:, axis]) / weight for axis in (0, 1)], axis=1
    ).astype(np.float32)
    square = squares(middle)
    force = np.empty_like(points)
    rows = max(16, CELLS // len(middle))
    for first in range(0, len(points), rows):
        here = points[first : first + rows]
        pressure = here @ (-2 * middle.T)
        pressure += square
        pressure += squares(here)[:, None]
        np.maximum(pressure, 0.05, out=pressure)
        np.divide(weight, pressure, out=pressure)
        force[first : first + rows] = here * pressure.sum(axis=1, keepdims=True) - pressure @ middle
    return force * mass[:, None]


def _pull(points: Points, edges: Indices) -> Points:
    """Attraction along edges; it grows slower than the distance, which lets clusters part."""
    ends = points[edges[:, 1]] - points[edges[:, 0]]
    ends *= (PULL / np.sqrt(np.sqrt(squares(ends)) + 1e-6))[:, None]
    force = np.empty_like(points)
    for axis in (0, 1):
        force[:, axis] = np.bincount(edges[:, 0], ends[:, axis], len(points))
        force[:, axis] -= np.bincount(edges[:, 1], ends[:, axis], len(points))
    return force


def _unit(points: Points, edges: Indices) -> float:
    """The factor at which a picture as a whole wants neither to grow nor to shrink.

    The virial: with the size s of the picture, push is the same, pull grows with s to the power of
    1.5 and gravity with its square.
    """
    mass = _mass(len(points), edges)
    groups = _groups(points) if len(points) > EXACT else np.arange(len(points))
    push = float((points * _push(points, mass, groups)).sum())
    pull = -float((points * _pull(points, edges)).sum())
    gravity = float((points**2 * mass[:, None] * GRAVITY).sum())
    low, high = 1e-6, 1e3
    for _ in range(60):
        middle = math.sqrt(low * high)
        if push > pull * middle**1.5 + gravity * middle**2:
            low = middle
        else:
            high = middle
    return low


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
