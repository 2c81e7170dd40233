"""The measurements; each gives rows of the table."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.bench import texts
from tests.bench.admission import admission
from tests.bench.asking import asking
from tests.bench.dashboard import dashboard
from tests.bench.edits import edits
from tests.bench.growth import growth, haul
from tests.bench.hosts import hosts
from tests.bench.journal import journal
from tests.bench.journal_cost import journal_cost
from tests.bench.kills import kills
from tests.bench.outage import outage
from tests.bench.peer import peer
from tests.bench.pictures import pictures
from tests.bench.pipeline import pipeline
from tests.bench.processes import (
    ENDED,
    LATENCY_S,
    SLOTS,
    App,
    Broken,
    Json,
    StandIn,
    app,
    own_folder,
    reads_with,
    running,
    stand_in,
    tail,
    until,
)
from tests.bench.ranking import ranking
from tests.bench.report import Row, percentile
from tests.bench.scale import scale
from tests.bench.slots import slots
from tests.bench.soak import measure as soak
from tests.bench.uploading import upload
from tests.bench.views import views
from tests.bench.watchers import MemoryWatcher, PageWatcher, StatusWatcher, chromium

INDEX_S = 600.0  # the longest that a book is waited for
OFFLINE_S = 1200.0
PAGE_MS = 60_000.0
STARTS = 3
MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one indexing run."""

    begun_s: float
    status: StatusWatcher
    refreshes: list[float]
    peak: int
    calls: list[Json]


def index(corpus: Path | None) -> list[Row]:
    """A book through the real app and a model of known speed: alone, then with people watching."""
    with own_folder() as folder, stand_in(folder) as ollama:
        path = texts.book(corpus, folder)
        environ = reads_with(ollama)
        ollama.set(latency_s=0.0)
        with app(folder / "warm", **environ) as earlier:  # the stand-in has thought it all then
            _index_unseen(earlier, path)
        ollama.set(latency_s=LATENCY_S, forget_calls=True)
        with app(folder / "alone", **environ) as unwatched:
            wall_s = _index_unseen(unwatched, path)
        alone = _ratio_row("index: wall time / model alone", wall_s, ollama.calls(), most=1.3)
        with app(folder / "home", **environ) as measured, chromium() as browser:
            seen = _index_watched(measured, path, ollama, browser)
    return [alone, *_index_rows(seen), *_aside_rows(seen), *_phase_rows(seen)]


def offline(corpus: Path | None) -> list[Row]:
    """All the texts from files to a graph by the command, with the offline model."""
    with own_folder() as folder:
        paths = texts.library(corpus, folder)
        command = [sys.executable, "-m", "librarian", "ingest", "--json"]
        command += ["--home", str(folder / "home"), *map(str, paths)]
        log, output = folder / "ingest.log", folder / "ingest.json"
        begun_s = time.monotonic()
        with running(command, {"LIBRARIAN_BACKEND": "offline"}, log, output) as process:
            with MemoryWatcher(process) as memory:
                try:
                    code = process.wait(OFFLINE_S)
                except subprocess.TimeoutExpired as exc:
                    raise Broken("The offline run did not end.") from exc
        wall_s = time.monotonic() - begun_s
        if code != 0:
            raise Broken(f"`ingest` ended with {code}.\n{tail(log)}")
        documents = json.loads(output.read_bytes())["documents"]
    return [
        Row(what=f"offline: {len(documents)} texts, all of it", value=wall_s, unit="s", most=180),
        Row(what="offline: chunks", value=sum(each["chunks_total"] for each in documents)),
        Row(what="offline: entities, summed", value=sum(each["entities"] for each in documents)),
        Row(what="offline: peak memory", value=memory.peak / MB, unit="MB"),
    ]


def first_page(corpus: Path | None) -> list[Row]:
    """From the start of the app to its first page, in a browser that runs already."""
    with own_folder() as folder, chromium() as browser:
        seconds = [_start_to_page(folder / f"home{n}", browser) for n in range(STARTS)]
    middle, worst = statistics.median(seconds), max(seconds)
    return [
        Row(what=f"first page: median of {STARTS} starts", value=middle, unit="s", most=5),
        Row(what=f"first page: slowest of {STARTS}", value=worst, unit="s"),
    ]


MEASURES: dict[str, Callable[[Path | None], list[Row]]] = {
    "index": index,
    "offline": offline,
    "first-page": first_page,
    "kills": kills,
    "soak": soak,
    "outage": outage,
    "edits": edits,
    "journal": journal,
    "journal-cost": journal_cost,
    "pictures": pictures,
    "dashboard": dashboard,
    "views": views,
    "upload": upload,
    "admission": admission,
    "asking": asking,
    "peer": peer,
    "pipeline": pipeline,
    "growth": growth,
    "haul": haul,
    "scale": scale,
    "slots": slots,
    "hosts": hosts,
    "ranking": ranking,
}


def _index_unseen(running_app: App, path: Path) -> float:
    """Seconds from handing the book over until it is processed."""
    running_app.until_ready()
    begun_s = time.monotonic()
    running_app.add(path)

    def ended() -> bool:
        return any(each["status"] in ENDED for each in running_app.status()["documents"])

    until(ended, "the run before", running_app.process, running_app.log, INDEX_S)
    return time.monotonic() - begun_s


def _ratio_row(what: str, wall_s: float, calls: list[Json], most: float | None = None) -> Row:
    chats = sum(call["endpoint"] == "/api/chat" and call["outcome"] == "done" for call in calls)
    return Row(what=what, value=wall_s / (chats * LATENCY_S / SLOTS), unit="times", most=most)


def _index_watched(measured: App, path: Path, ollama: StandIn, browser: Browser) -> Seen:
    with MemoryWatcher(measured.process) as memory:
        measured.until_ready()
        page = browser.new_page()
        watcher = PageWatcher(page)
        page.goto(f"{measured.url}/indexing", timeout=PAGE_MS)
        heading = page.get_by_role("heading", name="Indexing", exact=True)
        expect(heading).to_be_visible(timeout=PAGE_MS)
        watcher.forget()
        ollama.set(forget_calls=True)
        with StatusWatcher(measured.url) as status:
            begun_s = time.monotonic()
            measured.add(path)
            while not status.ended.is_set() and time.monotonic() < begun_s + INDEX_S:
                watcher.wait()
    if status.document.get("status") != "processed":
        trouble = status.trouble or status.document.get("error") or "It took too long."
        raise Broken(f"The book was not processed. {trouble}\n{tail(measured.log)}")
    return Seen(
        begun_s=begun_s,
        status=status,
        refreshes=watcher.refreshes(),
        peak=memory.peak,
        calls=ollama.calls(),
    )


def _index_rows(seen: Seen) -> list[Row]:
    """What has targets."""
    if not seen.refreshes:
        raise Broken("The page was never refreshed.")
    wall_s = seen.status.ended_s - seen.begun_s
    model_s = len(_done(seen, "/api/chat")) * LATENCY_S / SLOTS
    status_ms = 1000 * percentile(seen.status.seconds, 0.95)
    page_ms = 1000 * percentile(seen.refreshes, 0.95)
    return [
        Row(what="index: /api/status, p95", value=status_ms, unit="ms", most=100),
        Row(what="index: page refresh, p95", value=page_ms, unit="ms", most=400),
        Row(what="index: peak memory", value=seen.peak / MB, unit="MB", most=700),
        _ratio_row("index, watched: wall time / model alone", wall_s, seen.calls),
        Row(what="index: wall time", value=wall_s, unit="s"),
        Row(what="index: model alone", value=model_s, unit="s"),
    ]


def _aside_rows(seen: Seen) -> list[Row]:
    """What explains the rest: times, then numbers."""
    chats, status, refreshes = _done(seen, "/api/chat"), seen.status.seconds, seen.refreshes
    held = [each["ended_s"] - each["started_s"] for each in chats]
    first_s = min(each["started_s"] for each in chats) - seen.begun_s
    last_s = seen.status.ended_s - max(each["ended_s"] for each in chats)
    times = {
        f"/api/status, slowest of {len(status)}": max(status),
        "page refresh, median": statistics.median(refreshes),
        f"page refresh, slowest of {len(refreshes)}": max(refreshes),
        "loop's greatest lag, by itself": seen.status.max_lag_s,
        "a chat call in the stand-in, median": statistics.median(held),
        "a chat call in the stand-in, p95": percentile(held, 0.95),
    }
    counts = {
        "chunks": seen.status.document["chunks_total"],
        "chunks like one before": seen.status.document["chunks_saved"],
        "entities": seen.status.document["entities"],
        "relations": seen.status.document["relations"],
        "chat calls": len(chats),
        **{f"chat calls to {role}": n for role, n in Counter(c["role"] for c in chats).items()},
        "embed requests": len(_done(seen, "/api/embed")),
    }
    return [
        Row(what="index: until the first chat call", value=first_s, unit="s"),
        Row(what="index: after the last chat call", value=last_s, unit="s"),
        *(Row(what=f"index: {what}", value=1000 * each, unit="ms") for what, each in times.items()),
        *(Row(what=f"index: {what}", value=number) for what, number in counts.items()),
    ]


def _phase_rows(seen: Seen) -> list[Row]:
    return [
        Row(what=f"index: phase {name}", value=seconds, unit="s")
        for name, seconds in seen.status.phases.items()
    ]


def _done(seen: Seen, endpoint: str) -> list[Json]:
    return [
        call for call in seen.calls if call["endpoint"] == endpoint and call["outcome"] == "done"
    ]


def _start_to_page(home: Path, browser: Browser) -> float:
    begun_s = time.monotonic()
    with app(home, LIBRARIAN_BACKEND="offline") as started:
        page = browser.new_page()
        try:
            until(started.listens, "the app to listen", started.process, started.log)
            page.goto(started.url, timeout=PAGE_MS)
            heading = page.get_by_role("heading", name="Library", exact=True)
            expect(heading).to_be_visible(timeout=PAGE_MS)
            return time.monotonic() - begun_s
        finally:
            page.close()
