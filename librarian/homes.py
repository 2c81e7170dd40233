"""The libraries that a person knows on this machine: a list of folders with a label each."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock

from librarian.documents import one_line
from librarian.durable import write_json
from librarian.errors import LibraryError

LABEL_LENGTH = 60  # characters
MOST = 200  # libraries of a list
_LOCK_S = 5.0  # another dashboard writes a list of some KB


class UnfitFolder(LibraryError):
    # No docstring: each says what to do itself.
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A library of the list."""

    path: Path
    label: str
    opened_at: float = 0.0  #: seconds since 1970, when it was opened last

    @property
    def there(self) -> bool:
        """Whether there is a library in its folder now."""
        return is_library(self.path)


class Homes:
    """The list, in a file of the user's own. Methods block; any thread or process may call them.

    Forgetting a library takes it off the list; no file of it is touched.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock

    def all(self) -> tuple[Home, ...]:
        """The known libraries, opened last first.

        Raises:
            LibraryError: the list cannot be read.
        """
        return tuple(sorted(self._read(), key=lambda each: -each.opened_at))

    def opened(self, path: Path, label: str = "") -> Home:
        """Notes that a library was opened; a new one gets the label, or its folder's name.

        Raises:
            LibraryError: the list cannot be written.
        """

        def noted(homes: list[Home]) -> list[Home]:
            known = next((each for each in homes if same_folder(each.path, path)), None)
            name = clean_label(label) or (known.label if known else _title(path))
            others = [each for each in homes if each is not known]
            return [Home(path=path, label=name, opened_at=self._clock()), *others][:MOST]

        return self._change(noted)[0]

    def rename(self, path: Path, label: str) -> None:
        """Gives a library another label; its folder keeps its name.

        Raises:
            LibraryError: there is nothing in the label, or the list cannot be written.
        """
        name = clean_label(label)
        if not name:
            raise LibraryError("A library needs a name.")
        self._change(
            lambda homes: [
                replace(each, label=name) if same_folder(each.path, path) else each
                for each in homes
            ]
        )

    def forget(self, path: Path) -> None:
        """Takes a library off the list. Its folder stays as it is.

        Raises:
            LibraryError: the list cannot be written.
        """
        self._change(lambda homes: [each for each in homes if not same_folder(each.path, path)])

    def _change(self, do: Callable[[list[Home]], list[Home]]) -> list[Home]:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(f"{self._file}.lock", timeout=_LOCK_S):
                homes = do(self._read())
                rows = [{**asdict(each), "path": str(each.path)} for each in homes]
                write_json(self._file, {"libraries": rows})
        except filelock.Timeout as exc:
            raise LibraryError(f"{self._file} is held by another program.") from exc
        except OSError as exc:
            raise LibraryError(f"{self._file}: {exc.strerror or exc}.") from exc
        return homes

    def _read(self) -> list[Home]:
        try:
            rows = json.loads(self._file.read_bytes())["libraries"]
            return [
                Home(
                    path=Path(str(row["path"])),
                    label=clean_label(str(row["label"])) or "library",
                    opened_at=float(row["opened_at"]),
                )
                for row in rows
            ]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as exc:
            raise LibraryError(
                f"{self._file} is damaged ({type(exc).__name__}: {exc}). Remove it: it is only a "
                "list, and libraries are put on it again when they are opened."
            ) from exc


def is_library(folder: Path) -> bool:
    """Whether a folder has a library in it, open or not."""
    try:
        return any((folder / name).is_file() for name in ("library.json", "catalogue.sqlite3"))
    except (OSError, ValueError):  # not readable, or no path at all
        return False


def new_home(path: Path) -> Path:
    """The folder for a new library, which is not made yet.

    Raises:
        UnfitFolder: it has other things in it, or lies in a library.
    """
    folder = _absolute(path)
    if is_library(folder):
        raise UnfitFolder(f"{folder} has a library already. Open it.")
    inside = next((each for each in folder.parents if is_library(each)), None)
    if inside is not None:
        raise UnfitFolder(f"{folder} lies in the library {inside}. Choose a folder beside it.")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UnfitFolder(f"{folder} is not an empty folder. Choose a new or an empty one.")
    except OSError as exc:
        raise UnfitFolder(f"{folder}: {exc.strerror or exc}. Choose another folder.") from exc
    return folder


def known_home(path: Path) -> Path:
    """The folder of a library that is there.

    Raises:
        UnfitFolder: there is none.
    """
    folder = _absolute(path)
    if not is_library(folder):
        raise UnfitFolder(f"There is no library in {folder}. Look at the path, or create one.")
    return folder


def same_folder(one: Path, other: Path) -> bool:
    """Whether two paths are the same folder, by their names and by what is behind them."""
    if os.path.normcase(one.absolute()) == os.path.normcase(other.absolute()):
        return True
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there
        return False


def clean_label(label: str) -> str:
    """A label on one line; empty where nothing of it is left."""
    return one_line(label, LABEL_LENGTH)


def _title(path: Path) -> str:
    return clean_label(path.name) or clean_label(str(path)) or "library"


def _absolute(path: Path) -> Path:
    text = str(path)
    if not text.strip() or "\0" in text:
        raise UnfitFolder("Write the path of a folder.")
    folder = path.expanduser()
    if not folder.is_absolute():
        raise UnfitFolder(f"{text} is not a whole path. Begin it at the root of the disk.")
    return Path(os.path.normpath(folder))
