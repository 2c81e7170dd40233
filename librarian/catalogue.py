"""The list of documents, in SQLite: every change is on disk before it is answered."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from librarian.documents import Document, Status, Version
from librarian.errors import LibraryError, NameTaken, UnknownDocument

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
    bytes INTEGER NOT NULL, characters INTEGER NOT NULL, language TEXT NOT NULL,
    file TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL,
    place REAL NOT NULL, chunks_total INTEGER NOT NULL, chunks_done INTEGER NOT NULL,
    chunks_saved INTEGER NOT NULL, entities INTEGER NOT NULL, relations INTEGER NOT NULL,
    elapsed_s REAL NOT NULL, warnings TEXT NOT NULL, error TEXT,
    share REAL NOT NULL DEFAULT 0, filed TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT '[]');
CREATE INDEX IF NOT EXISTS documents_queue ON documents (status, place);
CREATE TABLE IF NOT EXISTS duplicates (
    name TEXT NOT NULL, doc_id TEXT NOT NULL, PRIMARY KEY (name, doc_id));
CREATE TABLE IF NOT EXISTS deletions (doc_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS versions (
    name TEXT NOT NULL, id TEXT NOT NULL, bytes INTEGER NOT NULL, chunks INTEGER NOT NULL,
    entities INTEGER NOT NULL, elapsed_s REAL NOT NULL, created_at REAL NOT NULL,
    replaced_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS versions_name ON versions (name);
CREATE TABLE IF NOT EXISTS paces (model TEXT PRIMARY KEY, pace TEXT NOT NULL);
"""
_COLUMNS = tuple(field.name for field in fields(Document))
_VERSION = tuple(field.name for field in fields(Version))
_LATER = {  # columns that libraries of earlier versions lack
    "share": "REAL NOT NULL DEFAULT 0",
    "filed": "TEXT NOT NULL DEFAULT ''",
    "tags": "TEXT NOT NULL DEFAULT '[]'",
}
_LABELS = ("name", "filed", "tags")  # a person's; the queue has older copies of a document
_PROGRESS = ("chunks_total", "chunks_done", "chunks_saved", "elapsed_s", "share")


class Catalogue:
    """The documents of a library. Methods block; every one may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._guard = threading.Lock()
        self.labels = 0  #: changes of names and tags since the opening
        self._known: dict[str, tuple[sqlite3.Row, Document]] = {}
        self._read: tuple[Document, ...] = ()
        self._read_at = (-1, 0)  # changes of this connection, and a number for those of others
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            columns = {row["name"] for row in self._db.execute("PRAGMA table_info(documents)")}
            for name in _LATER.keys() - columns:
                self._db.execute(f"ALTER TABLE documents ADD COLUMN {name} {_LATER[name]}")
            self._db.execute(  # what the last process had done, this one need not pay for
                "UPDATE documents SET chunks_saved = chunks_done WHERE status = 'processing'"
            )
        except sqlite3.Error as exc:
            raise LibraryError(f"{path} could not be opened: {exc}.") from exc

    def close(self) -> None:
        """Closes the file."""
        with self._guard:
            self._db.close()

    def all(self) -> tuple[Document, ...]:
        """Every document, oldest first; one that has not changed is the same object as before."""
        with self._reading() as db:
            others = int(db.execute("PRAGMA data_version").fetchone()[0])
            if (at := (db.total_changes, others)) == self._read_at:
                return self._read
            rows = db.execute("SELECT * FROM documents ORDER BY created_at, place").fetchall()
            before = self._known
            self._known = {
                row["id"]: known
                if (known := before.get(row["id"])) and known[0] == row
                else (row, _document(row))
                for row in rows
            }
            self._read = tuple(document for _, document in self._known.values())
            self._read_at = at
            return self._read

    def paused(self) -> tuple[Document, ...]:
        """Those that wait for a person, oldest first."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT * FROM documents WHERE status = ? ORDER BY created_at, place",
                (Status.PAUSED,),
            ).fetchall()
        return tuple(_document(row) for row in rows)

    def get(self, id_or_name: str) -> Document:
        """One document by its id or its name.

        Raises:
            UnknownDocument: there is none.
        """
        with self._reading() as db:
            row = db.execute(
                "SELECT * FROM documents WHERE id = ? OR name = ?",
                (id_or_name, id_or_name.replace("/", "∕")),
            ).fetchone()
        if row is None:
            raise UnknownDocument(f"{id_or_name!r}:")
        return _document(row)

    def find(self, *, doc_id: str, name: str) -> tuple[Document | None, Document | None]:
        """The documents with this id and with this name, where there are such.

        One that came with the name and was renamed has it too, where no other one has it now.
        """
        with self._reading() as db:
            rows = db.execute(
                "SELECT * FROM documents WHERE id = ? OR name = ? OR filed = ?",
                (doc_id, name, name),
            ).fetchall()
        found = [_document(row) for row in rows]
        by_id = next((each for each in found if each.id == doc_id), None)
        named = [each for each in found if each.name == name]
        named += [each for each in found if each.filed == name]
        return by_id, named[0] if named else None

    def put(self, document: Document) -> None:
        """Adds a document or takes its new state."""
        with self._reading() as db:
            _put(db, document)

    def update(self, document: Document) -> None:
        """Takes a document's new state, if it is still on the list: in one step, so that none
        comes back that is removed at the same moment. Its name and tags are left as they are."""
        values = _values(document)
        changes = ", ".join(f"{name} = :{name}" for name in _COLUMNS[1:] if name not in _LABELS)
        with self._reading() as db:
            db.execute(f"UPDATE documents SET {changes} WHERE id = :id", values)

    def note_progress(self, documents: Iterable[Document]) -> None:
        """Writes down how far documents are that are being processed; nothing else of them."""
        changes = ", ".join(f"{name} = :{name}" for name in _PROGRESS)
        rows = [{name: getattr(each, name) for name in ("id", *_PROGRESS)} for each in documents]
        with self._reading() as db:
            db.executemany(
                f"UPDATE documents SET {changes} WHERE id = :id AND status = 'processing'", rows
            )

    def pace(self, model: str) -> dict[str, Any]:
        """How fast a model was here when it was measured last; empty where it never was."""
        with self._reading() as db:
            row = db.execute("SELECT pace FROM paces WHERE model = ?", (model,)).fetchone()
        return dict(json.loads(row[0])) if row else {}

    def keep_pace(self, model: str, pace: Mapping[str, Any]) -> None:
        """Keeps how fast a model is."""
        with self._reading() as db:
            db.execute("INSERT OR REPLACE INTO paces VALUES (?, ?)", (model, json.dumps(pace)))

    def remove(self, document: Document, by: Document | None = None) -> None:
        """Takes a document off the list, and notes that the graph still has to forget it.

        `by` takes its place in the same step: at no moment there is neither, nor both. That the
        one before was there is kept.
        """
        values = _values(document) | {"replaced_at": by and by.created_at}
        with self._whole() as db:
            db.execute("INSERT OR IGNORE INTO deletions VALUES (:id)", values)
            db.execute("DELETE FROM documents WHERE id = :id", values)
            db.execute("DELETE FROM duplicates WHERE doc_id = :id", values)
            if by is None:
                db.execute("DELETE FROM versions WHERE name = :name", values)
            else:
                _put(db, by)
                db.execute(
                    "INSERT INTO versions VALUES (:name, :id, :bytes, :chunks_total, :entities, "
                    ":elapsed_s, :created_at, :replaced_at)",
                    values,
                )

    def rename(self, doc_id: str, name: str) -> None:
        """Gives a document another name; its earlier versions follow, LightRAG's name stays.

        Raises:
            NameTaken: another document has it.
            UnknownDocument: there is none of that id.
        """
        before = self.get(doc_id)
        with self._whole() as db:
            try:
                db.execute(
                    "UPDATE documents SET filed = iif(filed = '', name, filed), name = ? "
                    "WHERE id = ?",
                    (name, before.id),
                )
            except sqlite3.IntegrityError as exc:
                raise NameTaken(f"{name} is another document's name.") from exc
            db.execute("UPDATE versions SET name = ? WHERE name = ?", (name, before.name))
        self.labels += 1

    def tag(
        self, doc_ids: Iterable[str], change: Callable[[tuple[str, ...]], tuple[str, ...]]
    ) -> None:
        """Changes the tags of documents, all or none; those that are gone are passed over."""
        with self._whole() as db:
            for doc_id in doc_ids:
                row = db.execute("SELECT tags FROM documents WHERE id = ?", (doc_id,)).fetchone()
                if row is not None:
                    tags = json.dumps(change(tuple(json.loads(row[0]))))
                    db.execute("UPDATE documents SET tags = ? WHERE id = ?", (tags, doc_id))
        self.labels += 1

    def renamed(self) -> dict[str, str]:
        """The names of renamed documents by those that LightRAG has them by."""
        with self._reading() as db:
            rows = db.execute("SELECT filed, name FROM documents WHERE filed NOT IN ('', name)")
            return {row[0]: row[1] for row in rows}

    def versions(self, name: str) -> tuple[Version, ...]:
        """The texts that a document of this name had before, the last one first."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT * FROM versions WHERE name = ? ORDER BY replaced_at DESC", (name,)
            ).fetchall()
        return tuple(Version(**{key: row[key] for key in _VERSION}) for row in rows)

    def queue(self) -> tuple[Document, ...]:
        """What waits, next first; what was being processed when the process ended comes before."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT * FROM documents WHERE status IN (?, ?) ORDER BY status DESC, place",
                (Status.PROCESSING, Status.PENDING),
            ).fetchall()
        return tuple(_document(row) for row in rows)

    def deletions(self) -> tuple[str, ...]:
        """Ids of removed documents that the graph has not forgotten yet."""
        with self._reading() as db:
            return tuple(row[0] for row in db.execute("SELECT doc_id FROM deletions"))

    def deleted(self, doc_id: str) -> None:
        """Notes that the graph has forgotten a document."""
        with self._reading() as db:
            db.execute("DELETE FROM deletions WHERE doc_id = ?", (doc_id,))

    def last_place(self) -> float:
        """The highest place in the queue."""
        with self._reading() as db:
            return float(db.execute("SELECT coalesce(max(place), 0) FROM documents").fetchone()[0])

    def places(self) -> tuple[float, float]:
        """The lowest and the highest place of what waits in the queue."""
        with self._reading() as db:
            row = db.execute(
                "SELECT coalesce(min(place), 0), coalesce(max(place), 0) FROM documents "
                "WHERE status = ?",
                (Status.PENDING,),
            ).fetchone()
        return float(row[0]), float(row[1])

    def note_duplicate(self, name: str, doc_id: str) -> None:
        """Remembers that a text was offered again under a name."""
        with self._reading() as db:
            db.execute("INSERT OR IGNORE INTO duplicates VALUES (?, ?)", (name, doc_id))

    def duplicates(self) -> int:
        """How many were offered again."""
        with self._reading() as db:
            return int(db.execute("SELECT count(*) FROM duplicates").fetchone()[0])

    def any_indexed(self) -> bool:
        """Whether any document was ever handed to the models."""
        with self._reading() as db:
            row = db.execute("SELECT 1 FROM documents WHERE chunks_total > 0 LIMIT 1").fetchone()
        return row is not None

    @contextmanager
    def _whole(self) -> Iterator[sqlite3.Connection]:
        """A change of several steps, on the disk as a whole or not at all."""
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk has ended it
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            try:
                yield self._db
            except sqlite3.Error as exc:
                raise LibraryError(f"The library's catalogue.sqlite3: {exc}.") from exc


def _put(db: sqlite3.Connection, document: Document) -> None:
    marks = ", ".join(f":{name}" for name in _COLUMNS)
    changes = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
    db.execute(
        f"INSERT INTO documents ({', '.join(_COLUMNS)}) VALUES ({marks}) "
        f"ON CONFLICT (id) DO UPDATE SET {changes}",
        _values(document),
    )


def _values(document: Document) -> dict[str, Any]:
    lists = {name: json.dumps(getattr(document, name)) for name in ("warnings", "tags")}
    return asdict(document) | lists


def _document(row: sqlite3.Row) -> Document:
    values = dict(row)
    values["tags"] = tuple(json.loads(values["tags"]))
    values["status"] = Status(values["status"])
    values["warnings"] = tuple(json.loads(values["warnings"]))
    return Document(**values)
