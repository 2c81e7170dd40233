"""What LightRAG found, as values: the evidence for an answer, the end of a document, the graph."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from librarian.documents import Status
from librarian.knowledge import Entity, Graph, Relation
from librarian.models.protocol import Message

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


def graph_of(nodes: list[dict[str, Any]], edges: list[dict[str, Any]], version: str) -> Graph:
    """The graph of LightRAG's nodes and edges."""
    entities = tuple(
        Entity(
            name=str(node["id"]),
            type=str(node.get("entity_type", "")),
            description=str(node.get("description", "")).replace(SEPARATOR, "\n"),
            documents=_split(node.get("file_path")),
            chunks=_split(node.get("source_id")),
        )
        for node in nodes
    )
    known = {entity.name for entity in entities}
    relations = tuple(
        Relation(
            source=str(edge["source"]),
            target=str(edge["target"]),
            description=str(edge.get("description", "")).replace(SEPARATOR, "\n"),
            keywords=str(edge.get("keywords", "")),
            weight=float(edge.get("weight", 1.0)),
            documents=_split(edge.get("file_path")),
            chunks=_split(edge.get("source_id")),
        )
        for edge in edges
        if edge["source"] in known and edge["target"] in known
    )
    digest = hashlib.sha1(f"{version}|{len(entities)}|{len(relations)}".encode()).hexdigest()[:16]
    return Graph(entities=entities, relations=relations, version=digest)


def _split(value: object) -> tuple[str, ...]:
    return tuple(part for part in str(value or "").split(SEPARATOR) if part)
