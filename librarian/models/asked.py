"""What one of LightRAG's prompts asks, read back from its own text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Task(StrEnum):
    """What a prompt wants."""

    EXTRACT = "extract"
    CONTINUE = "continue"
    KEYWORDS = "keywords"
    SUMMARY = "summary"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A passage of a document that the answer may cite by its number."""

    number: str
    text: str


_OPENINGS = (
    (Task.EXTRACT, "---Task---\nExtract entities and relationships"),
    (Task.CONTINUE, "---Task---\nBased on the last extraction task"),
    (Task.KEYWORDS, "---Role---\nYou are an expert keyword extractor"),
    (Task.SUMMARY, "---Role---\nYou are a Knowledge Graph Specialist, proficient in data curation"),
)
_INPUT = "\n---Input Text---\n```\n"
_TYPE = re.compile(r"^- (\w{1,40}):", re.MULTILINE)
_TOTAL = re.compile(r"at most (\d{1,6}) total records")
_ENTITIES = re.compile(r"at most (\d{1,6}) entity objects")
_LENGTH = re.compile(r"must not exceed (\d{1,6}) tokens")
_REFERENCE = re.compile(r"^\[(\w{1,12})\] (.+)$", re.MULTILINE)


def task_of(request: str) -> Task:
    """The task, told by how the last message begins; a person's question is none of the others."""
    for task, opening in _OPENINGS:
        if request.lstrip().startswith(opening):
            return task
    return Task.ANSWER


def input_text(request: str) -> str:
    """The document's text; it may hold fences and headings like the prompt's own."""
    start = request.find(_INPUT)
    if start < 0:
        return ""
    start += len(_INPUT)
    end = request.rfind("\n```", start, max(start, request.rfind("---Output---")))
    return request[start : end if end >= 0 else len(request)]


def record_limits(request: str) -> tuple[int, int]:
    """How many records in all, and how many entities, the answer may have."""
    head = request.partition(_INPUT)[0]
    total, entities = _TOTAL.search(head), _ENTITIES.search(head)
    return int(total[1]) if total else 100, int(entities[1]) if entities else 40


def entity_types(request: str) -> frozenset[str]:
    """The names that the prompt allows as types."""
    head = request.partition(_INPUT)[0]
    return frozenset(_TYPE.findall(head.partition("---Entity Types---")[2]))


def keyword_query(request: str) -> str:
    """The question whose search words are wanted."""
    tail = request.partition("---Real Data---\nUser Query: ")[2]
    return tail.rpartition("\n\n---Output---")[0] or tail


def descriptions(request: str) -> tuple[list[str], int]:
    """The descriptions to be made one, and how many tokens the result may have."""
    length = _LENGTH.search(request)
    body = request.partition("\nDescription List:\n")[2].rpartition("---Output---")[0]
    texts = [str(row.get("Description", "")) for row in _rows(body)]
    return [text for text in texts if text.strip()], int(length[1]) if length else 600


def passages(context: str) -> list[Passage]:
    """The passages of the context, best first as LightRAG ordered them."""
    body = context.rpartition("---Context---")[2].partition("\nDocument Chunks (")[2]
    return [
        Passage(number=str(row["reference_id"]), text=str(row["content"]))
        for row in _rows(body)
        if "reference_id" in row and "content" in row
    ]


def references(context: str) -> dict[str, str]:
    """Names of the documents by their numbers."""
    body = context.rpartition("\nReference Document List (")[2]
    return {number: name.strip() for number, name in _REFERENCE.findall(body)}


def _rows(body: str) -> Iterator[Mapping[str, object]]:
    """JSON objects, one a line; other lines are the prompt's own."""
    for line in body.split("\n"):
        if line.startswith("{") and line.rstrip().endswith("}"):
            try:
                row = json.loads(line)
            except ValueError:
                continue  # LightRAG cuts what is too long, and the cut line is no object any more
            if isinstance(row, dict):
                yield row
