"""LightRAG's log lines, read as numbers: the one place that knows their wording.

`tests/test_signals.py` runs the pinned LightRAG and fails when a line no longer reads like this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChunkExtracted:
    """A chunk's answers are read: all of them, extra rounds included."""

    document: str
    chunk: int  #: its place in the document, from 0
    done: int
    total: int
    entities: int
    relations: int


@dataclass(frozen=True, slots=True)
class Merging:
    """A document's entities or relations are being merged into the graph."""

    document: str
    what: str  #: `entities` or `relations`
    total: int


@dataclass(frozen=True, slots=True)
class Merged:
    """Some document's merging has ended; embedding and saving come next. It is not named."""


Signal = ChunkExtracted | Merging | Merged

_CHUNK = re.compile(r"Chunk (\d+) of (\d+) extracted (\d+) Ent \+ (\d+) Rel (doc-\w+)-chunk-(\d+)$")
_MERGING = re.compile(r"Phase [12]: Processing (\d+) (entities|relations) from (doc-\w+) ")
_MERGED = re.compile(r"Completed merging: \d+ entities")


def signal_in(message: str) -> Signal | None:
    """What a log line of LightRAG says about progress; None for most lines."""
    if message.startswith("Chunk "):
        if match := _CHUNK.match(message):
            done, total, entities, relations = (int(text) for text in match.groups()[:4])
            return ChunkExtracted(match[5], int(match[6]), done, total, entities, relations)
    elif message.startswith("Phase "):
        if match := _MERGING.match(message):
            return Merging(match[3], match[2], int(match[1]))
    elif _MERGED.match(message):
        return Merged()
    return None
