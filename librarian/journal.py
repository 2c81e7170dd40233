"""Every complete answer of a model, in SQLite, the moment it arrives: nothing is paid for twice."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from librarian.errors import JournalError
from librarian.models.protocol import Completion, ModelCard, Prompt, Remark

T = TypeVar("T")
log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, role TEXT NOT NULL, model TEXT NOT NULL, document TEXT NOT NULL,
    chunk INTEGER NOT NULL, at REAL NOT NULL, text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, load_s REAL NOT NULL, prompt_s REAL NOT NULL,
    output_s REAL NOT NULL, total_s REAL NOT NULL)
"""
_LATER = {"subject": "TEXT NOT NULL DEFAULT ''", "remarks": "TEXT NOT NULL DEFAULT ''"}
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS answers_subject ON answers (subject) WHERE subject != ''",
    # What documents have cost is read from it alone: the answers are hundreds of megabytes.
    "CREATE INDEX IF NOT EXISTS answers_spent ON answers "
    "(document, prompt_tokens, output_tokens, total_s)",
)
_NUMBERS = ("prompt_tokens", "output_tokens", "load_s", "prompt_s", "output_s", "total_s")
_COLUMNS = ("key", "role", "model", "document", "chunk", "at", "text", *_NUMBERS, *_LATER)
_ROW = f"({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_ANSWER = f"text, remarks, {', '.join(_NUMBERS)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a document has cost of the model's work, in tokens and seconds."""

    calls: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    model_s: float = 0.0

    def with_answer(self, answer: Completion) -> Spent:
        """After one more answer."""
        return Spent(
            calls=self.calls + 1,
            prompt_tokens=self.prompt_tokens + answer.prompt_tokens,
            output_tokens=self.output_tokens + answer.output_tokens,
            model_s=self.model_s + answer.total_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer of the journal, with the model that gave it and the moment, in Unix seconds."""

    answer: Completion
    model: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What the journal holds, and so what it costs to clear it."""

    answers: int
    model_s: float  #: of the model's time, as it was measured
    bytes: int  #: on the disk


class Journal:
    """The answers of a library. Methods block; every one may be called from any thread.

    A damaged file is set aside and its readable answers are taken over into a new one.

    Raises:
        JournalError: the file cannot be written or read: a full or read-only disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._closed = False
        # Both are for those who read without waiting: by document, and counted since the opening.
        self.spent: dict[str, Spent] = {}
        self.changes = 0
        self._run(lambda db: db.execute("SELECT key FROM answers LIMIT 1").fetchone())

    def close(self) -> None:
        """Closes the file."""
        with self._guard:
            self._let_go()
            self._closed = True

    def get(self, key: bytes) -> Completion | None:
        """The answer that was given to this question, if there is one."""
        wanted = f"SELECT {_ANSWER} FROM answers WHERE key = ?"
        row = self._run(lambda db: db.execute(wanted, (key,)).fetchone())
        return None if row is None else _completion(row)

    def put(
        self,
        key: bytes,
        answer: Completion,
        *,
        role: str,
        model: str,
        document: str,
        chunk: int,
        subject: str = "",
    ) -> None:
        """Keeps an answer; it is on the disk when this returns.

        `subject` is a hash of the text that was asked about, by which `about` finds the answer.
        """
        numbers = [getattr(answer, name) for name in _NUMBERS]
        marks = " ".join(answer.remarks)
        values = (
            key, role, model, document, chunk, time.time(), answer.text, *numbers, subject, marks,
        )  # fmt: skip
        self._run(lambda db: db.execute(f"INSERT OR REPLACE INTO answers {_ROW}", values))
        self.spent[document] = self.spent.get(document, Spent()).with_answer(answer)
        self.changes += 1

    def about(self, subject: str, limit: int = 1) -> tuple[Kept, ...]:
        """The last answers about a text, oldest first."""
        query = (
            f"SELECT model, at, {_ANSWER} FROM answers WHERE subject = ? AND subject != '' "
            "ORDER BY at DESC, rowid DESC LIMIT ?"
        )
        rows = self._run(lambda db: db.execute(query, (subject, limit)).fetchall())
        return tuple(
            Kept(model=row[0], at=row[1], answer=_completion(row[2:])) for row in rows[::-1]
        )

    def set_aside(self, subject: str) -> None:
        """Takes the answers about a text for no question any more, so that they are given anew.

        They are kept, for `about`.
        """
        aside = (
            "UPDATE answers SET key = CAST(key || '-' || hex(randomblob(8)) AS BLOB) "
            "WHERE subject = ? AND subject != ''"
        )
        self._run(lambda db: db.execute(aside, (subject,)))
        self.changes += 1

    def count(self) -> int:
        """How many answers are kept."""
        query = "SELECT count(*) FROM answers"
        return int(self._run(lambda db: db.execute(query).fetchone())[0])

    def holdings(self) -> Holdings:
        """What is kept, by numbers."""
        query = "SELECT count(*), total(total_s) FROM answers"
        answers, model_s = self._run(lambda db: db.execute(query).fetchone())
        size = 0
        for path in _files(self._path):
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        return Holdings(answers=answers, model_s=model_s, bytes=size)

    def clear(self) -> None:
        """Forgets every answer and gives the space back.

        The file is removed, not emptied: SQLite needs free space to empty one, and it is on a full
        disk that people clear.
        """

        def removed(_: sqlite3.Connection) -> None:
            self._let_go()
            for path in _files(self._path):
                path.unlink(missing_ok=True)
            self.changes += 1

        self._run(removed)
        self._run(lambda db: db.execute("SELECT key FROM answers LIMIT 1").fetchone())

    def _run(self, do: Callable[[sqlite3.Connection], T]) -> T:
        with self._guard:
            try:
                try:
                    return do(self._open())
                except sqlite3.DatabaseError as exc:
                    if not _is_damage(exc):
                        raise
                    self._begin_anew(exc)
                    return do(self._open())
            except (sqlite3.Error, OSError) as exc:
                raise JournalError(f"The journal of answers, {self._path}: {exc}.") from exc

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("it is closed")
        if self._db is None:
            self._db = _opened(self._path)
            self.spent = _spent(self._db)
        return self._db

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None

    def _begin_anew(self, damage: sqlite3.DatabaseError) -> None:
        """Sets the damaged file aside and takes over what can still be read of it."""
        self._let_go()
        moment = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}"
        aside = self._path.with_name(f"journal.damaged-{moment}.sqlite3")
        for path, other in zip(_files(self._path), _files(aside), strict=True):
            if path.exists():
                path.replace(other)
        log.error("%s is damaged (%s). It was set aside as %s.", self._path, damage, aside.name)
        saved = _taken_over(aside, self._open())
        log.warning("%d answers of %s could be read and are kept.", saved, aside.name)


def key_of(card: ModelCard, prompt: Prompt) -> bytes:
    """Everything that shapes an answer, hashed: model, options, messages and form."""
    shaping = {
        "model": [card.backend, card.llm, card.options],
        "messages": [[message.role, message.content] for message in prompt.messages],
        "schema": prompt.schema,
        "max_tokens": prompt.max_tokens,
    }
    text = json.dumps(shaping, sort_keys=True, ensure_ascii=False, default=dict)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(_SCHEMA)
        there = {row[1] for row in db.execute("PRAGMA table_info(answers)")}
        for name in _LATER.keys() - there:  # a journal of an earlier version
            db.execute(f"ALTER TABLE answers ADD COLUMN {name} {_LATER[name]}")
        for index in _INDEXES:
            db.execute(index)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _spent(db: sqlite3.Connection) -> dict[str, Spent]:
    rows = db.execute(
        "SELECT document, count(*), total(prompt_tokens), total(output_tokens), total(total_s) "
        "FROM answers GROUP BY document"
    )
    return {
        document: Spent(
            calls=calls, prompt_tokens=int(prompt), output_tokens=int(output), model_s=seconds
        )
        for document, calls, prompt, output, seconds in rows
    }


def _completion(row: Sequence[Any]) -> Completion:
    """An answer from `_ANSWER`; a remark of a later version is passed over."""
    text, marks, *values = row
    numbers = dict(zip(_NUMBERS, values, strict=True))
    remarks = tuple(remark for remark in Remark if remark in marks.split())
    return Completion(text=text, remarks=remarks, saved=True, **numbers)


def _taken_over(damaged: Path, db: sqlite3.Connection) -> int:
    """Copies the readable answers: those before a damaged page, then those after it."""
    db.execute("BEGIN")  # or each of them would be waited for until it is on the disk
    with closing(sqlite3.connect(damaged)) as old:
        for order in ("ASC", "DESC"):
            with suppress(sqlite3.DatabaseError):
                there = {row[1] for row in old.execute("PRAGMA table_info(answers)")}
                names = [name if name in there else "''" for name in _COLUMNS]
                query = f"SELECT {', '.join(names)} FROM answers ORDER BY rowid {order}"
                for row in old.execute(query):
                    db.execute(f"INSERT OR IGNORE INTO answers {_ROW}", row)
    if db.in_transaction:  # a full disk has ended it
        db.execute("COMMIT")
    return int(db.execute("SELECT count(*) FROM answers").fetchone()[0])


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _files(path: Path) -> tuple[Path, ...]:
    """The file and those that SQLite keeps beside it."""
    return tuple(path.with_name(path.name + ending) for ending in ("", "-wal", "-shm"))
