"""The forms of an answer: the JSON that is asked for, and whether an answer is of that form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from librarian.errors import EmptyAnswer, MalformedAnswer
from librarian.models.protocol import Completion, Remark

_TEXT = {"type": "string"}


def _rows(*names: str) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": dict.fromkeys(names, _TEXT),
            "required": list(names),
        },
    }


EXTRACTION: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "entities": _rows("name", "type", "description"),
        "relationships": _rows("source", "target", "keywords", "description"),
    },
    "required": ["entities", "relationships"],
}
KEYWORDS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "high_level_keywords": {"type": "array", "items": _TEXT},
        "low_level_keywords": {"type": "array", "items": _TEXT},
    },
    "required": ["high_level_keywords", "low_level_keywords"],
}

_THOUGHT = re.compile(r"<think>.*?</think>\s*", re.S)
_NAMES = ("name", "type", "source", "target")
_TURNS = re.compile(r"\s*[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+\s*")
_FENCE = re.compile(r"\s*```[a-z]*\n(.*)\n```\s*", re.S)


def tidied(answer: Completion, schema: Mapping[str, Any] | None) -> Completion:
    """An answer without what old servers and templates leave around it, with a remark on that.

    Raises:
        EmptyAnswer: nothing is left.
        MalformedAnswer: not the JSON that the schema asks for.
    """
    remarks = set(answer.remarks)
    plain = _THOUGHT.sub("", answer.text) if "<think>" in answer.text else answer.text
    if plain != answer.text:
        remarks.add(Remark.THOUGHT)
    if schema is not None and (fenced := _FENCE.fullmatch(plain)):
        plain = fenced.group(1)
        remarks.add(Remark.REPAIRED)
    if not plain.strip():
        raise EmptyAnswer
    if schema is not None:
        read = _check(plain, schema)
        if "entities" in read and _straighten(read):
            plain = json.dumps(read)
    return replace(answer, text=plain, remarks=tuple(sorted(remarks)))


def _straighten(answer: Mapping[str, Any]) -> bool:
    """Takes out of names what would turn or break the lines around them; whether there was any."""
    found = False
    for row in (*answer["entities"], *answer.get("relationships", ())):
        for key in _NAMES if isinstance(row, dict) else ():
            name = row.get(key)
            if isinstance(name, str) and (straight := _TURNS.sub(" ", name).strip()) != name:
                row[key], found = straight, True
    return found


def _check(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError as exc:
        raise MalformedAnswer(f"The answer is not JSON ({exc}).") from exc
    except RecursionError as exc:
        raise MalformedAnswer("The answer is nested too deeply.") from exc
    if not isinstance(answer, dict):
        raise MalformedAnswer("The answer is JSON, but not an object.")
    for name in schema["required"]:
        if not isinstance(answer.get(name), list):
            raise MalformedAnswer(f"The answer has no list of {name}.")
    return answer
