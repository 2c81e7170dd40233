"""The contract with LightRAG's log lines: the pinned version still says what is read."""

import logging
from pathlib import Path

import anyio
import pytest

from librarian.app import Librarian
from librarian.settings import Settings
from librarian.signals import ChunkExtracted, Ear, Merged, Merging, Signal, signal_in
from tests.conftest import Opened, until_processed

DOC = "doc-0123456789abcdef0123456789abcdef"
PARAGRAPH = """Charles Babbage designed the Analytical Engine number {n} in London. The Royal \
Society of Town{n} gave Charles Babbage money for the Difference Engine of Harbour{n}. \
Ada Lovelace met Mary Somerville of Burntisland{n} at a party and wrote long notes on it.
"""


class Notes(logging.Handler):
    """Keeps what LightRAG logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    @property
    def signals(self) -> list[Signal]:
        return [signal for line in self.lines if (signal := signal_in(line)) is not None]


@pytest.fixture
def heard(opened: Opened, tmp_path: Path) -> tuple[Notes, Librarian, str]:
    """What LightRAG says while it indexes a text of several chunks."""
    settings = Settings.from_env({}, home=tmp_path, backend="offline", chunk_tokens=200)
    librarian = opened(settings)
    ear = Notes()
    logging.getLogger("lightrag").addHandler(ear)
    try:
        text = "\n".join(PARAGRAPH.format(n=n) for n in range(12))
        admission = librarian.add_text("engine.txt", text)
        until_processed(librarian, "engine.txt")
    finally:
        logging.getLogger("lightrag").removeHandler(ear)
    assert admission.doc_id is not None
    return ear, librarian, admission.doc_id


def test_lightrag_tells_every_chunk_and_every_step_of_merging(
    heard: tuple[Notes, Librarian, str],
) -> None:
    ear, librarian, doc_id = heard
    document = librarian.snapshot().documents[0].document
    chunks = [signal for signal in ear.signals if isinstance(signal, ChunkExtracted)]
    total = document.chunks_total
    assert total >= 4
    assert {signal.document for signal in chunks} == {doc_id}
    assert sorted(signal.chunk for signal in chunks) == list(range(total))
    assert [signal.done for signal in chunks] == list(range(1, total + 1))
    assert {signal.total for signal in chunks} == {total}
    assert sum(signal.entities for signal in chunks) >= document.entities > 0
    assert sum(signal.relations for signal in chunks) >= document.relations > 0
    merging = {signal.what: signal for signal in ear.signals if isinstance(signal, Merging)}
    assert {signal.document for signal in merging.values()} == {doc_id}
    assert merging["entities"].total == document.entities
    assert merging["relations"].total == document.relations
    assert ear.signals.count(Merged()) == 1


def test_lightrag_tells_the_steps_in_their_order(heard: tuple[Notes, Librarian, str]) -> None:
    ear, _, _ = heard
    kinds = [type(signal) for signal in ear.signals]
    order = [ChunkExtracted, Merging, Merged]
    assert kinds == sorted(kinds, key=order.index)


@pytest.mark.anyio
async def test_a_line_without_a_document_belongs_to_the_task_that_wrote_it() -> None:
    heard: list[Signal] = []
    ear = Ear(heard.append)
    both = anyio.Event()

    def say(text: str) -> None:
        ear.emit(logging.LogRecord("lightrag", logging.INFO, "", 0, text, None, None))

    async def merge(document: str) -> None:
        say(f"Phase 1: Processing 5 entities from {document} (async: 20)")
        if sum(isinstance(each, Merging) for each in heard) == 2:
            both.set()
        await both.wait()
        say("Completed merging: 5 entities, 0 extra entities, 0 relations")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(merge, "doc-a")
        tasks.start_soon(merge, "doc-b")
    assert sorted(each.document for each in heard if isinstance(each, Merged)) == ["doc-a", "doc-b"]
    assert len(heard) == 4


@pytest.mark.parametrize(
    ("line", "signal"),
    [
        (
            f"Chunk 3 of 501 extracted 12 Ent + 8 Rel {DOC}-chunk-041",
            ChunkExtracted(DOC, 41, 3, 501, 12, 8),
        ),
        (
            f"Chunk 1000 of 1200 extracted 0 Ent + 0 Rel {DOC}-chunk-1199",
            ChunkExtracted(DOC, 1199, 1000, 1200, 0, 0),
        ),
        (
            f"Phase 1: Processing 77 entities from {DOC} (async: 20)",
            Merging(DOC, "entities", 77),
        ),
        (
            f"Phase 2: Processing 5 relations from {DOC} (async: 20)",
            Merging(DOC, "relations", 5),
        ),
        ("Completed merging: 10 entities, 0 extra entities, 16 relations", Merged()),
    ],
)
def test_a_line_is_read_as_numbers(line: str, signal: Signal) -> None:
    assert signal_in(line) == signal


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Chunk selection: 3 of 4",
        f"Chunk x of 501 extracted 12 Ent + 8 Rel {DOC}-chunk-041",
        f"Chunk 1 of 2 extracted 1 Ent + 1 Rel {DOC}-chunk-001 and more",
        f"Phase 3: Processing 5 relations from {DOC} (async: 20)",
        f"Phase 1: Processing many entities from {DOC}",
        "Completed processing file 1/2: Completed merging: 3 entities",
        f"a text that quotes: Chunk 3 of 501 extracted 12 Ent + 8 Rel {DOC}-chunk-041",
    ],
)
def test_other_lines_say_nothing(line: str) -> None:
    assert signal_in(line) is None
