"""The journal of edits, in SQLite: an edit is on disk, with what it changes, before it is made."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from librarian.errors import EditRefused, LibraryError
from librarian.mending import Change, Edit, Key, packed, unpacked

_SCHEMA = """
CREATE TABLE IF NOT EXISTS edits (
    id INTEGER PRIMARY KEY AUTOINCREMENT, made_at REAL NOT NULL, edit TEXT NOT NULL,
    changes TEXT NOT NULL, state TEXT NOT NULL, cause TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS edits_state ON edits (state);
"""


class State(StrEnum):
    """Where an edit is: begun -> done -> undoing -> undone; a failed one goes back the same way."""

    BEGUN = "begun"  #: its values are being written; the next opening finishes it
    DONE = "done"  #: in the graph, and standing
    UNDOING = "undoing"  #: the values before are being written; the next opening finishes it
    UNDONE = "undone"  #: as if it had never been
    LET_GO = "let go"  #: in the graph, but not made again on what later documents bring


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An edit in the journal."""

    number: int
    made_at: float  #: seconds since 1970
    edit: Edit
    state: State
    cause: str  #: empty for a person's; else what brought back what a person had edited


class Edits:
    """The edits of a library. Methods block; every one may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._guard = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as exc:
            raise LibraryError(f"{path} could not be opened: {exc}.") from exc

    def close(self) -> None:
        """Closes the file."""
        with self._guard:
            self._db.close()

    def begin(self, edit: Edit, changes: Iterable[Change], cause: str, made_at: float) -> int:
        """Writes down an edit that is about to be made; its number."""
        rows = [(each.key, each.before, each.after) for each in changes]
        with self._open() as db:
            cursor = db.execute(
                "INSERT INTO edits (made_at, edit, changes, state, cause) VALUES (?, ?, ?, ?, ?)",
                (made_at, _json(packed(edit)), _json(rows), State.BEGUN, cause),
            )
            return int(cursor.lastrowid or 0)

    def mark(self, number: int, state: State) -> None:
        """Writes down how far an edit is."""
        with self._open() as db:
            db.execute("UPDATE edits SET state = ? WHERE id = ?", (state, number))

    def get(self, number: int) -> Entry:
        """One edit.

        Raises:
            EditRefused: there is none of that number.
        """
        found = self._entries("WHERE id = ?", number)
        if not found:
            raise EditRefused(f"There is no edit {number} in the journal.")
        return found[0]

    def changes(self, number: int) -> tuple[Change, ...]:
        """What an edit changes."""
        with self._open() as db:
            row = db.execute("SELECT changes FROM edits WHERE id = ?", (number,)).fetchone()
        return tuple(Change(tuple(key), old, new) for key, old, new in json.loads(row[0]))

    def latest(self, limit: int) -> tuple[Entry, ...]:
        """The last edits, the newest first."""
        return self._entries("ORDER BY id DESC LIMIT ?", limit)

    def unfinished(self) -> tuple[Entry, ...]:
        """Edits that were interrupted."""
        return self._entries("WHERE state IN (?, ?) ORDER BY id", State.BEGUN, State.UNDOING)

    def standing(self) -> tuple[Edit, ...]:
        """The person's edits that hold for later documents too, the oldest first."""
        found = self._entries("WHERE state = ? AND cause = '' ORDER BY id", State.DONE)
        return tuple(entry.edit for entry in found)

    def later(self, number: int, keys: Sequence[Key]) -> Entry | None:
        """The newest edit after one that changed any of these values."""
        wanted = set(keys)
        for entry in self._entries("WHERE id > ? ORDER BY id DESC", number):
            if entry.state in (State.DONE, State.LET_GO) and any(
                change.key in wanted for change in self.changes(entry.number)
            ):
                return entry
        return None

    def _entries(self, where: str, *values: object) -> tuple[Entry, ...]:
        with self._open() as db:
            rows = db.execute(
                f"SELECT id, made_at, edit, state, cause FROM edits {where}", values
            ).fetchall()
        return tuple(
            Entry(
                number=row[0],
                made_at=row[1],
                edit=unpacked(json.loads(row[2])),
                state=State(row[3]),
                cause=row[4],
            )
            for row in rows
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            try:
                yield self._db
            except sqlite3.Error as exc:
                raise LibraryError(f"The library's edits.sqlite3: {exc}.") from exc


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
