"""Documents that go or are replaced: the graph is as if they had never been; nothing is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from anyio import to_thread

from librarian.borders import CUTS, FEW, borders_of
from librarian.chunking import chunks_of
from librarian.documents import Status, document_id
from librarian.intake import admit_text
from librarian.tokens import PieceTokenizer
from tests.bench import kept
from tests.test_indexing import GatedModel, Room, book, extractions, nodes_and_edges, room_at

pytestmark = pytest.mark.anyio

COUNT = PieceTokenizer().count
SHARED = "\n\nCaptain Alder met Mate Willow3 in Port Ember5. Captain Alder knew Thorn2."
OTHER = (
    "Captain Alder bought a map in Lisbon. Mate Willow3 sold salt to Captain Alder. "
    "Bishop Mora of Lisbon wrote to Captain Alder about Port Ember5."
)


def rows_on_disk(room: Room) -> dict[str, set[str]]:
    """The ids in every file of LightRAG that holds rows of documents."""
    found: dict[str, set[str]] = {}
    for storage in room.engine._rag._index_storages():
        file = next(
            (
                name
                for attribute in ("_file_name", "_client_file_name")
                if (name := getattr(storage, attribute, None))
            ),
            None,
        )
        path = Path(file or "")
        if file is None or "llm_response_cache" in path.name:
            continue
        found[path.name] = set(kept.rows(path))
    return found


async def state_of(room: Room) -> tuple[object, ...]:
    graph = await room.engine.graph()
    documents = {entity.name: set(entity.documents) for entity in graph.entities}
    descriptions = {
        entity.name: set(entity.description.split("<SEP>")) for entity in graph.entities
    }
    return *await nodes_and_edges(room), documents, descriptions, rows_on_disk(room)


async def test_a_deleted_document_leaves_what_others_say_and_nothing_else(tmp_path: Path) -> None:
    async with room_at(tmp_path / "alone") as room:
        await room.add("other.txt", OTHER)
        await room.until("other.txt", Status.PROCESSED)
        alone = await state_of(room)
    async with room_at(tmp_path / "both") as room:
        await room.add("other.txt", OTHER)
        await room.add("book.txt", book(6) + SHARED)
        await room.until("other.txt", Status.PROCESSED)
        await room.until("book.txt", Status.PROCESSED)
        assert (await state_of(room))[0] > alone[0]  # type: ignore[operator]
        await room.indexing.delete("book.txt")
        await room.idle()
        assert await state_of(room) == alone


async def test_a_document_deleted_while_others_are_read_is_gone_when_they_are_done(
    tmp_path: Path,
) -> None:
    async with room_at(tmp_path / "alone") as room:
        await room.add("other.txt", OTHER)
        await room.until("other.txt", Status.PROCESSED)
        alone = await state_of(room)
    model = GatedModel()
    async with room_at(tmp_path / "busy", model) as room:
        await room.add("book.txt", book(6) + SHARED)
        await room.until("book.txt", Status.PROCESSED)
        model.held = {"Lisbon"}
        await room.add("other.txt", OTHER)
        await room.when("other.txt", lambda each: each.status is Status.PROCESSING)
        await room.indexing.delete("book.txt")
        assert [each.name for each in room.library.catalogue.all()] == ["other.txt"]
        model.gate.set()
        await room.until("other.txt", Status.PROCESSED)
        await room.idle()
        assert await state_of(room) == alone


@pytest.mark.parametrize("change", ["inserted", "deleted", "reworded"])
async def test_a_new_version_asks_for_its_changed_chunks_only(tmp_path: Path, change: str) -> None:
    paragraphs = book(40).split("\n\n")
    if change == "inserted":
        paragraphs.insert(17, "Doctor Hazel of Riga joined Captain Alder on the Falcon17.")
    elif change == "deleted":
        del paragraphs[17]
    else:
        paragraphs[17] = paragraphs[17].replace("salt", "amber")
    edited = "\n\n".join(paragraphs)
    async with room_at(tmp_path / "fresh") as room:
        await room.add("book.txt", edited)
        await room.until("book.txt", Status.PROCESSED)
        fresh = await state_of(room)
    model = GatedModel()
    async with room_at(tmp_path / "updated", model) as room:
        await room.add("book.txt", book(40))
        await room.until("book.txt", Status.PROCESSED)
        model.asked.clear()
        replaced = await to_thread.run_sync(
            lambda: admit_text(room.library, "book.txt", edited, replace=True)
        )
        room.indexing.nudge()
        ended = await room.when(
            "book.txt",
            lambda each: each.id == replaced.doc_id and each.status is Status.PROCESSED,
        )
        await room.idle()
        assert extractions(model) <= 3
        assert ended.chunks_saved == ended.chunks_total - extractions(model)
        nodes, edges, documents, _, rows = await state_of(room)
        # A description that was made of many depends on the order in which their chunks ended.
        assert (nodes, edges, documents, rows) == (*fresh[:3], fresh[4])


def costly_edit(limit: int) -> tuple[str, str]:
    """A book and a version of it of which a fresh cut has more than three chunks that are new."""
    paragraphs = book(60).split("\n\n")
    old = {chunk.text for chunk in chunks_of("\n\n".join(paragraphs), limit=limit, count=COUNT)}
    for at in range(len(paragraphs)):
        for words in range(1, 40):
            added = "Doctor Hazel of Riga joined them. " + "The sea was calm. " * words
            text = "\n\n".join([*paragraphs[:at], added, *paragraphs[at:]])
            fresh = chunks_of(text, limit=limit, count=COUNT)
            if sum(chunk.text not in old for chunk in fresh) > FEW:
                return "\n\n".join(paragraphs), text
    raise AssertionError("No edit of this book is costly.")


async def test_where_a_fresh_cut_would_be_costly_the_old_borders_stay(tmp_path: Path) -> None:
    before, after = costly_edit(limit=200)
    model = GatedModel()
    async with room_at(tmp_path / "updated", model) as room:
        await room.add("book.txt", before)
        await room.until("book.txt", Status.PROCESSED)
        model.asked.clear()
        replaced = await to_thread.run_sync(
            lambda: admit_text(room.library, "book.txt", after, replace=True)
        )
        room.indexing.nudge()
        await room.when(
            "book.txt",
            lambda each: each.id == replaced.doc_id and each.status is Status.PROCESSED,
        )
        await room.idle()
        assert 0 < extractions(model) <= FEW
        document = room.library.catalogue.get("book.txt")
        borders = borders_of(room.library, document)
        nodes, edges, documents, _, rows = await state_of(room)
    assert len(borders) == len(rows["kv_store_text_chunks.json"])
    # Nothing is left of the old version: a library that never had it, cut there, is the same.
    async with room_at(tmp_path / "fresh") as room:
        room.library.keep_original(f"{document.file}{CUTS}", json.dumps(borders).encode())
        await room.add("book.txt", after)
        await room.until("book.txt", Status.PROCESSED)
        await room.idle()
        fresh = await state_of(room)
    assert (nodes, edges, documents, rows) == (*fresh[:3], fresh[4])


async def test_a_text_that_two_books_share_is_the_others_when_one_is_deleted(
    tmp_path: Path,
) -> None:
    first, second = book(40), book(40) + "\n\n" + OTHER
    async with room_at(tmp_path / "alone") as room:
        await room.add("second.txt", second)
        await room.until("second.txt", Status.PROCESSED)
        alone = await state_of(room)
    model = GatedModel()
    async with room_at(tmp_path / "both", model) as room:
        await room.add("first.txt", first)
        await room.until("first.txt", Status.PROCESSED)
        asked = extractions(model)
        await room.add("second.txt", second)
        await room.until("second.txt", Status.PROCESSED)
        assert extractions(model) - asked < asked / 2  # most chunks are in both
        await room.indexing.delete("first.txt")
        await room.idle()
        graph = await room.engine.graph()
        named = {chunk for each in (*graph.entities, *graph.relations) for chunk in each.chunks}
        assert not {chunk for chunk in named if document_id(first) in chunk}
        assert await state_of(room) == alone


@pytest.mark.parametrize("answers", ["none is left", "those of some names are no use"])
async def test_what_no_answer_tells_of_is_of_the_chunks_that_are_left(
    tmp_path: Path, answers: str
) -> None:
    lonely = "\n\nEverybody knew Gregor Salt.\n\n"
    async with room_at(tmp_path) as room:
        await room.add("other.txt", OTHER + lonely)
        await room.add("book.txt", book(2) + SHARED + lonely)
        for name in ("other.txt", "book.txt"):
            await room.until(name, Status.PROCESSED)
        graph, cache = room.engine._rag.chunk_entity_relation_graph, room.engine._rag
        words = (await graph.get_node("Gregor Salt"))["description"]
        assert not await graph.get_node_edges("Gregor Salt")
        if answers == "none is left":
            await room.engine.forget_answers()
        else:
            rows = cache.llm_response_cache._data
            for key, row in list(rows.items()):
                said = row["return"].replace("Gregor Salt", "Gregory").replace("Mora", "Maria")
                rows[key] = row | {"return": said}
        await room.indexing.delete("book.txt")
        await room.idle()
        left = set(cache.text_chunks._data)
        assert left
        for fields in [*graph._graph.nodes.values(), *graph._graph.edges.values()]:
            assert set(fields["source_id"].split("<SEP>")) <= left
        assert (await graph.get_node("Gregor Salt"))["description"] == words
        await room.indexing.delete("other.txt")
        await room.idle()
        assert not graph._graph.nodes
