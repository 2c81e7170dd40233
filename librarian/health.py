"""Is the work going on, and is everything there that it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import median

from librarian.account import CallRecord, CallView
from librarian.errors import DatabaseUnavailable, LibrarianError, ModelError
from librarian.snapshot import Health, Snapshot, Throughput

LOOP_STALL_S = 5.0  # the loop beats four times a second
SLOW_TIMES = 4.0  # a call of so many medians is slow
LEAST_SLOW_S = 30.0
FIRST_SLOW_S = 180.0  # before any call has ended: a cold model is loaded, 10 to 120 s
STALL_TIMES = 20.0
LEAST_STALL_S = 600.0
LOADING_S = 8.0  # a model in memory begins to answer sooner, unless it has a queue
QUIET_S = 300.0  # merging and saving move several times a second
RECENT_S = 300.0
LEAST_FREE_BYTES = 1024**3  # a book of 2 MB takes up to 150 MB with its vectors and answers
PACKAGES = ("streamlit", "lightrag-hku", "ollama", "pyvis", "anyio")


def throughput(
    finished: Sequence[CallRecord], in_flight: Sequence[CallView], now_s: float
) -> Throughput:
    """The rates of the last minutes of calls; all 0 where nothing was called."""
    recent = [call for call in finished if now_s - call.ended_s <= RECENT_S]
    oldest = max((call.age_s for call in in_flight), default=0.0)
    if not recent:
        return Throughput(calls_in_flight=len(in_flight), oldest_call_s=oldest)
    span = max(now_s - min(call.started_s for call in recent), 1e-3)
    lengths = sorted(call.ended_s - call.started_s for call in recent)
    return Throughput(
        chunks_per_min=60 * sum(call.role == "extract" for call in recent) / span,
        prompt_tokens_per_s=sum(call.prompt_tokens for call in recent) / span,
        output_tokens_per_s=sum(call.output_tokens for call in recent) / span,
        calls_in_flight=len(in_flight),
        oldest_call_s=oldest,
        median_call_s=median(lengths),
        p95_call_s=lengths[ceil(0.95 * len(lengths)) - 1],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a verdict is made from. Ages are seconds."""

    busy: bool = False
    waiting_for: LibrarianError | None = None
    beat_age_s: float = 0.0  #: of the loop's last heartbeat
    blocked_at: str = ""  #: where its thread is, while it does not beat
    calls: Sequence[CallView] = ()
    median_s: float = 0.0  #: of a call; 0 before the first has ended
    quiet_s: float = 0.0  #: since anything at all moved
    model: str = ""
    backend: str = "ollama"
    reachable: bool = True
    loaded: Sequence[str] | None = None  #: models in the server's memory; None where unknown
    free_bytes: int = LEAST_FREE_BYTES


def verdict(seen: Evidence) -> Health:
    """What a glance should say, with a cause and a remedy where it is not well."""
    if seen.beat_age_s > LOOP_STALL_S:
        where = f", at {seen.blocked_at}" if seen.blocked_at else ""
        return Health(
            verdict="stalled",
            cause=f"The event loop has not moved for {seen.beat_age_s:.0f} s{where}.",
            remedy="Restart the program: the work goes on from where it was.",
        )
    if seen.waiting_for is not None and seen.busy:
        kinds = ((ModelError, "model"), (DatabaseUnavailable, "database"))
        awaited = next((name for kind, name in kinds if isinstance(seen.waiting_for, kind)), "disk")
        return Health(
            verdict="waiting", cause=f"The {awaited} is awaited.", remedy=str(seen.waiting_for)
        )
    if not seen.busy:
        return Health(verdict="idle")
    trouble = _of_calls(seen) if seen.calls else _of_quiet(seen)
    if trouble is not None:
        return trouble
    if seen.free_bytes < LEAST_FREE_BYTES:
        return Health(
            verdict="working",
            cause=f"Only {seen.free_bytes / 1024**3:.1f} GB of disk space is left.",
            remedy="Free some before it is full: the work would wait then.",
        )
    return Health(verdict="working")


def _of_calls(seen: Evidence) -> Health | None:
    worst = max(seen.calls, key=lambda call: call.silent_s)
    silent = worst.silent_s
    if silent > LOADING_S and not seen.reachable:
        return Health(
            verdict="waiting",
            cause=f"{_server(seen)} does not answer; a call has been silent for {_span(silent)}.",
            remedy=f"Start or restart it{_by_hand(seen)}; the work goes on by itself.",
        )
    if silent > LOADING_S and seen.loaded is not None and seen.model not in seen.loaded:
        others = ", ".join(name for name in seen.loaded)
        busy_with = f" In its memory is {others}." if others else ""
        return Health(
            verdict="slow",
            cause=f"{seen.model} is being loaded since {_span(silent)}.{busy_with}",
            remedy="Wait: a large model takes minutes from a slow disk. If it comes back again "
            "and again, set OLLAMA_MAX_LOADED_MODELS=2 or take a smaller model.",
        )
    limit = max(LEAST_SLOW_S, SLOW_TIMES * seen.median_s) if seen.median_s else FIRST_SLOW_S
    if silent > max(LEAST_STALL_S, STALL_TIMES * seen.median_s):
        return Health(
            verdict="stalled",
            cause=f"A call has been silent for {_span(silent)}, with the model in memory.",
            remedy="Have it made anew; what is done is kept.",
            restart=worst.number,
        )
    if silent > limit:
        usual = f"; half of them end within {_span(seen.median_s)}" if seen.median_s else ""
        return Health(
            verdict="slow",
            cause=f"A call has been silent for {_span(silent)}{usual}.",
            remedy=f"Another program may be using {_other_use(seen)}. Fewer calls at once "
            "leave each more of the GPU.",
            restart=worst.number,
        )
    longest = max(seen.calls, key=lambda call: call.age_s)
    if seen.median_s and longest.age_s > 2 * limit:
        return Health(
            verdict="slow",
            cause=f"An answer is being written for {_span(longest.age_s)}; half of them end "
            f"within {_span(seen.median_s)}.",
            remedy="It moves and ends by itself; have it made anew if it repeats itself.",
            restart=longest.number,
        )
    return None


def _server(seen: Evidence) -> str:
    return "Ollama" if seen.backend == "ollama" else "The model's server"


def _other_use(seen: Evidence) -> str:
    return "Ollama: see `ollama ps`" if seen.backend == "ollama" else "the server"


def _by_hand(seen: Evidence) -> str:
    return " with `ollama serve`" if seen.backend == "ollama" else ""


def _of_quiet(seen: Evidence) -> Health | None:
    if seen.quiet_s <= QUIET_S:
        return None
    return Health(
        verdict="stalled",
        cause=f"Nothing has moved for {_span(seen.quiet_s)}, and no call is under way.",
        remedy="Pause the document and resume it; if that does not help, restart the program.",
    )


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def stale(snapshot: Snapshot, now_s: float, where: Callable[[], str]) -> Snapshot:
    """A snapshot as it looks now: one that nobody replaces any more tells of a blocked loop."""
    age = now_s - snapshot.beat_s
    if not snapshot.beat_s or age <= LOOP_STALL_S:
        return snapshot
    health = verdict(Evidence(busy=snapshot.busy, beat_age_s=age, blocked_at=where()))
    return replace(snapshot, health=health)
