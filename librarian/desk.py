"""Between LightRAG and the models: whose chunk a prompt is about, and in which language.

LightRAG hands over prompts as text only; its workers know neither document nor chunk. The text
of the chunk inside the prompt tells both.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from anyio import to_thread

from librarian.account import Ticket
from librarian.calls import MERGES, Calls
from librarian.chunking import Chunk
from librarian.documents import Document
from librarian.errors import JournalError, ModelError, TooManyUnread
from librarian.language import UNKNOWN, language_of
from librarian.models.forms import EXTRACTION, KEYWORDS
from librarian.models.protocol import Message, Prompt, Role
from librarian.quality import reading_of, warnings_of

# LightRAG knows one language for all documents; this stands in its prompts until it is replaced.
LANGUAGE_MARK = "⟦language⟧"
_TEXT_BEGINS = "---Input Text---\n```\n"
_TEXT_ENDS = "\n```\n\n---Output---"
_DESCRIPTIONS = "Description List:"
# LightRAG takes this for an answer without entities; the last field tells it from a model's.
UNREAD = '{"entities": [], "relationships": [], "unread": true}'
_RETRY = "Retry the document: only what is missing is asked for again."
MOST_UNREAD = 0.1  # share of a document's chunks without which it is still worth having

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Owner:
    document: Document
    chunk: int


class Desk:
    """Turns LightRAG's prompts into calls, with the name of whom they are for."""

    def __init__(self, calls: Calls, language: str, gleaning: int = 0) -> None:
        self._calls = calls
        self._language = language
        self._answers = gleaning + 1  # about one chunk
        self._documents: dict[str, Document] = {}  # by the hash of their text
        self._chunks: dict[str, dict[str, _Owner]] = {}  # by hash of chunk, then document
        self._asked: dict[str, set[int]] = {}  # chunks that went to the model, by document
        self._laid: dict[str, tuple[Chunk, ...]] = {}  # the chunks of each document
        self._unread: dict[str, dict[int, str]] = {}  # why a chunk gave nothing, by document
        self._doomed: set[str] = set()  # documents of which too much is missing
        self._makeshifts = {UNREAD}

    @property
    def busy(self) -> bool:
        """Whether any document is being read."""
        return bool(self._documents)

    def expect(self, document: Document, text: str) -> None:
        """Says which document a text that LightRAG is about to cut belongs to."""
        self._documents[subject_of(text)] = document

    def lay_out(self, text: str, chunks: Sequence[Chunk]) -> None:
        """Remembers whose chunks these are."""
        document = self._documents.get(subject_of(text))
        if document is None:
            return
        self._laid[document.id] = tuple(chunks)
        self._unread.pop(document.id, None)
        for chunk in chunks:
            owners = self._chunks.setdefault(subject_of(chunk.text), {})
            owners[document.id] = _Owner(document, chunk.order)

    def forget(self, doc_id: str) -> None:
        """Drops what was remembered of a document that has ended."""
        self._asked.pop(doc_id, None)
        self._laid.pop(doc_id, None)
        self._unread.pop(doc_id, None)
        if doc_id in self._doomed:
            self._doomed.discard(doc_id)
            self._calls.resume(doc_id)
        self._documents = {k: d for k, d in self._documents.items() if d.id != doc_id}
        for owners in self._chunks.values():
            owners.pop(doc_id, None)
        self._chunks = {key: owners for key, owners in self._chunks.items() if owners}

    def was_asked(self, doc_id: str, chunk: int) -> bool:
        """Whether a chunk went to the model in this run, or its answer was there already."""
        return chunk in self._asked.get(doc_id, ())

    def unread(self, doc_id: str) -> dict[int, str]:
        """Which chunks of a document gave nothing in this run, and why."""
        return dict(self._unread.get(doc_id, {}))

    def remarks(self) -> tuple[str, ...]:
        """What went less well since this was asked last, where nobody knows for which document."""
        found = tuple(self._calls.remarks)
        self._calls.remarks.clear()
        return found

    async def alarms(self, document: Document) -> tuple[str, ...]:
        """What is wrong with the answers that a document was made from, by what the journal has."""
        chunks = self._laid.get(document.id, ())
        language = self._language or document.language
        subjects = [subject_of(each.text) for each in chunks]
        try:
            kept = await self._calls.kept(subjects, self._answers)
        except JournalError as exc:  # the document itself is whole
            log.warning("%s was not looked at for what may be wrong with it: %s", document.id, exc)
            return ()

        def examined() -> tuple[str, ...]:
            readings = {
                chunk.order: reading_of(chunk.text, [each.answer for each in answers], language)
                for chunk, answers in zip(chunks, kept, strict=True)
                if answers
            }
            return warnings_of(readings, language)

        return await to_thread.run_sync(examined)

    def is_makeshift(self, answer: str) -> bool:
        """Whether a text stands in for an answer that could not be had."""
        return answer in self._makeshifts

    async def extract(
        self, prompt: str, system: str, history: Sequence[dict[str, str]], *, form: bool
    ) -> str:
        """The entities and relations of a chunk (`form`), or one description out of many.

        An answer that cannot be had is replaced by a makeshift, with a warning on the document.

        Raises:
            TooManyUnread: too much of the document would be missing.
        """
        text = chunk_text(prompt) or next(
            (found for turn in history if (found := chunk_text(turn["content"]))), ""
        )
        owners = self._chunks.get(subject_of(text), {}) if text else {}
        owner = min(owners.values(), key=lambda each: each.document.place, default=None)
        if owner is not None:
            language = owner.document.language
            ticket = Ticket(
                document=owner.document.id,
                chunk=owner.chunk,
                subject=subject_of(text),
                turn=owner.document.place,
            )
        else:
            language = language_of(text or prompt.partition(_DESCRIPTIONS)[2])
            ticket = Ticket(document=MERGES, turn=self._first_turn())
        turns = [
            Message(role=turn["role"], content=self._told(turn["content"], language))
            for turn in history
        ]
        if system:
            turns.insert(0, Message(role="system", content=self._told(system, language)))
        if not form:
            prompt = _in_order(prompt)
        question = Prompt(
            messages=(*turns, Message(role="user", content=self._told(prompt, language))),
            role=Role.EXTRACT if form else Role.SUMMARY,
            schema=EXTRACTION if form else None,
        )
        try:
            completion = await self._calls.complete(question, ticket)
        except ModelError as exc:
            return self._without(tuple(owners.values()), exc) if form else self._joined(prompt, exc)
        if owner is not None and not completion.saved:
            self._asked.setdefault(owner.document.id, set()).add(owner.chunk)
        return completion.text

    def _without(self, owners: Sequence[_Owner], exc: ModelError) -> str:
        for owner in owners:
            name, number = owner.document.name, owner.chunk + 1
            unread = self._unread.setdefault(owner.document.id, {})
            self._asked.setdefault(owner.document.id, set()).add(owner.chunk)
            unread[owner.chunk] = f"Chunk {number} gave nothing: {_reason(exc)} {_RETRY}"
            log.warning("%s: %s", name, unread[owner.chunk])
            total = len(self._laid.get(owner.document.id, ()))
            if len(unread) > total * MOST_UNREAD:
                share = f"{len(unread)} of {total} chunks gave nothing"
                error = TooManyUnread(f"{share}, the last one, {number}: {_reason(exc)}")
                self._doomed.add(owner.document.id)
                self._calls.pause(owner.document.id, error)  # the others of it are not worth asking
                raise error from exc
        return UNREAD

    def _joined(self, prompt: str, exc: ModelError) -> str:
        """The descriptions of a prompt as they are, where the model cannot make one of them."""
        descriptions = _descriptions(prompt)
        if not descriptions:
            raise exc
        text = "\n".join(dict.fromkeys(descriptions))
        self._makeshifts.add(text)
        name = prompt.partition(" Name: ")[2].partition("\n")[0][:80]
        remark = f"keeps several descriptions: {_reason(exc)} {_RETRY}"
        self._calls.remarks.append(f"“{name}” {remark}")
        log.warning("An entity or relation %s", remark)
        return text

    async def keywords(self, prompt: str, system: str) -> str:
        """The search words of a question."""
        question = prompt.rpartition("User Query:")[2].partition("---Output---")[0]
        told = self._told(prompt, language_of(question))
        messages = [Message(role="user", content=told)]
        if system:
            messages.insert(0, Message(role="system", content=system))
        completion = await self._calls.complete(
            Prompt(messages=tuple(messages), role=Role.KEYWORD, schema=KEYWORDS), Ticket()
        )
        return completion.text

    def _told(self, text: str, language: str) -> str:
        return text.replace(LANGUAGE_MARK, self._language or language or UNKNOWN)

    def _first_turn(self) -> float:
        """Merging goes before the extraction of later documents: it ends one of them."""
        return min((document.place for document in self._documents.values()), default=0.0)


def chunk_text(prompt: str) -> str:
    """The chunk inside an extraction prompt; empty in any other prompt."""
    _, begins, rest = prompt.partition(_TEXT_BEGINS)
    return rest.rpartition(_TEXT_ENDS)[0] if begins else ""


def _reason(exc: ModelError) -> str:
    """What happened, without what would be done about it."""
    reason = exc.detail or str(exc).partition(". ")[0]
    return reason if reason.endswith(".") else f"{reason}."


def _in_order(prompt: str) -> str:
    """A prompt with its descriptions in an order that does not depend on when they were made.

    LightRAG sorts them by the second of their making: after a restart, with answers from the
    journal, the same question would be another one, and be paid for again.
    """
    head, mark, tail = prompt.partition(_DESCRIPTIONS)
    lines = tail.split("\n")
    places = [n for n, line in enumerate(lines) if line.startswith('{"Description"')]
    for place, line in zip(places, sorted(lines[n] for n in places), strict=True):
        lines[place] = line
    return f"{head}{mark}{chr(10).join(lines)}"


def _descriptions(prompt: str) -> list[str]:
    """The descriptions that a prompt wants made into one; LightRAG gives one as JSON a line."""
    found: list[str] = []
    for line in prompt.partition(_DESCRIPTIONS)[2].splitlines():
        try:
            row = json.loads(line) if line.startswith("{") else {}
        except ValueError:
            continue
        found.extend(value for value in row.values() if isinstance(value, str))
    return found


def subject_of(text: str) -> str:
    """The hash of a text, by which the journal knows the answers about it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
