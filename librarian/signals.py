"""LightRAG's progress, read as numbers: from its log lines, and from what it hands its storages.

This is the one place that knows the wording of its log. `tests/test_signals.py` runs the pinned
LightRAG and fails when a line no longer reads like this.

A log line and a call of a storage come from the task of one document, or from a task that it has
started. So the name of the document goes with the context, and nothing has to be guessed when
several are under way.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Chunked:
    """A document is cut; its chunks are stored and will be asked for."""

    document: str
    total: int


@dataclass(frozen=True, slots=True)
class ChunkExtracted:
    """A chunk's answers are read: all of them, extra rounds included."""

    document: str
    chunk: int  #: its place in the document, from 0
    done: int
    total: int
    entities: int
    relations: int


@dataclass(frozen=True, slots=True)
class Merging:
    """A document's entities or relations are being merged into the graph."""

    document: str
    what: str  #: `entities` or `relations`
    total: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Merged entities or relations of a document are in the graph."""

    document: str
    what: str  #: `entities` or `relations`
    count: int


@dataclass(frozen=True, slots=True)
class Merged:
    """A document's merging has ended; embedding and saving come next."""

    document: str = ""  #: its log line does not say


@dataclass(frozen=True, slots=True)
class Embedding:
    """A document waits for the vectors of so many more texts."""

    document: str
    texts: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """So many of the texts have their vectors, made now or ahead of time."""

    document: str
    texts: int


Step = Chunked | ChunkExtracted | Merging | Merged | Embedding | Embedded
Signal = Step | Stored
Heard = Callable[[Signal], None]

_CHUNK = re.compile(r"Chunk (\d+) of (\d+) extracted (\d+) Ent \+ (\d+) Rel (doc-\w+)-chunk-(\d+)$")
_MERGING = re.compile(r"Phase [12]: Processing (\d+) (entities|relations) from (doc-\w+) ")
_MERGED = re.compile(r"Completed merging: \d+ entities")

_document: ContextVar[str] = ContextVar("document", default="")
_merging: ContextVar[str] = ContextVar("merging", default="")


@contextmanager
def merging(what: str) -> Iterator[None]:
    """Says that this task merges one of `entities` or `relations`, and stores it at the end.

    The merge of a relation stores its entities, too, where they did not know its chunk.
    """
    token = _merging.set(what)
    try:
        yield
    finally:
        _merging.reset(token)


def signal_in(message: str) -> Signal | None:
    """What a log line of LightRAG says about progress; None for most lines."""
    if message.startswith("Chunk "):
        if match := _CHUNK.match(message):
            done, total, entities, relations = (int(text) for text in match.groups()[:4])
            return ChunkExtracted(match[5], int(match[6]), done, total, entities, relations)
    elif message.startswith("Phase "):
        if match := _MERGING.match(message):
            return Merging(match[3], match[2], int(match[1]))
    elif _MERGED.match(message):
        return Merged()
    return None


class Ear(logging.Handler):
    """Hears LightRAG's log lines at the moment they are written, in the task that writes them."""

    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.INFO)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        signal = signal_in(record.getMessage())
        if isinstance(signal, Merging):
            _document.set(signal.document)  # what this task starts from now on inherits it
        elif isinstance(signal, Merged):
            signal = replace(signal, document=_document.get())
        if signal is not None:
            self._heard(signal)


def attend(storage: Any, what: str, heard: Heard, soon: Callable[[Iterable[str]], None]) -> None:
    """Hears what a vector storage is given and when its vectors are made.

    `what` is `chunks`, `entities` or `relations`; `soon` gets the texts when they are stored, long
    before LightRAG asks for their vectors.
    """
    upsert, delete, flush = storage.upsert, storage.delete, storage.index_done_callback
    make = storage.embedding_func.func
    rows = _Rows(heard)
    flushing: ContextVar[_Flush | None] = ContextVar(f"flushing {what}", default=None)

    async def heard_upsert(data: dict[str, dict[str, Any]]) -> None:
        await upsert(data)
        soon(row["content"] for row in data.values())
        for row_id, row in data.items():
            rows.add(row_id, str(row["full_doc_id"]) if what == "chunks" else _document.get())
        if what == "chunks":
            for document, total in Counter(row["full_doc_id"] for row in data.values()).items():
                heard(Chunked(document, total))
        elif _merging.get() == what:
            heard(Stored(_document.get(), what, len(data)))

    async def heard_delete(ids: list[str]) -> None:
        await delete(ids)
        rows.drop(ids)

    async def heard_flush() -> Any:
        with rows.flush(_document.get()) as progress:
            flushing.set(progress)
            return await flush()

    async def heard_make(texts: list[str], **options: Any) -> Any:
        vectors = await make(texts, **options)
        if progress := flushing.get():
            progress.made(len(texts))
        return vectors

    storage.upsert = heard_upsert
    storage.delete = heard_delete
    storage.index_done_callback = heard_flush
    storage.embedding_func = replace(storage.embedding_func, func=heard_make)


class _Flush:
    """The texts that a document waits for while a storage is written."""

    def __init__(self, document: str, texts: int, heard: Heard) -> None:
        self.left = texts
        self._document = document
        self._heard = heard
        heard(Embedding(document, texts))

    def made(self, texts: int) -> None:
        """After so many vectors were made, or found to be there."""
        texts = min(texts, self.left)
        self.left -= texts
        self._heard(Embedded(self._document, texts))


class _Rows:
    """The rows of a storage that have no vector yet, and whose they are.

    A flush makes the vectors of all rows there are, those of other documents too. So a document
    whose turn comes later has to wait for fewer, or for those that another's flush is making.
    """

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._waiting: set[str] = set()
        self._flushed: set[str] = set()  # whose vectors are being made
        self._owned: dict[str, set[str]] = {}

    def add(self, row: str, document: str) -> None:
        self._waiting.add(row)
        if document:
            self._owned.setdefault(document, set()).add(row)

    def drop(self, rows: Iterable[str]) -> None:
        self._waiting.difference_update(rows)

    @contextmanager
    def flush(self, document: str) -> Iterator[_Flush]:
        own, now, under_way = self._owned.pop(document, set()), self._waiting, self._flushed
        self._waiting, self._flushed = set(), under_way | now
        progress = _Flush(document, len(own | now), self._heard)
        if there := len(own - now - under_way):
            progress.made(there)
        try:
            yield progress
            progress.made(progress.left)
        finally:
            self._flushed = self._flushed - now
