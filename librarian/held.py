"""Documents that wait for a person's word before the model reads them, and what they would cost."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from librarian.borders import chunks_in
from librarian.documents import Document, Status
from librarian.durable import write_json
from librarian.errors import LibrarianError
from librarian.estimates import Queue
from librarian.intake import read_document
from librarian.library import Library

LONG_S = 600.0  # of the model's work; what takes longer is begun by a person's word
UNKNOWN_S = 43.0  # for a call of an 8B model without a fast GPU, before one was measured
KEPT = 2000  # documents of which the chunks are known
CHOICES = "choices.json"

log = logging.getLogger(__name__)


class When(StrEnum):
    """Which uploads wait for a person's word."""

    LONG = "long"  #: those that take more than ten minutes of the model's work
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What a document would cost. `seconds` are likely, least and most; None while unknown."""

    document: Document
    chunks: int
    calls: int
    seconds: tuple[float, float, float] | None


class Held:
    """Decides what waits, and says what it costs. Methods block; any thread but the loop's."""

    def __init__(self, library: Library, outlook: Callable[[Document], Queue | None]) -> None:
        """`outlook` is what reading a document would take, as far as it is known."""
        self._library = library
        self._outlook = outlook
        self._path = library.home / CHOICES
        self._guard = threading.Lock()
        self._chunks: OrderedDict[str, int] = OrderedDict()

    @property
    def when(self) -> When:
        """Which uploads wait."""
        try:
            return When(json.loads(self._path.read_text(encoding="utf-8"))["hold"])
        except FileNotFoundError:
            return When.LONG
        except (OSError, ValueError, KeyError, TypeError) as exc:
            log.warning("%s cannot be read (%s): long uploads wait.", self._path, exc)
            return When.LONG

    def choose(self, when: When) -> None:
        """Has other uploads wait from now on.

        Raises:
            LibraryError: it could not be written down.
        """
        write_json(self._path, {"hold": when.value})

    def holds(self, document: Document) -> bool:
        """Whether a document that comes in now waits."""
        when = self.when
        if when is not When.LONG:
            return when is When.ALWAYS
        queue = self._outlook(document)
        if queue is None:
            return False  # the library is not open yet: nothing is read in any case
        if queue.eta_s is None:
            return queue.calls * UNKNOWN_S / queue.at_once > LONG_S
        return queue.eta_s > LONG_S

    def waiting(self) -> tuple[Document, ...]:
        """The documents that have never been begun and wait, as they are at this moment."""
        return tuple(each for each in self._library.catalogue.paused() if never_begun(each))

    def weighed(self, document: Document) -> Weighed:
        """What a document would cost, with its chunks counted, not guessed.

        Raises:
            LibrarianError: its original is gone.
        """
        chunks = self._count(document)
        queue = self._outlook(document)
        seconds = None
        if queue and queue.eta_s is not None:
            low, high = queue.eta_low_s, queue.eta_high_s
            seconds = (queue.eta_s, low or queue.eta_s, high or queue.eta_s)
        return Weighed(
            document=document,
            chunks=chunks,
            calls=max(chunks, queue.calls if queue else 0),
            seconds=seconds,
        )

    def _count(self, document: Document) -> int:
        with self._guard:
            if document.id not in self._chunks:
                if not self._library.manifest.chunk_tokens:
                    raise LibrarianError("The library is being opened. Look again in a moment.")
                text = read_document(self._library, document)
                self._chunks[document.id] = len(chunks_in(self._library, document, text))
                while len(self._chunks) > KEPT:
                    self._chunks.popitem(last=False)
            return self._chunks[document.id]


def never_begun(document: Document) -> bool:
    """Whether a document is paused that the model has read nothing of."""
    begun = document.chunks_total or document.elapsed_s or document.error
    return document.status is Status.PAUSED and not begun
