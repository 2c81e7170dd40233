"""What was and is asked of the model: for whom, how long it took, how many tokens."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

import anyio

REMEMBERED = 2000  # calls, for medians and rates
HOUR = 60  # minutes that are remembered one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Whom a call is for. A lower `turn` goes first; questions of people have 0.

    A person who waits is told of a failure at once; work waits until it is mended. `subject` is
    the hash of the text that is asked about.
    """

    document: str = ""
    chunk: int = -1
    subject: str = ""
    turn: float = 0.0
    person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """A finished call, for the account. Times are of the monotonic clock."""

    role: str
    document: str
    started_s: float
    ended_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """A call that runs: how long, and how long since its last sign of life, in seconds."""

    number: int
    role: str
    document: str
    chunk: int
    age_s: float
    silent_s: float


@dataclass(slots=True)
class Running:
    """A call that runs, and the scope that ends it."""

    role: str
    ticket: Ticket
    started_s: float
    moved_s: float
    scope: anyio.CancelScope
    speaks: bool = False  #: the server works on its answer; before, it may wait in a queue there
    yields: bool = False  #: it is ended for a person's question, and asked again after it


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended within one minute of the monotonic clock."""

    number: int  #: of the minute since the clock's zero
    chunks: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class Account:
    """Of all calls since the library was opened."""

    finished: deque[CallRecord] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    minutes: deque[Minute] = field(default_factory=lambda: deque(maxlen=HOUR))
    retries: int = 0
    reloads: int = 0  #: calls before which the server had to load the model
    texts_embedded: int = 0
    spoke_at_once: int = 0  #: most answers that the server wrote at the same time
    moved_s: float = 0.0  #: when a call or an embedding ended last

    def add(self, record: CallRecord) -> None:
        """Takes in a call that has ended."""
        self.finished.append(record)
        self.moved_s = record.ended_s
        number = int(record.ended_s // 60)
        if not self.minutes or self.minutes[-1].number != number:
            self.minutes.append(Minute(number))
        before = self.minutes[-1]
        self.minutes[-1] = replace(
            before,
            chunks=before.chunks + (record.role == "extract"),
            calls=before.calls + 1,
            prompt_tokens=before.prompt_tokens + record.prompt_tokens,
            output_tokens=before.output_tokens + record.output_tokens,
        )
