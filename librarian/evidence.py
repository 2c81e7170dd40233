"""What LightRAG found, as values: the evidence for an answer, the end of a document, the graph."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from librarian.documents import Status
from librarian.knowledge import Entity, Graph, Relation
from librarian.models.protocol import Message

Row = Mapping[str, Any]
SEPARATOR = "<SEP>"  # LightRAG's, inside the fields of nodes and edges


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk that was found for a question, under the number it is cited by."""

    number: int
    document: str
    chunk: str
    text: str
    page: int | None = None  #: on which it begins; None where its document has no pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What the library holds for a question, and the prompt that asks the model to use it."""

    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]
    entities: tuple[str, ...]
    relations: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """How LightRAG ended with a document."""

    status: Status
    chunks: int
    entities: int
    relations: int
    error: str | None
    warnings: tuple[str, ...] = ()


def passages_of(chunks: list[dict[str, Any]]) -> list[Passage]:
    """The chunks of an answer's context, under the numbers that it may cite."""
    found = []
    for chunk in chunks:
        number = str(chunk.get("reference_id", ""))
        found.append(
            Passage(
                number=int(number) if number.isdigit() else 0,
                document=str(chunk.get("file_path", "")),
                chunk=str(chunk.get("chunk_id", "")),
                text=str(chunk.get("content", "")),
            )
        )
    return found


class Gathering:
    """A graph that is put together out of parts. Any thread may add one, one at a time.

    Names, types and lists that many have in common are there once.
    """

    def __init__(self) -> None:
        self._entities: list[Entity] = []
        self._relations: list[Relation] = []
        self._names: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._lists: dict[str, tuple[str, ...]] = {}

    def nodes(self, rows: Iterable[Row]) -> None:
        """Adds nodes of LightRAG, each with its `id`."""
        for row in rows:
            name = str(row["id"])
            self._names[name] = name
            self._entities.append(
                Entity(
                    name=name,
                    type=self._word(row.get("entity_type", "")),
                    description=str(row.get("description", "")).replace(SEPARATOR, "\n"),
                    documents=self._split(row.get("file_path")),
                    chunks=self._split(row.get("source_id")),
                )
            )

    def edges(self, rows: Iterable[Row]) -> None:
        """Adds edges of LightRAG, each with `source` and `target`, between nodes that are there."""
        for row in rows:
            source, target = self._names.get(row["source"]), self._names.get(row["target"])
            if source is None or target is None:
                continue
            self._relations.append(
                Relation(
                    source=source,
                    target=target,
                    description=str(row.get("description", "")).replace(SEPARATOR, "\n"),
                    keywords=self._word(row.get("keywords", "")),
                    weight=float(row.get("weight", 1.0)),
                    documents=self._split(row.get("file_path")),
                    chunks=self._split(row.get("source_id")),
                )
            )

    def graph(self, version: str) -> Graph:
        """All that was added."""
        said = f"{version}|{len(self._entities)}|{len(self._relations)}"
        return Graph(
            entities=tuple(self._entities),
            relations=tuple(self._relations),
            version=hashlib.sha1(said.encode()).hexdigest()[:16],
        )

    def _word(self, value: object) -> str:
        word = str(value)
        return self._words.setdefault(word, word)

    def _split(self, value: object) -> tuple[str, ...]:
        text = str(value or "")
        if text not in self._lists:
            parts = (self._word(part) for part in text.split(SEPARATOR) if part)
            self._lists[text] = tuple(parts)
        return self._lists[text]


def graph_of(nodes: Iterable[Row], edges: Iterable[Row], version: str) -> Graph:
    """The graph of LightRAG's nodes and edges."""
    gathering = Gathering()
    gathering.nodes(nodes)
    gathering.edges(edges)
    return gathering.graph(version)
