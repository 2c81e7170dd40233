"""The list of libraries: a file of the user's, and what may become a library."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.errors import LibraryError
from librarian.homes import LABEL_LENGTH, Homes, UnfitFolder, clean_label, known_home, new_home
from librarian.library import Library
from librarian.settings import Settings


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    ticks = iter(range(1000))
    return Homes(tmp_path / "config" / "libraries.json", lambda: float(next(ticks)))


def made(path: Path) -> Path:
    Library.open(path).close()
    return path


def test_libraries_are_listed_opened_last_first(homes: Homes, tmp_path: Path) -> None:
    assert homes.all() == ()
    homes.opened(tmp_path / "a")
    homes.opened(tmp_path / "b", "История")
    homes.opened(tmp_path / "a")
    assert [each.label for each in homes.all()] == ["a", "История"]
    homes.rename(tmp_path / "a", " Новая\n\x00 библиотека ")
    assert homes.all()[0].label == "Новая библиотека"
    homes.opened(tmp_path / "a")
    assert homes.all()[0].label == "Новая библиотека"
    with pytest.raises(LibraryError):
        homes.rename(tmp_path / "a", " \n")


def test_to_forget_a_library_touches_no_file_of_it(homes: Homes, tmp_path: Path) -> None:
    home = made(tmp_path / "a")
    before = sorted(home.rglob("*"))
    homes.opened(home)
    homes.forget(home)
    assert homes.all() == ()
    assert sorted(home.rglob("*")) == before


def test_one_folder_is_listed_once_whatever_it_is_called(homes: Homes, tmp_path: Path) -> None:
    home = made(tmp_path / "a")
    homes.opened(home)
    homes.opened(tmp_path / "b" / ".." / "a") if (tmp_path / "b").mkdir() is None else None
    assert len(homes.all()) == 1


def test_a_damaged_list_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "libraries.json"
    for damage in (b"\xff", b"[]", b'{"libraries": [{}]}', b'{"libraries": 3}'):
        file.write_bytes(damage)
        with pytest.raises(LibraryError, match="Remove it"):
            Homes(file).all()


def test_many_dashboards_write_the_list_at_once(tmp_path: Path) -> None:
    file = tmp_path / "libraries.json"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: Homes(file).opened(tmp_path / str(n)), range(24)))
    assert len(Homes(file).all()) == 24


def test_a_new_library_wants_an_empty_folder_of_its_own(tmp_path: Path) -> None:
    home = made(tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for folder in (home, home / "files", home / "files" / "new", tmp_path / "full"):
        with pytest.raises(UnfitFolder):
            new_home(folder)
    for odd in ("", "relative", "a\0b", str(tmp_path / "full" / "thesis.txt")):
        with pytest.raises(UnfitFolder):
            new_home(Path(odd))
    (tmp_path / "empty").mkdir()
    assert new_home(tmp_path / "empty") == tmp_path / "empty"
    assert new_home(tmp_path / "x" / "y") == tmp_path / "x" / "y"
    assert not (tmp_path / "x").exists()


def test_only_a_library_is_opened_as_one(tmp_path: Path) -> None:
    home = made(tmp_path / "a")
    assert known_home(home) == home
    for odd in (tmp_path, tmp_path / "nothing", Path("\0")):
        with pytest.raises(UnfitFolder):
            known_home(odd)


@given(st.text())
def test_a_label_is_one_short_line(text: str) -> None:
    label = clean_label(text)
    assert len(label) <= LABEL_LENGTH
    assert label.isprintable()
    assert clean_label(label) == label


def test_the_list_is_the_users_own_unless_it_is_said_where(tmp_path: Path) -> None:
    given_ = Settings.from_env({"LIBRARIAN_LIBRARIES": str(tmp_path / "l.json")})
    assert given_.homes_file == tmp_path / "l.json"
    assert Settings.from_env({}).homes_file.name == "libraries.json"
    assert Settings.from_env({}).homes_file.is_absolute()
