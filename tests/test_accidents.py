"""Each fault of an Ollama server in the middle of a book, by real HTTP: what becomes of the book.

The numbers are those of the list of faults that the application must survive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from librarian.decisions import Decision, row_for
from librarian.documents import Status
from librarian.errors import (
    LibrarianError,
    ModelBusy,
    ModelMissing,
    ModelUnavailable,
    ModelUnsuitable,
    OutOfMemory,
)
from librarian.models.ollama import OllamaModel
from tests.ollama_server import DEFAULT_MODELS, Fault, OllamaServer
from tests.test_indexing import Room, book, nodes_and_edges, room_at

pytestmark = pytest.mark.anyio

CHAPTERS = 14
UNLUCKY = "and so it came to pass"  # of one chapter, at the end of its chunk, and of no entity
TEXT = book(CHAPTERS).replace("Willow7. ", f"Willow7, {UNLUCKY}. ", 1)
SLOTS = 3


async def brisk(seconds: float) -> None:
    """Waits as long as asked for, in a world that is a hundred times faster."""
    await anyio.sleep(seconds / 100)


def model_at(server: OllamaServer, num_ctx: int = 8192) -> OllamaModel:
    return OllamaModel(
        host=server.url, llm="qwen3:8b", embed="bge-m3", num_ctx=num_ctx, dimension=1024
    )


async def index(server: OllamaServer, home: Path, during: Callable[[Room], object]) -> Room:
    """Indexes the book; `during` is told of the room when the first chunks are done."""
    model = model_at(server)
    try:
        async with room_at(home, model, limit=SLOTS, sleep=brisk) as room:
            await room.add("book.txt", TEXT)
            await anyio.to_thread.run_sync(
                server.wait_until, lambda s: len(extracted(s)) >= 3, 30.0
            )
            outcome = during(room)
            if isinstance(outcome, type) and issubclass(outcome, LibrarianError):
                await awaited(room, outcome)
                server.heal()
            room.ended = await room.until("book.txt", Status.PROCESSED, Status.FAILED)
            room.found = await nodes_and_edges(room)
            return room
    finally:
        await model.aclose()


async def awaited(room: Room, reason: type[LibrarianError]) -> None:
    """Until all work waits for something, for the reason that is expected."""
    with anyio.fail_after(20):
        while room.calls.waiting_for is None:  # noqa: ASYNC110
            await anyio.sleep(0.005)
    assert type(room.calls.waiting_for) is reason
    assert row_for(room.calls.waiting_for).decision in (Decision.WAIT, Decision.STOP)
    assert room.library.catalogue.get("book.txt").status is Status.PROCESSING


def extracted(server: OllamaServer) -> list[str]:
    return [c.digest for c in server.calls if c.role == "extract" and c.outcome == "done"]


def paid_twice(server: OllamaServer) -> int:
    """How many whole answers were asked for again."""
    times = Counter(
        c.digest for c in server.calls if c.endpoint == "/api/chat" and c.outcome == "done"
    )
    return sum(count - 1 for count in times.values())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[frozenset[str]]]:
    async def run() -> tuple[set[str], set[frozenset[str]]]:
        with OllamaServer(parallel=SLOTS, num_ctx=8192) as server:
            room = await index(server, tmp_path_factory.mktemp("whole"), lambda _: None)
            return room.found

    return anyio.run(run)


@dataclass(frozen=True, slots=True)
class Accident:
    """A fault, how often it strikes, and how the book ends."""

    number: int
    fault: Fault
    times: int | None = 1  #: None is for ever
    match: str | None = None
    containing: str = ""
    waits_for: type[LibrarianError] | None = None  #: until the fault is gone
    warnings: int = 0
    unusable: int = 0  #: answers that came whole and could not be used
    seconds: float | None = None


PASSING = (
    Accident(2, Fault.RESET, 3),
    Accident(2, Fault.CUT_STREAM, 2),
    Accident(3, Fault.SLOW_LOAD, seconds=0.5),
    Accident(4, Fault.LONG_SILENCE, seconds=0.5),
    Accident(6, Fault.RUNNER_STOPPED, 3),
    Accident(6, Fault.LOAD_TIMEOUT, 2),
    Accident(7, Fault.ERROR_LINE, 3),
    Accident(9, Fault.NO_DONE, 2, unusable=2),
    Accident(10, Fault.DONE_FALSE, 2, unusable=2),
    Accident(13, Fault.LENGTH_PARTIAL, 1, unusable=1),
    Accident(14, Fault.EMPTY_STOP, 1, unusable=1),
    Accident(14, Fault.EMPTY_LENGTH_THINKING, 1, unusable=1),
    Accident(15, Fault.ENDLESS, 1, unusable=1),
    Accident(18, Fault.EMBED_CRASH, 2),
    Accident(22, Fault.STALLED_STREAM, seconds=0.5),
    Accident(25, Fault.HTML_OK, 2, match="/api/chat", unusable=2),
    Accident(26, Fault.INVALID_JSON, 2, unusable=2),
    Accident(26, Fault.FENCED_JSON, 3, warnings=1),
    Accident(26, Fault.THINK_IN_CONTENT, 3, warnings=1),
    Accident(26, Fault.THINKS_ANYWAY, 3, warnings=1),
    Accident(27, Fault.ABSENT_DURATIONS, 5),
    Accident(27, Fault.NEGATIVE_DURATIONS, 5),
)
MENDED = (
    Accident(1, Fault.REFUSE, None, waits_for=ModelUnavailable),
    Accident(5, Fault.QUEUE_FULL, None, waits_for=ModelBusy),
    Accident(8, Fault.OUT_OF_MEMORY, None, "/api/chat", waits_for=OutOfMemory),
    Accident(8, Fault.OLD_OUT_OF_MEMORY, None, "/api/chat", waits_for=OutOfMemory),
    Accident(19, Fault.WRONG_DIMENSION, None, waits_for=ModelUnsuitable),
    Accident(20, Fault.MODEL_MISSING, None, "/api/chat", waits_for=ModelMissing),
    Accident(20, Fault.MODEL_MISSING, None, "/api/embed", waits_for=ModelMissing),
    Accident(24, Fault.CLOUD_UNAUTHORIZED, None, "/api/chat", waits_for=ModelUnsuitable),
    Accident(24, Fault.CLOUD_DISABLED, None, "/api/chat", waits_for=ModelUnsuitable),
    Accident(24, Fault.CLOUD_UNREACHABLE, None, "/api/chat", waits_for=ModelUnavailable),
    Accident(24, Fault.CLOUD_BUSY, None, "/api/chat", waits_for=ModelBusy),
    Accident(25, Fault.PROXY_HTML, None, "/api/chat", waits_for=ModelUnavailable),
    Accident(25, Fault.PROXY_FORBIDDEN, None, "/api/chat", waits_for=ModelUnsuitable),
)
LASTING = (  # of one chunk or one text
    Accident(6, Fault.RUNNER_STOPPED, None, "/api/chat", UNLUCKY, warnings=1),
    Accident(12, Fault.CONTEXT_OVERFLOW, None, "/api/chat", UNLUCKY, warnings=1),
    Accident(13, Fault.LENGTH_PARTIAL, None, "/api/chat", UNLUCKY, warnings=1, unusable=2),
    Accident(14, Fault.EMPTY_STOP, None, "/api/chat", UNLUCKY, warnings=1, unusable=3),
    Accident(26, Fault.INVALID_JSON, None, "/api/chat", UNLUCKY, warnings=1, unusable=3),
    Accident(16, Fault.NAN_EMBEDDING, None, "/api/embed", UNLUCKY, warnings=1),
    Accident(16, Fault.OLD_NAN_EMBEDDING, None, "/api/embed", UNLUCKY, warnings=1),
    Accident(17, Fault.ZERO_VECTORS, None, "/api/embed", UNLUCKY, warnings=1),
)


def shown(accident: Accident) -> str:
    return f"{accident.number}-{accident.fault}-{accident.match or ''}"


@pytest.mark.parametrize("accident", [*PASSING, *MENDED, *LASTING], ids=shown)
async def test_a_book_survives(
    accident: Accident, tmp_path: Path, undisturbed: tuple[set[str], set[frozenset[str]]]
) -> None:
    with OllamaServer(parallel=SLOTS, num_ctx=8192, latency_s=0.02) as server:

        def strike(_: Room) -> type[LibrarianError] | None:
            server.inject(
                accident.fault,
                accident.times,
                match=accident.match,
                containing=accident.containing,
                seconds=accident.seconds,
            )
            return accident.waits_for

        if accident.containing:  # it must not be past when the fault begins
            strike(None)  # type: ignore[arg-type]
            room = await index(server, tmp_path, lambda _: None)
        else:
            room = await index(server, tmp_path, strike)
        assert room.ended.status is Status.PROCESSED
        assert len(room.ended.warnings) == accident.warnings
        assert paid_twice(server) <= accident.unusable
        if accident.containing and accident.match == "/api/chat":  # that chapter has no answer
            assert room.found[0] < undisturbed[0]
        else:
            assert room.found == undisturbed


async def test_an_embedder_swapped_under_its_name_stops_the_work_until_it_is_back(
    tmp_path: Path, undisturbed: tuple[set[str], set[frozenset[str]]]
) -> None:
    """19: vectors of the same length, from another model that was pulled meanwhile."""
    with OllamaServer(parallel=SLOTS, num_ctx=8192, latency_s=0.02) as server:
        embedder = next(each for each in DEFAULT_MODELS if each.name == "bge-m3")

        model = model_at(server)
        await model.prepare()
        await model.embed(["a text"])
        async with room_at(tmp_path, model, limit=SLOTS, sleep=brisk) as room:
            server.load_s = 0.6
            server.inject(Fault.OTHER_WEIGHTS, None)
            server.remove_model(embedder.name)
            server.add_model(embedder)
            await room.add("book.txt", TEXT)
            await awaited(room, ModelUnsuitable)
            server.heal()
            assert (await room.until("book.txt", Status.PROCESSED)).warnings == ()
            assert await nodes_and_edges(room) == undisturbed
        await model.aclose()


async def test_prompts_that_are_cut_in_silence_fail_the_book_by_their_name(tmp_path: Path) -> None:
    """11: every chunk is longer than the context, and Ollama says so by nothing but a count."""
    with OllamaServer(parallel=SLOTS, num_ctx=8192) as server:
        model = model_at(server, num_ctx=1024)
        try:
            async with room_at(tmp_path, model, limit=SLOTS, sleep=brisk) as room:
                await room.add("book.txt", TEXT)
                failed = await room.until("book.txt", Status.FAILED, Status.PROCESSED)
        finally:
            await model.aclose()
    assert failed.status is Status.FAILED
    assert "more than its 1024 tokens" in str(failed.error)
    assert len(extracted(server)) < CHAPTERS


async def test_two_models_that_push_each_other_out_cost_no_answer(
    tmp_path: Path, undisturbed: tuple[set[str], set[frozenset[str]]]
) -> None:
    """21: where only one model fits into memory, every turn between them loads one anew."""
    with OllamaServer(parallel=SLOTS, num_ctx=8192, max_loaded=1, load_s=0.05) as server:
        room = await index(server, tmp_path, lambda _: None)
        assert room.ended.status is Status.PROCESSED
        assert room.found == undisturbed
        assert paid_twice(server) == 0


async def test_an_old_server_reads_a_book_too(
    tmp_path: Path, undisturbed: tuple[set[str], set[frozenset[str]]]
) -> None:
    """28: before 0.9 there is no thinking to turn off, before 0.10 no context in `ps`."""
    with OllamaServer(parallel=SLOTS, num_ctx=8192, version="0.8.0") as server:
        room = await index(server, tmp_path, lambda _: None)
        assert room.ended.status is Status.PROCESSED
        assert room.found == undisturbed
