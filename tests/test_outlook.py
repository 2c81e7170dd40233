"""What the pages are told of real runs: it only grows, with two documents at once and anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from librarian.checks import Speed
from librarian.documents import Phase, Status
from librarian.estimates import Queue
from librarian.models.protocol import Completion, Heard, Prompt
from librarian.signals import Chunked, Embedded, Embedding, Merging, Stored
from librarian.snapshot import DocumentView
from librarian.ui import share, state
from tests.test_indexing import GatedModel, Room, book, room_at

pytestmark = pytest.mark.anyio


class SlowModel(GatedModel):
    """The offline model, a little slower, so that there is something to see."""

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        await anyio.sleep(0.03)
        return await super().complete(prompt, heard)


class Watcher:
    """Looks at every document again and again and fails where a number goes back."""

    def __init__(self) -> None:
        self.seen: dict[str, list[DocumentView]] = defaultdict(list)
        self.queues: list[Queue] = []

    async def look(self, room: Room) -> None:
        views, queue = await room.indexing.views(room.library.catalogue.all())
        for view in views:
            self._note(view)
        if queue is not None:
            self.queues.append(queue)

    async def watch(self, room: Room, until: Callable[[], bool]) -> None:
        with anyio.fail_after(40):
            while not until():
                await self.look(room)
                await anyio.lowlevel.checkpoint()  # between any two steps of the loop
        await self.look(room)

    def _note(self, view: DocumentView) -> None:
        seen = self.seen[view.document.name]
        if seen:
            last = seen[-1]
            assert share(view) >= share(last) - 1e-9, (last, view)
            assert view.document.chunks_done >= last.document.chunks_done
            if last.phase is view.phase:
                assert view.phase_done >= last.phase_done
            elif last.phase and view.phase:
                assert tuple(Phase).index(view.phase) > tuple(Phase).index(last.phase)
        if not seen or seen[-1] != view:
            seen.append(view)

    def phases(self, name: str) -> set[Phase | None]:
        return {view.phase for view in self.seen[name]}


def both_processed(room: Room) -> Callable[[], bool]:
    def ended() -> bool:
        documents = room.library.catalogue.all()
        done = all(each.status is Status.PROCESSED for each in documents)
        return done and not room.indexing.busy

    return ended


async def test_nothing_shown_goes_back_while_two_documents_are_indexed(tmp_path: Path) -> None:
    watcher = Watcher()
    async with room_at(tmp_path, SlowModel()) as room:
        await room.add("one.txt", book(14))
        await room.add("two.txt", book(14, hero="Birch"))
        await watcher.watch(room, both_processed(room))
        documents = {each.name: each for each in room.library.catalogue.all()}
    for name in ("one.txt", "two.txt"):
        seen, document = watcher.seen[name], documents[name]
        assert {Phase.EXTRACTING, Phase.MERGING, Phase.SAVING} <= watcher.phases(name)
        extracting = [view for view in seen if view.phase is Phase.EXTRACTING]
        assert extracting[0].document.chunks_total == document.chunks_total  # before the first end
        assert len({view.phase_done for view in extracting}) > document.chunks_total // 2
        merging = [view for view in seen if view.phase is Phase.MERGING]
        assert max(view.phase_total for view in merging) >= document.entities + document.relations
        of = f"of {document.entities + document.relations}"
        assert any(state(view).startswith("merging ") and of in state(view) for view in merging)
        assert share(seen[-1]) == 1.0
        with_eta = [view for view in extracting if view.eta_s is not None]
        assert all(view.eta_low_s < view.eta_s < view.eta_high_s for view in with_eta)  # type: ignore[operator]
        assert with_eta
    _signals_are_of_their_documents(room)


def _signals_are_of_their_documents(room: Room) -> None:
    """Every entity, relation and text is counted for the document that it belongs to."""
    for document in {signal.document for signal in room.signals}:
        own = [signal for signal in room.signals if signal.document == document]
        totals = {each.what: each.total for each in own if isinstance(each, Merging)}
        stored = [each.what for each in own if isinstance(each, Stored)]
        assert stored.count("relations") == totals["relations"]
        assert stored.count("entities") >= totals["entities"]
        asked = sum(each.texts for each in own if isinstance(each, Embedding))
        made = sum(each.texts for each in own if isinstance(each, Embedded))
        assert asked == made > 0
        assert sum(isinstance(each, Chunked) for each in own) == 1


async def test_a_document_that_is_resumed_shows_at_once_what_is_done(tmp_path: Path) -> None:
    watcher = Watcher()
    model = SlowModel()
    model.held = {"Willow12."}
    async with room_at(tmp_path, model) as room:
        await room.add("one.txt", book(14))
        await watcher.watch(room, lambda: _done(watcher, "one.txt") >= 8)
    before = watcher.seen["one.txt"][-1]
    async with room_at(tmp_path, SlowModel()) as room:
        await watcher.look(room)
        first = watcher.seen["one.txt"][-1]
        assert first.document.chunks_done >= before.document.chunks_done
        await watcher.watch(room, both_processed(room))
        ended = room.library.catalogue.get("one.txt")
    resumed = [view for view in watcher.seen["one.txt"] if view.phase is Phase.EXTRACTING][-1]
    assert resumed.document.chunks_saved >= before.document.chunks_done
    assert ended.chunks_saved < ended.chunks_total


async def test_a_speed_that_is_known_judges_the_queue_before_anything_runs(tmp_path: Path) -> None:
    async with room_at(tmp_path, SlowModel()) as room:
        assert (await room.indexing.views(()))[1] is None
        await room.add("one.txt", book(14))
        await Watcher().watch(room, both_processed(room))
    model = SlowModel()
    model.held = {"Birch"}
    async with room_at(tmp_path, model) as room:
        await room.add("two.txt", book(28, hero="Birch"))
        view, queue = await _waiting(room, "two.txt")
        assert queue is not None
        assert queue.eta_s is not None
        assert queue.seconds_per_call is not None
        assert 0.03 < queue.seconds_per_call < 1
        assert view.eta_s == queue.eta_s
        whole = room.library.catalogue.get("one.txt").chunks_total
        assert 2 * whole <= queue.calls <= 3.5 * whole  # with what was merged
        model.gate.set()
        await room.until("two.txt", Status.PROCESSED)


async def test_what_the_doctor_has_measured_is_where_the_estimate_begins(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Alder"}
    speed = Speed(
        seconds_per_chunk=43.0,
        at_once=1,
        gain=1.0,
        prompt_tokens_per_s=100.0,
        output_tokens_per_s=10.0,
        chunk_prompt_tokens=2500,
        chunk_output_tokens=400,
    )
    async with room_at(tmp_path, model) as room:
        await room.add("one.txt", book(14))
        await room.indexing.probed(speed)
        _, queue = await _waiting(room, "one.txt")
        assert queue is not None
        assert queue.eta_s is not None
        chunks = room.library.catalogue.get("one.txt").chunks_total or queue.calls
        assert 0.6 * 43 * chunks < queue.eta_s < 1.6 * 43 * chunks  # one call at a time is all
        await room.indexing.probed(replace(speed, seconds_per_chunk=40.0))
        assert (await _waiting(room, "one.txt"))[1] == queue  # that is no news
        model.gate.set()
        await room.until("one.txt", Status.PROCESSED)


async def test_an_unknown_speed_is_no_estimate(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Alder"}
    async with room_at(tmp_path, model) as room:
        await room.add("one.txt", book(14))
        await room.when("one.txt", lambda _: model.asked)
        view, queue = await _waiting(room, "one.txt")
        assert queue is not None
        assert (queue.eta_s, view.eta_s) == (None, None)
        assert queue.calls >= 10
        model.gate.set()
        await room.until("one.txt", Status.PROCESSED)


async def test_a_share_is_noted_while_the_work_goes_on(tmp_path: Path) -> None:
    model = GatedModel()
    model.held = {"Willow9."}
    async with room_at(tmp_path, model) as room:
        await room.add("one.txt", book(14))
        noted = await room.when("one.txt", lambda document: document.chunks_done >= 8)
        assert noted.status is Status.PROCESSING  # a kill now would find this
        assert 0.3 < noted.share < 1
        model.gate.set()
        await room.until("one.txt", Status.PROCESSED)


def _done(watcher: Watcher, name: str) -> int:
    seen = watcher.seen[name]
    return seen[-1].document.chunks_done if seen else 0


async def _waiting(room: Room, name: str) -> tuple[DocumentView, Queue | None]:
    documents = room.library.catalogue.all()
    views, queue = await room.indexing.views(documents)
    return next(view for view in views if view.document.name == name), queue
