"""What has changed in LightRAG's storages since its files were written, in SQLite.

LightRAG's own storages write a whole file for every document, so that each document costs more
than the one before. Here it costs what is new.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from librarian.errors import LibraryError

NAME = "changes.sqlite3"
PAGE = 32 << 10  # bytes; a row with a vector is 7 KB, and of SQLite's own 4 KB would be in pieces
_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
    storage TEXT NOT NULL, key TEXT NOT NULL, value TEXT, vector BLOB,
    PRIMARY KEY (storage, key));
"""
_PUT = """
INSERT INTO changes VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value, vector = excluded.vector
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What is under a key now; `value` is None where there is nothing any more."""

    storage: str  #: the name of the file that will have it
    key: str
    value: Any = None  #: as JSON has it
    vector: bytes | None = None  #: numbers of 32 bits


class Changes:
    """One row a key, in the order in which the keys came. Methods block; any thread may call."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it.

        Raises:
            LibraryError: it cannot be read.
        """
        self._path = path
        self._guard = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute(f"PRAGMA page_size = {PAGE}")  # of a new file
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            size = (
                "SELECT sum(length(CAST(value AS BLOB)) + ifnull(length(vector), 0)) FROM changes"
            )
            self.bytes = int(self._db.execute(size).fetchone()[0] or 0)  #: written since `clear`
        except sqlite3.Error as exc:
            raise LibraryError(f"{path} could not be opened: {exc}.") from exc

    def write(self, changes: Iterable[Change]) -> None:
        """Puts all of them on the disk, or none.

        Raises:
            LibraryError: there is no room.
        """
        rows = [
            (each.storage, each.key, None if each.value is None else said(each.value), each.vector)
            for each in changes
        ]
        with self._guard:
            self._do("BEGIN IMMEDIATE")
            try:
                self._db.executemany(_PUT, rows)
                self._do("COMMIT")
            except BaseException as exc:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(exc, sqlite3.Error):
                    raise self._error(exc) from exc
                raise
            self.bytes += sum(
                len(value or b"") + len(vector or b"") for _, _, value, vector in rows
            )

    def read(self, storage: str) -> list[Change]:
        """What has changed in one storage."""
        with self._guard:
            found = self._db.execute(
                "SELECT key, value, vector FROM changes WHERE storage = ? ORDER BY rowid",
                (storage,),
            ).fetchall()
        return [
            Change(storage, key, None if value is None else json.loads(value), vector)
            for key, value, vector in found
        ]

    def clear(self) -> None:
        """Forgets all of it: the files have it."""
        with self._guard:
            self._do("DELETE FROM changes")
            self._do("VACUUM")
            self._do("PRAGMA wal_checkpoint(TRUNCATE)")
            self.bytes = 0

    def close(self) -> None:
        """Closes the file."""
        with self._guard:
            self._db.close()

    def _do(self, statement: str) -> None:
        try:
            self._db.execute(statement)
        except sqlite3.Error as exc:
            raise self._error(exc) from exc

    def _error(self, exc: sqlite3.Error) -> LibraryError:
        return LibraryError(f"{self._path} could not be written: {exc}.")


def forget(folder: Path, beginning: str) -> None:
    """Drops the changes of the storages whose names begin so, in a folder that nobody uses.

    Raises:
        LibraryError: the file cannot be read or written.
    """
    path = folder / NAME
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(
                "DELETE FROM changes WHERE substr(storage, 1, ?) = ?", (len(beginning), beginning)
            )
    except sqlite3.Error as exc:
        raise LibraryError(f"{path} could not be written: {exc}.") from exc


def said(value: object) -> bytes:
    """A value in JSON, as `json` reads it: with infinite numbers and halves of letters."""
    try:
        data = orjson.dumps(value)
    except TypeError:  # half a letter, which only an escape can write, or a very large number
        return json.dumps(value).encode()
    if b"null" in data and orjson.loads(data) != value:  # it also stands for infinity
        return json.dumps(value).encode()
    return data
