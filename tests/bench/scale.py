"""The pages over a large library, made up through the real catalogue and storages."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from random import Random

from playwright.sync_api import BrowserContext, Page

from librarian.catalogue import Catalogue
from librarian.changes import NAME, Change, Changes
from librarian.documents import Document, Status, document_id
from librarian.library import Library
from librarian.migration import migrate
from librarian.models.offline import OfflineModel
from librarian.settings import Settings
from tests.bench import texts
from tests.bench.processes import App, Broken, app, own_folder, until
from tests.bench.report import Row, percentile
from tests.bench.watchers import MemoryWatcher, PageWatcher, person
from tests.postgres_server import PostgresServer

DOCUMENTS = 10_000
ENTITIES = 200_000
RELATIONS = 400_000
GRAPH = "graph_chunk_entity_relation.graphml"
KINDS = "person organization location concept event artifact".split()
PAGE_MS = 120_000.0
OPEN_S = 600.0
LOOKS = 3  # at each page
REFRESH_S = 12.0  # for which the page of indexing is looked at
MB = 1 << 20
BACKEND = {"LIBRARIAN_BACKEND": "offline"}
ORIGINAL = "story.txt"  # of all documents
OPENED = 42  # whose page is looked at
USABLE = """heading => {
    const seen = [...document.querySelectorAll("h1, h2, h3")].filter(each => each.checkVisibility())
    return seen.some(each => !heading || each.innerText.trim() === heading)
        && document.querySelector("[data-test-script-state=notRunning]")
        && !document.querySelector("[data-testid=stSkeleton]")
}"""  # with an empty heading: any
TEXT = " ".join(["Смотритель маяка записал погоду и имя парохода."] * 20)
PAGES = {
    "": "Library",
    "shelf": "Shelf",
    "indexing": "Indexing",
    f"document?doc={document_id(TEXT)}": "",
    "graph": "Graph",
    "mend": "Mend",
    "ask": "Ask",
    "libraries": "Libraries",
    "system": "System",
}


def scale(corpus: Path | None) -> list[Row]:
    """Every page, empty, then over a large library in files, then over it in PostgreSQL."""
    del corpus  # so large a library is made up
    with own_folder() as folder, PostgresServer(fast=False) as server:
        home = folder / "home"
        _fill(home)
        url = {"LIBRARIAN_DATABASE_URL": server.url}
        none = {path: heading for path, heading in PAGES.items() if heading}
        rows = _opened("scale, empty", folder / "empty", none)
        rows += _opened("scale, files", home)
        begun_s = time.monotonic()
        migrate(Settings.from_env({**BACKEND, **url}, home=home), "postgres", lambda _: None)
        moved_s = time.monotonic() - begun_s
        return [
            *rows,
            Row(what="scale, PostgreSQL: going over to it", value=moved_s, unit="s"),
            *_opened("scale, PostgreSQL", home, memory_mb=1500, **url),
        ]


def _opened(
    what: str,
    home: Path,
    pages: Mapping[str, str] = PAGES,
    memory_mb: float | None = None,
    **settings: str,
) -> list[Row]:
    begun_s = time.monotonic()
    with app(home, **BACKEND, **settings) as opened, MemoryWatcher(opened.process) as memory:
        until(
            lambda: opened.status()["ready"],
            "the library to be open",
            opened.process,
            opened.log,
            OPEN_S,
        )
        rows = [Row(what=f"{what}: opening", value=time.monotonic() - begun_s, unit="s")]
        with person(home.with_suffix(".browser")) as browser:
            for path, heading in pages.items():
                rows += _by_address(what, opened, browser, path, heading)
            rows += _by_menu(what, opened, browser)
            rows.append(_refreshed(what, opened, browser))
    return [*rows, Row(what=f"{what}: memory", value=memory.peak / MB, unit="MB", most=memory_mb)]


def _by_address(
    scale: str, opened: App, browser: BrowserContext, path: str, heading: str
) -> list[Row]:
    """A new tab; but for the very first one the browser has compiled Streamlit's scripts before."""
    what, seconds = f"{scale}: page {heading or 'Document'}", []
    try:
        for _ in range(LOOKS):
            page = browser.new_page()
            begun_s = time.monotonic()
            page.goto(f"{opened.url}/{path}", timeout=PAGE_MS)
            _until_usable(page, heading)
            seconds.append(time.monotonic() - begun_s)
            page.close()
    except Exception as exc:
        raise Broken(f"{what} was not shown: {exc}") from exc
    return [
        Row(what=f"{what}, new tab, first", value=seconds[0], unit="s"),
        Row(what=f"{what}, new tab, again", value=min(seconds), unit="s", most=1.0),
    ]


def _by_menu(scale: str, opened: App, browser: BrowserContext) -> list[Row]:
    """From a click in the menu, in a tab that is open; the median of some."""
    page = browser.new_page()
    page.goto(opened.url, timeout=PAGE_MS)
    _until_usable(page, "Library")
    seconds: dict[str, list[float]] = {heading: [] for heading in PAGES.values() if heading}
    for _ in range(LOOKS):
        for heading, found in seconds.items():
            begun_s = time.monotonic()
            page.get_by_test_id("stSidebarNav").get_by_role("link", name=heading).click()
            _until_usable(page, heading)
            found.append(time.monotonic() - begun_s)
    page.close()
    return [
        Row(
            what=f"{scale}: page {heading}, by the menu",
            value=statistics.median(found),
            unit="s",
            most=1.0,
        )
        for heading, found in seconds.items()
    ]


def _until_usable(page: Page, heading: str) -> None:
    """The heading is there, nothing is drawn grey, and the script has ended.

    The page itself looks, whenever it is drawn; Playwright's own looks are up to a second apart.
    """
    page.wait_for_function(USABLE, arg=heading, polling="raf", timeout=PAGE_MS)


def _refreshed(what: str, opened: App, browser: BrowserContext) -> Row:
    page = browser.new_page()
    watcher = PageWatcher(page)
    page.goto(f"{opened.url}/indexing", timeout=PAGE_MS)
    _until_usable(page, "Indexing")
    watcher.forget()
    end_s = time.monotonic() + REFRESH_S
    while time.monotonic() < end_s:
        watcher.wait()
    seconds = watcher.refreshes()
    page.close()
    if not seconds:
        raise Broken("The page was never refreshed.")
    return Row(
        what=f"{what}: a refresh of Indexing, p95",
        value=1000 * percentile(seconds, 0.95),
        unit="ms",
        most=400,
    )


def _fill(home: Path) -> None:
    """A finished library without vectors, which no page shows."""
    card = OfflineModel().card
    with closing(Library.open(home)) as library:
        library.pin(card, chunk_tokens=1200, versions={})
        library.storage.mkdir(parents=True)
        library.keep_original(ORIGINAL, TEXT.encode())
        _fill_catalogue(library.catalogue)
        with closing(Changes(library.storage / NAME)) as changes:
            changes.write(_graph(Random(7)))
            changes.write(_rows())


def _fill_catalogue(catalogue: Catalogue) -> None:
    for number in range(DOCUMENTS):
        catalogue.put(
            Document(
                id=_id(number),
                name=f"Повесть о маяке на краю света, часть {number}.txt",
                status=Status.FAILED if number % 1000 == 7 else Status.PROCESSED,
                bytes=60_000,
                characters=40_000,
                language="Russian",
                file=ORIGINAL,
                created_at=float(number),
                updated_at=float(number),
                place=float(number),
                chunks_total=1,
                chunks_done=1,
                entities=60,
                relations=90,
                error="It could not be read." if number % 1000 == 7 else None,
                tags=("sea",) if number % 3 else (),
            )
        )


def _id(number: int) -> str:
    """That of one of them is that of its text, so that the text is shown."""
    return document_id(TEXT) if number == OPENED else f"doc-{number:05}"


def _graph(dice: Random) -> Iterator[Change]:
    """Names of few parts, each with the number of its own; some have many neighbours."""
    names = [f"{next_name(dice)} {number}" for number in range(ENTITIES)]
    for number, name in enumerate(names):
        doc = number % DOCUMENTS
        node = {
            "entity_id": name,
            "entity_type": KINDS[number % len(KINDS)],
            "description": f"{name} {dice.choice(texts.VERBS)} {dice.choice(texts.OBJECTS)}.",
            "source_id": f"chunk-{doc:05}",
            "file_path": f"Повесть о маяке на краю света, часть {doc}.txt",
            "created_at": 1,
            "truncate": "",
        }
        yield Change(GRAPH, json.dumps([name], ensure_ascii=False), node)
    for _ in range(RELATIONS):
        first = int(ENTITIES * dice.random() ** 3)
        near = min(ENTITIES - 1, first + dice.randint(1, 60))
        pair = sorted((names[first], names[near]))
        doc = first % DOCUMENTS
        edge = {
            "weight": 1.0,
            "description": f"{pair[0]}: {pair[1]}",
            "keywords": dice.choice(texts.VERBS),
            "source_id": f"chunk-{doc:05}",
            "file_path": f"Повесть о маяке на краю света, часть {doc}.txt",
            "created_at": 1,
            "truncate": "",
        }
        yield Change(GRAPH, json.dumps(pair, ensure_ascii=False), edge)


def _rows() -> Iterator[Change]:
    for number in range(DOCUMENTS):
        doc, chunk = _id(number), f"chunk-{number:05}"
        name = f"Повесть о маяке на краю света, часть {number}.txt"
        status = {
            "status": "failed" if number % 1000 == 7 else "processed",
            "content_summary": TEXT[:100],
            "content_length": 40_000,
            "file_path": name,
            "created_at": "2026-01-01T00:00:00+00:00",
            "updated_at": "2026-01-01T00:00:00+00:00",
            "chunks_count": 1,
            "chunks_list": [chunk],
            "metadata": {"process_start_time": 1, "process_end_time": 20},
        }
        yield Change("kv_store_doc_status.json", doc, status)
        row = {
            "content": TEXT,
            "tokens": 300,
            "full_doc_id": doc,
            "chunk_order_index": 0,
            "file_path": name,
            "llm_cache_list": [],
        }
        yield Change("kv_store_text_chunks.json", chunk, row)


def next_name(dice: Random) -> str:
    """A made-up family name."""
    return dice.choice(texts.STARTS) + dice.choice(texts.MIDDLES) + dice.choice(texts.ENDS)
