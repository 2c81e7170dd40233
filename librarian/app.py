"""Librarian: the one object that pages, routes and commands talk to. One line a capability."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from librarian.backups import Backups
from librarian.calls import Calls
from librarian.checks import Report
from librarian.conversations import Conversations
from librarian.documents import Document, Status
from librarian.dossier import Dossier, Dossiers, Part
from librarian.editing import Editing
from librarian.edits import Entry
from librarian.errors import LibrarianError, NotReady
from librarian.estimates import Queue
from librarian.examination import Examination
from librarian.health import stale
from librarian.held import Held
from librarian.indexing import Indexing
from librarian.journal import Holdings, Kept
from librarian.knowledge import Entity, Graph
from librarian.latest import Shown
from librarian.library import Library
from librarian.logbook import Logbook
from librarian.mending import Edit, Preview
from librarian.models.protocol import Message, Model
from librarian.portal import Portal
from librarian.pulls import Pull, Pulls, open_pulls
from librarian.reception import Reception
from librarian.rooms import Rooms, open_rooms
from librarian.settings import Settings
from librarian.shelf import Shelf
from librarian.snapshot import Snapshot
from librarian.streams import AnswerStream
from librarian.uploads import Uploads
from librarian.verify import Row, arithmetic, slowest_of, success_table
from librarian.views import GraphRequest, GraphViews, shown_part
from librarian.watching import Watching
from librarian.workers import Converter

OPEN_TIMEOUT_S = 120.0  # LightRAG reads all of its files when it opens


class Librarian:
    """An open library. Its methods block briefly and may be called from any thread."""

    def __init__(self, settings: Settings, library: Library, model: Model | None = None) -> None:
        self.settings = settings
        self._library = library
        self.owner_secret = library.secret  #: what `/api/do` wants of commands
        self._logbook = Logbook(library.log)
        self.portal = self._portal = Portal()  #: the way to the loop, for routes that await
        self._rooms: Rooms = self._portal.enter(open_rooms(library, settings, self._logbook, model))
        self._pulls: Pulls = self._portal.enter(open_pulls(settings.ollama_hosts))
        self._views = GraphViews(library.home / "pictures")
        self.uploads = Uploads(library.home / "incoming")
        self.uploads.sweep()
        self._dossiers = Dossiers(library, language=settings.language, gleaning=settings.gleaning)
        self._converter = Converter()
        self.opening = library.opening  # commands see by it that this is the library they mean
        self.shelf = Shelf(library, self._nudged, self._converter.convert)
        self.conversations = Conversations(library.home / "conversations")
        self.held = Held(library, self._whole)
        reception = Reception(library, self.uploads, self._converter, self._nudged, self.held.holds)
        self.add_file, self.add_text = reception.add_file, reception.add_text
        self.add_at, self.add_path = reception.add_at, reception.add_path
        self.add_upload = reception.add_upload
        self.watching = Watching(library.home, reception.add_watched)
        self.watching.start()
        self.backups = Backups(library, self._portal, self._rooms)
        self._examination = Examination(library, settings, self._portal, self._rooms)

    @classmethod
    def open(
        cls, settings: Settings, *, address: str = "", model: Model | None = None
    ) -> Librarian:
        """Takes the home and begins to open what is in it; interrupted work goes on at once.

        Raises:
            LibraryError: the home cannot be used, or another process has it.
        """
        library = Library.open(settings.home, address=address)
        try:
            return cls(settings, library, model)
        except BaseException:
            library.close()
            raise

    def close(self) -> None:
        """Ends the work, keeps what it has, gives the home back."""
        self.watching.close()
        self._converter.close()
        self._portal.close()
        self._logbook.close()
        self._library.close()

    def wait_ready(self, timeout_s: float = OPEN_TIMEOUT_S) -> None:
        """Waits until LightRAG is open.

        Raises:
            LibrarianError: it could not be opened; the reason.
        """
        deadline = time.monotonic() + timeout_s
        while not self._rooms.settled.is_set() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._portal.call(self._rooms.engine_ready)

    def snapshot(self) -> Snapshot:
        """The state of everything; never waits."""
        return stale(self._rooms.snapshot, time.monotonic(), self._portal.where)

    def pause(self, doc: str) -> None:
        """Stops a document and keeps what was paid for."""
        self._portal.call(self._queue.pause, doc)

    def move_next(self, doc: str) -> None:
        """Makes a waiting document the next one."""
        self._portal.call(partial(self._queue.move, doc, first=True))

    def move_last(self, doc: str) -> None:
        """Makes a waiting document the last one."""
        self._portal.call(partial(self._queue.move, doc, first=False))

    def retry(self, doc: str) -> None:
        """Queues a document again that failed, was paused, or has warnings."""
        self._portal.call(self._queue.retry, doc)

    def dossier(self, doc: str) -> Dossier:
        """All there is about a document; made on the calling thread, then kept.

        Raises:
            LibrarianError: there is no such document, or its original is gone.
        """
        document = self._library.catalogue.get(doc)
        engine = self._portal.call(self._rooms.engine_ready)
        brought = partial(self._portal.call, engine.brought, document.id)
        return self._dossiers.of(document, engine.version, brought)

    def answers_about(self, part: Part) -> tuple[Kept, ...]:
        """What the model said about a chunk, oldest first."""
        return self._dossiers.answers(part)

    def ask_again(self, doc: str, part: Part) -> None:
        """Has the model read one chunk of a document anew; its old answers are set aside.

        Raises:
            LibrarianError: the document is being read.
        """
        if self._library.catalogue.get(doc).status in (Status.PROCESSING, Status.PENDING):
            raise LibrarianError("The document is being read. Ask again when that has ended.")
        self._library.journal.set_aside(part.subject)
        self._portal.call(self._rooms.forget_answers_about, part.id)
        self._portal.call(partial(self._queue.retry, doc, anew=True))

    def delete(self, doc: str) -> None:
        """Takes a document and what only it said out of the library."""
        self._portal.call(self._queue.delete, doc)

    def restart_call(self, number: int) -> None:
        """Ends a running call of the model and asks again."""
        self._portal.call(self._on_calls, lambda calls: calls.restart(number))

    def calls_at_once(self, limit: int) -> None:
        """Changes how many calls of the indexing run at once, until the program ends."""
        self._portal.call(self._on_calls, lambda calls: calls.resize(limit))

    def clear_cache(self, what: str = "lightrag") -> None:
        """Forgets the model's answers: LightRAG's copies of them, the journal, or all."""
        self._portal.call(self._rooms.clear_answers, what)

    def journal(self) -> Holdings:
        """What the journal holds, and so what it costs to clear it."""
        return self._library.journal.holdings()

    def ask(
        self,
        question: str,
        mode: str = "mix",
        history: Sequence[Message] = (),
        documents: Iterable[str] = (),
    ) -> AnswerStream:
        """Asks a question, of the documents with these ids where there are any.

        Iterate the result for the text as it comes.
        """
        return AnswerStream(
            self._portal, self._rooms, question, mode, tuple(history), frozenset(documents)
        )

    def graph(self) -> Graph:
        """The whole knowledge graph."""
        return self.shelf.named(self._portal.call(self._rooms.latest.now))

    def shown_graph(self) -> Shown:
        """The whole graph to look at; a large one may be as it was before the last document."""
        shown = self._portal.call(self._rooms.latest.shown)
        return replace(shown, graph=self.shelf.named(shown.graph))

    @property
    def graph_readings(self) -> int:
        """How often the graph was read; see `Shown.reading`."""
        return self._rooms.latest.readings

    def graph_page(self, request: GraphRequest) -> str:
        """An HTML page with a view of the graph; computed on the calling thread, then kept."""
        return self._views.page(self.shown_graph().graph, request.among(self.shelf.tagged))

    def graph_part(self, request: GraphRequest) -> Graph:
        """The entities and relations of a view."""
        return shown_part(self.graph(), request.among(self.shelf.tagged))

    def passages(self, chunks: Sequence[str]) -> dict[str, str]:
        """The texts of chunks by their ids; those that are gone are left out."""
        return self._portal.call(self._passages, tuple(chunks))

    def find_entities(self, text: str, limit: int = 20) -> tuple[str, ...]:
        """Names of entities like `text`."""
        return self._views.search(self.shown_graph().graph, text, limit)

    def entities(self, names: Iterable[str]) -> dict[str, Entity]:
        """Those of these that there are now, by name, in the order of `names`."""
        wanted = tuple(dict.fromkeys(names))
        found = {one.name: one for one in self._portal.call(self._editing.entities, wanted)}
        return {name: found[name] for name in wanted if name in found}

    def around(self, name: str) -> Graph:
        """An entity as it is now, its relations and their other ends; nothing if it is gone."""
        return self._portal.call(self._editing.around, name)

    def preview_edit(self, edit: Edit) -> Preview:
        """What an edit of the graph would do; nothing is changed."""
        return self._portal.call(self._editing.preview, edit)

    def mend(self, edit: Edit) -> int:
        """Makes an edit of the graph; waits while a document is being written into it."""
        return self._portal.call(self._editing.make, edit)

    def undo_edit(self, number: int) -> None:
        """Puts back exactly what an edit has changed."""
        self._portal.call(self._editing.undo, number)

    def let_go_edit(self, number: int) -> None:
        """Leaves an edit as it is, but no longer makes it on what later documents bring."""
        self._portal.call(self._editing.let_go, number)

    def edits(self, limit: int = 100) -> tuple[Entry, ...]:
        """The last edits of the graph, the newest first."""
        return self._library.edits.latest(limit)

    def doctor(self) -> Report:
        """Looks at everything that the work needs; within seconds, whatever is broken."""
        return self._examination.report()

    def probe(self) -> Report:
        """The doctor's report with the speed of the model, which is asked for that.

        Raises:
            LibrarianError: the model is at work, or is measured already.
        """
        if self.snapshot().busy:
            raise LibrarianError("The model is reading documents. Pause them to measure it.")
        return self._examination.probe()

    def pull(self, model: str) -> None:
        """Has the server get a model; `pulls` tells how far it is."""
        self._portal.call(self._pulls.start, model)

    def cancel_pull(self, model: str) -> None:
        """Ends a pull; the server keeps what has arrived."""
        self._portal.call(self._pulls.cancel, model)

    def pulls(self) -> tuple[Pull, ...]:
        """The pulls that run or have ended; never waits."""
        return self._pulls.seen

    def verify(self) -> tuple[Row, ...]:
        """The success table."""
        seconds = self._portal.call(self._seconds)
        slowest, why = slowest_of(self._library.catalogue.all(), seconds), ""
        if slowest is not None:
            why = arithmetic(slowest, self._portal.call(self._queue.whole, slowest))
        return success_table(self._library, self.snapshot(), seconds, why)

    def _whole(self, document: Document) -> Queue | None:
        """What reading a document would take; None while the library is not open yet."""
        if self._rooms.indexing is None:
            return None
        return self._portal.call(self._rooms.indexing.whole, document)

    async def _passages(self, chunks: tuple[str, ...]) -> dict[str, str]:
        return await (await self._rooms.engine_ready()).passages(chunks)

    async def _on_calls(self, do: Callable[[Calls], None]) -> None:
        if self._rooms.calls is not None:
            do(self._rooms.calls)

    def _nudged(self) -> None:
        """Tells the queue that there may be something new."""
        self._portal.start(self._nudge)

    async def _nudge(self) -> None:
        if self._rooms.indexing is not None:
            self._rooms.indexing.nudge()

    async def _seconds(self) -> dict[str, float]:
        return await (await self._rooms.engine_ready()).times()

    @property
    def _editing(self) -> Editing:
        return self._portal.call(self._rooms.engine_ready).editing

    @property
    def _queue(self) -> Indexing:
        if self._rooms.indexing is None:
            self._portal.call(self._rooms.engine_ready)  # raises the reason
            raise NotReady
        return self._rooms.indexing
