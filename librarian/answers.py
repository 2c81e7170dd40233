"""Questions of people: what the library holds for them, and the model's answer from that."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from librarian.account import Ticket
from librarian.calls import Calls
from librarian.engine import MODES, Engine
from librarian.errors import QuestionError
from librarian.evidence import Passage
from librarian.models.protocol import Message, Prompt, Role

QUESTION_LENGTH = 4000  # characters; more is a document, not a question
NOTHING = "Nothing in the library matches this question. Try other words, or add documents first."
_REFERENCES = re.compile(r"\n+#{1,6} *References\b.*\Z", re.S | re.I)
_CITATION = re.compile(r"\[(\d{1,3})\]")


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


class Answers:
    """Asks the engine for evidence and the model for an answer from it."""

    def __init__(self, engine: Engine, calls: Calls, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._calls = calls
        self._clock = clock

    async def ask(
        self,
        question: str,
        mode: str,
        history: tuple[Message, ...],
        heard: Callable[[str], None],
    ) -> Answer:
        """Answers a question; `heard` gets each piece of the text as it comes.

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
        found = await self._engine.retrieve(asked, mode, history)
        if found is None:
            heard(NOTHING)
            return Answer(question=asked, text=NOTHING, mode=mode, sources=(), cited=())
        completion = await self._calls.complete(
            Prompt(messages=found.messages, role=Role.QUERY), Ticket(), heard
        )
        text, cited = checked_citations(completion.text, found.passages)
        order = {number: place for place, number in enumerate(cited)}
        return Answer(
            question=asked,
            text=text,
            mode=mode,
            sources=tuple(
                sorted(found.passages, key=lambda each: order.get(each.number, len(order)))
            ),
            cited=cited,
            entities=found.entities,
            seconds=self._clock() - began,
        )


def checked_citations(text: str, passages: tuple[Passage, ...]) -> tuple[str, tuple[int, ...]]:
    """An answer without the citation numbers that no passage has, and those that remain.

    The model's own list of references is left out: the real one is shown beside the answer.
    """
    known = {passage.number for passage in passages}
    body = _REFERENCES.sub("", text).rstrip()
    cited: list[int] = []

    def keep(match: re.Match[str]) -> str:
        number = int(match[1])
        if number not in known:
            return ""
        if number not in cited:
            cited.append(number)
        return match[0]

    return _CITATION.sub(keep, body), tuple(cited)
