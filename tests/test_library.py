"""The home on disk: one owner at a time, a manifest that is kept, originals that stay whole."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from librarian.errors import EmbeddingMismatch, LibraryBusy, LibraryError
from librarian.intake import admit_text
from librarian.library import Library, owner_of
from librarian.models.protocol import ModelCard

CARD = ModelCard(backend="offline", llm="offline", embed="hashed-512", host="", dimension=512)
HOLDER = (
    "import sys, time; from pathlib import Path\n"
    "from librarian.library import Library\n"
    "library = Library.open(Path(sys.argv[1]), address='http://127.0.0.1:8003')\n"
    "print('open', flush=True); time.sleep(60)\n"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the library open."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def pin(library: Library, card: ModelCard = CARD) -> None:
    library.pin(card, chunk_tokens=1200, versions={})


def index_something(library: Library) -> None:
    """A document of which a chunk went to the models."""
    admit_text(library, "a.txt", "Some text of a document.")
    (document,) = library.catalogue.all()
    library.catalogue.put(replace(document, chunks_total=1))


def test_opening_makes_the_folders(tmp_path: Path) -> None:
    library = Library.open(tmp_path / "deep" / "home")
    try:
        names = {path.name for path in library.home.iterdir()}
        assert {"files", "lightrag_cache", "journal.sqlite3", "lock", "owner.json"} <= names
    finally:
        library.close()


def test_the_second_process_is_told_who_and_where(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(LibraryBusy) as caught:
        Library.open(tmp_path)
    assert f"process {holder.pid}" in str(caught.value)
    assert "http://127.0.0.1:8003" in str(caught.value)
    owner = owner_of(tmp_path)
    assert owner is not None
    assert (owner.pid, owner.address) == (holder.pid, "http://127.0.0.1:8003")


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_dead_process_owns_nothing(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    assert holder.wait(20) == -signal.SIGKILL
    assert (tmp_path / "owner.json").exists()
    assert owner_of(tmp_path) is None
    library = Library.open(tmp_path)
    owner = owner_of(tmp_path)
    library.close()
    assert owner is not None
    assert owner.pid == os.getpid()


def test_a_closed_library_belongs_to_nobody(tmp_path: Path) -> None:
    assert owner_of(tmp_path) is None
    Library.open(tmp_path).close()
    assert owner_of(tmp_path) is None
    assert not (tmp_path / "owner.json").exists()
    Library.open(tmp_path).close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"workspace": 1, "colour": "red"}', "\x00"])
def test_a_damaged_manifest_is_named_and_the_home_is_given_back(tmp_path: Path, text: str) -> None:
    (tmp_path / "library.json").write_text(text)
    with pytest.raises(LibraryError, match=r"library\.json is damaged"):
        Library.open(tmp_path)
    assert owner_of(tmp_path) is None
    (tmp_path / "library.json").unlink()
    Library.open(tmp_path).close()


def test_a_manifest_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    path.write_text('{"format": 99}')
    with pytest.raises(LibraryError, match="newer version"):
        Library.open(tmp_path)
    assert path.read_text() == '{"format": 99}'


def test_a_damaged_catalogue_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite3").write_bytes(b"no database at all, but long enough" * 100)
    with pytest.raises(LibraryError, match=r"catalogue\.sqlite3"):
        Library.open(tmp_path)
    assert owner_of(tmp_path) is None


def test_a_file_in_place_of_the_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(LibraryError, match="home"):
        Library.open(tmp_path / "home")


def test_the_manifest_is_kept_between_starts(tmp_path: Path) -> None:
    first = Library.open(tmp_path)
    pin(first)
    kept = first.manifest
    first.close()
    second = Library.open(tmp_path)
    try:
        pin(second)
        assert second.manifest == kept
        assert kept.workspace.startswith("library_")
        assert json.loads((tmp_path / "library.json").read_text())["embed"] == "hashed-512"
    finally:
        second.close()


def test_two_libraries_have_two_workspaces(tmp_path: Path) -> None:
    first, second = (Library.open(tmp_path / name) for name in ("a", "b"))
    try:
        pin(first)
        pin(second)
        assert first.manifest.workspace != second.manifest.workspace
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    "other", [replace(CARD, embed="bge-m3"), replace(CARD, dimension=1024)], ids=["name", "size"]
)
def test_another_embedder_is_refused_once_something_is_indexed(
    tmp_path: Path, other: ModelCard
) -> None:
    library = Library.open(tmp_path)
    try:
        pin(library)
        before = library.manifest
        index_something(library)
        with pytest.raises(EmbeddingMismatch, match="hashed-512"):
            pin(library, other)
        assert library.manifest == before
        pin(library, replace(CARD, llm="another"))  # the language model may change
        assert library.manifest.llm == "another"
        assert library.manifest.workspace == before.workspace
    finally:
        library.close()


def test_an_empty_library_may_change_its_embedder_and_begins_anew(tmp_path: Path) -> None:
    library = Library.open(tmp_path)
    try:
        pin(library)
        before = library.manifest.workspace
        pin(library, replace(CARD, embed="bge-m3", dimension=1024))
        assert library.manifest.embed == "bge-m3"
        assert library.manifest.workspace != before
    finally:
        library.close()


def test_chunks_keep_the_size_that_the_library_began_with(tmp_path: Path) -> None:
    library = Library.open(tmp_path)
    try:
        pin(library)
        library.pin(CARD, chunk_tokens=300, versions={})
        assert library.manifest.chunk_tokens == 1200
    finally:
        library.close()


def test_originals_are_stored_whole_and_taken_away(tmp_path: Path) -> None:
    library = Library.open(tmp_path)
    try:
        library.keep_original("a.txt", b"\x00\xff")
        assert library.read_original("a.txt") == b"\x00\xff"
        assert [path.name for path in library.files.iterdir()] == ["a.txt"]
        library.drop_original("a.txt")
        library.drop_original("a.txt")
        with pytest.raises(LibraryError, match=r"a\.txt could not be read"):
            library.read_original("a.txt")
        with pytest.raises(LibraryError, match="could not be stored"):
            library.keep_original("no/such/folder.txt", b"")
    finally:
        library.close()


def test_the_files_that_grow_are_listed_largest_first(tmp_path: Path) -> None:
    library = Library.open(tmp_path)
    try:
        pin(library)
        library.storage.mkdir()
        (library.storage / "vdb_chunks.json").write_bytes(bytes(10**6))
        sizes = library.sizes()
        assert (sizes[0].name, sizes[0].bytes) == ("vdb_chunks.json", 10**6)
        assert "journal.sqlite3" in {size.name for size in sizes}
        assert [size.bytes for size in sizes] == sorted((s.bytes for s in sizes), reverse=True)
    finally:
        library.close()
