"""What the work of one model costs on this machine, measured on the calls that have ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import fmean, median, pstdev
from typing import Any

from librarian.account import CallRecord
from librarian.documents import Phase
from librarian.progress import USUAL, Progress

WINDOW = 800  # calls that a pace is measured on
KNOWN = 4  # what was measured before weighs like so many calls of this run
COLD = 4.0  # first calls of so many medians waited for the model to be loaded
BLOCKS = 8  # of calls, between which the level is compared
LEAST_DRIFT = 0.18  # of the level, however even it has been: other programs come and go
MOST_DRIFT = 0.5
MEMORY = 500  # chunks of earlier documents that what phases cost is remembered of


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the work of one model costs on this machine. 0 is what was not measured yet."""

    calls: int = 0  #: it was measured on
    call_s: float = 0.0  #: seconds of a call that extracts
    spread: float = 0.5  #: of these calls, as a share of `call_s`
    drift: float = 0.0  #: of their level over time, as a share of it
    filled: float = 1.0  #: how much of the slots was in use while anything ran
    calls_per_chunk: float = 1.0
    merge_s: float = 0.0  #: seconds of a call that merges descriptions
    documents: int = 0  #: whose phases were measured
    chunks: int = 0  #: of these documents
    merges_per_chunk: float = 0.05
    embedding_s: float = 0.0  #: of waiting for vectors, per chunk
    saving_s: float = 0.0  #: per document

    @property
    def merging_s(self) -> float:
        """Seconds of a call that merges, or what is usual: it writes less."""
        return self.merge_s or self.call_s / 2


def pace_from(stored: dict[str, Any]) -> Pace:
    """A pace as it was kept; what this version does not know is left out."""
    known = {field.name for field in fields(Pace)}
    return Pace(**{name: value for name, value in stored.items() if name in known})


def as_stored(pace: Pace) -> dict[str, Any]:
    """A pace as it is kept."""
    return asdict(pace)


def measured(
    before: Pace, finished: Sequence[CallRecord], ages: Sequence[float], now_s: float, limit: int
) -> Pace:
    """The pace after calls have ended; `ages` are those of the calls that run now.

    The newest calls weigh most. The first ones, which waited for the model to be loaded, do not
    count: that happens once.
    """
    work = [call for call in finished if call.role in ("extract", "summary")][-WINDOW:]
    lengths = _warm([call for call in work if call.role == "extract"], limit, before)
    merges = [_length(call) for call in work if call.role == "summary"]
    pace = before
    if lengths:
        known = min(before.calls, KNOWN) * (before.call_s > 0)
        half = max(20.0, len(lengths) / 3)
        weights = [0.5 ** (age / half) for age in range(len(lengths) - 1, -1, -1)]
        level = sum(w * s for w, s in zip(weights, lengths, strict=True)) / sum(weights)
        level *= _unended(lengths, ages)
        call_s = (known * before.call_s + len(lengths) * level) / (known + len(lengths))
        few = len(lengths) < 5
        pace = replace(
            pace,
            calls=len(lengths) + known,
            call_s=call_s,
            spread=before.spread if few else pstdev(lengths) / max(fmean(lengths), 1e-9),
            drift=_drift(lengths),
        )
    if merges:
        pace = replace(pace, merge_s=fmean(merges[-100:]))
    if len(work) >= 3 * limit:
        pace = replace(pace, filled=_filled(work[-max(50, 10 * limit) :], ages, now_s, limit))
    return pace


def learned(pace: Pace, ended: Progress, merges: int, now_s: float) -> Pace:
    """The pace after a document has come to its end, with what its phases took.

    `merges` are the calls that its merging took. One whose answers were there already says
    nothing, for it was merged without calls.
    """
    lasted = dict((*ended.lasted_s, (ended.phase, now_s - ended.phase_s)))
    if ended.asked * 2 < ended.chunks_total or not ended.chunks_total:
        return pace
    chunks = ended.chunks_total

    def blend(old: float, new: float, least: int = 0) -> float:
        """Long documents weigh more; `least` is the weight of what is usual."""
        before = max(least, min(pace.chunks, MEMORY))
        return (old * before + new * chunks) / (before + chunks)

    return replace(
        pace,
        documents=pace.documents + 1,
        chunks=pace.chunks + chunks,
        merges_per_chunk=blend(pace.merges_per_chunk, merges / chunks, 50),
        embedding_s=blend(pace.embedding_s, lasted.get(Phase.EMBEDDING, 0.0) / chunks),
        saving_s=blend(pace.saving_s, lasted.get(Phase.SAVING, 0.0)),
    )


def weights_of(pace: Pace, chunks: float, limit: int) -> tuple[float, ...]:
    """What each phase of a document costs, as a share of the whole."""
    if not pace.documents or not pace.call_s:
        return USUAL
    at_once = max(1.0, limit * pace.filled)
    costs = (
        chunks * pace.calls_per_chunk * pace.call_s / at_once,
        chunks * pace.merges_per_chunk * pace.merging_s / at_once,
        chunks * pace.embedding_s,
        pace.saving_s,
    )
    shares = [max(0.01, cost / (sum(costs) or 1.0)) for cost in costs]
    return (0.01, 0.01, *(0.98 * share / sum(shares) for share in shares))


def _warm(calls: Sequence[CallRecord], limit: int, before: Pace) -> list[float]:
    """The lengths of calls, without the first ones if they waited for the model to be loaded."""
    first = sorted(calls, key=lambda call: call.started_s)[:limit]
    rest = [_length(call) for call in calls if call not in first]
    usual = median(rest) if len(rest) >= 2 else before.call_s
    if not usual:
        return [_length(call) for call in calls]
    return [_length(each) for each in first if _length(each) <= COLD * usual] + rest


def _unended(lengths: Sequence[float], ages: Sequence[float]) -> float:
    """By how much calls are longer than those that have ended: the long ones are still under way.

    Renewal theory: on average a call is at its half when one looks, and further the more calls
    differ in length.
    """
    if not ages or len(lengths) < 2:
        return 1.0
    whole = sum(lengths)
    variation = min(1.0, pstdev(lengths) / max(whole / len(lengths), 1e-9))
    ended = len(lengths) + len(ages) * (1 - variation**2) / 2
    return min(1.5, max(0.8, (whole + sum(ages)) / ended * len(lengths) / max(whole, 1e-9)))


def _drift(lengths: Sequence[float]) -> float:
    """How much the level moves from one stretch of calls to the next, beyond their own noise."""
    each = max(5, len(lengths) // BLOCKS)
    blocks = [lengths[i : i + each] for i in range(0, len(lengths) - each + 1, each)]
    if len(blocks) < 3:
        return LEAST_DRIFT
    whole = fmean(lengths)
    noise = (pstdev(lengths) / max(whole, 1e-9)) ** 2 / each
    moved = (pstdev([fmean(block) for block in blocks]) / max(whole, 1e-9)) ** 2
    return min(MOST_DRIFT, max(LEAST_DRIFT, math.sqrt(max(0.0, moved - noise))))


def _filled(work: Sequence[CallRecord], ages: Sequence[float], now_s: float, limit: int) -> float:
    """How much of the slots was in use; long gaps, in which nothing ran, do not count."""
    spans = [(call.started_s, call.ended_s) for call in work]
    spans += [(now_s - age, now_s) for age in ages]
    begun = min(call.started_s for call in work)
    spans = sorted((max(start, begun), end) for start, end in spans if end > begun)
    gap = max(1.0, median(end - start for start, end in spans))
    busy, until = 0.0, spans[0][0]
    for start, end in spans:
        if start - until > gap:
            until = start
        busy += max(0.0, end - until)
        until = max(until, end)
    used = sum(end - start for start, end in spans)
    return min(1.0, max(0.2, used / max(busy, 1e-9) / limit))


def _length(call: CallRecord) -> float:
    return call.ended_s - call.started_s
