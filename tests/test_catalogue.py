"""The list of documents: on disk at once, in order, from every thread."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from librarian.catalogue import Catalogue
from librarian.documents import Document, Status
from librarian.errors import LibraryError, NameTaken, UnknownDocument


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.sqlite3"


@pytest.fixture
def catalogue(path: Path) -> Iterator[Catalogue]:
    catalogue = Catalogue(path)
    yield catalogue
    catalogue.close()


def document(number: int, status: Status = Status.PENDING, **more: object) -> Document:
    plain = Document(
        id=f"doc-{number}",
        name=f"{number}.txt",
        status=status,
        bytes=10,
        characters=5,
        language="Russian",
        file=f"{number}.file.txt",
        created_at=1000.0 + number,
        updated_at=1000.0 + number,
        place=float(number),
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def test_a_document_comes_back_as_it_was_put(catalogue: Catalogue) -> None:
    put = document(1, warnings=("No entity.", "Ещё одно"), error="Почему", elapsed_s=1.25)
    catalogue.put(put)
    assert catalogue.get("doc-1") == put
    assert catalogue.get("1.txt") == put


def test_a_change_is_seen_by_another_connection_at_once(catalogue: Catalogue, path: Path) -> None:
    catalogue.put(document(1))
    catalogue.put(document(1, Status.PROCESSED, entities=7))
    other = sqlite3.connect(path)
    try:
        assert other.execute("SELECT status, entities FROM documents").fetchall() == [
            ("processed", 7)
        ]
    finally:
        other.close()


def test_documents_that_have_not_changed_are_the_same_objects(
    catalogue: Catalogue, path: Path
) -> None:
    for number in range(3):
        catalogue.put(document(number))
    before = catalogue.all()
    assert catalogue.all() is before
    catalogue.put(document(1, Status.PAUSED))
    after = catalogue.all()
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert catalogue.paused() == (after[1],)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE documents SET entities = 9 WHERE id = 'doc-0'")
    assert catalogue.all()[0].entities == 9
    catalogue.remove(after[2])
    assert [each.id for each in catalogue.all()] == ["doc-0", "doc-1"]


def test_a_name_with_a_folder_is_found_with_either_slash(catalogue: Catalogue) -> None:
    catalogue.put(document(1, name="books∕a.txt"))
    assert catalogue.get("books/a.txt").id == catalogue.get("books∕a.txt").id == "doc-1"


def test_an_unknown_document_is_named(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownDocument, match="nothing"):
        catalogue.get("nothing.txt")


def test_what_was_interrupted_comes_before_what_waits(catalogue: Catalogue) -> None:
    for number, status in enumerate(
        [Status.PENDING, Status.PROCESSED, Status.PROCESSING, Status.FAILED, Status.PAUSED]
    ):
        catalogue.put(document(number, status))
    catalogue.put(document(9, place=-1.0))
    assert [each.id for each in catalogue.queue()] == ["doc-2", "doc-9", "doc-0"]


def test_all_are_listed_oldest_first(catalogue: Catalogue) -> None:
    for number in (3, 1, 2):
        catalogue.put(document(number))
    assert [each.id for each in catalogue.all()] == ["doc-1", "doc-2", "doc-3"]
    assert catalogue.last_place() == 3


def test_an_empty_catalogue_has_nothing(catalogue: Catalogue) -> None:
    assert catalogue.all() == catalogue.queue() == catalogue.deletions() == ()
    assert catalogue.duplicates() == 0
    assert catalogue.last_place() == 0
    assert not catalogue.any_indexed()
    assert catalogue.find(doc_id="x", name="y") == (None, None)


def test_a_removed_document_is_to_be_forgotten_until_it_is(catalogue: Catalogue) -> None:
    catalogue.put(document(1))
    catalogue.note_duplicate("copy.txt", "doc-1")
    catalogue.remove(document(1))
    catalogue.remove(document(1))
    assert catalogue.all() == ()
    assert catalogue.duplicates() == 0
    assert catalogue.deletions() == ("doc-1",)
    catalogue.deleted("doc-1")
    assert catalogue.deletions() == ()


def test_a_removed_document_does_not_come_back_by_a_change_of_its_state(
    catalogue: Catalogue,
) -> None:
    catalogue.put(document(1))
    catalogue.update(document(1, Status.PROCESSED, warnings=("odd",)))
    assert catalogue.get("doc-1").status is Status.PROCESSED
    assert catalogue.get("doc-1").warnings == ("odd",)
    catalogue.remove(document(1))
    catalogue.update(document(1, Status.FAILED))
    assert catalogue.all() == ()


def test_what_a_document_was_before_is_known_until_it_is_removed(catalogue: Catalogue) -> None:
    first, second = document(1), replace(document(2), name=document(1).name, created_at=5.0)
    catalogue.put(first)
    catalogue.remove(first, by=second)
    assert catalogue.all() == (second,)
    (version,) = catalogue.versions(second.name)
    assert (version.id, version.bytes, version.replaced_at) == ("doc-1", first.bytes, 5.0)
    assert catalogue.versions("another.txt") == ()
    catalogue.remove(second)
    assert catalogue.versions(second.name) == ()


def test_a_duplicate_is_counted_once_for_a_name(catalogue: Catalogue) -> None:
    for name in ("a.txt", "a.txt", "b.txt"):
        catalogue.note_duplicate(name, "doc-1")
    assert catalogue.duplicates() == 2


def test_a_text_and_a_name_are_found_apart(catalogue: Catalogue) -> None:
    catalogue.put(document(1))
    catalogue.put(document(2))
    by_id, by_name = catalogue.find(doc_id="doc-1", name="2.txt")
    assert by_id is not None
    assert by_name is not None
    assert (by_id.id, by_name.id) == ("doc-1", "doc-2")


def test_something_is_indexed_once_a_chunk_went_to_a_model(catalogue: Catalogue) -> None:
    catalogue.put(document(1, Status.PROCESSING))
    assert not catalogue.any_indexed()
    catalogue.put(document(1, Status.FAILED, chunks_total=3))
    assert catalogue.any_indexed()


def test_many_threads_may_write_at_once(catalogue: Catalogue) -> None:
    def write(number: int) -> int:
        for step in range(10):
            catalogue.put(document(number, chunks_done=step))
            catalogue.all()
        return catalogue.get(f"doc-{number}").chunks_done

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(write, range(16))) == [9] * 16


def test_two_documents_of_one_name_are_an_error_by_name(catalogue: Catalogue) -> None:
    catalogue.put(document(1))
    with pytest.raises(LibraryError, match=r"catalogue\.sqlite3"):
        catalogue.put(document(2, name="1.txt"))


def test_progress_is_noted_of_what_is_being_processed_only(catalogue: Catalogue) -> None:
    catalogue.put(document(1, Status.PROCESSING))
    catalogue.put(document(2, Status.PAUSED, chunks_done=3))
    late = [document(n, chunks_total=9, chunks_done=7, share=0.5, error="no") for n in (1, 2)]
    catalogue.note_progress(late)
    noted = document(1, Status.PROCESSING, chunks_total=9, chunks_done=7, share=0.5)
    assert catalogue.get("doc-1") == noted
    assert catalogue.get("doc-2").chunks_done == 3


def test_what_was_done_when_the_process_ended_is_saved_at_the_next_start(
    catalogue: Catalogue, path: Path
) -> None:
    catalogue.put(document(1, Status.PROCESSING, chunks_total=9, chunks_done=7))
    catalogue.close()
    again = Catalogue(path)
    assert again.get("doc-1").chunks_saved == 7
    again.close()


def test_a_pace_is_kept_by_model(catalogue: Catalogue, path: Path) -> None:
    assert catalogue.pace("ollama/qwen3:8b") == {}
    catalogue.keep_pace("ollama/qwen3:8b", {"call_s": 43.0})
    catalogue.keep_pace("ollama/qwen3:8b", {"call_s": 41.5})
    catalogue.close()
    again = Catalogue(path)
    assert again.pace("ollama/qwen3:8b") == {"call_s": 41.5}
    assert again.pace("ollama/other") == {}
    again.close()


def test_a_library_from_before_shares_were_kept_opens(catalogue: Catalogue, path: Path) -> None:
    catalogue.put(document(1))
    catalogue.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE documents DROP COLUMN share")
    again = Catalogue(path)
    assert again.get("doc-1").share == 0.0
    again.close()


def test_the_queue_leaves_a_persons_name_and_tags_as_they_are(catalogue: Catalogue) -> None:
    taken = document(1, Status.PROCESSING)
    catalogue.put(taken)
    catalogue.rename("doc-1", "Книга.txt")
    catalogue.tag(["doc-1", "doc-gone"], lambda tags: (*tags, "read"))
    catalogue.update(replace(taken, status=Status.PROCESSED))
    found = catalogue.get("doc-1")
    assert (found.status, found.name, found.tags) == (Status.PROCESSED, "Книга.txt", ("read",))
    assert catalogue.renamed() == {"1.txt": "Книга.txt"}
    catalogue.rename("doc-1", "1.txt")
    assert catalogue.renamed() == {}


def test_a_name_that_is_taken_changes_nothing(catalogue: Catalogue) -> None:
    catalogue.put(document(1))
    catalogue.put(document(2))
    with pytest.raises(NameTaken):
        catalogue.rename("doc-1", "2.txt")
    assert catalogue.get("doc-1").name == "1.txt"


def test_a_library_from_before_tags_opens(catalogue: Catalogue, path: Path) -> None:
    catalogue.put(document(1))
    catalogue.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE documents DROP COLUMN tags")
        db.execute("ALTER TABLE documents DROP COLUMN filed")
    db.close()
    again = Catalogue(path)
    again.tag(["doc-1"], lambda _: ("new",))
    again.rename("doc-1", "b.txt")
    assert (again.get("b.txt").tags, again.get("b.txt").filed) == (("new",), "1.txt")
    again.close()
