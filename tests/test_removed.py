"""Deleted documents on disk."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from librarian.errors import LibraryError
from librarian.intake import admit_file, admit_text, discard, read_document, removed_of
from librarian.library import Library
from librarian.removed import KEPT_S


@pytest.fixture
def library(tmp_path: Path) -> Library:
    opened = Library.open(tmp_path / "library")
    yield opened  # type: ignore[misc]
    opened.close()


def test_the_files_of_a_deleted_document_wait_in_their_folder(library: Library) -> None:
    page = b"<html><body><h1>Captain</h1><p>Lars Holm came to the harbour.</p></body></html>"
    admit_file(library, "page.html", page)
    (document,) = library.catalogue.all()
    text = read_document(library, document)
    discard(library, document)
    assert list(library.files.iterdir()) == []
    removed = removed_of(library)
    assert len(list((library.home / "removed").iterdir())) == 4  # with its text, pages and note
    removed.put_back(document.id, library.catalogue)
    assert read_document(library, document) == text
    assert list((library.home / "removed").iterdir()) == []


def test_what_was_deleted_long_ago_goes_for_good(library: Library) -> None:
    for name in ("a.txt", "b.txt"):
        admit_text(library, name, f"The text of {name} is about lighthouses.")
    for document in library.catalogue.all():
        discard(library, document)
    removed = removed_of(library)
    removed.sweep(time.time() + KEPT_S - 60)
    assert len(removed.all()) == 2
    removed.sweep(time.time() + KEPT_S + 60)
    assert list((library.home / "removed").iterdir()) == []


def test_a_note_that_names_another_file_is_not_followed(library: Library, tmp_path: Path) -> None:
    admit_text(library, "a.txt", "A text about lighthouses.")
    (document,) = library.catalogue.all()
    discard(library, document)
    (note,) = (library.home / "removed").glob("*.json")
    outside = library.home / "secret.txt"
    outside.write_text("secret")
    written = note.read_text().replace(document.file, "../secret.txt")
    note.write_text(written)
    (library.home / "removed" / "doc-odd.json").write_text("[1, 2")
    removed = removed_of(library)
    assert removed.all() == ()
    with pytest.raises(LibraryError):
        removed.drop(document.id)
    assert outside.read_text() == "secret"


def test_files_that_a_crash_left_are_put_aside_and_what_is_no_ours_stays(library: Library) -> None:
    page = b"<html><body><p>Lars Holm came to the harbour.</p></body></html>"
    admit_file(library, "page.html", page)
    admit_text(library, "kept.txt", "A text about lighthouses.")
    kept = library.catalogue.get("kept.txt")
    library.catalogue.remove(library.catalogue.get("page.html"))  # and no further
    half = library.files / "new.0123abcd.txt.part"
    for path in (half, library.files / "notes.txt"):
        path.write_text("mine")
    removed = removed_of(library)
    removed.settle({kept.file}, time.time())
    left = {path.name for path in library.files.iterdir()}
    assert left == {kept.file, "notes.txt"}
    aside = library.home / "removed"
    assert len(list(aside.iterdir())) == 3  # with its text and pages
    removed.sweep(time.time() + KEPT_S - 60)
    assert len(list(aside.iterdir())) == 3
    removed.sweep(time.time() + KEPT_S + 60)
    assert list(aside.iterdir()) == []


def test_a_delete_that_was_cut_short_can_be_undone(library: Library) -> None:
    admit_text(library, "a.txt", "A text about lighthouses.")
    (document,) = library.catalogue.all()
    removed = removed_of(library)
    removed.note(document)
    library.catalogue.remove(document)  # and no further
    removed.settle(set(), time.time())
    removed.put_back(document.id, library.catalogue)
    assert read_document(library, document) == "A text about lighthouses."
