"""What is on the disk of LightRAG's storages, whenever the process ends."""

from __future__ import annotations

import shutil
import sqlite3
from functools import partial
from pathlib import Path

import anyio
import pytest

from librarian.changes import NAME, Change, Changes, forget
from librarian.documents import Status
from librarian.engine import Engine
from librarian.errors import LibraryError
from librarian.holdings import Files
from librarian.saving import Saving
from tests.test_engine import ENGINE_EN, MUSIC_RU, FailingModel, document, engine_at

pytestmark = pytest.mark.anyio


async def test_a_processed_document_is_on_the_disk_when_the_process_is_killed(
    tmp_path: Path,
) -> None:
    model = FailingModel("")
    async with engine_at(tmp_path / "home", model=model) as engine:
        ended = await engine.index(document(ENGINE_EN, "engine.txt"), ENGINE_EN)
        assert ended.status is Status.PROCESSED
        shutil.copytree(tmp_path / "home", tmp_path / "killed")  # what a kill would leave
        graph, rows = await engine.graph(), await engine.vector_rows()
    assert not list((tmp_path / "killed").rglob("*.graphml")), "the files come later"
    asked = model.extractions
    async with engine_at(tmp_path / "killed", model=model) as engine:
        again = await engine.graph()
        assert (again.entities, again.relations) == (graph.entities, graph.relations)
        assert await engine.vector_rows() == rows
        found = await engine.retrieve("Who designed the Analytical Engine?", "mix")
        assert found is not None and "Babbage" in found.passages[0].text
        assert (await engine.index(document(MUSIC_RU, "m.txt"), MUSIC_RU)).error is None
    assert model.extractions == asked + 1


async def test_the_files_are_written_when_it_is_quiet_and_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "library_test"
    async with engine_at(tmp_path) as engine, anyio.create_task_group() as tasks:
        assert (await engine.index(document(ENGINE_EN, "engine.txt"), ENGINE_EN)).error is None
        saving = saving_of(engine)
        tasks.start_soon(partial(saving.run, lambda: False, engine.editing.still, quiet_s=0.05))
        while saved(folder):  # noqa: ASYNC110
            await anyio.sleep(0.02)
        first = sorted(path.name for path in folder.glob("*.*"))
        assert {"graph_chunk_entity_relation.graphml", "kv_store_full_docs.json"} <= set(first)
        tasks.cancel_scope.cancel()
    async with engine_at(tmp_path) as engine:
        before = await engine.graph()
        assert (await engine.index(document(MUSIC_RU, "m.txt"), MUSIC_RU)).error is None
        assert saved(folder), "the files are old, and the changes beside them"
    assert not saved(folder)
    async with engine_at(tmp_path) as engine:
        assert len((await engine.graph()).entities) > len(before.entities)


async def test_a_library_of_files_alone_is_opened_and_goes_on(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        assert (await engine.index(document(ENGINE_EN, "engine.txt"), ENGINE_EN)).error is None
        graph = await engine.graph()
    (tmp_path / "library_test" / NAME).unlink()  # as an older version left it
    async with engine_at(tmp_path) as engine:
        assert (await engine.graph()).entities == graph.entities
        assert (await engine.index(document(MUSIC_RU, "m.txt"), MUSIC_RU)).error is None


async def test_what_could_not_be_written_is_written_with_the_next(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        room = saving_of(engine)
        other = sqlite3.connect(tmp_path / "library_test" / NAME, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        await engine._rag.full_docs.upsert({"doc-1": {"content": "text"}})
        room._changes._db.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(LibraryError, match="could not be written"):
            await room.commit()
        other.execute("ROLLBACK")
        other.close()
        await room.commit()
        assert [each.key for each in room._changes.read("kv_store_full_docs.json")] == ["doc-1"]


def saving_of(engine: Engine) -> Saving:
    assert isinstance(engine.holdings, Files)
    return engine.holdings.saving


def saved(folder: Path) -> int:
    """How many changes are beside the files."""
    changes = Changes(folder / NAME)
    try:
        return changes.bytes
    finally:
        changes.close()


def test_changes_are_read_as_they_were_written_half_letters_too(tmp_path: Path) -> None:
    path = tmp_path / NAME
    written = [
        Change("a.json", "z", {"text": "Ёж \ud83d"}),
        Change("a.json", "b", None),
        Change("vdb_a.json", "z", {"n": 1}, b"\0\1"),
    ]
    changes = Changes(path)
    changes.write(written)
    changes.write([Change("a.json", "z", {"text": "anew"})])
    changes.close()
    changes = Changes(path)
    assert changes.read("a.json") == [Change("a.json", "z", {"text": "anew"}), written[1]]
    assert changes.read("vdb_a.json") == [written[2]]
    changes.close()
    forget(tmp_path, "vdb_")
    changes = Changes(path)
    assert changes.read("vdb_a.json") == [] != changes.read("a.json")
    changes.clear()
    assert changes.bytes == 0 == len(changes.read("a.json"))
    changes.close()


@pytest.mark.parametrize(
    "value",
    [
        {"weight": float("inf")},
        {"weight": -float("inf")},
        {"said": None},
        {"a": "null \ud800"},
        1 << 70,
    ],
)
async def test_what_is_written_is_read_again(tmp_path: Path, value: object) -> None:
    changes = Changes(tmp_path / NAME)
    changes.write([Change("graph.graphml", "key", value)])
    assert [each.value for each in changes.read("graph.graphml")] == [value]
    changes.close()
