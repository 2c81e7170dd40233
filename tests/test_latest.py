"""The graph as it was read last: who waits for a reading, and who sees an earlier one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest

from librarian.documents import Document, Status, document_id
from librarian.errors import LibrarianError
from librarian.knowledge import Entity, Graph
from librarian.latest import LARGE, LOOK_S, LOOKS, LatestGraph
from librarian.library import Library
from librarian.models.offline import OfflineModel
from librarian.settings import Settings
from tests.conftest import Opened, until

pytestmark = pytest.mark.anyio
TEXT = "Смотритель маяка записал погоду."
ENTITIES = tuple(
    Entity(name=f"Маяк {number}", type="location", description="") for number in range(LARGE)
)


class Source:
    """A graph that grows by a document; each reading of it waits to be let go on."""

    def __init__(self, entities: int) -> None:
        self.entities = entities
        self.documents = 0
        self.begun = 0
        self.away = False
        self.open = anyio.Event()
        self.open.set()

    @property
    def version(self) -> str:
        return f"{self.documents}"

    async def graph(self) -> Graph:
        self.begun += 1
        version = self.version
        await self.open.wait()
        if self.away:
            raise LibrarianError("The database is away.")
        return Graph(entities=ENTITIES[: self.entities], relations=(), version=version)

    def grow(self) -> None:
        self.documents += 1


def latest_of(library: Source, look_s: float = LOOK_S) -> LatestGraph:
    async def source() -> Source:
        return library

    return LatestGraph(source, look_s)


def never() -> bool:
    return False


@asynccontextmanager
async def kept(graph: LatestGraph, wanted=never) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(graph.keep, wanted)
        yield
        tasks.cancel_scope.cancel()


async def until_read(graph: LatestGraph, readings: int) -> None:
    with anyio.fail_after(20):
        while graph.readings < readings:
            await anyio.lowlevel.checkpoint()


async def test_a_small_graph_is_shown_as_it_is() -> None:
    library = Source(entities=LARGE - 1)
    graph = latest_of(library)
    for version in ("0", "1"):
        shown = await graph.shown()
        assert (shown.graph.version, shown.current) == (version, True)
        library.grow()


async def test_the_first_reading_of_a_large_graph_is_waited_for() -> None:
    graph = latest_of(Source(entities=LARGE))
    shown = await graph.shown()
    assert (shown.graph.version, shown.current, shown.reading) == ("0", True, 1)


async def test_of_a_large_graph_the_earlier_one_is_shown_until_the_newer_one_is_read() -> None:
    library = Source(entities=LARGE)
    graph = latest_of(library)
    async with kept(graph):
        first = await graph.now()
        library.grow()
        library.open = anyio.Event()  # who reads now, waits
        with anyio.fail_after(5):
            shown = await graph.shown()
        assert (shown.graph, shown.current, shown.reading) == (first, False, 1)
        library.open.set()
        await until_read(graph, shown.reading + 1)
        shown = await graph.shown()
        assert (shown.graph.version, shown.current, shown.reading) == ("1", True, 2)


async def test_who_needs_it_as_it_is_now_waits() -> None:
    library = Source(entities=LARGE)
    graph = latest_of(library)
    await graph.now()
    library.grow()
    assert (await graph.now()).version == "1"


async def test_several_who_ask_have_one_reading() -> None:
    library = Source(entities=LARGE)
    graph = latest_of(library)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(graph.now)
    assert library.begun == 1


async def test_nothing_is_read_while_nobody_asks() -> None:
    library = Source(entities=LARGE)
    graph = latest_of(library)
    await graph.now()
    library.grow()
    async with kept(graph):
        await anyio.wait_all_tasks_blocked()
    assert library.begun == 1


async def test_it_is_read_unasked_when_there_is_leisure() -> None:
    library = Source(entities=LARGE)
    graph = latest_of(library, look_s=0.01)
    async with kept(graph, lambda: True):
        await until_read(graph, 1)
        library.grow()
        await until_read(graph, 2)
    assert library.begun == 2


async def test_a_moment_of_leisure_is_not_enough() -> None:
    """People come just after a library was opened."""
    library, seen = Source(entities=LARGE), iter([True] * (LOOKS - 1) + [False] * 2)
    graph, over = latest_of(library, look_s=0.01), anyio.Event()

    def wanted() -> bool:
        if (look := next(seen, None)) is None:
            over.set()
        return bool(look)

    async with kept(graph, wanted):
        with anyio.fail_after(20):
            await over.wait()
    assert library.begun == 0


async def test_a_reading_that_fails_is_begun_again_by_who_asks_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    library = Source(entities=LARGE)
    graph = latest_of(library)
    first = await graph.now()
    library.grow()
    async with kept(graph):
        library.away = True
        assert (await graph.shown()).graph == first
        await anyio.wait_all_tasks_blocked()
        assert "The database is away." in caplog.text
        library.away = False
        shown = await graph.shown()
        assert (shown.graph, shown.current) == (first, False)
        await until_read(graph, 2)
    assert (await graph.shown()).graph.version == "1"


async def test_a_library_that_is_opened_again_is_read_again() -> None:
    """Its versions are counted from the opening on."""
    libraries = [Source(entities=3), Source(entities=4)]

    async def source() -> Source:
        return libraries[0]

    graph = LatestGraph(source)
    assert len((await graph.now()).entities) == 3
    del libraries[0]
    assert len((await graph.now()).entities) == 4
    assert len((await graph.shown()).graph.entities) == 4


def test_a_large_library_reads_its_graph_before_anybody_asks(
    opened: Opened, tmp_path: Path
) -> None:
    book = Document(
        id=document_id(TEXT),
        name="маяк.txt",
        status=Status.PROCESSED,
        bytes=len(TEXT.encode()),
        characters=len(TEXT),
        language="Russian",
        file="маяк.txt",
        created_at=0.0,
        updated_at=0.0,
        place=0.0,
        entities=LARGE,
    )
    with closing(Library.open(tmp_path / "home")) as made:
        made.pin(OfflineModel().card, chunk_tokens=1200, versions={})
        made.keep_original(book.file, TEXT.encode())
        made.catalogue.put(book)
    librarian = opened(Settings.from_env({"LIBRARIAN_BACKEND": "offline"}, home=tmp_path / "home"))
    until(lambda: librarian.graph_readings == 1, "the graph to be read unasked")
