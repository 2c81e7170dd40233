"""An answer on its way from the loop to a thread that listens."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace

from anyio import to_thread

from librarian.answers import Answer, made_of
from librarian.conversion import page_at
from librarian.errors import LibrarianError, UnknownDocument
from librarian.evidence import Passage, Retrieval
from librarian.intake import pages_of, read_document
from librarian.library import Library
from librarian.models.protocol import Message
from librarian.portal import Portal
from librarian.rooms import Rooms

log = logging.getLogger(__name__)


class AnswerStream:
    """An answer on its way: iterate it for pieces of text, then read `answer`."""

    def __init__(
        self,
        portal: Portal,
        rooms: Rooms,
        question: str,
        mode: str,
        history: tuple[Message, ...],
        documents: frozenset[str],
    ) -> None:
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._rooms = rooms
        self._asked = (question.strip(), mode)
        self._began_s = time.monotonic()
        self._written: list[str] = []
        self._found: Retrieval | None = None
        self._future: Future[Answer] = portal.start(self._ask, history, documents)
        self._future.add_done_callback(lambda _: self._pieces.put(None))

    def __iter__(self) -> Iterator[str]:
        while (piece := self._pieces.get()) is not None:
            yield piece

    def beats(self, every_s: float) -> Iterator[str]:
        """What was heard since the last time, also where that is nothing.

        Who listens can so see that nobody listens to it any more.
        """
        ended = False
        while not ended:
            heard = []
            until = time.monotonic() + every_s
            while not ended and (left := until - time.monotonic()) > 0:
                try:
                    piece = self._pieces.get(timeout=left)
                except queue.Empty:
                    break
                ended = piece is None
                heard.append(piece or "")
            yield "".join(heard)

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for it.

        Raises:
            LibrarianError: it could not be given; the reason.
        """
        try:
            return self._future.result()
        except CancelledError as exc:
            raise LibrarianError("The answer was stopped.") from exc

    def stop(self) -> None:
        """Ends the answer, and the model's work on it."""
        self._future.cancel()

    def partial(self) -> Answer | None:
        """The answer as far as it was heard, marked as stopped; None before its first word."""
        said, found = "".join(self._written), self._found
        if not said.strip() or found is None:
            return None
        seconds = time.monotonic() - self._began_s
        answer = made_of(found, *self._asked, said, seconds, stopped=True)
        return with_pages(self._rooms.library, answer)

    async def _ask(self, history: tuple[Message, ...], documents: frozenset[str]) -> Answer:
        await self._rooms.engine_ready()
        assert self._rooms.answers is not None  # open together with the engine
        answer = await self._rooms.answers.ask(
            *self._asked, history, self._heard, documents, self._evidence
        )
        return await to_thread.run_sync(with_pages, self._rooms.library, answer)

    def _evidence(self, found: Retrieval) -> None:
        self._found = found

    def _heard(self, piece: str) -> None:
        if piece:
            self._written.append(piece)
            self._pieces.put(piece)


def with_pages(library: Library, answer: Answer) -> Answer:
    """An answer whose passages know on which page of their document they begin."""
    by_document: dict[str, list[Passage]] = {}
    for passage in answer.sources:
        by_document.setdefault(passage.chunk.rpartition("-chunk-")[0], []).append(passage)
    pages = {
        passage.chunk: page
        for doc_id, passages in by_document.items()
        for passage, page in zip(passages, _pages(library, doc_id, passages), strict=True)
    }
    sources = tuple(replace(each, page=pages[each.chunk]) for each in answer.sources)
    return replace(answer, sources=sources)


def _pages(library: Library, doc_id: str, passages: list[Passage]) -> list[int | None]:
    try:
        document = library.catalogue.get(doc_id)
        pages = pages_of(library, document)
        text = read_document(library, document) if pages else ""
    except UnknownDocument:
        return [None] * len(passages)  # deleted while it was asked about
    except LibrarianError as exc:
        log.warning("Pages of %s are not known: %s", doc_id, exc)
        return [None] * len(passages)
    places = [text.find(passage.text) for passage in passages]
    return [page_at(pages, at) if at >= 0 else None for at in places]
