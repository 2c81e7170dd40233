"""Simulated runs of a document: noisy calls through slots, as the indexing would see them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from librarian.account import CallRecord
from librarian.estimates import Estimate, forecast, left_of
from librarian.pace import Pace, measured
from librarian.progress import Progress

Level = Callable[[float], float]  # how much slower than usual calls are at a moment


@dataclass(frozen=True)
class Run:
    """What a run is made of; times in seconds."""

    seed: int
    chunks: int = 200
    saved: int = 0  #: chunks at the start whose answers are there
    slots: int = 1
    call_s: float = 43.0
    sigma: float = 0.4  #: of the logarithm of a call's length
    level: Level = lambda now: 1.0
    cold_s: float = 0.0  #: before the first call, while the model is loaded
    merges: float = 0.05  #: per chunk
    embedding: float = 0.03  #: as a share of the extracting
    known: Pace = field(default_factory=Pace)


@dataclass(frozen=True)
class Moment:
    """What was known at a moment."""

    now_s: float
    done: float  #: share of the time until the end
    eta: Estimate | None


def play(run: Run, at: tuple[float, ...] = (0.1,)) -> tuple[Moment, ...]:
    """A run to its end, and what was said when so much of its calls had ended."""
    random = Random(run.seed)
    progress = Progress(started_s=0.0, phase_s=0.0).chunked(run.chunks, 0.0)
    now, finished = 0.0, []
    for done in range(1, run.saved + 1):
        now += 0.02
        progress = progress.chunk_done(done, run.chunks, saved=True, now_s=now)
    todo = run.chunks - run.saved
    wanted = [max(1, math.ceil(share * todo)) for share in at]
    said: list[tuple[float, Estimate | None]] = []
    flying: list[tuple[float, float]] = []  # end and start
    begun = ended = 0
    while ended < todo:
        while begun < todo and len(flying) < run.slots:
            length = run.call_s * random.lognormvariate(0.0, run.sigma) * run.level(now)
            if begun < run.slots:
                length += run.cold_s
            heapq.heappush(flying, (now + length, now))
            begun += 1
        end, start = heapq.heappop(flying)
        now = end
        ended += 1
        finished.append(_record("extract", start, end))
        progress = progress.chunk_done(run.saved + ended, run.chunks, saved=False, now_s=now)
        if ended in wanted:
            ages = [now - start for _, start in flying]
            pace = measured(run.known, finished, ages, now, run.slots)
            work = left_of(progress, run.chunks, pace, run.slots, now)
            found, _ = forecast([work], pace, ages, limit=run.slots, slots=run.slots)
            said.append((now, found[0]))
    extracting_s = now
    merges = round(run.chunks * run.merges * random.uniform(0.5, 1.5))
    for _ in range(math.ceil(merges / run.slots)):
        now += 0.5 * run.call_s * random.lognormvariate(0.0, run.sigma) * run.level(now)
    now += run.embedding * extracting_s * random.uniform(0.3, 1.7) + 1.0
    return tuple(
        Moment(moment, moment / now, eta and _until(eta, now - moment)) for moment, eta in said
    )


def _until(eta: Estimate, truth_s: float) -> Estimate:
    """An estimate in units of what it should have been."""
    return Estimate(eta.likely_s / truth_s, eta.low_s / truth_s, eta.high_s / truth_s)


def _record(role: str, start: float, end: float) -> CallRecord:
    return CallRecord(
        role=role, document="doc-a", started_s=start, ended_s=end, prompt_tokens=1, output_tokens=1
    )
