"""What the journal costs: a book with it and without it, by turns, each in a process of its own."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from librarian.assembly import open_engine
from librarian.calls import Calls
from librarian.documents import Status
from librarian.indexing import Indexing
from librarian.intake import admit_file
from librarian.journal import Journal
from librarian.library import Library
from librarian.logbook import Logbook
from librarian.models.choice import choose
from librarian.models.protocol import Completion
from librarian.portal import Portal
from librarian.settings import Settings
from tests.bench import texts
from tests.bench.processes import LATENCY_S, SLOTS, Broken, own_folder, stand_in
from tests.bench.report import Row

PAIRS = 2
NAMES = {True: "with", False: "without"}
MOST = 3.0  # per cent of the wall time


class TimedJournal(Journal):
    """A journal that adds up how long it was worked with."""

    seconds = 0.0

    def get(self, key: bytes) -> Completion | None:
        """See `Journal.get`."""
        begun_s = time.perf_counter()
        try:
            return super().get(key)
        finally:
            self.seconds += time.perf_counter() - begun_s

    def put(self, key: bytes, answer: Completion, **of: Any) -> None:
        """See `Journal.put`."""
        begun_s = time.perf_counter()
        super().put(key, answer, **of)
        self.seconds += time.perf_counter() - begun_s


def journal_cost(corpus: Path | None) -> list[Row]:
    """A book through the rooms of the app and a model of known speed."""
    with own_folder() as folder, stand_in(folder) as ollama:
        path = _without_repeats(texts.book(corpus, folder), folder)
        ollama.set(latency_s=0.0)
        _indexed_apart(folder / "warm", path, ollama.url, keeps=True)
        ollama.set(latency_s=LATENCY_S)
        walls: dict[bool, list[float]] = {True: [], False: []}
        asked: dict[bool, int] = {}
        inside_s = 0.0
        for number in range(PAIRS):
            for keeps in (True, False):
                ollama.set(forget_calls=True)
                home = folder / f"home{number}{keeps}"
                wall_s, journal_s = _indexed_apart(home, path, ollama.url, keeps=keeps)
                walls[keeps].append(wall_s)
                inside_s = max(inside_s, journal_s)
                asked[keeps] = sum(call["endpoint"] == "/api/chat" for call in ollama.calls())
    kept_s, bare_s = min(walls[True]), min(walls[False])  # what disturbs only ever adds
    more = 100 * (kept_s / bare_s - 1)
    share = 100 * inside_s / kept_s
    return [
        Row(what="journal-cost: wall time that it adds", value=more, unit="%", most=MOST),
        Row(what="journal-cost: busy in it, of the wall time", value=share, unit="%"),
        *(
            Row(what=f"journal-cost: {NAMES[keeps]}, run {n}", value=s, unit="s")
            for keeps, seconds in walls.items()
            for n, s in enumerate(seconds, 1)
        ),
        *(
            Row(what=f"journal-cost: {NAMES[keeps]}, chat calls", value=n)
            for keeps, n in asked.items()
        ),
    ]


def _without_repeats(book: Path, folder: Path) -> Path:
    """The book with each paragraph once: the journal would spare the calls for the others."""
    path = folder / f"once {book.name}"
    paragraphs = book.read_text(encoding="utf-8").split("\n\n")
    path.write_text("\n\n".join(dict.fromkeys(paragraphs)), encoding="utf-8")
    return path


def _indexed_apart(home: Path, path: Path, url: str, *, keeps: bool) -> tuple[float, float]:
    """The same in a new process, so that no run inherits the memory of another."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_indexed, home, path, url, keeps).result()


def _indexed(home: Path, path: Path, url: str, keeps: bool) -> tuple[float, float]:
    """Seconds until a text is in the graph, and those spent in the journal."""
    settings = Settings.from_env(
        {}, home=home, backend="ollama", ollama_host=url, llm_max_async=SLOTS
    )
    logging.getLogger().addHandler(logging.NullHandler())  # else one that prints is put there
    library = Library.open(home)
    logbook = Logbook(library.log)
    journal = TimedJournal(home / "timed.sqlite3") if keeps else None
    portal = Portal()  # the loop of the app
    try:
        wall_s = portal.call(_index, library, settings, journal, path)
    finally:
        portal.close()
        if journal is not None:
            journal.close()
        logbook.close()
        library.close()
    return wall_s, journal.seconds if journal else 0.0


async def _index(
    library: Library, settings: Settings, journal: Journal | None, path: Path
) -> float:
    """What `librarian.rooms` puts together, with the journal that is given or with none."""
    model = (await choose(settings)).model
    library.pin(model.card, chunk_tokens=settings.chunk_tokens, versions={})
    calls = Calls(
        model, limit=settings.llm_max_async + 1, batch=settings.embed_batch, journal=journal
    )
    indexing = Indexing(library, calls)
    async with AsyncExitStack() as exits:
        exits.push_async_callback(model.aclose)
        engine = await exits.enter_async_context(
            open_engine(
                directory=library.cache,
                workspace=library.manifest.workspace,
                settings=settings,
                chunk_tokens=library.manifest.chunk_tokens,
                calls=calls,
                heard=indexing.hear,
            )
        )
        tasks = await exits.enter_async_context(anyio.create_task_group())
        tasks.start_soon(indexing.run, engine)
        begun_s = time.monotonic()
        await to_thread.run_sync(_admit, library, path)
        indexing.nudge()
        ended = await _ended(library, path.name)
        wall_s = time.monotonic() - begun_s
        tasks.cancel_scope.cancel()
    if ended is not Status.PROCESSED:
        raise Broken(f"The book is {ended}.")
    return wall_s


def _admit(library: Library, path: Path) -> None:
    admit_file(library, path.name, path.read_bytes())


async def _ended(library: Library, name: str) -> Status:
    while True:
        status = (await to_thread.run_sync(library.catalogue.get, name)).status
        if status not in (Status.PENDING, Status.PROCESSING):
            return status
        await anyio.sleep(0.05)
