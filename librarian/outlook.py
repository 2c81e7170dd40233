"""What is being done with each document and how long it will take, as the pages are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from anyio import to_thread

from librarian.calls import Calls
from librarian.checks import Speed
from librarian.documents import Document, Phase, Status
from librarian.estimates import Estimate, Queue, Work, forecast, left_of, waiting
from librarian.journal import Spent
from librarian.library import Library
from librarian.pace import KNOWN, Pace, as_stored, learned, measured, pace_from, weights_of
from librarian.progress import Progress
from librarian.snapshot import DocumentView

MEASURED_EVERY_S = 0.5
KEEP_EVERY_S = 15.0
CHARACTERS = 2.9  # of a token, between Russian and English
NEWS = 1.5  # a speed that differs by this factor from the one that is known
FULL = 0.95  # chunks are a little smaller than they may be


_WAITING = (Status.PENDING, Status.PROCESSING)

Outlooks: TypeAlias = tuple[tuple[DocumentView, ...], Queue | None]


class Outlook:
    """Judges the queue by what calls took: now, and in earlier runs of the same model."""

    def __init__(self, library: Library, calls: Calls) -> None:
        self._library = library
        self._calls = calls
        card = calls.model.card
        self._key = f"{card.backend}/{card.llm}"
        # A server gets one call more than it has slots for; see `Rooms`.
        self._ahead = int(card.backend != "offline" and calls.limit > 1)
        self._known = pace_from(library.catalogue.pace(self._key))
        self._kept, self._kept_s = self._known, float("-inf")
        self._pace, self._measured_s = self._known, float("-inf")
        self._plain: dict[str, DocumentView] = {}

    def pace(self, now_s: float) -> Pace:
        """What the model's work costs, as far as it is known now."""
        account = self._calls.account
        first = not self._pace.call_s and account.finished
        if first or now_s - self._measured_s >= MEASURED_EVERY_S:
            self._pace = measured(
                self._known, account.finished, self._ages(), now_s, self._calls.limit
            )
            self._measured_s = now_s
        return self._pace

    def begin(self, document: Document, now_s: float) -> Progress:
        """The progress of a document that is taken up."""
        pace = self.pace(now_s)
        chunks = self._chunks(document, self._characters((document,)))
        return Progress.of(document, now_s, weights_of(pace, chunks, self._calls.limit))

    def learn(self, document: Document, ended: Progress, now_s: float) -> None:
        """Takes in what a document's phases took."""
        if ended.phase is not Phase.SAVING:
            return
        began, merging = ended.started_s, ended.began_s(Phase.MERGING)
        finished = self._calls.account.finished
        merges = sum(call.role == "summary" and call.started_s >= merging for call in finished)
        extracts = sum(
            call.role == "extract" and call.document == document.id and call.started_s >= began
            for call in finished
        )
        self._known = learned(self._known, ended, merges, now_s)
        if ended.asked >= 2 and extracts >= ended.asked:
            self._known = replace(self._known, calls_per_chunk=extracts / ended.asked)
        self._measured_s = float("-inf")

    async def keep(self, documents: Sequence[Document], now_s: float) -> None:
        """Writes down how far documents are and what a call takes: after a kill it is known."""
        catalogue = self._library.catalogue
        if documents:
            await to_thread.run_sync(catalogue.note_progress, documents)
        pace = self.pace(now_s)
        soon = now_s - self._kept_s < KEEP_EVERY_S and pace.documents == self._kept.documents
        if pace.call_s and pace != self._kept and not soon:
            self._kept, self._kept_s = pace, now_s
            await to_thread.run_sync(catalogue.keep_pace, self._key, as_stored(pace))

    def probed(self, speed: Speed) -> None:
        """Takes in what the doctor has measured, where it is news.

        A probe is one call; what many calls took before is better, unless it is far from that.
        """
        call_s = speed.seconds_per_chunk * self._calls.limit / max(1.0, speed.gain)
        known_s = self._known.call_s
        if call_s and not (known_s and 1 / NEWS < call_s / known_s < NEWS):
            self._known = replace(self._known, calls=KNOWN, call_s=call_s, filled=1.0)
            self._measured_s = float("-inf")

    def whole(self, document: Document, now_s: float) -> Queue:
        """What reading a document would take if nothing of it were paid for."""
        chunks = self._chunks(document, self._characters((document,)))
        pace, limit = self.pace(now_s), self._calls.limit
        work = waiting(chunks, 0, pace, limit, guessed=not document.chunks_total)
        return forecast([work], pace, (), limit=limit, slots=max(1, limit - self._ahead))[1]

    def views(
        self, documents: Sequence[Document], active: Mapping[str, Progress], now_s: float
    ) -> Outlooks:
        """All documents with what is done to them, and the outlook for those of the queue."""
        return self.judging(documents, active, now_s)()

    def judging(
        self, documents: Sequence[Document], active: Mapping[str, Progress], now_s: float
    ) -> Callable[[], Outlooks]:
        """The same in two steps: what changes on the loop is read now, the rest on any thread."""
        pace, ages, limit = self.pace(now_s), self._ages(), self._calls.limit
        at_work = dict(active)

        def judge() -> Outlooks:
            queued = [each for each in documents if each.id in at_work or each.status in _WAITING]
            if not queued:
                return self._plain_views(documents), None
            queued.sort(key=lambda each: (each.id not in at_work, each.place))
            characters = self._characters(documents)
            works = [self._work(each, at_work, characters, pace, now_s) for each in queued]
            slots = max(1, limit - self._ahead)
            found, queue = forecast(works, pace, ages, limit=limit, slots=slots)
            judged = {
                each.id: _view(each, at_work.get(each.id), eta, self._spent(each), now_s)
                for each, eta in zip(queued, found, strict=True)
            }
            plain = self._plain_views(documents)
            return tuple(judged.get(view.document.id, view) for view in plain), queue

        return judge

    def _plain_views(self, documents: Sequence[Document]) -> tuple[DocumentView, ...]:
        """Documents as views without an outlook; those that have not changed keep theirs."""
        before = self._plain
        self._plain = {
            each.id: view
            if (view := before.get(each.id)) is not None and view.document is each
            else DocumentView(document=each, spent=self._spent(each))
            for each in documents
        }
        return tuple(self._plain.values())

    def _spent(self, document: Document) -> Spent:
        return self._library.journal.spent.get(document.id, Spent())

    def _work(
        self,
        document: Document,
        active: Mapping[str, Progress],
        characters: float,
        pace: Pace,
        now_s: float,
    ) -> Work:
        limit = self._calls.limit
        chunks = self._chunks(document, characters)
        if progress := active.get(document.id):
            return left_of(progress, chunks, pace, limit, now_s)
        guessed = not document.chunks_total
        return waiting(chunks, document.chunks_done, pace, limit, guessed=guessed)

    def _characters(self, documents: Sequence[Document]) -> float:
        """How many characters a chunk of this library has."""
        cut = [each for each in documents if each.chunks_total > 3]
        if cut:
            return sum(each.characters for each in cut) / sum(each.chunks_total for each in cut)
        return self._library.manifest.chunk_tokens * CHARACTERS * FULL

    def _chunks(self, document: Document, characters: float) -> float:
        return document.chunks_total or max(1.0, document.characters / max(1.0, characters))

    def _ages(self) -> list[float]:
        return [
            call.age_s for call in self._calls.in_flight() if call.role in ("extract", "summary")
        ]


def _view(
    document: Document,
    progress: Progress | None,
    eta: Estimate | None,
    spent: Spent,
    now_s: float,
) -> DocumentView:
    done, total = progress.steps if progress else (0, 0)
    return DocumentView(
        document=shown(document, progress, now_s) if progress else document,
        phase=progress.phase if progress else None,
        phase_done=done,
        phase_total=total,
        eta_s=eta.likely_s if eta else None,
        eta_low_s=eta.low_s if eta else None,
        eta_high_s=eta.high_s if eta else None,
        spent=spent,
    )


def shown(document: Document, progress: Progress, now_s: float) -> Document:
    """A document that is being processed, with its numbers of this moment."""
    return replace(
        document,
        status=Status.PROCESSING,
        chunks_total=progress.chunks_total,
        chunks_done=progress.chunks_done,
        chunks_saved=progress.chunks_saved,
        entities=progress.entities,
        relations=progress.relations,
        elapsed_s=document.elapsed_s + now_s - progress.started_s,
        share=progress.share,
    )
