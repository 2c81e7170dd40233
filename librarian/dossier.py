"""All there is about one document: its chunks, what was found in them, what they cost."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from librarian.borders import chunks_in
from librarian.chunking import Chunk
from librarian.conversion import page_at
from librarian.desk import subject_of
from librarian.documents import Document, Version
from librarian.intake import pages_of, read_document, was_recognised
from librarian.journal import Kept, Spent
from librarian.knowledge import Graph
from librarian.library import Library
from librarian.quality import Alarm, Reading, reading_of

KEPT = 4  # dossiers of some MB each
LISTED = 6  # answers about a chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A chunk of a document, with what the model found in it and what the graph has of that."""

    id: str  #: LightRAG's
    order: int  #: from 0
    start: int  #: offset of its first character in the document's text
    page: int | None  #: on which that character is; None where the document has no pages
    text: str
    tokens: int
    subject: str  #: by which the journal knows the answers about it
    answered: bool  #: whether the journal has one
    reading: Reading
    entities: tuple[str, ...]  #: of the graph, which may have joined or renamed some
    relations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """A document from all sides."""

    document: Document
    parts: tuple[Part, ...]
    spent: Spent  #: for this version; chunks that an earlier one had are not paid for again
    versions: tuple[Version, ...]  #: earlier ones, the last first
    recognised: bool  #: from pictures of its pages

    def with_alarm(self, alarm: Alarm | None = None) -> tuple[Part, ...]:
        """The chunks with this alarm, or with any."""
        return tuple(
            part
            for part in self.parts
            if (alarm in part.reading.alarms if alarm else part.reading.alarms)
        )


class Dossiers:
    """Dossiers on request; the last ones are kept until something in them changes."""

    def __init__(self, library: Library, *, language: str, gleaning: int) -> None:
        """`language` is that of all descriptions, or empty for each document's own."""
        self._library = library
        self._language = language
        self._answers = gleaning + 1  # about one chunk
        self._guard = threading.Lock()
        self._kept: OrderedDict[object, Dossier] = OrderedDict()

    def of(self, document: Document, version: str, brought: Callable[[], Graph]) -> Dossier:
        """Reads the original, the journal and the graph: a second for a book of 2 MB.

        `version` is that of the whole graph, `brought` gives what the document has in it.

        Raises:
            LibrarianError: the original is gone or was changed, or the journal cannot be read.
        """
        journal = self._library.journal
        key = (document, version, journal.changes)
        with self._guard:  # a second tab waits for the first one's and has it too
            if key not in self._kept:
                self._kept[key] = self._made(document, brought())
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def answers(self, part: Part) -> tuple[Kept, ...]:
        """The last answers about a chunk, oldest first; those set aside are among them."""
        return self._library.journal.about(part.subject, LISTED)

    def _made(self, document: Document, graph: Graph) -> Dossier:
        chunks = chunks_in(self._library, document, read_document(self._library, document))
        pages = pages_of(self._library, document)
        names, relations = _by_chunk(graph)
        return Dossier(
            document=document,
            parts=tuple(
                self._part(document, chunk, page_at(pages, chunk.start), names, relations)
                for chunk in chunks
            ),
            spent=self._library.journal.spent.get(document.id, Spent()),
            versions=self._library.catalogue.versions(document.name),
            recognised=was_recognised(self._library, document),
        )

    def _part(
        self,
        document: Document,
        chunk: Chunk,
        page: int | None,
        names: Mapping[str, Sequence[str]],
        relations: Mapping[str, int],
    ) -> Part:
        own, subject = f"{document.id}-chunk-{chunk.order:03d}", subject_of(chunk.text)
        answers = [kept.answer for kept in self._library.journal.about(subject, self._answers)]
        language = self._language or document.language
        return Part(
            id=own,
            order=chunk.order,
            start=chunk.start,
            page=page,
            text=chunk.text,
            tokens=chunk.tokens,
            subject=subject,
            answered=bool(answers),
            reading=reading_of(chunk.text, answers, language) if answers else Reading(),
            entities=tuple(names.get(own, ())),
            relations=relations.get(own, 0),
        )


def _by_chunk(graph: Graph) -> tuple[Mapping[str, list[str]], Mapping[str, int]]:
    """Entities and the number of relations of each chunk, by LightRAG's id of it."""
    names: dict[str, list[str]] = {}
    relations: dict[str, int] = {}
    for entity in graph.entities:
        for chunk in entity.chunks:
            names.setdefault(chunk, []).append(entity.name)
    for relation in graph.relations:
        for chunk in relation.chunks:
            relations[chunk] = relations.get(chunk, 0) + 1
    return names, relations
