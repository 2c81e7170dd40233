"""What is done about each failure of a model or of the disk: one table, with a reason for each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from librarian.errors import (
    BadEmbedding,
    DatabaseUnavailable,
    EmptyAnswer,
    EndlessAnswer,
    JournalError,
    LibrarianError,
    MalformedAnswer,
    ModelBusy,
    ModelCrashed,
    ModelError,
    ModelMissing,
    ModelUnavailable,
    ModelUnsuitable,
    OutOfMemory,
    PromptTooLong,
    TruncatedAnswer,
)


class Decision(StrEnum):
    """What follows a failed call of the indexing. A person's question gets the error at once."""

    WAIT = "wait"  #: it passes by itself; the work waits, however long, and goes on
    STOP = "stop"  #: a person has to mend it; all work waits until then, and goes on by itself
    RETRY = "retry"  #: again, after growing pauses; what still fails is left out, with a warning
    SKIP = "skip"  #: the same question gives the same; it is left out, with a warning
    SPLIT = "split"  #: its batch is halved until the one text that fails is alone


@dataclass(frozen=True, slots=True)
class Row:
    """A failure, and what is done about it."""

    error: type[LibrarianError]
    decision: Decision
    why: str
    tries: int = 0  #: further ones, for RETRY


TABLE = (
    Row(ModelUnavailable, Decision.WAIT, "not started yet, restarted, or a proxy without it"),
    Row(ModelBusy, Decision.WAIT, "another program fills its queue"),
    Row(ModelMissing, Decision.STOP, "no document is at fault; `ollama pull` mends it"),
    Row(ModelUnsuitable, Decision.STOP, "a wrong model or a closed door fails every document"),
    Row(OutOfMemory, Decision.STOP, "fails every call until memory is freed; loading is costly"),
    Row(JournalError, Decision.STOP, "an answer that cannot be kept would be paid for twice"),
    Row(DatabaseUnavailable, Decision.WAIT, "restarted, or its machine is"),
    Row(ModelCrashed, Decision.RETRY, "the next call loads it anew; some texts crash it always", 4),
    Row(TruncatedAnswer, Decision.RETRY, "its server was stopped while it answered", 4),
    Row(EmptyAnswer, Decision.RETRY, "another attempt differs, seldom twice", 2),
    Row(MalformedAnswer, Decision.RETRY, "another attempt differs, seldom twice", 2),
    Row(EndlessAnswer, Decision.RETRY, "a loop of the model; each costs a whole context", 1),
    Row(PromptTooLong, Decision.SKIP, "the same prompt is as long the next time"),
    Row(BadEmbedding, Decision.SPLIT, "one text spoils a batch, the same each time"),
    Row(ModelError, Decision.SKIP, "nothing is known that would help"),
)  # fmt: skip


def row_for(error: LibrarianError) -> Row:
    """The row of an error: the first one that it is a kind of."""
    return next(row for row in TABLE if isinstance(error, row.error))
