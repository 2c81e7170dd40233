"""Questions of people: what the library holds for them, and the model's answer from that."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from librarian.account import Ticket
from librarian.calls import Calls
from librarian.engine import MODES, Engine
from librarian.errors import QuestionError
from librarian.evidence import Passage, Retrieval
from librarian.models.protocol import Message, Prompt, Role
from librarian.tokens import PieceTokenizer

QUESTION_LENGTH = 4000  # characters; more is a document, not a question
NOTHING = "Nothing in the library matches this question. Try other words, or add documents first."
_REFERENCES = re.compile(r"\n+#{1,6} *References\b.*\Z", re.S | re.I)
_CITATION = re.compile(r"([ \t]*)\[(\d{1,3}(?:[ \t]*[,;][ \t]*\d{1,3})*)\]")
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"\w{3,}")
_BEFORE = 400  # characters before a citation: the sentence that it stands for


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer with the evidence that it was made from. `text` is not trusted markup."""

    question: str
    text: str
    mode: str
    sources: tuple[Passage, ...]  #: cited ones first
    cited: tuple[int, ...]
    entities: tuple[str, ...] = ()
    seconds: float = 0.0
    stopped: bool = False  #: by a person, before its end


class Answers:
    """Asks the engine for evidence and the model for an answer from it."""

    def __init__(
        self,
        engine: Engine,
        calls: Calls,
        clock: Callable[[], float],
        named: Callable[[Retrieval], Awaitable[Retrieval]] | None = None,
    ) -> None:
        """`named` gives what was found the names that documents have now."""
        self._named = named
        self._engine = engine
        self._calls = calls
        self._clock = clock

    async def ask(
        self,
        question: str,
        mode: str,
        history: tuple[Message, ...],
        heard: Callable[[str], None],
        documents: frozenset[str] = frozenset(),
        evidence: Callable[[Retrieval], None] = lambda _: None,
    ) -> Answer:
        """Answers a question; `heard` gets each piece of the text as it comes.

        `documents` are the ids of those that may be used; without any, all may. `evidence` gets
        what was found before the first word, for an answer that is stopped before its end.

        Raises:
            QuestionError: an empty or endless question, or an unknown mode.
            EngineError: the search failed.
            ModelError: the model could not answer.
        """
        asked = question.strip()
        if not asked:
            raise QuestionError("The question is empty.")
        if len(asked) > QUESTION_LENGTH:
            raise QuestionError(f"The question has more than {QUESTION_LENGTH:,} characters.")
        if mode not in MODES:
            raise QuestionError(f"There is no mode {mode!r}; there are {', '.join(MODES)}.")
        began = self._clock()
        recalled = recent(history, self._engine.history_tokens)
        with self._calls.attending():
            found = await self._engine.retrieve(asked, mode, recalled, documents)
            if found is None:
                heard(NOTHING)
                return Answer(question=asked, text=NOTHING, mode=mode, sources=(), cited=())
            if self._named is not None:
                found = await self._named(found)
            evidence(found)
            completion = await self._calls.complete(
                Prompt(messages=found.messages, role=Role.QUERY), Ticket(), heard
            )
        return made_of(found, asked, mode, completion.text, self._clock() - began)


def made_of(
    found: Retrieval, question: str, mode: str, said: str, seconds: float, stopped: bool = False
) -> Answer:
    """What the model said, with its evidence and without invented citations."""
    text, cited = checked_citations(said, found.passages)
    order = {number: place for place, number in enumerate(cited)}
    return Answer(
        question=question,
        text=text,
        mode=mode,
        sources=tuple(sorted(found.passages, key=lambda each: order.get(each.number, len(order)))),
        cited=cited,
        entities=found.entities,
        seconds=seconds,
        stopped=stopped,
    )


def recent(history: tuple[Message, ...], tokens: int) -> tuple[Message, ...]:
    """The end of a conversation that fits, from a question on."""
    count = PieceTokenizer().count
    kept: list[Message] = []
    for message in reversed(history):
        tokens -= count(message.content)
        if tokens < 0:
            break
        kept.insert(0, message)
    while kept and kept[0].role != "user":
        kept.pop(0)
    return tuple(kept)


def conversation(turns: Iterable[Answer]) -> tuple[Message, ...]:
    """What was said so far, for the next question."""
    return tuple(
        message
        for turn in turns
        for message in (
            Message(role="user", content=turn.question),
            Message(role="assistant", content=turn.text),
        )
    )


def checked_citations(text: str, passages: tuple[Passage, ...]) -> tuple[str, tuple[int, ...]]:
    """An answer without the citation numbers that no passage has, and those that remain.

    The model's own list of references is left out: the real one is shown beside the answer.
    """
    known = {passage.number for passage in passages}
    body = _REFERENCES.sub("", text).rstrip()

    def keep(match: re.Match[str]) -> str:
        numbers = list(map(int, _NUMBER.findall(match[2])))
        held = [number for number in numbers if number in known]
        if len(held) == len(numbers):
            return match[0]
        return match[1] + "".join(f"[{number}]" for number in held) if held else ""

    while (checked := _CITATION.sub(keep, body)) != body:  # what is dropped may join what is left
        body = checked
    cited = (int(n) for match in _CITATION.finditer(body) for n in _NUMBER.findall(match[2]))
    return body, tuple(dict.fromkeys(cited))


def pieces(text: str, passages: tuple[Passage, ...]) -> Iterator[str | Passage]:
    """An answer's text, with the passage that fits best in the place of each known citation.

    A number stands for a document. Of its passages, the one that shares most words with what is
    said before the number is meant.
    """
    at = 0
    for match in _CITATION.finditer(text):
        said = set(_WORD.findall(text[max(0, match.start() - _BEFORE) : match.start()].lower()))
        meant = []
        for number in map(int, _NUMBER.findall(match[2])):
            group = [each for each in passages if each.number == number]
            meant += [max(group, key=lambda each: _shared(said, each.text))] if group else []
        if meant:
            yield text[at : match.start()] + match[1]
            yield from meant
            at = match.end()
    yield text[at:]


def _shared(said: set[str], text: str) -> int:
    return len(said & set(_WORD.findall(text.lower())))
