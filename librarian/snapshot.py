"""What pages, routes and commands see: one frozen value, replaced as a whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from librarian.account import CallView, Minute
from librarian.documents import Document, Phase, Status
from librarian.estimates import Queue
from librarian.journal import Spent
from librarian.library import FileSize
from librarian.models.hosts import HostView
from librarian.models.protocol import ModelCard


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentView:
    """A document with what is being done to it now."""

    document: Document
    phase: Phase | None = None  #: only while it is processing
    phase_done: int = 0  #: steps of the phase that are done
    phase_total: int = 0  #: 0 while it is not known
    eta_s: float | None = None
    eta_low_s: float | None = None
    eta_high_s: float | None = None
    spent: Spent = Spent()  #: of the model's work, for its chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """How fast the model is. Rates are over the last minutes of work."""

    chunks_per_min: float = 0.0
    prompt_tokens_per_s: float = 0.0
    output_tokens_per_s: float = 0.0
    calls_in_flight: int = 0
    oldest_call_s: float = 0.0
    median_call_s: float = 0.0
    p95_call_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the work goes on, why not, and what to do."""

    verdict: str = "idle"  #: idle, working, slow, waiting or stalled
    cause: str = ""
    remedy: str = ""
    restart: int | None = None  #: the call that the remedy is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of the library at one moment."""

    ready: bool = False  #: whether LightRAG is open
    trouble: str = ""  #: why it cannot be opened
    busy: bool = False
    model: ModelCard | None = None
    reachable: bool = False
    notice: str = ""  #: said on every page: which model answers, where that is not what was wanted
    documents: tuple[DocumentView, ...] = ()
    queue: Queue | None = None  #: how long all that waits will take; None for an empty queue
    duplicates: int = 0
    deleting: int = 0
    files: tuple[FileSize, ...] = ()
    throughput: Throughput = Throughput()
    calls: tuple[CallView, ...] = ()  #: that run now, oldest first
    minutes: tuple[Minute, ...] = ()  #: of the last hour, those in which a call ended
    retries: int = 0  #: of calls, since the library was opened
    limit: int = 0  #: of calls at once
    why_so_many: str | None = None  #: empty while it is found out, None where a person chose
    hosts: tuple[HostView, ...] = ()  #: where there are several
    health: Health = Health()
    beat_s: float = 0.0  #: the loop's clock at its last heartbeat
    max_lag_s: float = 0.0
    log: tuple[str, ...] = ()

    def count(self, status: Status) -> int:
        """How many documents have a status."""
        return sum(view.document.status is status for view in self.documents)


_DOCUMENT_KEYS = (
    "id", "name", "status", "bytes", "chunks_total", "chunks_done", "chunks_saved", "entities",
    "relations", "elapsed_s", "warnings", "error", "created_at", "updated_at",
)  # fmt: skip
_RATE_KEYS = (
    "chunks_per_min", "prompt_tokens_per_s", "output_tokens_per_s", "calls_in_flight",
    "oldest_call_s", "median_call_s",
)  # fmt: skip


def as_json(snapshot: Snapshot, now_s: float) -> dict[str, Any]:
    """The status report of DESIGN.md; `now_s` is the clock that `beat_s` was read from."""
    model = snapshot.model
    counts = {status.value: snapshot.count(status) for status in Status}
    return {
        "busy": snapshot.busy,
        "ready": snapshot.ready,
        "trouble": snapshot.trouble,
        "model": {
            "backend": model.backend if model else "",
            "llm": model.llm if model else "",
            "embed": model.embed if model else "",
            "host": model.host if model else "",
            "reachable": snapshot.reachable,
        },
        **(
            {"hosts": [_rounded(asdict(host)) for host in snapshot.hosts]} if snapshot.hosts else {}
        ),
        "counts": {**counts, "duplicate": snapshot.duplicates},
        "documents": [_document_json(view) for view in snapshot.documents],
        "queue": _rounded(asdict(snapshot.queue)) if snapshot.queue else None,
        "files": [
            {"name": each.name, "bytes": each.bytes, "modified_at": each.modified_at}
            for each in snapshot.files
        ],
        "throughput": _rounded({key: getattr(snapshot.throughput, key) for key in _RATE_KEYS}),
        "loop": {
            "heartbeat_age_s": round(max(0.0, now_s - snapshot.beat_s), 3),
            "max_lag_s": round(snapshot.max_lag_s, 3),
        },
        "health": {
            "verdict": snapshot.health.verdict,
            "cause": snapshot.health.cause,
            "remedy": snapshot.health.remedy,
        },
    }


def _document_json(view: DocumentView) -> dict[str, Any]:
    report: dict[str, Any] = {key: getattr(view.document, key) for key in _DOCUMENT_KEYS}
    report["warnings"] = list(view.document.warnings)
    report["phase"] = view.phase.value if view.phase else None
    for field in fields(DocumentView):
        if field.name.startswith("eta"):
            report[field.name] = getattr(view, field.name)
    return _rounded(report)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()}
