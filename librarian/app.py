"""Librarian: the one object that pages, routes and commands talk to. One line a capability."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from librarian.arrivals import taken_in
from librarian.calls import Calls
from librarian.checks import Report
from librarian.conversations import Conversations
from librarian.documents import Admission, Status
from librarian.dossier import Dossier, Dossiers, Part
from librarian.editing import Editing
from librarian.edits import Entry
from librarian.errors import LibrarianError, NotReady
from librarian.examination import Examination
from librarian.indexing import Indexing
from librarian.intake import Convert, admit_file, admit_path, admit_text, files_at
from librarian.journal import Holdings, Kept
from librarian.knowledge import Graph
from librarian.library import Library
from librarian.logbook import Logbook
from librarian.mending import Edit, Preview
from librarian.models.protocol import Message, Model
from librarian.portal import Portal
from librarian.pulls import Pull, Pulls, open_pulls
from librarian.rooms import Rooms, open_rooms, stale
from librarian.settings import Settings
from librarian.snapshot import Snapshot
from librarian.streams import AnswerStream
from librarian.uploads import Uploads
from librarian.verify import Row, arithmetic, slowest_of, success_table
from librarian.views import GraphRequest, GraphViews, shown_part
from librarian.workers import Converter, Watch, WatchFile

OPEN_TIMEOUT_S = 120.0  # LightRAG reads all of its files when it opens
TELL_S = 5.0  # after so long the reading begins, though not all files of a folder are taken in
DOCTOR_S = 10.0  # its questions to the server take 2 s; the rest is this machine's own trouble


class Librarian:
    """An open library. Its methods block briefly and may be called from any thread."""

    def __init__(self, settings: Settings, library: Library, model: Model | None = None) -> None:
        self.settings = settings
        self._library = library
        self._logbook = Logbook(library.log)
        self._portal = Portal()
        self._rooms: Rooms = self._portal.enter(open_rooms(library, settings, self._logbook, model))
        self._pulls: Pulls = self._portal.enter(open_pulls(settings.ollama_host))
        self._views = GraphViews(library.home / "pictures")
        self.uploads = Uploads(library.home / "incoming")
        self.uploads.sweep()
        self._dossiers = Dossiers(library, language=settings.language, gleaning=settings.gleaning)
        self._converter = Converter()
        self.conversations = Conversations(library.home / "conversations")
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

    def add_file(
        self, name: str, data: bytes, *, replace: bool = False, watch: Watch | None = None
    ) -> Admission:
        """Takes a file into the library and queues it.

        While it is converted, `watch` is called with the seconds that takes; it ends it by raising.
        """
        taken = admit_file(
            self._library, name, data, converter=self._converting(watch), replace=replace
        )
        return self._admitted(taken)

    def add_upload(
        self, key: str, name: str, size: int, *, replace: bool = False
    ) -> tuple[Admission, ...]:
        """Takes a file that was uploaded, or all documents of an archive.

        The file is dropped afterwards, but where a person has to decide.

        Raises:
            WrongPlace: it is not whole yet.
            UploadError: it is gone, or cannot be read.
        """
        upload = self.uploads.finish(key, name, size)
        taken = tuple(
            taken_in(self._library, self.uploads, upload, self._converting(), replace=replace)
        )
        self._portal.start(self._nudge)
        return taken

    def add_text(self, name: str, text: str, *, replace: bool = False) -> Admission:
        """Takes a text into the library and queues it."""
        return self._admitted(admit_text(self._library, name, text, replace=replace))

    def add_at(
        self, name: str, path: Path, *, replace: bool = False, watch: Watch | None = None
    ) -> Admission:
        """Takes a file of this machine under a name; raises OSError where it cannot be read."""
        return self._admitted(self._at(name, path, replace, watch))

    def add_path(
        self, path: Path, *, replace: bool = False, watch: WatchFile | None = None
    ) -> Iterator[Admission]:
        """Takes a file or every file of a folder on this machine.

        Raises:
            LibrarianError: there is nothing at this path, or it cannot be read.
        """
        told_s = time.monotonic()
        try:
            for name, file in files_at(path):
                yield self._at(name, file, replace, partial(watch, name) if watch else None)
                if time.monotonic() - told_s > TELL_S:  # reading them would slow taking them in
                    told_s = time.monotonic()
                    self._portal.start(self._nudge)
        except OSError as exc:
            raise LibrarianError(f"{exc.filename or path}: {exc.strerror or exc}.") from exc
        finally:
            self._portal.start(self._nudge)

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
        return self._dossiers.of(document, self.graph())

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
        return self._portal.call(self._rooms.graph)

    def graph_page(self, request: GraphRequest) -> str:
        """An HTML page with a view of the graph; computed on the calling thread, then kept."""
        return self._views.page(self.graph(), request)

    def graph_part(self, request: GraphRequest) -> Graph:
        """The entities and relations of a view."""
        return shown_part(self.graph(), request)

    def passages(self, chunks: Sequence[str]) -> dict[str, str]:
        """The texts of chunks by their ids; those that are gone are left out."""
        return self._portal.call(self._passages, tuple(chunks))

    def find_entities(self, text: str, limit: int = 20) -> tuple[str, ...]:
        """Names of entities like `text`."""
        return self._views.search(self.graph(), text, limit)

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

    @property
    def portal(self) -> Portal:
        """The way to the loop, for routes that await."""
        return self._portal

    def _converting(self, watch: Watch | None = None) -> Convert:
        return partial(self._converter.convert, watch=watch)

    def _at(self, name: str, path: Path, replace: bool, watch: Watch | None) -> Admission:
        converter = self._converting(watch)
        return admit_path(self._library, name, path, replace=replace, converter=converter)

    def _admitted(self, admission: Admission) -> Admission:
        self._portal.start(self._nudge)
        return admission

    async def _passages(self, chunks: tuple[str, ...]) -> dict[str, str]:
        return await (await self._rooms.engine_ready()).passages(chunks)

    async def _on_calls(self, do: Callable[[Calls], None]) -> None:
        if self._rooms.calls is not None:
            do(self._rooms.calls)

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
