"""Every complete answer of a model, in SQLite, the moment it arrives: nothing is paid for twice."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from librarian.errors import JournalError
from librarian.models.protocol import Completion, ModelCard, Prompt

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, role TEXT NOT NULL, model TEXT NOT NULL, document TEXT NOT NULL,
    chunk INTEGER NOT NULL, at REAL NOT NULL, text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, load_s REAL NOT NULL, prompt_s REAL NOT NULL,
    output_s REAL NOT NULL, total_s REAL NOT NULL)
"""
_NUMBERS = ("prompt_tokens", "output_tokens", "load_s", "prompt_s", "output_s", "total_s")


class Journal:
    """The answers of a library. Methods block; every one may be called from any thread.

    Raises:
        JournalError: the file cannot be written or read: a full or read-only disk.
    """

    def __init__(self, path: Path) -> None:
        self._guard = threading.Lock()
        try:
            self._db = _opened(path)
        except sqlite3.OperationalError as exc:
            raise JournalError(f"{path}: {exc}.") from exc
        except sqlite3.DatabaseError as exc:
            aside = path.with_name(f"journal.damaged-{time.strftime('%Y%m%d-%H%M%S')}.sqlite3")
            path.replace(aside)
            log.error("%s is damaged (%s). It was set aside as %s.", path.name, exc, aside.name)
            self._db = _opened(path)

    def close(self) -> None:
        """Closes the file."""
        with self._guard:
            self._db.close()

    def get(self, key: bytes) -> Completion | None:
        """The answer that was given to this question, if there is one."""
        with self._using() as db:
            row = db.execute(
                f"SELECT text, {', '.join(_NUMBERS)} FROM answers WHERE key = ?", (key,)
            ).fetchone()
        if row is None:
            return None
        numbers = dict(zip(_NUMBERS, row[1:], strict=True))
        return replace(Completion(text=row[0], **numbers), saved=True)

    def put(
        self, key: bytes, answer: Completion, *, role: str, model: str, document: str, chunk: int
    ) -> None:
        """Keeps an answer; it is on the disk when this returns."""
        numbers = [getattr(answer, name) for name in _NUMBERS]
        values = (key, role, model, document, chunk, time.time(), answer.text, *numbers)
        with self._using() as db:
            db.execute(f"INSERT OR REPLACE INTO answers VALUES ({'?, ' * 12}?)", values)

    def count(self) -> int:
        """How many answers are kept."""
        with self._using() as db:
            return int(db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def clear(self) -> None:
        """Forgets every answer and gives the space back."""
        with self._using() as db:
            db.execute("DELETE FROM answers")
            db.execute("VACUUM")

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            try:
                yield self._db
            except sqlite3.Error as exc:
                raise JournalError(f"The journal of answers: {exc}.") from exc


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
        db.execute("SELECT key FROM answers LIMIT 1").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db
