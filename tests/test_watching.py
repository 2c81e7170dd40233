"""A watched folder: what is new or changed comes in, once it is still; what is gone stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.documents import Admission, Outcome
from librarian.settings import Settings
from librarian.watching import FILE, NoSuchFolder, Watching
from tests.conftest import Opened, until_processed


class Taken:
    """Takes files in by noting them; what begins with `bad` is refused."""

    def __init__(self) -> None:
        self.files: list[tuple[str, str]] = []

    def __call__(self, name: str, path: Path) -> Admission:
        self.files.append((name, path.read_text(encoding="utf-8")))
        if name.startswith("bad"):
            return Admission(name=name, outcome=Outcome.REFUSED, message="It is bad.")
        return Admission(name=name, outcome=Outcome.ACCEPTED, doc_id=name)

    def since(self) -> list[tuple[str, str]]:
        found, self.files = self.files, []
        return found


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "inbox"
    made.mkdir()
    return made


@pytest.fixture
def watching(tmp_path: Path, folder: Path, taken: Taken) -> Watching:
    home = tmp_path / "home"
    home.mkdir()
    made = Watching(home, taken)
    made.choose(folder)
    return made


def written(path: Path, text: str, at: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(at, at))


def test_a_file_is_taken_when_two_looks_found_it_the_same(
    watching: Watching, folder: Path, taken: Taken
) -> None:
    written(folder / "deep" / "маяк.txt", "half", 1)
    watching.look()
    assert (taken.since(), watching.now().waiting) == ([], 1)
    written(folder / "deep" / "маяк.txt", "whole", 2)
    watching.look()
    assert taken.since() == []
    watching.look()
    assert taken.since() == [("deep/маяк.txt", "whole")]
    watching.look()
    assert taken.since() == []
    assert (watching.now().taken, watching.now().waiting) == (1, 0)


def test_a_changed_file_is_taken_again_and_one_that_is_gone_is_forgotten_by_nobody(
    watching: Watching, folder: Path, taken: Taken
) -> None:
    written(folder / "a.txt", "first", 1)
    for _ in range(2):
        watching.look()
    written(folder / "a.txt", "second", 2)
    for _ in range(3):
        watching.look()
    assert taken.since() == [("a.txt", "first"), ("a.txt", "second")]
    (folder / "a.txt").unlink()
    for _ in range(3):
        watching.look()
    assert taken.since() == []
    assert watching.now().taken == 1


def test_what_was_taken_is_not_taken_again_after_a_restart(
    watching: Watching, folder: Path, taken: Taken, tmp_path: Path
) -> None:
    written(folder / "a.txt", "text", 1)
    written(folder / "bad.txt", "text", 1)
    for _ in range(2):
        watching.look()
    taken.since()
    again = Watching(tmp_path / "home", taken)
    for _ in range(3):
        again.look()
    assert taken.since() == []
    assert again.now().folder == folder
    assert again.now().refused == (("bad.txt", "It is bad."),)


def test_links_out_of_the_folder_and_unread_kinds_are_left(
    watching: Watching, folder: Path, taken: Taken, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (folder / "link.txt").symlink_to(secret)
    (folder / "program.exe").write_bytes(b"MZ")
    for _ in range(3):
        watching.look()
    assert taken.since() == []


def test_a_folder_that_goes_away_is_said_and_comes_back(
    watching: Watching, folder: Path, taken: Taken
) -> None:
    folder.rename(folder.with_name("elsewhere"))
    watching.look()
    assert "is not there" in watching.now().trouble
    folder.with_name("elsewhere").rename(folder)
    written(folder / "a.txt", "text", 1)
    for _ in range(2):
        watching.look()
    assert watching.now().trouble == ""
    assert taken.since() == [("a.txt", "text")]


@pytest.mark.parametrize("which", ["missing", ".", "home"])
def test_a_folder_that_cannot_be_watched_is_refused(
    watching: Watching, tmp_path: Path, which: str
) -> None:
    with pytest.raises(NoSuchFolder):
        watching.choose(tmp_path / which)


def test_a_damaged_note_watches_nothing(watching: Watching, tmp_path: Path, taken: Taken) -> None:
    (tmp_path / "home" / FILE).write_text("[]", encoding="utf-8")
    assert Watching(tmp_path / "home", taken).now().folder is None


def test_a_file_that_is_dropped_into_the_folder_is_read_without_a_browser(
    opened: Opened, tmp_path: Path, folder: Path
) -> None:
    settings = Settings.from_env({}, home=tmp_path / "library", backend="offline")
    librarian: Librarian = opened(settings)
    librarian.watching.choose(folder)
    written(folder / "lamp.txt", "Anna Petrova lights the lamp of the harbour every night.", 1)
    for _ in range(2):
        librarian.watching.look()
    until_processed(librarian, "lamp.txt")
    written(folder / "lamp.txt", "Anna Petrova left the harbour and the lamp went out.", 2)
    for _ in range(2):
        librarian.watching.look()
    until_processed(librarian, "lamp.txt")
    assert len(librarian._library.catalogue.all()) == 1  # replaced in place
