"""Whether the model's answer about a chunk is worth something: found by reading it, not by asking.

LightRAG counts a document as processed whatever its chunks gave, and says nothing of the rows that
it leaves out of an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from librarian.language import foreign
from librarian.models.protocol import Completion, Remark

PROSE_WORDS = 40  # a chunk of fewer words may well name nothing
REPEATED = 0.3  # share of names that were there already; models in a loop have far more
REPEATED_NAMES = 8  # of fewer, two that are alike are no loop
UNUSED = 0.2  # share of an answer's rows
UNUSED_ROWS = 2
LISTED = 12  # chunks by number in a sentence
_WORD = re.compile(r"[^\W\d_]{2,}")
_TYPE_MARKS = frozenset("'()<>|/\\")  # in an entity's type; LightRAG leaves such rows out


class Alarm(StrEnum):
    """What may be wrong with the answer about a chunk."""

    NOTHING = "no entities"
    UNUSED = "unusable rows"
    REPEATED = "repeated names"
    LANGUAGE = "another language"
    REPAIRED = "repaired"
    THOUGHT = "thinking"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the answers about one chunk hold."""

    entities: tuple[str, ...] = ()  #: names, each once
    relations: int = 0
    alarms: tuple[Alarm, ...] = ()
    language: str = ""  #: of the descriptions, where it is not the one that was asked for


def reading_of(text: str, answers: Sequence[Completion], language: str) -> Reading:
    """What the model found in a chunk, and what is wrong with it.

    `language` is the one that it was told to write in, by its English name.
    """
    names: list[str] = []
    words: list[str] = []
    relations = unused = rows = 0
    for answer in answers:
        entities, pairs = _rows(answer.text, "entities"), _rows(answer.text, "relationships")
        good = [row for row in entities if _is_entity(row)]
        linked = [row for row in pairs if _is_relation(row)]
        names += [_plain(row["name"]) for row in good]
        words += [str(row["description"]) for row in (*good, *linked)]
        relations += len(linked)
        rows += len(entities) + len(pairs)
        unused += len(entities) + len(pairs) - len(good) - len(linked)
    unique = tuple(dict.fromkeys(names))
    other = foreign(" ".join(words), language, text)
    found = {
        Alarm.NOTHING: not unique and len(_WORD.findall(text)) >= PROSE_WORDS,
        Alarm.UNUSED: unused >= UNUSED_ROWS and unused > rows * UNUSED,
        Alarm.REPEATED: len(names) >= REPEATED_NAMES and _repeated(names) > REPEATED,
        Alarm.LANGUAGE: bool(other),
        Alarm.REPAIRED: any(Remark.REPAIRED in answer.remarks for answer in answers),
        Alarm.THOUGHT: any(Remark.THOUGHT in answer.remarks for answer in answers),
    }
    return Reading(
        entities=unique,
        relations=relations,
        alarms=tuple(alarm for alarm, raised in found.items() if raised),
        language=other,
    )


def warnings_of(readings: Mapping[int, Reading], language: str) -> tuple[str, ...]:
    """A sentence for each kind of alarm of a document; the keys are chunks, from 0."""
    empty = not any(reading.entities for reading in readings.values())
    found = []
    for alarm in Alarm:
        if alarm is Alarm.NOTHING and empty:
            continue  # that there is nothing in the whole of it is said elsewhere
        chunks = [number for number, reading in readings.items() if alarm in reading.alarms]
        if chunks:
            others = {readings[chunk].language for chunk in chunks} - {""}
            found.append(_sentence(alarm, _listed(chunks), "/".join(sorted(others)), language))
    return tuple(found)


def _sentence(alarm: Alarm, where: str, other: str, language: str) -> str:
    match alarm:
        case Alarm.NOTHING:
            return f"The model found no entity in {where}. Look at the text and its answer."
        case Alarm.UNUSED:
            return f"Much of what the model found in {where} has no name, type or description."
        case Alarm.REPEATED:
            return f"The model named the same entities over and over in {where}."
        case Alarm.LANGUAGE:
            return f"The model wrote {other} in place of {language} about {where}."
        case Alarm.REPAIRED:
            return f"The answer about {where} was in the right form only after a repair."
        case Alarm.THOUGHT:
            return (
                f"The model thought before it answered about {where}. That is time for nothing: "
                "choose a model whose thinking can be turned off."
            )


def _listed(chunks: Sequence[int]) -> str:
    shown = ", ".join(f"{chunk + 1:,}" for chunk in sorted(chunks)[:LISTED])
    if len(chunks) == 1:
        return f"chunk {shown}"
    rest = f" and {len(chunks) - LISTED:,} more" if len(chunks) > LISTED else ""
    return f"{len(chunks):,} chunks ({shown}{rest})"


def _rows(answer: str, name: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(answer).get(name)
    except (ValueError, RecursionError, AttributeError):  # a file that somebody has edited
        return []
    return [row if isinstance(row, dict) else {} for row in rows] if isinstance(rows, list) else []


def _is_entity(row: Mapping[str, Any]) -> bool:
    kind = str(row.get("type", ""))
    return _whole(row, ("name", "type", "description")) and _TYPE_MARKS.isdisjoint(kind)


def _is_relation(row: Mapping[str, Any]) -> bool:
    if not _whole(row, ("source", "target", "description")):
        return False
    return _plain(row["source"]) != _plain(row["target"])


def _whole(row: Mapping[str, Any], names: Iterable[str]) -> bool:
    return all(str(row.get(name) or "").strip() for name in names)


def _plain(name: object) -> str:
    return " ".join(str(name).split())


def _repeated(names: Sequence[str]) -> float:
    return 1 - len({name.casefold() for name in names}) / len(names)
