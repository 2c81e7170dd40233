"""Is the work going on, and is everything there that it needs."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from statistics import median

from librarian.calls import CallRecord
from librarian.errors import LibrarianError, ModelError
from librarian.library import Library
from librarian.models.ollama import missing_models, server_version
from librarian.settings import Settings, is_local
from librarian.snapshot import Health, Throughput

LOOP_STALL_S = 5.0  # the loop beats four times a second
SLOW_TIMES = 4.0  # a call of so many medians is slow
LEAST_SLOW_S = 30.0
RECENT_S = 300.0
LEAST_FREE_BYTES = 1024**3  # a book of 2 MB takes up to 150 MB with its vectors and answers
PACKAGES = ("streamlit", "lightrag-hku", "ollama", "pyvis", "anyio")


class Severity(StrEnum):
    """How bad a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: what was seen, and what to do about it."""

    name: str
    severity: Severity
    message: str
    remedy: str = ""


def throughput(
    finished: Sequence[CallRecord], in_flight: Sequence[tuple[str, float, float]], now_s: float
) -> Throughput:
    """The rates of the last minutes of calls; all 0 where nothing was called."""
    recent = [call for call in finished if now_s - call.ended_s <= RECENT_S]
    oldest = max((age for _, age, _ in in_flight), default=0.0)
    if not recent:
        return Throughput(calls_in_flight=len(in_flight), oldest_call_s=oldest)
    span = max(now_s - min(call.started_s for call in recent), 1e-3)
    return Throughput(
        chunks_per_min=60 * sum(call.role == "extract" for call in recent) / span,
        prompt_tokens_per_s=sum(call.prompt_tokens for call in recent) / span,
        output_tokens_per_s=sum(call.output_tokens for call in recent) / span,
        calls_in_flight=len(in_flight),
        oldest_call_s=oldest,
        median_call_s=median(call.ended_s - call.started_s for call in recent),
    )


def verdict(
    *,
    busy: bool,
    waiting_for: LibrarianError | None,
    beat_age_s: float,
    rates: Throughput,
    silent_s: float,
) -> Health:
    """What a glance should say. `silent_s` is the longest silence of a running call."""
    if beat_age_s > LOOP_STALL_S:
        return Health(
            verdict="stalled",
            cause=f"The event loop has not moved for {beat_age_s:.0f} s.",
            remedy="Restart the program: the work goes on from where it was.",
        )
    if waiting_for is not None and busy:
        awaited = "model" if isinstance(waiting_for, ModelError) else "disk"
        return Health(
            verdict="waiting", cause=f"The {awaited} is awaited.", remedy=str(waiting_for)
        )
    if not busy:
        return Health(verdict="idle")
    limit = max(LEAST_SLOW_S, SLOW_TIMES * rates.median_call_s)
    if rates.median_call_s and silent_s > limit:
        return Health(
            verdict="slow",
            cause=f"A call has been silent for {silent_s:.0f} s; half of them end within "
            f"{rates.median_call_s:.0f} s.",
            remedy="See `ollama ps` for whether the model is loaded, or another program uses it.",
        )
    return Health(verdict="working")


async def doctor(library: Library, settings: Settings, backend: str) -> tuple[Check, ...]:
    """Looks at everything that the work needs."""
    checks = [_python(), _home(library), _disk(library), _sqlite()]
    checks.extend(await _ollama(settings, backend))
    checks.append(_door(settings))
    return tuple(checks)


def _python() -> Check:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return Check(
        name="Versions",
        severity=Severity.OK,
        message=f"Python {platform.python_version()} on {platform.system()}; {packages}.",
    )


def _home(library: Library) -> Check:
    writable = all(os.access(path, os.W_OK) for path in (library.home, library.files))
    return Check(
        name="Library folder",
        severity=Severity.OK if writable else Severity.FAIL,
        message=f"{library.home} {'can' if writable else 'cannot'} be written.",
        remedy="" if writable else "Change its permissions, or set LIBRARIAN_HOME to another.",
    )


def _disk(library: Library) -> Check:
    free = shutil.disk_usage(library.home).free
    enough = free >= LEAST_FREE_BYTES
    return Check(
        name="Disk",
        severity=Severity.OK if enough else Severity.FAIL,
        message=f"{free / 1024**3:.1f} GB free.",
        remedy="" if enough else "Free at least 1 GB: a book of 2 MB takes up to 0.15 GB.",
    )


def _sqlite() -> Check:
    return Check(name="SQLite", severity=Severity.OK, message=f"Version {sqlite3.sqlite_version}.")


async def _ollama(settings: Settings, backend: str) -> list[Check]:
    needed = backend == "ollama"
    bad = Severity.FAIL if needed else Severity.WARN
    found = await server_version(settings.ollama_host)
    if found is None:
        why = "" if needed else " The offline model is in use, so nothing waits for it."
        return [
            Check(
                name="Ollama",
                severity=bad,
                message=f"Nothing answers at {settings.ollama_host}.{why}",
                remedy="Start it with `ollama serve`, or set OLLAMA_HOST to where it runs.",
            )
        ]
    checks = [
        Check(
            name="Ollama",
            severity=Severity.OK,
            message=f"Version {found} answers at {settings.ollama_host}.",
        )
    ]
    for name in (settings.llm_model, settings.embed_model):
        missing = await missing_models(settings.ollama_host, (name,))
        checks.append(
            Check(
                name=f"Model {name}",
                severity=bad if missing else Severity.OK,
                message="It is not on the server." if missing else "It is on the server.",
                remedy=f"Run `ollama pull {name}`." if missing else "",
            )
        )
    return checks


def _door(settings: Settings) -> Check:
    local = is_local(settings.host)
    return Check(
        name="Address",
        severity=Severity.OK if local else Severity.WARN,
        message=f"The dashboard listens on {settings.host}, port {settings.port}.",
        remedy="" if local else "Anyone who reaches this address can read and change the library.",
    )
