"""A folder of this machine whose new and changed files come into the library by themselves."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from librarian.documents import Admission, Outcome
from librarian.durable import write_json
from librarian.errors import LibrarianError, LibraryError
from librarian.intake import files_in

EVERY_S = 5.0  # between two looks; a file is taken when it was the same in both
FILE = "watched.json"
MOST_REFUSED = 200  # that are listed

Admit = Callable[[str, Path], Admission]  #: takes a file in under a name; an older one is replaced
Stamp = tuple[int, int]  #: bytes, and when it was changed, in nanoseconds

log = logging.getLogger(__name__)


class NoSuchFolder(LibrarianError):
    """Name a folder of the machine that runs the library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is watched and what came of it, for a page. Refusals are a name and a reason."""

    folder: Path | None = None
    taken: int = 0  #: files of the folder that are in the library
    waiting: int = 0  #: files that are still being written
    refused: tuple[tuple[str, str], ...] = ()
    trouble: str = ""  #: why the folder cannot be looked at


@dataclass(slots=True)
class _State:
    folder: Path | None = None
    seen: dict[str, Stamp] = field(default_factory=dict)  # as they were taken or refused
    refused: dict[str, str] = field(default_factory=dict)


class Watching:
    """Looks at a folder again and again, in a thread of its own.

    By looking, not by the system's events: those do not come from shares of a network. Files that
    are gone from the folder stay in the library. Methods may be called from any thread.
    """

    def __init__(self, home: Path, admit: Admit, every_s: float = EVERY_S) -> None:
        self._home = home
        self._path = home / FILE
        self._admit = admit
        self._every_s = every_s
        self._guard = threading.Lock()
        self._state = self._read()
        self._before: dict[str, Stamp] = {}  # at the last look
        self._trouble = ""
        self._waiting = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Ends the looking; a file that is being taken in is waited for."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def now(self) -> Watched:
        """What is watched; waits for no look."""
        state = self._state
        return Watched(
            folder=state.folder,
            taken=len(state.seen) - len(state.refused),
            waiting=self._waiting,
            refused=tuple(sorted(state.refused.items()))[:MOST_REFUSED],
            trouble=self._trouble,
        )

    def choose(self, folder: Path | None) -> None:
        """Watches another folder from now on, or none; what came from the old one stays.

        Raises:
            NoSuchFolder: it is none, or the library itself is in it.
            LibraryError: the choice could not be written down.
        """
        if folder is not None:
            folder = folder.expanduser().absolute()
            if not folder.is_dir():
                raise NoSuchFolder(f"{folder} is no folder.")
            if self._home.resolve().is_relative_to(folder.resolve()):
                raise NoSuchFolder(f"The library itself is in {folder}.")
        with self._guard:
            self._keep(_State(folder=folder))
            self._before, self._trouble, self._waiting = {}, "", 0

    def look(self) -> None:
        """One look: takes what is new or changed and was the same at the look before."""
        with self._guard:
            state = self._state
            if state.folder is None:
                return
            try:
                found = {name: (path, _stamp(path)) for name, path in files_in(state.folder)}
                self._trouble = "" if state.folder.is_dir() else f"{state.folder} is not there."
            except OSError as exc:
                self._trouble = f"{exc.filename or state.folder}: {exc.strerror or exc}."
                return
            news = {name: each for name, each in found.items() if state.seen.get(name) != each[1]}
            still = {name for name, each in news.items() if self._before.get(name) == each[1]}
            self._before = {name: each[1] for name, each in news.items()}
            self._waiting = len(news) - len(still)
            for name in sorted(still):
                if self._end.is_set():
                    return
                self._take(state, name, *news[name])

    def _take(self, state: _State, name: str, path: Path, stamp: Stamp) -> None:
        try:
            taken = self._admit(name, path)
        except OSError as exc:  # gone or locked; the next look tries again
            log.info("%s: %s", path, exc.strerror or exc)
            return
        seen, refused = state.seen | {name: stamp}, dict(state.refused)
        refused.pop(name, None)
        if taken.outcome is Outcome.REFUSED:
            refused[name] = taken.message
        state.seen, state.refused = seen, refused
        try:
            self._keep(state)
        except LibraryError as exc:  # it would be taken again at the next start, as a duplicate
            log.warning("%s", exc)

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            try:
                self.look()
            except LibrarianError as exc:
                self._trouble = str(exc)

    def _keep(self, state: _State) -> None:
        folder = str(state.folder) if state.folder else None
        write_json(self._path, {"folder": folder, "seen": state.seen, "refused": state.refused})
        self._state = state

    def _read(self) -> _State:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return _State(
                folder=Path(kept["folder"]) if kept["folder"] else None,
                seen={str(name): (int(size), int(at)) for name, (size, at) in kept["seen"].items()},
                refused={str(name): str(why) for name, why in kept["refused"].items()},
            )
        except FileNotFoundError:
            return _State()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            log.warning("%s cannot be read (%s): no folder is watched.", self._path, exc)
            return _State()


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
