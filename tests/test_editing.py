"""Edits in a real LightRAG over the offline model: nothing half, nothing lost, all of it undone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from librarian.app import Librarian
from librarian.assembly import open_engine
from librarian.calls import Calls
from librarian.documents import Status
from librarian.edits import Edits, State
from librarian.engine import Engine
from librarian.errors import (
    EditEntangled,
    EditRefused,
    LibrarianError,
    ModelUnavailable,
    NameInUse,
)
from librarian.mending import Describe, DropEntity, DropRelation, Edit, Merge, Rename
from librarian.models.offline import OfflineModel
from librarian.models.protocol import Completion, Heard, Model, Prompt, Vectors
from librarian.settings import Settings
from tests.bench import kept
from tests.conftest import Opened, until, until_processed, view_of
from tests.ollama_server import OllamaServer
from tests.test_engine import document

pytestmark = pytest.mark.anyio

FIRST = (
    "Lars Holm met Mate Willow in Port Ember. Lars Holm sailed to Lisbon.\n\n"
    "Mate Willow sold salt to Doctor Hazel. Doctor Hazel lived in Lisbon with Mate Willow."
)
SECOND = (
    "Lars Holm bought a map in Lisbon. Peter Quill knew Mate Willow.\n\n"
    "Peter Quill wrote to Doctor Hazel from Lisbon."
)
THIRD = "Lars Holm gave Nina Mora a map of Lisbon. Nina Mora thanked Doctor Hazel."

EDITS: tuple[Edit, ...] = (
    Rename("Holm", "Lorenz Holm"),
    Merge("Quill", "Holm"),
    Merge("Quill", "Holm", "One man under two titles.", "person"),
    Describe("Lisbon", "A harbour.", "town"),
    DropEntity("Lisbon"),
    DropRelation("Holm", "Lisbon"),
)


class LaterModel(OfflineModel):
    """The offline model, whose answers or vectors can be made to wait or to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.held = ""
        self.gate = anyio.Event()
        self.waiting = anyio.Event()
        self.dumb = False

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        if self.held and self.held in prompt.messages[-1].content:
            self.waiting.set()
            await self.gate.wait()
        return await super().complete(prompt, heard)

    async def embed(self, texts: Any) -> Vectors:
        if self.dumb:
            raise ModelUnavailable
        return await super().embed(texts)


class Room:
    """An open engine with its journal of edits and its files."""

    def __init__(self, home: Path, engine: Engine, edits: Edits) -> None:
        self.home = home
        self.engine = engine
        self.editing = engine.editing
        self.edits = edits

    async def read(self, text: str, name: str) -> str:
        ended = await self.engine.index(document(text, name), text)
        assert ended.error is None
        return document(text, name).id

    async def names(self) -> set[str]:
        return {entity.name for entity in (await self.engine.graph()).entities}

    def files(self) -> dict[str, Any]:
        """All that LightRAG has on the disk of the graph, without the times of writing."""
        folder = next(self.home.glob("library_*"))
        found: dict[str, Any] = {}
        for kind in ("entities", "relationships", "chunks"):
            path = folder / f"vdb_{kind}.json"
            found[f"vdb_{kind}"] = {key: _timeless(row) for key, row in kept.rows(path).items()}
        for kind in ("full_entities", "full_relations", "entity_chunks", "relation_chunks"):
            path = folder / f"kv_store_{kind}.json"
            found[kind] = {key: _timeless(row) for key, row in kept.rows(path).items()}
        return found

    async def state(self) -> dict[str, Any]:
        """Everything that an edit may touch, in memory and on the disk."""
        graph = self.engine._rag.chunk_entity_relation_graph
        nodes = {node["id"]: _filled(node) for node in await graph.get_all_nodes()}
        edges = {
            tuple(sorted((edge["source"], edge["target"]))): {
                **_filled(edge), "source": "", "target": "",
            }
            for edge in await graph.get_all_edges()
        }  # fmt: skip
        return {"nodes": nodes, "edges": edges, **self.files()}

    async def consistent(self) -> None:
        """Nodes, edges, vectors, tracking and the documents' lists tell of the same graph."""
        state = await self.state()
        nodes, edges = set(state["nodes"]), set(state["edges"])
        assert {row["entity_name"] for row in state["vdb_entities"].values()} == nodes
        assert {(r["src_id"], r["tgt_id"]) for r in state["vdb_relationships"].values()} == edges
        assert set(state["entity_chunks"]) == nodes
        assert {tuple(sorted(k.split("<SEP>"))) for k in state["relation_chunks"]} == edges
        assert {n for r in state["full_entities"].values() for n in r["entity_names"]} == nodes
        pairs = (pair for row in state["full_relations"].values() for pair in row["relation_pairs"])
        assert {tuple(sorted(pair)) for pair in pairs} == edges


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if "time" not in k and k[:2] != "__" or k == "vector"}


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value not in ("", None)}


@asynccontextmanager
async def room_at(
    home: Path, model: Model | None = None, reached: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Room]:
    calls, edits = Calls(model or OfflineModel(), limit=4), Edits(home / "edits.sqlite3")
    async with (
        open_engine(
            directory=home,
            workspace="library_test",
            settings=Settings.from_env({}),
            chunk_tokens=60,
            calls=calls,
            heard=lambda _: None,
            edits=edits,
            reached=reached,
        ) as engine,
        anyio.create_task_group() as tasks,
    ):
        await engine.editing.settle()
        tasks.start_soon(engine.run)
        tasks.start_soon(engine.embed_ahead)
        yield Room(home, engine, edits)
        calls.close()
        tasks.cancel_scope.cancel()
    edits.close()


@pytest.mark.parametrize("edit", EDITS, ids=str)
async def test_an_edit_is_whole_everywhere_and_its_undo_is_exact(
    tmp_path: Path, edit: Edit
) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        await room.read(SECOND, "second.txt")
        before, version = await room.state(), room.engine.version
        await room.consistent()
        number = await room.editing.make(edit)
        assert room.engine.version != version
        assert await room.state() != before
        await room.consistent()
        await room.editing.undo(number)
        assert await room.state() == before
        assert room.edits.get(number).state is State.UNDONE


@pytest.mark.parametrize("edit", EDITS, ids=str)
async def test_deleting_the_documents_after_an_edit_leaves_nothing(
    tmp_path: Path, edit: Edit
) -> None:
    async with room_at(tmp_path) as room:
        first = await room.read(FIRST, "first.txt")
        second = await room.read(SECOND, "second.txt")
        await room.editing.make(edit)
        await room.engine.delete(second)
        await room.consistent()
        await room.engine.delete(first)
        state = await room.state()
        assert {name: rows for name, rows in state.items() if rows} == {}


@pytest.mark.parametrize("edit", [DropEntity("Lisbon"), DropRelation("Holm", "Lisbon")], ids=str)
async def test_what_an_undo_puts_back_is_of_the_documents_that_are_left(
    tmp_path: Path, edit: Edit
) -> None:
    async with room_at(tmp_path) as room:
        first = await room.read(FIRST, "first.txt")
        second = await room.read(SECOND, "second.txt")
        number = await room.editing.make(edit)
        await room.engine.delete(second)
        await room.editing.undo(number)
        await room.consistent()
        state = await room.state()
        assert "Lisbon" in state["nodes"]
        for fields in (*state["nodes"].values(), *state["edges"].values()):
            assert {
                each.rpartition("-chunk-")[0] for each in fields["source_id"].split("<SEP>")
            } == {first}
        await room.engine.delete(first)
        assert not any((await room.state()).values())


async def test_an_undo_does_not_relate_to_what_is_gone_by_a_later_edit(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        one = await room.editing.make(DropEntity("Holm"))
        other = await room.editing.make(DropEntity("Lisbon"))
        with pytest.raises(EditEntangled, match=f"Undo edit {other} first"):
            await room.editing.undo(one)
        await room.consistent()
        await room.editing.undo(other)
        await room.editing.undo(one)
        await room.consistent()
        assert {"Holm", "Lisbon"} <= await room.names()


async def test_an_undo_puts_nothing_back_of_documents_that_are_gone(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        second = await room.read(SECOND, "second.txt")
        number = await room.editing.make(DropEntity("Quill"))
        await room.engine.delete(second)
        await room.editing.undo(number)
        assert "Quill" not in await room.names()
        await room.consistent()


async def test_a_merge_makes_one_of_what_both_had_and_says_so_before(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        await room.read(SECOND, "second.txt")
        before = await room.state()
        merge = Merge("Quill", "Holm")
        seen = await room.editing.preview(merge)
        assert await room.state() == before
        await room.editing.make(merge)
        graph = await room.engine.graph()
        kept = next(each for each in graph.entities if each.name == "Holm")
        assert seen.description == kept.description
        assert set(seen.documents) == {"first.txt", "second.txt"} == set(kept.documents)
        edges = len(before["edges"]) - len(graph.relations)
        assert edges == seen.joined + seen.dropped > 0
        assert seen.moved > 0


async def test_a_renamed_entity_keeps_its_name_when_another_document_brings_the_old_one(
    tmp_path: Path,
) -> None:
    async with room_at(tmp_path) as room:
        first = await room.read(FIRST, "first.txt")
        await room.editing.make(Rename("Holm", "Lorenz Holm"))
        await room.read(THIRD, "third.txt")
        assert "Holm" not in await room.names()
        graph = await room.engine.graph()
        alder = next(each for each in graph.entities if each.name == "Lorenz Holm")
        assert set(alder.documents) == {"first.txt", "third.txt"}
        assert room.edits.latest(1)[0].cause == "third.txt"
        await room.consistent()
        await room.engine.delete(first)  # LightRAG makes the rest anew from what the model said
        graph = await room.engine.graph()
        alder = next(each for each in graph.entities if each.name == "Lorenz Holm")
        assert alder.documents == ("third.txt",)
        assert "Nina Mora" in alder.description
        assert "Port Ember" not in alder.description
        await room.consistent()


async def test_what_a_person_wrote_or_removed_stays_so_after_another_document(
    tmp_path: Path,
) -> None:
    async with room_at(tmp_path) as room:
        first = await room.read(FIRST, "first.txt")
        await room.editing.make(Describe("Holm", "A captain of the salt fleet.", "role"))
        await room.editing.make(DropEntity("Lisbon"))
        await room.editing.make(DropRelation("Doctor Hazel", "Mate Willow"))
        second = await room.read(SECOND, "second.txt")
        await room.read(THIRD, "third.txt")
        for gone in ("", first, second):
            if gone:
                await room.engine.delete(gone)
            graph = await room.engine.graph()
            alder = next(each for each in graph.entities if each.name == "Holm")
            assert (alder.description, alder.type) == ("A captain of the salt fleet.", "role")
            assert "Lisbon" not in await room.names()
            pairs = {frozenset((each.source, each.target)) for each in graph.relations}
            assert frozenset(("Doctor Hazel", "Mate Willow")) not in pairs
            await room.consistent()


async def test_an_undo_names_the_later_edit_that_is_in_its_way(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        before = await room.state()
        first = await room.editing.make(Rename("Holm", "Lorenz Holm"))
        apart = await room.editing.make(Describe("Port Ember", "A port."))
        later = await room.editing.make(Describe("Lorenz Holm", "An admiral."))
        with pytest.raises(EditEntangled, match=f"Undo edit {later} first"):
            await room.editing.undo(first)
        for number in (apart, later, first):
            await room.editing.undo(number)
        assert await room.state() == before


async def test_an_undo_does_not_take_away_what_a_later_document_said(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        number = await room.editing.make(Describe("Lisbon", "A harbour."))
        await room.read(SECOND, "second.txt")
        with pytest.raises(EditEntangled, match="A document|Edit"):
            await room.editing.undo(number)
        await room.editing.let_go(number)
        await room.read(THIRD, "third.txt")
        graph = await room.engine.graph()
        lisbon = next(each for each in graph.entities if each.name == "Lisbon")
        assert lisbon.description != "A harbour."


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Rename("Lisbon", "   "), "at least one letter"),
        (Rename("Lisbon", "x" * 500), "256 characters"),
        (Rename("Lisbon", "Lis<SEP>bon"), "<SEP>"),
        (Rename("Lisbon", "Lis\nbon"), "one line"),
        (Rename("Lisbon", "Lis\x00bon"), "control"),
        (Rename("Lisbon", "Lisbon "), "its name already"),
        (Rename("Atlantis", "Lisboa"), "Look for it anew"),
        (Merge("Lisbon", "Lisbon"), "with itself"),
        (Merge("Lisbon", "Atlantis"), "Look for it anew"),
        (Describe("Lisbon", " "), "cannot be empty"),
        (Describe("Lisbon", None, "a/b"), "one word"),
        (Describe("Lisbon"), "nothing would change"),
        (DropEntity("Atlantis"), "Look for it anew"),
        (DropRelation("Lisbon", "Port Ember"), "not related"),
    ],
    ids=str,
)
async def test_what_cannot_be_done_is_refused_in_words_and_changes_nothing(
    tmp_path: Path, edit: Edit, words: str
) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        before = await room.state()
        for do in (room.editing.preview, room.editing.make):
            with pytest.raises(EditRefused, match=words):
                await do(edit)
        assert await room.state() == before
        assert not room.edits.latest(9)


async def test_a_name_in_use_is_offered_as_a_merge_and_another_case_is_another_name(
    tmp_path: Path,
) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        with pytest.raises(NameInUse, match="Merge"):
            await room.editing.make(Rename("Lisbon", "Port Ember"))
        await room.editing.make(Rename("Lisbon", "LISBON"))
        assert {"LISBON"} == {name for name in await room.names() if name.lower() == "lisbon"}
        await room.consistent()


async def test_without_the_embedding_model_nothing_is_changed(tmp_path: Path) -> None:
    model = LaterModel()
    async with room_at(tmp_path, model) as room:
        await room.read(FIRST, "first.txt")
        before = await room.state()
        model.dumb = True
        with pytest.raises(LibrarianError, match="Ollama is not answering"):
            await room.editing.make(Rename("Lisbon", "Lisboa"))
        model.dumb = False
        assert await room.state() == before
        await room.editing.make(Rename("Lisbon", "Lisboa"))
        await room.consistent()


async def test_an_edit_goes_in_between_the_chunks_of_a_book_and_holds_for_it(
    tmp_path: Path,
) -> None:
    model = LaterModel()
    async with room_at(tmp_path, model) as room:
        await room.read(FIRST, "first.txt")
        quiet = "The harbour was quiet that winter and nobody bought salt there. " * 8
        book = SECOND.replace("\n\n", f"\n\n{quiet}\n\n")
        model.held = "Quill wrote"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(room.read, book, "second.txt")
            await model.waiting.wait()
            with anyio.fail_after(30):  # the book cannot end before
                await room.editing.make(Rename("Holm", "Lorenz Holm"))
            await room.consistent()
            model.gate.set()
        counts = await room.engine.counts(document(book).id)
        assert counts is not None
        assert counts.chunks > 1
        assert "Holm" not in await room.names()
        assert "Quill" in await room.names()
        await room.consistent()


async def test_an_edit_waits_while_a_document_is_merged_into_the_graph(tmp_path: Path) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        gate, order = room.editing._gate, list[str]()
        await gate.enter("-merging")

        async def edit() -> None:
            await room.editing.make(Rename("Lisbon", "Lisboa"))
            order.append("edited")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(edit)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(room.read, SECOND, "second.txt")  # its own merge waits for the edit
            await anyio.wait_all_tasks_blocked()
            order.append("merged")
            await gate.leave("-merging")
        assert order == ["merged", "edited"]
        assert "Lisbon" not in await room.names()
        await room.consistent()


async def test_an_edit_that_waits_is_refused_when_the_program_closes(tmp_path: Path) -> None:
    refused: list[str] = []

    async def edit(room: Room) -> None:
        with pytest.raises(EditRefused, match="closing") as caught:
            await room.editing.make(Rename("Lisbon", "Lisboa"))
        refused.append(str(caught.value))

    async with anyio.create_task_group() as tasks:
        async with room_at(tmp_path) as room:
            await room.read(FIRST, "first.txt")
            await room.editing._gate.enter("-merging")
            tasks.start_soon(edit, room)
            await anyio.wait_all_tasks_blocked()
    assert refused
    async with room_at(tmp_path) as room:
        assert "Lisbon" in await room.names()


async def test_lightrag_writes_nothing_into_the_graph_while_an_edit_is_being_made(
    tmp_path: Path,
) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        gate, before = room.editing._gate, await room.state()
        async with anyio.create_task_group() as tasks:
            async with gate.alone():
                tasks.start_soon(room.read, SECOND, "second.txt")
                with anyio.fail_after(30):
                    while not gate._news.statistics().tasks_waiting:  # noqa: ASYNC110
                        await anyio.sleep(0.01)
                now = await room.state()
                assert {**now, "vdb_chunks": 0} == {**before, "vdb_chunks": 0}
        assert "Quill" in await room.names()
        await room.consistent()


def test_a_graph_is_mended_while_ollama_reads_a_book(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    home = tmp_path / "library"
    environ = {"OLLAMA_HOST": server.url}
    librarian = opened(Settings.from_env(environ, home=home, backend="ollama", chunk_tokens=200))
    librarian.add_text("first.txt", FIRST)
    until_processed(librarian, "first.txt")
    first = max(librarian.graph().entities, key=lambda each: len(each.chunks)).name
    server.latency_s = 0.3
    librarian.add_text("book.txt", "\n\n".join(f"{FIRST} Year {n}." * 20 for n in range(30)))
    until(lambda: librarian.snapshot().calls, "the book to be read")
    number = librarian.mend(Rename(first, "Somebody Else"))
    view = view_of(librarian, "book.txt")
    assert view is not None
    assert view.document.status is Status.PROCESSING
    assert "Somebody Else" in {each.name for each in librarian.graph().entities}
    server.latency_s = 0.0
    until_processed(librarian, "book.txt")
    names = {each.name for each in librarian.graph().entities}
    assert first not in names
    assert "Somebody Else" in names
    assert {entry.number for entry in librarian.edits()} >= {number}


def test_a_new_version_of_a_document_does_not_take_an_edit_back(librarian: Librarian) -> None:
    librarian.add_text("first.txt", FIRST)
    librarian.add_text("third.txt", THIRD)
    until_processed(librarian, "first.txt", "third.txt")
    librarian.mend(Rename("Doctor Hazel", "Hanna Hazel"))
    librarian.mend(DropEntity("Lisbon"))
    librarian.add_text("first.txt", f"{FIRST} Doctor Hazel left Lisbon for Riga.", replace=True)
    until(lambda: "Riga" in {each.name for each in librarian.graph().entities}, "the new version")
    until_processed(librarian, "first.txt")
    until(lambda: not librarian.snapshot().deleting, "the old version to be gone")
    graph = librarian.graph()
    names = {each.name for each in graph.entities}
    assert not {"Doctor Hazel", "Lisbon"} & names
    hazel = next(each for each in graph.entities if each.name == "Hanna Hazel")
    assert set(hazel.documents) == {"first.txt", "third.txt"}
    assert "Nina Mora" in hazel.description


STEPS = (
    "journal",
    "graph",
    "vectors",
    "tracking",
    "saving full_entities",
    "saving full_relations",
    "saving chunk_entity_relation",
    "saving entities",
    "saving relationships",
    "saving entity_chunks",
    "saving relation_chunks",
    "saved",
)


async def test_a_failure_at_any_step_leaves_the_graph_as_it_was(tmp_path: Path) -> None:
    trouble = [""]

    def reached(step: str) -> None:
        if step == trouble[0]:
            trouble[0] = ""
            raise OSError(28, "No space left on device")

    async with room_at(tmp_path, reached=reached) as room:
        await room.read(FIRST, "first.txt")
        await room.read(SECOND, "second.txt")
        before = await room.state()
        for step in STEPS:
            trouble[0] = step
            with pytest.raises(LibrarianError, match="No space left"):
                await room.editing.make(Merge("Quill", "Holm"))
            assert not trouble[0], f"{step} was not reached"
            assert await room.state() == before, step
        await room.editing.make(Merge("Quill", "Holm"))
        await room.consistent()


async def test_what_could_neither_be_made_nor_undone_is_settled_before_a_document_is_merged(
    tmp_path: Path,
) -> None:
    full = [False]

    def reached(step: str) -> None:
        if full[0] and step == "saving entities":
            raise OSError(28, "No space left on device")

    async with room_at(tmp_path, reached=reached) as room:
        await room.read(FIRST, "first.txt")
        full[0] = True
        with pytest.raises(LibrarianError, match="No space left"):
            await room.editing.make(Rename("Lisbon", "Lisboa"))
        assert room.edits.unfinished()
        ended = await room.engine.index(document(SECOND, "second.txt"), SECOND)
        assert "No space left" in str(ended.error)
        full[0] = False
        await room.read(SECOND, "second.txt")
        assert not room.edits.unfinished()
        graph = await room.engine.graph()
        lisbon = next(each for each in graph.entities if each.name == "Lisbon")
        assert set(lisbon.documents) == {"first.txt", "second.txt"}
        await room.consistent()


@pytest.mark.parametrize("undoing", [False, True], ids=["edit", "undo"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_process_killed_at_any_step_has_made_the_edit_at_the_next_opening(
    tmp_path: Path, step: str, undoing: bool
) -> None:
    async with room_at(tmp_path) as room:
        await room.read(FIRST, "first.txt")
        await room.read(SECOND, "second.txt")
        before = await room.state()
        number = await room.editing.make(Merge("Quill", "Holm"))
        after = await room.state()
        if not undoing:
            await room.editing.undo(number)
    killed = await to_thread.run_sync(
        partial(
            subprocess.run,
            [
                sys.executable,
                "-m",
                "tests.test_editing",
                str(tmp_path),
                step,
                str(number * undoing),
            ],
            cwd=Path(__file__).parents[1],
            check=False,
            capture_output=True,
            timeout=60,
        )
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    async with room_at(tmp_path) as room:
        assert await room.state() == (before if undoing else after)
        await room.consistent()
        assert not room.edits.unfinished()


async def _killed_at(home: Path, step: str, number: int) -> None:
    def reached(at: str) -> None:
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    async with room_at(home, reached=reached) as room:
        if number:
            await room.editing.undo(number)
        else:
            await room.editing.make(Merge("Quill", "Holm"))


if __name__ == "__main__":
    anyio.run(_killed_at, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
