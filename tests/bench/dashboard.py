"""What a thousand documents cost those who look: the loop, the page's Python, the status route.

Times are those of the processor in the thread: waiting for others is not a cost of looking.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
from streamlit.testing.v1 import AppTest

from librarian.app import Librarian
from librarian.catalogue import Catalogue
from librarian.documents import Document, Status
from librarian.registry import PROCESS
from librarian.rooms import Rooms
from librarian.settings import Settings
from librarian.snapshot import as_json
from tests.bench import texts
from tests.bench.processes import ROOT, own_folder, reads_with, stand_in
from tests.bench.report import Row, percentile

DOCUMENTS = 1000
WAITING = 200  # more; each is judged anew every time
TIMES = 40
READY_S = 60.0


def dashboard(corpus: Path | None) -> list[Row]:
    """A library of a thousand documents while a book is read."""
    logging.getLogger("lightrag").setLevel(logging.CRITICAL)  # it is closed in the middle of a book
    with own_folder() as folder, stand_in(folder) as ollama:
        home = folder / "home"
        _fill(home)
        environ = {**reads_with(ollama), "LIBRARIAN_HOME": str(home)}
        with closing(Librarian.open(Settings.from_env(environ))) as librarian:
            librarian.wait_ready()
            librarian.add_file("book.txt", texts.book(corpus, folder).read_bytes())
            for number in range(WAITING):
                librarian.add_text(f"note{number}.txt", f"The keeper saw ship {number}. " * 50)
            deadline = time.monotonic() + READY_S
            while not librarian.snapshot().calls and time.monotonic() < deadline:
                time.sleep(0.1)
            published = librarian.portal.call(_publish_ms, librarian._rooms)
            page = _page_ms(librarian)
            status = _status_ms(librarian)
    what = f"{DOCUMENTS + WAITING:,} documents, {WAITING} of them waiting"
    return [
        Row(what=f"{what}: publishing, loop's time, p95", value=published, unit="ms", most=5),
        Row(what=f"{what}: a refresh of Indexing, Python, p95", value=page, unit="ms", most=60),
        Row(what=f"{what}: the status as JSON, p95", value=status, unit="ms"),
    ]


def _fill(home: Path) -> None:
    home.mkdir(parents=True)
    with closing(Catalogue(home / "catalogue.sqlite3")) as catalogue:
        for number in range(DOCUMENTS):
            catalogue.put(
                Document(
                    id=f"doc-{number}",
                    name=f"Повесть о маяке на краю света, часть {number}.txt",
                    status=Status.PROCESSED,
                    bytes=60_000,
                    characters=40_000,
                    language="Russian",
                    file="none",
                    created_at=float(number),
                    updated_at=float(number),
                    place=float(number),
                    chunks_total=14,
                    chunks_done=14,
                    entities=90,
                    relations=150,
                )
            )


class _Timed:
    """Awaits a coroutine and adds up the time that its own steps take of the loop."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._coroutine.__await__()
        while True:
            begun_s = time.thread_time()
            try:
                awaited = steps.send(None)
            except StopIteration:
                return
            finally:
                self.seconds += time.thread_time() - begun_s
            yield awaited


async def _publish_ms(rooms: Rooms) -> float:
    assert rooms.indexing is not None
    seconds = []
    for number in range(TIMES):
        if number % 2:
            rooms.indexing.news.set()  # as if a document had changed
        timed = _Timed(rooms._publish(rooms.snapshot.files))
        await timed
        seconds.append(timed.seconds)
        await anyio.sleep(0.05)
    return 1e3 * percentile(seconds, 0.95)


def _script() -> None:
    import runpy
    import time

    import streamlit as st

    begun_s = time.thread_time()
    runpy.run_path(st.session_state["page"])
    st.session_state["spent_s"] = time.thread_time() - begun_s


def _page_ms(librarian: Librarian) -> float:
    """The whole script; its one fragment is nearly all of it."""
    PROCESS.hold(librarian)
    page = AppTest.from_function(_script, default_timeout=60)
    page.session_state["page"] = str(ROOT / "pages" / "indexing.py")
    seconds = []
    for _ in range(TIMES):
        page.run()
        assert not page.exception, page.exception
        seconds.append(page.session_state["spent_s"])
    return 1e3 * percentile(seconds[1:], 0.95)  # the first one imports


def _status_ms(librarian: Librarian) -> float:
    seconds = []
    for _ in range(TIMES):
        begun_s = time.thread_time()
        as_json(librarian.snapshot(), time.monotonic())
        seconds.append(time.thread_time() - begun_s)
    return 1e3 * percentile(seconds, 0.95)
