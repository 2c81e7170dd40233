"""The queue: which document is next, what is done with each, and how it ends."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from librarian.calls import MERGES, Calls
from librarian.checks import Speed
from librarian.documents import Document, Phase, Status
from librarian.engine import DOCUMENTS_AT_ONCE, Engine
from librarian.errors import DocumentPaused, LibrarianError, LibraryError
from librarian.estimates import Queue
from librarian.evidence import Indexed
from librarian.intake import discard, read_document
from librarian.library import Library
from librarian.outlook import Outlook, shown
from librarian.progress import Progress
from librarian.signals import (
    Chunked,
    ChunkExtracted,
    Embedded,
    Embedding,
    Merged,
    Merging,
    Signal,
    Step,
    Stored,
)
from librarian.snapshot import DocumentView

NOTE_EVERY_S = 2.0  # so much of what was shown may be forgotten by a kill
MANY = 100  # documents; to judge more takes milliseconds that the loop has not
INTERRUPTED = str(DocumentPaused())  # LightRAG hands over errors as text

log = logging.getLogger(__name__)


class Indexing:
    """Takes documents from the catalogue's queue through the engine; one task a document."""

    def __init__(
        self, library: Library, calls: Calls, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._library = library
        self._calls = calls
        self._clock = clock
        self._engine: Engine | None = None
        self._outlook = Outlook(library, calls)
        self._active: dict[str, Progress] = {}
        self._stored: Counter[tuple[str, str]] = Counter()  # of which `_progress` knows nothing yet
        self._taken: dict[str, Document] = {}  # the active ones as they were taken up
        self._stopping: set[str] = set()  # a person asked for a pause
        self._gone: set[str] = set()  # a person deleted it meanwhile
        self._ended: set[str] = set()  # since the queue was last read
        self._stuck: set[str] = set()  # deleted, and the graph did not forget it in this run
        self._wake = anyio.Event()
        self.moved_s = clock()  # when anything was heard of a document last
        self.news = anyio.Event()  # the catalogue is not as it was published
        self.news.set()

    @property
    def busy(self) -> bool:
        """Whether any document is being processed."""
        return bool(self._active)

    async def run(self, engine: Engine) -> None:
        """Works off the queue until cancelled; what was interrupted before comes first."""
        self._engine = engine
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.run)
            tasks.start_soon(engine.embed_ahead)
            tasks.start_soon(engine.keep_files)
            tasks.start_soon(self._note)
            while True:
                self._wake = anyio.Event()
                await self._forget_deleted(engine)
                await self._start_next(tasks, engine)
                await self._wake.wait()

    def nudge(self) -> None:
        """Says that the catalogue has changed."""
        self.news.set()
        self._wake.set()

    def hear(self, signal: Signal) -> None:
        """Takes a line of LightRAG's progress."""
        self.moved_s = now = self._clock()
        if isinstance(signal, Stored):  # of every entity and relation
            self._stored[signal.document, signal.what] += signal.count
        elif progress := self._progress().get(signal.document):
            self._active[signal.document] = self._after(signal, progress, now)

    def _progress(self) -> dict[str, Progress]:
        """How far the documents are that are being processed."""
        for (doc_id, what), count in self._stored.items():
            if progress := self._active.get(doc_id):
                self._active[doc_id] = progress.stored(what, count)
        self._stored.clear()
        return self._active

    def _after(self, signal: Step, progress: Progress, now: float) -> Progress:
        match signal:
            case Chunked(_, total):
                return progress.chunked(total, now)
            case ChunkExtracted(document, chunk, done, total):
                saved = self._engine is not None and not self._engine.was_asked(document, chunk)
                return progress.chunk_done(done, total, saved=saved, now_s=now)
            case Merging(_, what, total):
                return progress.merging(what, total, now)
            case Merged():
                return progress.merged(now)
            case Embedding(_, texts):
                return progress.embedding(texts, now)
            case Embedded(_, texts):
                return progress.embedded(texts, now)

    async def pause(self, doc_id: str) -> None:
        """Stops a document; everything paid for is kept.

        Raises:
            UnknownDocument: there is none of that id or name.
        """
        document = await self._get(doc_id)
        if document.id in self._active:
            self._stopping.add(document.id)
            self._interrupt(document.id)
        elif document.status is Status.PENDING:
            await self._put(replace(document, status=Status.PAUSED))

    async def retry(self, doc_id: str, *, anew: bool = False) -> None:
        """Puts a document back into the queue that failed, was paused, or has warnings.

        With `anew`, also one that has none: something about it is to be asked again.
        """
        document = await self._get(doc_id)
        incomplete = document.status is Status.PROCESSED and (document.warnings or anew)
        if document.status in (Status.FAILED, Status.PAUSED) or incomplete:
            self._calls.resume(document.id)
            share = 0.0 if incomplete else document.share  # a whole one begins anew
            pending = replace(document, status=Status.PENDING, error=None, share=share)
            await self._put(pending)
            self.nudge()

    async def move(self, doc_id: str, *, first: bool) -> None:
        """Makes a waiting document the next one of the queue, or the last one.

        Raises:
            UnknownDocument: there is none of that id or name.
        """
        document = await self._get(doc_id)
        if document.status is Status.PENDING and document.id not in self._active:
            lowest, highest = await to_thread.run_sync(self._library.catalogue.places)
            place = lowest - 1 if first else highest + 1
            await self._put(replace(document, place=place))

    async def delete(self, doc_id: str) -> None:
        """Takes a document out of the library, whatever is being done with it."""
        document = await self._get(doc_id)
        await to_thread.run_sync(discard, self._library, document)
        self.nudge()

    async def views(
        self, documents: Sequence[Document]
    ) -> tuple[tuple[DocumentView, ...], Queue | None]:
        """All documents with what is being done to them now, and how long the queue will take."""
        judge = self._outlook.judging(documents, self._progress(), self._clock())
        return judge() if len(documents) < MANY else await to_thread.run_sync(judge)

    async def probed(self, speed: Speed) -> None:
        """Lets the estimates begin with the speed that the doctor has measured."""
        self._outlook.probed(speed)
        await self._outlook.keep((), self._clock())
        self.news.set()

    async def whole(self, document: Document) -> Queue:
        """What reading a document would take if nothing of it were paid for."""
        return self._outlook.whole(document, self._clock())

    def view(self, document: Document) -> DocumentView:
        """A document with what is being done to it at this moment."""
        return self._outlook.views((document,), self._progress(), self._clock())[0][0]

    async def _start_next(self, tasks: TaskGroup, engine: Engine) -> None:
        # Read first: a version in it that takes the place of another comes with that deletion.
        self._ended.clear()
        queue = await to_thread.run_sync(self._library.catalogue.queue)
        if removed := await self._to_forget():
            for doc_id in removed.intersection(self._active):
                self._gone.add(doc_id)
                self._interrupt(doc_id)
            return  # LightRAG deletes only while it is idle; the next document waits for that
        if self._stopping:
            return  # until the calls of the one that is paused have ended
        for document in queue:
            if len(self._active) >= DOCUMENTS_AT_ONCE:
                return
            if document.id not in self._active and document.id not in self._ended:
                if document.id in self._stuck:  # it is there again, and is to stay
                    await to_thread.run_sync(self._library.catalogue.deleted, document.id)
                    self._stuck.discard(document.id)
                self._active[document.id] = self._outlook.begin(document, self._clock())
                self._taken[document.id] = document
                tasks.start_soon(self._process, document, engine)

    def _interrupt(self, doc_id: str) -> None:
        """Ends a document's calls. Those of merges have no document: they end for all of them."""
        self._calls.pause(doc_id)
        if self._active[doc_id].phase in (Phase.MERGING, Phase.EMBEDDING):
            self._calls.pause(MERGES)

    async def _process(self, document: Document, engine: Engine) -> None:
        self._calls.resume(document.id)
        self.moved_s = began = self._clock()
        await self._put(replace(document, status=Status.PROCESSING, error=None))
        try:
            ended = await self._indexed(document, engine)
            log.info("%s: %s after %.1f s", document.id, ended.status, self._clock() - began)
            await self._finish(document, ended, self._clock() - began)
        finally:
            with anyio.CancelScope(shield=True):
                await self._keep()
            self._active.pop(document.id, None)
            self._ended.add(document.id)  # what is being read may still say that it is worked on
            self._taken.pop(document.id, None)
            self._stopping.discard(document.id)
            self._gone.discard(document.id)
            if not self._stopping and not self._gone:
                self._calls.resume(MERGES)
            self.nudge()

    async def _indexed(self, document: Document, engine: Engine) -> Indexed:
        try:
            text = await to_thread.run_sync(read_document, self._library, document)
            self._active[document.id] = self._active[document.id].at(Phase.CHUNKING, self._clock())
            return await engine.index(document, text)
        except LibrarianError as exc:
            log.warning("%s: %s", document.id, exc)
            return Indexed(status=Status.FAILED, chunks=0, entities=0, relations=0, error=str(exc))

    async def _finish(self, document: Document, ended: Indexed, seconds: float) -> None:
        if document.id in self._gone:
            return
        status, error = ended.status, ended.error
        if status is Status.FAILED and document.id in self._stopping:
            status, error = Status.PAUSED, None
        elif status is Status.FAILED and error and INTERRUPTED in error:
            status, error = Status.PENDING, None  # its merge was ended for another's sake
        progress, now = self._progress()[document.id], self._clock()
        whole = status is Status.PROCESSED
        if whole:
            self._outlook.learn(document, progress, now)
        warnings = ended.warnings
        if whole and not ended.entities:
            warnings = (*warnings, "No entity was found in it.")
        await self._put(
            replace(
                document,
                status=status,
                chunks_total=ended.chunks or progress.chunks_total,
                chunks_done=ended.chunks if whole else progress.chunks_done,
                chunks_saved=progress.chunks_saved,
                entities=ended.entities if whole else 0,
                relations=ended.relations if whole else 0,
                elapsed_s=document.elapsed_s + seconds,
                share=1.0 if whole else progress.share,
                warnings=warnings,
                error=error,
            )
        )

    async def _forget_deleted(self, engine: Engine) -> None:
        if self._active:
            return
        for doc_id in await self._to_forget():
            try:
                await engine.delete(doc_id)
            except LibrarianError as exc:
                self._stuck.add(doc_id)
                log.error(
                    "%s could not be taken out of the graph, which is tried again when the "
                    "library is opened next: %s", doc_id, exc,
                )  # fmt: skip
                continue
            await to_thread.run_sync(self._library.catalogue.deleted, doc_id)
            self.news.set()

    async def _to_forget(self) -> set[str]:
        removed = await to_thread.run_sync(self._library.catalogue.deletions)
        return {*removed} - self._stuck

    async def _note(self) -> None:
        """Writes down now and then what is shown, so that a kill takes nothing of it back."""
        while True:
            await anyio.sleep(NOTE_EVERY_S)
            await self._keep()

    async def _keep(self) -> None:
        now = self._clock()
        documents = [shown(self._taken[key], each, now) for key, each in self._progress().items()]
        try:
            await self._outlook.keep(documents, now)
        except LibraryError as exc:  # a full disk; the answers themselves wait for room
            log.warning("%s", exc)

    async def _get(self, doc_id: str) -> Document:
        return await to_thread.run_sync(self._library.catalogue.get, doc_id)

    async def _put(self, document: Document) -> None:
        changed = replace(document, updated_at=time.time())
        await to_thread.run_sync(self._library.catalogue.update, changed)
        self.news.set()
