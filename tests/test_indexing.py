"""The queue: what is next, how it ends, and what a person can do to it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import pytest
from anyio import to_thread

from librarian.assembly import open_engine
from librarian.borders import borders_of_text
from librarian.calls import Calls, Sleep
from librarian.catalogue import Catalogue
from librarian.documents import Document, Phase, Status
from librarian.engine import Engine
from librarian.errors import EngineError, PromptTooLong, UnknownDocument
from librarian.indexing import Indexing
from librarian.intake import admit_text
from librarian.library import Library
from librarian.models.offline import OfflineModel
from librarian.models.protocol import Completion, Heard, Model, Prompt
from librarian.settings import Settings
from librarian.signals import Chunked, ChunkExtracted, Merged, Merging, Signal, Stored

pytestmark = pytest.mark.anyio


class GatedModel(OfflineModel):
    """The offline model; texts with a word in `held` wait, those with one in `broken` fail."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()
        self.broken: set[str] = set()
        self.gate = anyio.Event()
        self.asked: list[str] = []

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        text = prompt.messages[-1].content
        self.asked.append(text)
        if any(word in text for word in self.held):
            await self.gate.wait()
        if any(word in text for word in self.broken):
            raise PromptTooLong("qwen3:8b: a very long chunk.")
        return await super().complete(prompt, heard)


class Room:
    """A library with its queue at work."""

    def __init__(self, library: Library, model: Model, calls: Calls) -> None:
        self.library = library
        self.model = model
        self.calls = calls
        self.indexing = Indexing(library, self.calls)
        self.signals: list[Signal] = []
        self.engine: Engine
        self.ended: Document
        self.found: tuple[set[str], set[frozenset[str]]]

    def hear(self, signal: Signal) -> None:
        self.signals.append(signal)
        self.indexing.hear(signal)

    async def add(self, name: str, text: str) -> None:
        await to_thread.run_sync(admit_text, self.library, name, text)
        self.indexing.nudge()

    async def until(self, name: str, *statuses: Status) -> Document:
        return await self.when(name, lambda document: document.status in statuses)

    async def when(self, name: str, condition: Callable[[Document], object]) -> Document:
        with anyio.fail_after(30):
            while not condition(document := self.library.catalogue.get(name)):  # noqa: ASYNC110
                await anyio.sleep(0.01)
            return document

    async def idle(self) -> None:
        with anyio.fail_after(30):
            while self.indexing.busy or self.library.catalogue.deletions():  # noqa: ASYNC110
                await anyio.sleep(0.01)


@asynccontextmanager
async def room_at(
    home: Path,
    model: Model | None = None,
    *,
    limit: int = 4,
    sleep: Sleep = anyio.sleep,
    through: Callable[[Engine], Engine] = lambda engine: engine,
) -> AsyncIterator[Room]:
    library = Library.open(home)
    try:
        model = model or GatedModel()
        calls = Calls(model, limit=limit, journal=library.journal, sleep=sleep)
        room = Room(library, model, calls)
        library.pin(room.model.card, chunk_tokens=200, versions={})
        async with (
            open_engine(
                directory=library.cache,
                workspace=library.manifest.workspace,
                settings=Settings.from_env({}),
                chunk_tokens=200,
                calls=room.calls,
                heard=room.hear,
                borders=partial(borders_of_text, library),
            ) as engine,
            anyio.create_task_group() as tasks,
        ):
            room.engine = engine
            tasks.start_soon(room.indexing.run, through(engine))
            yield room
            room.calls.close()
            tasks.cancel_scope.cancel()
    finally:
        library.close()


def page(name: str) -> str:
    return f"Captain {name} sailed from Port {name} to London. Mate Willow met Captain {name}."


async def test_documents_are_worked_off_in_their_order(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        for name in ("Anna", "Boris", "Clara", "Dmitri"):
            await room.add(f"{name}.txt", page(name))
        for name in ("Anna", "Boris", "Clara", "Dmitri"):
            ended = await room.until(f"{name}.txt", Status.PROCESSED)
            assert ended.entities
            assert ended.chunks_done == ended.chunks_total == 1
        extracted = [each.document for each in room.signals if isinstance(each, ChunkExtracted)]
        queued = [document.id for document in room.library.catalogue.all()]
        assert sorted(extracted) == sorted(queued)
        merged = [each.document for each in room.signals if isinstance(each, Merged)]
        assert sorted(merged) == sorted(queued)
        assert {each.what for each in room.signals if isinstance(each, Merging)} == {
            "entities",
            "relations",
        }


async def test_a_failed_document_does_not_hold_up_the_others(tmp_path: Path) -> None:
    model = GatedModel()
    model.broken = {"Boris"}
    async with room_at(tmp_path, model) as room:
        for name in ("Anna", "Boris", "Clara"):
            await room.add(f"{name}.txt", page(name))
        failed = await room.until("Boris.txt", Status.FAILED)
        assert "a very long chunk" in str(failed.error)
        await room.until("Anna.txt", Status.PROCESSED)
        await room.until("Clara.txt", Status.PROCESSED)
        model.broken = set()
        await room.indexing.retry("Boris.txt")
        ended = await room.until("Boris.txt", Status.PROCESSED)
        assert ended.error is None


class SlowCatalogue(Catalogue):
    """Gives away the queue a while after it was read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.read, self.go = threading.Event(), threading.Event()

    def queue(self) -> tuple[Document, ...]:
        documents = super().queue()
        if documents:
            self.read.set()
            assert self.go.wait(30)
        return documents


async def test_a_document_that_ends_while_the_queue_is_read_is_not_done_again(
    tmp_path: Path,
) -> None:
    model = GatedModel()
    model.held = {"Anna"}
    async with room_at(tmp_path, model) as room:
        await room.add("Anna.txt", page("Anna"))
        await room.until("Anna.txt", Status.PROCESSING)
        slow = SlowCatalogue(tmp_path / "catalogue.sqlite3")
        before, room.library.catalogue = room.library.catalogue, slow
        room.indexing.nudge()
        await to_thread.run_sync(slow.read.wait, 30)
        model.gate.set()
        await room.until("Anna.txt", Status.PROCESSED)
        await room.idle()
        slow.go.set()
        await room.add("Boris.txt", page("Boris"))
        await room.until("Boris.txt", Status.PROCESSED)
        await room.idle()
        cut = [each.document for each in room.signals if isinstance(each, Chunked)]
        assert len(cut) == len(set(cut)) == 2
        before.close()


async def test_a_lost_original_fails_by_name(tmp_path: Path) -> None:
    model = GatedModel()
    async with room_at(tmp_path, model) as room:
        await to_thread.run_sync(admit_text, room.library, "a.txt", page("Anna"))
        room.library.drop_original(room.library.catalogue.get("a.txt").file)
        room.indexing.nudge()
        failed = await room.until("a.txt", Status.FAILED)
        assert "could not be read" in str(failed.error)
        assert model.asked == []


async def test_a_pause_keeps_the_document_until_it_is_retried(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Boris"}
    async with room_at(tmp_path, model) as room:
        await room.add("b.txt", page("Boris"))
        await room.when("b.txt", lambda _: model.asked)
        view = room.indexing.view(room.library.catalogue.get("b.txt"))
        assert view.document.status is Status.PROCESSING
        assert view.phase in (Phase.CHUNKING, Phase.EXTRACTING)
        await room.indexing.pause("b.txt")
        paused = await room.until("b.txt", Status.PAUSED)
        assert paused.error is None
        room.indexing.nudge()
        await room.idle()
        assert room.library.catalogue.get("b.txt").status is Status.PAUSED
        model.held = set()
        await room.indexing.retry("b.txt")
        await room.until("b.txt", Status.PROCESSED)


async def test_a_pause_and_a_retry_in_one_breath_end_processed(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Boris"}
    async with room_at(tmp_path, model) as room:
        await room.add("b.txt", page("Boris"))
        await room.when("b.txt", lambda _: model.asked)
        await room.indexing.pause("b.txt")
        await room.until("b.txt", Status.PAUSED)
        model.held = set()
        await room.indexing.retry("b.txt")
        await room.indexing.retry("b.txt")  # a second click changes nothing
        await room.until("b.txt", Status.PROCESSED)
        await room.idle()
        assert room.library.catalogue.get("b.txt").status is Status.PROCESSED


async def test_a_document_deleted_while_it_is_read_does_not_come_back(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Boris"}
    async with room_at(tmp_path, model) as room:
        await room.add("b.txt", page("Boris"))
        await room.when("b.txt", lambda _: model.asked)
        await room.indexing.delete("b.txt")
        await room.idle()
        assert room.library.catalogue.all() == ()
        model.held = set()
        await room.add("b.txt", page("Boris"))
        await room.until("b.txt", Status.PROCESSED)


class Unforgetting:
    """An engine that takes nothing out of its graph."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    async def delete(self, doc_id: str) -> None:
        raise EngineError(f"{doc_id}: the disk is read-only.")


def unforgetting(engine: Engine) -> Engine:
    return cast(Engine, Unforgetting(engine))


async def test_a_deletion_that_fails_is_made_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with room_at(tmp_path, through=unforgetting) as room:
        for name in ("Anna", "Boris"):
            await room.add(f"{name}.txt", page(name))
            await room.until(f"{name}.txt", Status.PROCESSED)
        await room.indexing.delete("Anna.txt")
        await room.add("Clara.txt", page("Clara"))
        await room.until("Clara.txt", Status.PROCESSED)  # others go on
        assert "read-only" in caplog.text
        assert "when the library is opened next" in caplog.text
        assert room.library.catalogue.deletions()
    async with room_at(tmp_path) as room:
        await room.idle()
        names = {each.name for each in (await room.engine.graph()).entities}
        assert {"Captain Boris", "Captain Clara"} <= names
        assert "Captain Anna" not in names


async def test_what_is_added_again_after_a_deletion_that_failed_stays(tmp_path: Path) -> None:
    async with room_at(tmp_path, through=unforgetting) as room:
        await room.add("a.txt", page("Anna"))
        await room.until("a.txt", Status.PROCESSED)
        await room.indexing.delete("a.txt")
        await room.add("a.txt", page("Anna"))
        await room.until("a.txt", Status.PROCESSED)
        assert not room.library.catalogue.deletions()
    async with room_at(tmp_path) as room:
        await room.idle()
        assert "Captain Anna" in {each.name for each in (await room.engine.graph()).entities}


async def test_retrying_what_is_done_changes_nothing(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        await room.add("a.txt", page("Anna"))
        before = await room.until("a.txt", Status.PROCESSED)
        await room.indexing.retry("a.txt")
        await room.indexing.pause("a.txt")
        await room.idle()
        assert room.library.catalogue.get("a.txt") == before


async def test_a_text_in_which_nothing_is_found_says_so(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        await room.add("digits.txt", "1 2 3 4 5 6 7 8 9 0 .")
        ended = await room.until("digits.txt", Status.PROCESSED)
        assert ended.warnings == ("No entity was found in it.",)


@pytest.mark.parametrize("verb", ["pause", "retry", "delete"])
async def test_an_unknown_document_is_named(tmp_path: Path, verb: str) -> None:
    async with room_at(tmp_path) as room:
        with pytest.raises(UnknownDocument, match="nobody"):
            await getattr(room.indexing, verb)("nobody.txt")


async def test_what_was_interrupted_is_taken_up_again(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Boris"}
    async with room_at(tmp_path, model) as room:
        await room.add("b.txt", page("Boris"))
        await room.when("b.txt", lambda _: model.asked)
    async with room_at(tmp_path) as room:
        await room.until("b.txt", Status.PROCESSED)


async def test_progress_of_unknown_documents_is_passed_over(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        room.indexing.hear(ChunkExtracted("doc-unknown", 0, 1, 2, 3, 4))
        room.indexing.hear(Merging("doc-unknown", "entities", 3))
        room.indexing.hear(Merged())
        assert not room.indexing.busy


async def test_what_is_stored_between_two_looks_is_counted_at_once(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Boris"}
    async with room_at(tmp_path, model) as room:
        await room.add("b.txt", page("Boris"))
        held = await room.when("b.txt", lambda _: model.asked)
        room.indexing.hear(Merging(held.id, "entities", 10))
        room.indexing.hear(Stored(held.id, "entities", 1))
        room.indexing.hear(Stored(held.id, "entities", 2))
        assert room.indexing.view(held).phase_done == 3
        room.indexing.hear(Stored(held.id, "entities", 1))
        room.indexing.hear(Merging(held.id, "relations", 5))
        room.indexing.hear(Stored(held.id, "relations", 1))
        assert room.indexing.view(held).phase_done == 5
        assert room.indexing.view(held).phase_total == 15
        room.indexing.hear(Stored("doc-unknown", "entities", 1))
        assert room.indexing.view(held).phase_done == 5
        model.gate.set()
        await room.until("b.txt", Status.PROCESSED)


# --- chunks without an answer, merges, and the order of the queue ---------------------------


def book(chapters: int, *, hero: str = "Alder") -> str:
    """A text of about as many chunks as chapters, all of them about one captain."""
    return "\n\n".join(
        f"Captain {hero} sailed from Port Ember{n} to Thorn{n} with Mate Willow{n}. "
        + f"In the year {1700 + n} the crew of the Falcon{n} found salt near Port Ember{n}. " * 7
        for n in range(chapters)
    )


async def nodes_and_edges(room: Room) -> tuple[set[str], set[frozenset[str]]]:
    graph = await room.engine.graph()
    return (
        {entity.name for entity in graph.entities},
        {frozenset((each.source, each.target)) for each in graph.relations},
    )


def extractions(model: GatedModel) -> int:
    return sum("---Input Text---" in text for text in model.asked)


async def test_a_chunk_without_an_answer_is_a_warning_and_can_be_retried_alone(
    tmp_path: Path,
) -> None:
    async with room_at(tmp_path / "whole") as room:
        await room.add("book.txt", book(14))
        await room.until("book.txt", Status.PROCESSED)
        whole = await nodes_and_edges(room)
    model = GatedModel()
    model.broken = {"Willow7."}
    async with room_at(tmp_path / "mended", model) as room:
        await room.add("book.txt", book(14))
        lacking = await room.until("book.txt", Status.PROCESSED)
        (warning,) = lacking.warnings
        assert "gave nothing: qwen3:8b: a very long chunk. Retry" in warning
        assert "Willow7" not in (await nodes_and_edges(room))[0]
        model.broken = set()
        model.asked.clear()
        await room.indexing.retry("book.txt")
        mended = await room.when(
            "book.txt", lambda each: each.status is Status.PROCESSED and not each.warnings
        )
        assert extractions(model) == 1
        assert mended.chunks_saved == mended.chunks_total - 1
        assert await nodes_and_edges(room) == whole


async def test_more_than_a_tenth_of_such_chunks_fails_the_document(tmp_path: Path) -> None:
    model = GatedModel()
    model.broken = {"Willow3.", "Willow7.", "Willow11."}
    async with room_at(tmp_path, model) as room:
        await room.add("book.txt", book(14))
        failed = await room.until("book.txt", Status.FAILED)
        assert "chunks gave nothing" in str(failed.error)
        assert "Retry it: only what is missing is asked for again." in str(failed.error)
        model.broken = set()
        model.asked.clear()
        await room.indexing.retry("book.txt")
        ended = await room.until("book.txt", Status.PROCESSED)
        assert ended.warnings == ()
        assert extractions(model) < ended.chunks_total


async def test_descriptions_that_cannot_be_merged_are_kept_side_by_side(tmp_path: Path) -> None:
    model = GatedModel()
    model.broken = {"Description List:"}
    async with room_at(tmp_path, model) as room:
        await room.add("book.txt", book(14))
        lacking = await room.until("book.txt", Status.PROCESSED)
        assert any("keeps several descriptions" in each for each in lacking.warnings)
        graph = await room.engine.graph()
        hero = next(entity for entity in graph.entities if entity.name == "Alder")
        assert "Ember1" in hero.description
        model.broken = set()
        await room.indexing.retry("book.txt")
        ended = await room.when(
            "book.txt", lambda each: each.status is Status.PROCESSED and not each.warnings
        )
        assert ended.error is None


async def test_a_pause_ends_a_merge_too(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Description List:"}
    async with room_at(tmp_path, model) as room:
        await room.add("book.txt", book(14))
        await room.when("book.txt", lambda _: any("Description List:" in a for a in model.asked))
        await room.indexing.pause("book.txt")
        paused = await room.until("book.txt", Status.PAUSED)
        assert paused.error is None
        assert room.calls.in_flight() == ()
        asked = extractions(model)
        model.gate.set()
        await room.indexing.retry("book.txt")
        ended = await room.until("book.txt", Status.PROCESSED)
        assert extractions(model) == asked
        assert ended.chunks_saved == ended.chunks_total


async def test_a_merge_that_was_ended_for_anothers_sake_goes_on(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Description List:"}
    async with room_at(tmp_path, model, limit=40) as room:
        await room.add("one.txt", book(14))
        await room.add("two.txt", book(14, hero="Birch"))
        for hero in ("Alder", "Birch"):
            await room.when(
                "one.txt",
                lambda _, hero=hero: any(
                    "Description List:" in a and hero in a for a in model.asked
                ),
            )
        await room.indexing.pause("one.txt")
        await room.until("one.txt", Status.PAUSED)
        model.gate.set()
        other = await room.until("two.txt", Status.PROCESSED)
        assert other.error is None
        assert room.library.catalogue.get("one.txt").status is Status.PAUSED


async def test_a_waiting_document_can_be_made_the_next_or_the_last(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Anna", "Boris"}
    names = ("Anna", "Boris", "Clara", "Dmitri", "Emma")
    async with room_at(tmp_path, model) as room:
        for name in names:
            await room.add(f"{name}.txt", page(name))
        await room.when("Anna.txt", lambda _: len(model.asked) == 2)
        await room.indexing.move("Emma.txt", first=True)
        await room.indexing.move("Clara.txt", first=False)
        await room.indexing.move("Anna.txt", first=False)  # is being read: nothing changes
        queue = [document.name for document in room.library.catalogue.queue()]
        assert queue == ["Anna.txt", "Boris.txt", "Emma.txt", "Dmitri.txt", "Clara.txt"]
        model.gate.set()
        for name in names:
            await room.until(f"{name}.txt", Status.PROCESSED)
