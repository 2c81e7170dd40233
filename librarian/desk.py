"""Between LightRAG and the models: whose chunk a prompt is about, and in which language.

LightRAG hands over prompts as text only; its workers know neither document nor chunk. The text
of the chunk inside the prompt tells both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from librarian.calls import Calls, Ticket
from librarian.chunking import Chunk
from librarian.documents import Document
from librarian.language import UNKNOWN, language_of
from librarian.models.forms import EXTRACTION, KEYWORDS
from librarian.models.protocol import Message, Prompt, Role

# LightRAG knows one language for all documents; this stands in its prompts until it is replaced.
LANGUAGE_MARK = "⟦language⟧"
_TEXT_BEGINS = "---Input Text---\n```\n"
_TEXT_ENDS = "\n```\n\n---Output---"
_DESCRIPTIONS = "Description List:"


@dataclass(frozen=True, slots=True)
class _Owner:
    document: Document
    chunk: int


class Desk:
    """Turns LightRAG's prompts into calls, with the name of whom they are for."""

    def __init__(self, calls: Calls, language: str) -> None:
        self._calls = calls
        self._language = language
        self._documents: dict[str, Document] = {}  # by the hash of their text
        self._chunks: dict[str, dict[str, _Owner]] = {}  # by hash of chunk, then document
        self._asked: dict[str, set[int]] = {}  # chunks that went to the model, by document

    def expect(self, document: Document, text: str) -> None:
        """Says which document a text that LightRAG is about to cut belongs to."""
        self._documents[_hash(text)] = document

    def lay_out(self, text: str, chunks: Sequence[Chunk]) -> None:
        """Remembers whose chunks these are."""
        document = self._documents.get(_hash(text))
        if document is None:
            return
        for chunk in chunks:
            owners = self._chunks.setdefault(_hash(chunk.text), {})
            owners[document.id] = _Owner(document, chunk.order)

    def forget(self, doc_id: str) -> None:
        """Drops what was remembered of a document that has ended."""
        self._asked.pop(doc_id, None)
        self._documents = {k: d for k, d in self._documents.items() if d.id != doc_id}
        for owners in self._chunks.values():
            owners.pop(doc_id, None)
        self._chunks = {key: owners for key, owners in self._chunks.items() if owners}

    def was_asked(self, doc_id: str, chunk: int) -> bool:
        """Whether a chunk went to the model in this run, or its answer was there already."""
        return chunk in self._asked.get(doc_id, ())

    async def extract(
        self, prompt: str, system: str, history: Sequence[dict[str, str]], *, form: bool
    ) -> str:
        """The entities and relations of a chunk (`form`), or one description out of many."""
        text = chunk_text(prompt) or next(
            (found for turn in history if (found := chunk_text(turn["content"]))), ""
        )
        owners = self._chunks.get(_hash(text), {}) if text else {}
        owner = min(owners.values(), key=lambda each: each.document.place, default=None)
        if owner is not None:
            language = owner.document.language
            ticket = Ticket(
                document=owner.document.id, chunk=owner.chunk, turn=owner.document.place
            )
        else:
            language = language_of(text or prompt.partition(_DESCRIPTIONS)[2])
            ticket = Ticket(turn=self._first_turn())
        turns = [
            Message(role=turn["role"], content=self._told(turn["content"], language))
            for turn in history
        ]
        completion = await self._calls.complete(
            Prompt(
                messages=(
                    *(
                        [Message(role="system", content=self._told(system, language))]
                        * bool(system)
                    ),
                    *turns,
                    Message(role="user", content=self._told(prompt, language)),
                ),
                role=Role.EXTRACT if form else Role.SUMMARY,
                schema=EXTRACTION if form else None,
            ),
            ticket,
        )
        if owner is not None and not completion.saved:
            self._asked.setdefault(owner.document.id, set()).add(owner.chunk)
        return completion.text

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


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
