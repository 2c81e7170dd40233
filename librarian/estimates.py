"""How long the work will take: from what calls took here, as a range, for documents and the queue.

Everything is a function of numbers that were measured and of the time. A queue can be judged before
its first call, by the pace that was kept of earlier documents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from librarian.documents import Phase
from librarian.pace import Pace
from librarian.progress import Progress

DEVIATIONS = 1.7  # of the estimate; the end is in the range in nine of ten runs
WAITING = 64  # items that LightRAG merges at a time; those without a call are done at once
SETTLED_S = 10.0  # after which the items of a merge that are left are those with a call
TARGET_S = 180.0  # "done in three minutes"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds until the end, and the range that it will probably lie in."""

    likely_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is left of one document."""

    calls: float = 0.0
    merges: float = 0.0
    rest_s: float = 0.0  #: without calls: vectors and files
    guessed: bool = False  #: it is not cut yet, so that its chunks are not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How long all that waits will take, and the sum that says why."""

    eta_s: float | None = None  #: None while it is not known what a call takes
    eta_low_s: float | None = None
    eta_high_s: float | None = None
    calls: int = 0
    seconds_per_call: float | None = None
    at_once: int = 1


def waiting(chunks: float, done: int, pace: Pace, limit: int, *, guessed: bool) -> Work:
    """What there is to do for a document that has not begun; `done` chunks are paid for."""
    return Work(
        calls=max(0.0, chunks - done) * pace.calls_per_chunk,
        merges=chunks * pace.merges_per_chunk,
        rest_s=_embedding_s(chunks, pace, limit) + _saving_s(pace),
        guessed=guessed,
    )


def left_of(progress: Progress, chunks: float, pace: Pace, limit: int, now_s: float) -> Work:
    """What is left of a document that is under way; `chunks` is a guess until it is cut."""
    guessed = not progress.chunks_total
    chunks = progress.chunks_total or chunks
    whole = waiting(chunks, progress.chunks_done, pace, limit, guessed=guessed)
    phase_s, left = now_s - progress.phase_s, 1 - progress.part
    match progress.phase:
        case Phase.MERGING:
            of, done = (
                (progress.relations, progress.relations_done)
                if progress.relations
                else (progress.entities, progress.entities_done)
            )
            merges = whole.merges * left
            if phase_s > SETTLED_S and of - done <= WAITING:
                merges = max(merges, of - done)
            return replace(whole, calls=0.0, merges=merges)
        case Phase.EMBEDDING:
            embedding_s = _embedding_s(chunks, pace, limit) * left
            if progress.part > 0.05:
                embedding_s = phase_s / progress.part * left
            return Work(rest_s=embedding_s + _saving_s(pace))
        case Phase.SAVING:
            return Work(rest_s=max(_saving_s(pace) - phase_s, _saving_s(pace) / 5))
    return whole


def forecast(
    works: Sequence[Work], pace: Pace, ages: Sequence[float], *, limit: int, slots: int
) -> tuple[tuple[Estimate | None, ...], Queue]:
    """When each document of a queue will be done, in its order, and when all of it will.

    The calls of the first one go first; the next one's fill the slots that it leaves, so that the
    vectors and files of all but the last hardly count. `limit` calls are under way at once, of
    which the server answers `slots`.
    """
    calls = sum(work.calls + work.merges for work in works)
    queue = Queue(calls=math.ceil(calls), at_once=slots)
    if not pace.call_s:
        return (None,) * len(works), queue
    begun = sum(min(age, 0.75 * pace.call_s) for age in ages)  # paid for, though not ended
    found: list[Estimate | None] = []
    model_s = todo = uncovered_s = before_s = merge_s = guessed_s = 0.0
    for work in works:
        own_s = work.calls * pace.call_s + work.merges * pace.merging_s
        model_s += own_s
        todo += work.calls + work.merges
        merge_s += work.merges * pace.merging_s
        guessed_s += own_s * work.guessed
        at_once = max(1.0, min(limit * pace.filled, todo))
        uncovered_s += max(0.0, before_s - own_s / at_once)
        before_s = work.rest_s
        calls_s = max(model_s - begun, 0.05 * model_s) / at_once
        likely_s = max(calls_s + uncovered_s + work.rest_s, 0.1)
        noise = pace.spread**2 * (1 / max(1, pace.calls) + 1 / max(1.0, todo)) + pace.drift**2
        sure = 0.5 if pace.documents else 0.8
        parts = (
            calls_s * math.sqrt(noise),
            sure * (merge_s / at_once + work.rest_s + uncovered_s),
            0.15 * guessed_s / at_once,
        )
        factor = 1 + DEVIATIONS * math.hypot(*parts) / likely_s
        found.append(Estimate(likely_s, likely_s / factor, likely_s * factor))
    if found and (last := found[-1]):
        at_once = max(1.0, min(limit * pace.filled, todo))
        queue = replace(
            queue,
            eta_s=last.likely_s,
            eta_low_s=last.low_s,
            eta_high_s=last.high_s,
            # As the server gives them: a call that waits for a slot is not a slower one.
            seconds_per_call=model_s / todo * slots / at_once if todo else pace.call_s,
        )
    return tuple(found), queue


def lasting(seconds: float) -> str:
    """A length of time that is only roughly known, for people."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds / 5) * 5, 60)
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes if minutes < 180 else round(minutes / 5) * 5, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} days {hours % 24} h"


def between(likely_s: float | None, low_s: float | None, high_s: float | None) -> str:
    """An estimate with its range, for people; empty where there is none."""
    if likely_s is None or low_s is None or high_s is None:
        return ""
    low, high = lasting(low_s), lasting(high_s)
    return f"{lasting(likely_s)} ({low} to {high})" if low != high else lasting(likely_s)


def sentence(queue: Queue) -> str:
    """How long the queue will take, why, and what would make it quick; empty for an empty one."""
    if not queue.calls and queue.eta_s is None:
        return ""
    calls = "1 call" if queue.calls == 1 else f"{queue.calls:,} calls"
    at_once = f"{queue.at_once} at a time"
    if queue.eta_s is None or queue.seconds_per_call is None:
        return f"{calls}, {at_once}. How long one takes is known when the first has ended."
    left = between(queue.eta_s, queue.eta_low_s, queue.eta_high_s)
    each_s = queue.seconds_per_call
    said = f"About {left}: {calls} × {_short(each_s)}, {at_once}."
    if queue.eta_s <= TARGET_S or not queue.calls:
        return said
    more = math.ceil(queue.calls * each_s / TARGET_S)
    enough_s = TARGET_S * queue.at_once / queue.calls
    return f"{said} Under 3 minutes with {more:,} at a time, or {_short(enough_s)} a call."


def _embedding_s(chunks: float, pace: Pace, limit: int) -> float:
    if pace.documents:
        return pace.embedding_s * chunks
    return 0.03 * chunks * pace.call_s / max(1.0, limit * pace.filled)


def _saving_s(pace: Pace) -> float:
    return pace.saving_s if pace.documents else max(0.3, pace.saving_s)


def _short(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
