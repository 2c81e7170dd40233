"""A library in one file and back, made while it works; nothing of a bad file is taken."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.backup import (
    LIST,
    BackupFailed,
    BadBackup,
    HomeInUse,
    gather,
    gathering,
    pack,
    restore,
)
from librarian.documents import Status
from librarian.errors import LibraryBusy, LibraryError
from librarian.library import Library
from librarian.manifest import BEFORE, FORMAT, NAME
from librarian.settings import Settings
from tests.conftest import Opened, until, until_processed
from tests.ollama_server import OllamaServer
from tests.test_app import ENGINE_EN, MUSIC_RU, long_text
from tests.test_cli import run


def offline(home: Path) -> Settings:
    return Settings.from_env({}, home=home, backend="offline", chunk_tokens=200)


@pytest.fixture
def filled(opened: Opened, tmp_path: Path) -> Librarian:
    librarian = opened(offline(tmp_path / "library"))
    librarian.add_text("engine.txt", ENGINE_EN)
    librarian.add_text("музыка.txt", MUSIC_RU)
    until_processed(librarian, "engine.txt", "музыка.txt")
    return librarian


def content(librarian: Librarian) -> tuple[object, ...]:
    graph = librarian.graph()
    return (
        sorted(graph.entities, key=lambda each: each.name),
        sorted(graph.relations, key=lambda each: (each.source, each.target)),
        sorted(each.document.name for each in librarian.snapshot().documents),
    )


def test_a_restored_library_is_the_one_that_was_written(
    filled: Librarian, opened: Opened, tmp_path: Path
) -> None:
    heard: list[tuple[int, int]] = []
    made = filled.backups.make(
        tmp_path / "kept.zip", lambda done, whole: heard.append((done, whole))
    )
    assert heard[-1][0] == heard[-1][1] > 0
    assert made.files > 6
    assert not list(filled.settings.home.glob("gathered-*"))

    back = restore(tmp_path / "kept.zip", tmp_path / "other")
    assert (back.files, back.made_at, back.kept) == (made.files, made.made_at, "")
    other = opened(offline(tmp_path / "other"))
    until(lambda: other.snapshot().documents, "the documents")
    assert content(other) == content(filled)
    before = {row.name: row.passed for row in filled.verify()}
    assert {row.name: row.passed for row in other.verify()} == before
    held = other.journal()
    assert held.answers == filled.journal().answers > 0


def test_backups_of_a_library_are_listed_and_not_in_the_next_one(filled: Librarian) -> None:
    first = filled.backups.make()
    assert [each.bytes for each in filled.backups.all()] == [first.bytes]
    filled.backups.delete("../library.json")
    filled.backups.delete(filled.backups.all()[0].name)
    assert filled.backups.all() == ()
    second = filled.backups.make()
    assert second.files == first.files
    assert (filled.settings.home / NAME).exists()


def test_a_backup_in_the_middle_of_a_book_goes_on_where_it_was_without_paying_again(
    opened: Opened, tmp_path: Path
) -> None:
    with OllamaServer(parallel=4, num_ctx=8192, latency_s=0.15) as server:
        settings = Settings.from_env(
            {"LIBRARIAN_BACKEND": "ollama", "OLLAMA_HOST": server.url},
            home=tmp_path / "library",
            chunk_tokens=200,
        )
        librarian = opened(settings)
        librarian.add_text("ships.txt", long_text(60))
        until(lambda: librarian.journal().answers >= 8, "some answers")
        librarian.backups.make(tmp_path / "kept.zip")
        librarian.close()
        restore(tmp_path / "kept.zip", tmp_path / "other")
        library = Library.open(tmp_path / "other")
        paid = library.journal.holdings().answers
        library.close()
        assert paid >= 8

        before = len(server.calls)
        other = opened(
            Settings.from_env(
                {"LIBRARIAN_BACKEND": "ollama", "OLLAMA_HOST": server.url},
                home=tmp_path / "other",
                chunk_tokens=200,
            )
        )
        until_processed(other, "ships.txt")
        document = next(each.document for each in other.snapshot().documents)
        assert document.status is Status.PROCESSED
        asked = [each for each in server.calls[before:] if each.role == "extract"]
        assert document.chunks_saved >= 8
        assert len(asked) <= document.chunks_total - 8


def test_what_cannot_be_written_leaves_nothing_half(filled: Librarian, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    with pytest.raises(BackupFailed):
        filled.backups.make(tmp_path / "taken" / "kept.zip")
    full = Path("/dev/full")
    if full.exists():  # every write to it fails as on a full disk
        (tmp_path / "disk").mkdir()
        (tmp_path / "disk" / "kept.zip.part").symlink_to(full)
        with pytest.raises(BackupFailed, match="[Nn]o space"):
            filled.backups.make(tmp_path / "disk" / "kept.zip")
        assert not list((tmp_path / "disk").iterdir())
    assert not list(filled.settings.home.glob("gathered-*"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A backup of a small library that never met a model."""
    folder = tmp_path_factory.mktemp("kept")
    library = Library.open(folder / "library")
    (library.files / "a.txt").write_text("The keeper wrote down every ship. " * 40)
    (library.home / NAME).write_text(json.dumps({"format": FORMAT}))
    with gathering(library) as parts:
        gather(library, parts)
        pack(parts, folder / "kept.zip")
    library.close()
    return (folder / "kept.zip").read_bytes()


def altered(data: bytes, path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The same backup with other members."""
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def listed(members: dict[str, bytes], **more: bytes) -> None:
    """Puts members in, with their lines in the list."""
    known = json.loads(members[LIST])
    for name, content in more.items():
        members[name] = content
        digest = hashlib.sha256(content).hexdigest()
        known["members"][name] = {"bytes": len(content), "sha256": digest}
    members[LIST] = json.dumps(known).encode()


def understated(members: dict[str, bytes]) -> None:
    known = json.loads(members[LIST])
    known["members"]["files/a.txt"]["bytes"] = 10
    members[LIST] = json.dumps(known).encode()


def newer(members: dict[str, bytes]) -> None:
    known = json.loads(members[LIST])
    members[LIST] = json.dumps(known | {"format": FORMAT + 1}).encode()


CHANGES: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "another text": (lambda m: m.update({"files/a.txt": b"x" * 1360}), "files/a.txt.*damaged"),
    "a longer text than listed": (understated, "files/a.txt.*damaged"),
    "no list": (lambda m: m.pop(LIST), "no list"),
    "a broken list": (lambda m: m.update({LIST: b"[1]"}), "list .*damaged"),
    "a member that is not listed": (lambda m: m.update({"files/b.txt": b"b"}), "not what its list"),
    "a member that is missing": (lambda m: m.pop("files/a.txt"), "not what its list"),
    "a way out": (lambda m: listed(m, **{"files/../../evil.txt": b"x"}), "no part of a library"),
    "a whole path": (lambda m: listed(m, **{"/etc/evil": b"x"}), "no part of a library"),
    "a drive": (lambda m: listed(m, **{"files/C:evil": b"x"}), "no part of a library"),
    "a foreign file": (lambda m: listed(m, **{"start.py": b"x"}), "no part of a library"),
    "a newer version": (newer, "newer version"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_bad_backup_is_refused_before_anything_is_touched(
    what: str, kept: bytes, tmp_path: Path
) -> None:
    change, words = CHANGES[what]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / NAME).write_text("{}")
    bad = altered(kept, tmp_path / "bad.zip", change)
    for home in (tmp_path / "new", tmp_path / "there"):
        with pytest.raises(BadBackup, match=words):
            restore(bad, home, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.zip", "there"]
    assert (tmp_path / "there" / NAME).read_text() == "{}"


@pytest.mark.parametrize("cut", [0, 10, 400, -30])
def test_half_a_file_is_no_backup(cut: int, kept: bytes, tmp_path: Path) -> None:
    (tmp_path / "half.zip").write_bytes(kept[:cut])
    with pytest.raises(BadBackup):
        restore(tmp_path / "half.zip", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_library_that_is_there_is_kept_beside_and_only_when_that_is_said(
    kept: bytes, tmp_path: Path
) -> None:
    (tmp_path / "kept.zip").write_bytes(kept)
    home = tmp_path / "library"
    library = Library.open(home)
    with pytest.raises(LibraryBusy):
        restore(tmp_path / "kept.zip", home, replace=True)
    library.close()
    (home / "mine").write_text("mine")
    with pytest.raises(HomeInUse, match="--replace"):
        restore(tmp_path / "kept.zip", home)
    back = restore(tmp_path / "kept.zip", home, replace=True)
    assert (Path(back.kept) / "mine").read_text() == "mine"
    assert (home / "files" / "a.txt").exists()
    assert not (home / "mine").exists()


def test_an_original_that_is_missing_is_named(filled: Librarian, tmp_path: Path) -> None:
    next((filled.settings.home / "files").glob("engine*")).unlink()
    with pytest.raises(LibraryError, match="original engine.*missing"):
        filled.backups.make(tmp_path / "kept.zip")


def test_the_commands_write_and_restore(tmp_path: Path) -> None:
    home, file, other = tmp_path / "library", tmp_path / "kept.zip", tmp_path / "other"
    run(home, "insert", ENGINE_EN)
    assert run(home, "backup", str(file)).returncode == 0
    again = run(home, "backup", str(file))
    assert again.returncode == 1
    assert "--replace" in again.stderr
    back = run(other, "restore", str(file), "--json")
    assert json.loads(back.stdout)["files"] > 5
    report = json.loads(run(other, "status", "--json").stdout)
    assert [each["status"] for each in report["documents"]] == ["processed"]
    nowhere = run(tmp_path / "none", "backup", str(tmp_path / "x.zip"))
    assert nowhere.returncode == 1
    assert not (tmp_path / "none").exists()


# --- other versions -------------------------------------------------------------------------


def test_what_an_older_version_wrote_is_kept_before_it_is_changed(tmp_path: Path) -> None:
    home = tmp_path / "library"
    Library.open(home).close()
    (home / NAME).write_text(json.dumps({"format": 1, "workspace": "w"}))
    library = Library.open(home)
    assert (library.manifest.format, library.manifest.workspace) == (FORMAT, "w")
    library.close()
    (copies,) = (home / BEFORE).iterdir()
    assert json.loads((copies / NAME).read_text())["format"] == 1
    assert (copies / "journal.sqlite3").exists()
    Library.open(home).close()
    assert len(list((home / BEFORE).iterdir())) == 1


def test_a_newer_library_is_refused_as_newer_and_not_as_damaged(tmp_path: Path) -> None:
    home = tmp_path / "library"
    home.mkdir()
    text = json.dumps({"format": FORMAT + 1, "what_nobody_knows_yet": 1})
    (home / NAME).write_text(text)
    with pytest.raises(LibraryError, match="newer version"):
        Library.open(home)
    assert (home / NAME).read_text() == text
    assert not (home / BEFORE).exists()
