"""What may come in, under which name, and what becomes of it."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from librarian.documents import Outcome, Status, document_id, file_name
from librarian.errors import LibrarianError, LibraryError
from librarian.intake import admit_file, admit_text, discard, files_in, read_document, title_of
from librarian.library import Library

TEXT = "Charles Babbage designed the Analytical Engine in London."
OTHER = "Mary Somerville wrote books on astronomy in Burntisland."


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library.open(tmp_path / "home")
    yield library
    library.close()


def test_a_file_is_kept_as_it_came_and_queued(library: Library) -> None:
    data = "Маяк построил инженер Павел Ремизов, и лампу зажигали каждый вечер.".encode("cp1251")
    admission = admit_file(library, "books/маяк.txt", data)
    assert admission.outcome is Outcome.ACCEPTED
    (document,) = library.catalogue.queue()
    assert document.id == admission.doc_id
    assert (document.name, document.status) == ("books∕маяк.txt", Status.PENDING)
    assert (document.bytes, document.language) == (len(data), "Russian")
    assert library.read_original(document.file) == data
    assert read_document(library, document).startswith("Маяк построил")


def test_documents_queue_in_the_order_they_came(library: Library) -> None:
    for n in range(5):
        admit_text(library, f"{n}.txt", f"{TEXT} {n}")
    assert [document.name for document in library.catalogue.queue()] == [
        f"{n}.txt" for n in range(5)
    ]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.pdf", b"%PDF-1.7", "is damaged"),
        ("a.doc", b"text", ".doc files cannot be read"),
        ("empty.txt", b"", "no bytes"),
        ("blank.md", b" \n\t", "white space"),
        ("noise.txt", bytes(range(256)) * 20, "encoding"),
        ("again.txt", b"one line again and again\n" * 40_000, "repeats itself"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_words_and_leaves_nothing(
    library: Library, name: str, data: bytes, words: str
) -> None:
    admission = admit_file(library, name, data)
    assert admission.outcome is Outcome.REFUSED
    assert words in admission.message
    assert library.catalogue.all() == ()
    assert list(library.files.iterdir()) == []


def test_the_same_text_in_another_encoding_is_a_duplicate(library: Library) -> None:
    text = "Маяк построил инженер Павел Ремизов, и лампу зажигали каждый вечер."
    first = admit_file(library, "utf.txt", text.encode())
    again = admit_file(library, "old.txt", f"{text}\r\n".encode("cp1251"))
    assert (again.outcome, again.doc_id) == (Outcome.DUPLICATE, first.doc_id)
    assert "as utf.txt" in again.message
    assert library.catalogue.duplicates() == 1


def test_the_very_same_file_again_is_no_second_duplicate(library: Library) -> None:
    admit_text(library, "a.txt", TEXT)
    again = admit_text(library, "a.txt", TEXT)
    assert again.outcome is Outcome.DUPLICATE
    assert "this very text" in again.message
    assert library.catalogue.duplicates() == 0


def test_another_text_of_that_name_waits_for_a_decision(library: Library) -> None:
    first = admit_text(library, "a.txt", TEXT)
    offered = admit_text(library, "a.txt", OTHER)
    assert (offered.outcome, offered.doc_id) == (Outcome.CONFLICT, first.doc_id)
    assert [document.id for document in library.catalogue.all()] == [first.doc_id]
    taken = admit_text(library, "a.txt", OTHER, replace=True)
    assert taken.outcome is Outcome.ACCEPTED
    assert [document.id for document in library.catalogue.all()] == [taken.doc_id]
    assert library.catalogue.deletions() == (first.doc_id,)
    assert len(list(library.files.iterdir())) == 1


def test_a_text_without_a_name_is_named_by_its_first_words(library: Library) -> None:
    admission = admit_text(library, "  ", "# The **Lighthouse** of Quiet Cape\n\nIt was built.")
    assert admission.outcome is Outcome.ACCEPTED
    assert admission.name.startswith("The Lighthouse of Quiet Cape")


@pytest.mark.parametrize("text", ["", "   ", "###", "///", "..."])
def test_a_title_can_be_made_of_anything(text: str) -> None:
    assert title_of(text)


def test_the_same_text_from_many_threads_is_taken_once(library: Library) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: admit_text(library, f"{n}.txt", TEXT), range(8)))
    outcomes = [admission.outcome for admission in found]
    assert sorted(outcomes) == [Outcome.ACCEPTED] + [Outcome.DUPLICATE] * 7
    assert len(library.catalogue.all()) == 1


def test_a_discarded_document_is_off_the_list_and_off_the_disk(library: Library) -> None:
    admit_text(library, "a.txt", TEXT)
    (document,) = library.catalogue.all()
    discard(library, document)
    assert library.catalogue.all() == ()
    assert list(library.files.iterdir()) == []
    assert library.catalogue.deletions() == (document.id,)


def test_an_original_that_was_changed_is_named(library: Library) -> None:
    admit_text(library, "a.txt", TEXT)
    (document,) = library.catalogue.all()
    (library.files / document.file).write_text(OTHER)
    with pytest.raises(LibrarianError, match="was changed"):
        read_document(library, document)
    (library.files / document.file).unlink()
    with pytest.raises(LibraryError, match="could not be read"):
        read_document(library, document)


def test_a_folder_gives_its_texts_with_their_folders(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "sub/deep/c.TXT", ".hidden.txt", ".git/d.txt", "e.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEXT)
    (tmp_path / "folder.txt").mkdir()
    assert [name for name, _ in files_in(tmp_path)] == ["a.md", "b.txt", "sub/deep/c.TXT"]


def test_one_file_gives_itself_under_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(TEXT)
    assert list(files_in(file)) == [("a.txt", file)]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text(TEXT)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.txt").symlink_to(outside)
    (folder / "own.txt").write_text(TEXT)
    assert [name for name, _ in files_in(folder)] == ["own.txt"]


def test_a_version_that_cannot_be_stored_leaves_the_one_before(library: Library) -> None:
    admit_text(library, "a.txt", TEXT)
    (before,) = library.catalogue.all()
    new = file_name("a.txt", document_id(OTHER))
    (library.files / f"{new}.part").mkdir()  # nothing can be written there
    with pytest.raises(LibraryError, match="could not be stored"):
        admit_text(library, "a.txt", OTHER, replace=True)
    assert library.catalogue.all() == (before,)
    assert read_document(library, before) == TEXT
    assert library.catalogue.deletions() == ()
