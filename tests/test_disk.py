"""Accidents of the disk under the real journal: full, read-only, damaged. Nothing is lost."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.errors import JournalError, LibrarianError
from librarian.journal import Journal
from librarian.library import Library
from librarian.models.protocol import Completion
from librarian.settings import Settings
from tests.conftest import Opened, until, until_processed
from tests.test_app import ENGINE_EN

LONG = "Смотритель маяка записал погоду и имя парохода. " * 40
# A child may not write files beyond a size, as on a full disk; SQLite hears of both in one way.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from librarian.errors import JournalError
from librarian.journal import Journal
from librarian.models.protocol import Completion

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
journal, kept = Journal(Path(sys.argv[1])), 0
put = lambda n: journal.put(
    b"%d" % n, Completion(text="x" * 5000), role="extract", model="m", document="d", chunk=n
)
try:
    while True:
        put(kept)
        kept += 1
except JournalError as exc:
    print(exc)
assert journal.count() == kept > 10, (journal.count(), kept)
assert journal.get(b"0").text == "x" * 5000
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
put(kept)
assert journal.count() == kept + 1
print("kept", kept)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def put(journal: Journal, number: int, text: str = LONG) -> None:
    answer = Completion(text=text, total_s=2.0)
    journal.put(b"%d" % number, answer, role="extract", model="m", document="doc-1", chunk=number)


def fill(journal: Journal) -> int:
    """Puts answers until there is no room; how many were kept."""
    for number in range(10_000):
        try:
            put(journal, number)
        except JournalError as exc:
            assert "full" in str(exc)
            assert "Free disk space" in str(exc)
            return number
    raise AssertionError("the disk is not small")


def test_a_full_disk_is_named_and_nothing_is_lost(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1024 * 1024))
    journal = Journal(small_disk / "journal.sqlite3")
    kept = fill(journal)
    assert journal.count() == kept > 10
    assert journal.get(b"0") is not None
    ballast.unlink()
    put(journal, kept)
    journal.close()
    again = Journal(small_disk / "journal.sqlite3")
    assert again.count() == kept + 1
    assert all(again.get(b"%d" % number) is not None for number in range(kept + 1))
    again.close()


def test_a_full_disk_can_be_relieved_by_clearing_the_journal(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal.sqlite3")
    assert fill(journal) > 10
    free = shutil.disk_usage(small_disk).free
    journal.clear()
    assert shutil.disk_usage(small_disk).free > free + 1_500_000
    put(journal, 1)
    assert journal.count() == 1
    journal.close()


@pytest.mark.skipif(os.name == "nt", reason="there are no limits of processes")
def test_a_limit_of_file_size_is_as_a_full_disk(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Free disk space" in done.stdout


def test_a_full_database_is_named_and_goes_on_with_more_room(journal: Journal) -> None:
    put(journal, 0)
    assert journal._db is not None
    journal._db.execute("PRAGMA max_page_count = 40")
    kept = fill_from(journal, 1)
    assert journal.count() == kept
    journal._db.execute("PRAGMA max_page_count = 100000")
    put(journal, kept)
    assert journal.count() == kept + 1


def fill_from(journal: Journal, number: int) -> int:
    while True:
        try:
            put(journal, number)
        except JournalError as exc:
            assert "full" in str(exc)
            return number
        number += 1


def test_a_read_only_journal_still_answers_and_says_that_it_cannot_keep(journal: Journal) -> None:
    put(journal, 1)
    assert journal._db is not None
    journal._db.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalError, match="readonly.* make the library's folder writable"):
        put(journal, 2)
    assert journal.get(b"1") is not None
    assert journal.get(b"2") is None
    journal._db.execute("PRAGMA query_only = OFF")
    put(journal, 2)
    assert journal.count() == 2


def test_a_read_only_disk_is_named_when_the_journal_is_opened(small_disk: Path) -> None:
    first = Journal(small_disk / "journal.sqlite3")
    put(first, 1)
    first.close()
    mount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(mount, check=True)
    with pytest.raises(JournalError, match=r"journal\.sqlite3"):
        Journal(small_disk / "journal.sqlite3")
    subprocess.run([*mount[:2], "remount,rw", mount[3]], check=True)
    again = Journal(small_disk / "journal.sqlite3")
    assert again.get(b"1") is not None
    again.close()


def test_a_damaged_page_costs_its_own_answers_only(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(path)
    for number in range(200):
        put(journal, number)
    journal.close()
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(size // 2 // 4096 * 4096)
        stream.write(b"\xff" * 4096)
    with caplog.at_level(logging.WARNING):
        journal = Journal(path)
        found = [journal.get(b"%d" % number) for number in range(200)]
        put(journal, 200)
    asides = list(path.parent.glob("journal.damaged-*.sqlite3"))
    assert 150 < sum(each is not None for each in found)
    assert journal.count() >= 150
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if asides:  # the page may have been one that no question needed
        assert asides[0].name in caplog.text
    journal.close()


def test_damage_that_is_found_at_work_is_set_aside_and_the_work_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(path)
    for number in range(50):
        put(journal, number)
    journal.close()
    journal = Journal(path)
    put(journal, 50)
    with path.open("r+b") as stream:  # behind its back, as a failing disk does it
        stream.seek(4096)
        stream.write(b"\xff" * (path.stat().st_size - 4096))
    assert journal._db is not None
    journal._db.execute("PRAGMA shrink_memory")
    with caplog.at_level(logging.WARNING):
        found = [journal.get(b"%d" % number) for number in range(51)]
        for number in range(51, 120):
            put(journal, number)
    assert None in found
    assert all(journal.get(b"%d" % number) is not None for number in range(51, 120))
    aside = next(path.parent.glob("journal.damaged-*.sqlite3"))
    assert f"set aside as {aside.name}" in caplog.text
    journal.close()


def test_a_file_that_is_no_journal_is_set_aside_with_its_log_beside_it(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)
    path.with_name(f"{path.name}-wal").write_bytes(b"the log of no database")
    journal = Journal(path)
    put(journal, 1)
    aside = next(path.parent.glob("journal.damaged-*.sqlite3"))
    assert aside.read_bytes() == b"no database " * 1000
    assert journal.count() == 1
    journal.close()


def test_a_library_with_a_damaged_journal_goes_on_and_asks_again(
    tmp_path: Path, opened: Opened
) -> None:
    settings = Settings.from_env({}, home=tmp_path, backend="offline")
    first = opened(settings)
    first.add_text("engine.txt", ENGINE_EN)
    until_processed(first, "engine.txt")
    first.close()
    (tmp_path / "journal.sqlite3").write_bytes(b"\x00" * 4096 + b"damage" * 5000)
    second = opened(settings)
    second.add_text("more.txt", "Mary Somerville taught Ada Lovelace in Burntisland.")
    until_processed(second, "more.txt")
    assert second.journal().answers > 0
    assert list(tmp_path.glob("journal.damaged-*.sqlite3"))


def test_clearing_does_not_hold_up_the_loop(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    assert librarian.journal().answers > 0
    with ThreadPoolExecutor(1) as threads:
        with librarian._library.journal._guard:  # as long as it takes
            clearing = threads.submit(librarian.clear_cache, "journal")
            beat_s = librarian.snapshot().beat_s
            until(lambda: librarian.snapshot().beat_s > beat_s + 0.5, "the loop to beat")
            assert not clearing.done()
        clearing.result(10)
    assert librarian.journal().answers == 0
    with pytest.raises(LibrarianError, match="only lightrag, journal, all"):
        librarian.clear_cache("everything")


def test_clearing_gives_the_space_back_and_the_journal_has_one_size(tmp_path: Path) -> None:
    library = Library.open(tmp_path)
    try:
        for number in range(1000):
            put(library.journal, number)
        (before,) = [each for each in library.sizes() if "journal" in each.name]
        held = library.journal.holdings()
        assert before.name == "journal.sqlite3"
        assert before.bytes == held.bytes > 4_000_000
        assert (held.answers, held.model_s) == (1000, 2000.0)
        on_disk = sum(path.stat().st_size for path in tmp_path.glob("journal.sqlite3*"))
        assert before.bytes == on_disk
        library.journal.clear()
        (after,) = [each for each in library.sizes() if "journal" in each.name]
        assert after.bytes < 100_000
        put(library.journal, 1)
        assert library.journal.count() == 1
    finally:
        library.close()
