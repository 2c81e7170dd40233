"""Taking files in: a thousand notes, a book of 300 pages, and the pages of the app meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from tests.bench.processes import App, Broken, app, own_folder
from tests.bench.report import Row, percentile
from tests.bench.watchers import Watcher
from tests.formats import writers

NOTES = 1000
NOTE_BYTES = 2000
PAGES = 300
LINES = 40  # of a page
ADD_S = 300.0


class StatusTimes(Watcher):
    """How long the status takes, again and again."""

    def __init__(self, measured: App) -> None:
        super().__init__(0.1)
        self._client = httpx.Client(trust_env=False, timeout=30)
        self._url = f"{measured.url}/api/status"
        self.seconds: list[float] = []

    def look(self) -> None:
        """Asks once."""
        begun_s = time.monotonic()
        self._client.get(self._url).raise_for_status()
        self.seconds.append(time.monotonic() - begun_s)


def admission(_: Path | None) -> list[Row]:
    """Through the app, which reads what it has been given with the offline model meanwhile."""
    with own_folder() as folder:
        notes = folder / "notes"
        notes.mkdir()
        for number in range(NOTES):
            (notes / f"note {number}.md").write_text(_note(number), encoding="utf-8")
        book = folder / "book.pdf"
        book.write_bytes(writers.pdf([_page(number) for number in range(PAGES)]))
        with app(folder / "home", LIBRARIAN_BACKEND="offline") as measured:
            measured.until_ready()
            with StatusTimes(measured) as status:
                notes_s = _added(measured, notes, NOTES)
            book_s = _added(measured, book, 1)
    status_ms = 1000 * percentile(status.seconds, 0.95)
    return [
        Row(what=f"admission: {NOTES:,} notes of 2 KB", value=notes_s, unit="s", most=10),
        Row(what="admission: /api/status meanwhile, p95", value=status_ms, unit="ms", most=100),
        Row(what=f"admission: a PDF of {PAGES} pages", value=book_s, unit="s", most=10),
    ]


def _added(measured: App, path: Path, count: int) -> float:
    begun_s = time.monotonic()
    answer = httpx.post(
        f"{measured.url}/api/do/add", json={"path": str(path)}, trust_env=False, timeout=ADD_S
    )
    seconds = time.monotonic() - begun_s
    outcomes = [each["outcome"] for each in answer.raise_for_status().json()["admissions"]]
    if outcomes != ["accepted"] * count:
        raise Broken(f"Of {count} files, {outcomes.count('accepted')} were accepted.")
    return seconds


def _note(number: int) -> str:
    line = f"The keeper wrote down ship {number} and the wind of evening {number % 31}. "
    return (f"# Evening {number}\n\n" + line * 40)[:NOTE_BYTES]


def _page(number: int) -> list[str]:
    return [
        f"Line {line} of page {number} tells of ship {number * LINES + line} in the harbour."
        for line in range(LINES)
    ]
