"""The project's success table: five rows, each with its value, its target and its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from librarian.documents import Document, Status
from librarian.estimates import Queue, sentence
from librarian.library import Library
from librarian.logbook import loop_errors
from librarian.snapshot import Snapshot

GRAPH_FILE = "graph_chunk_entity_relation.graphml"
VECTORS_FILE = "vdb_entities.json"
GRAPH_TABLES = ("lightrag_graph_nodes", "lightrag_graph_edges")
VECTORS_TABLE = "lightrag_vdb_entity"
GRAPH_BYTES = 100 * 1024
VECTORS_BYTES = 1024 * 1024
FILE_SECONDS = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    value: str
    target: str
    passed: bool
    why: str = ""  #: the sum behind the value, and what would reach the target


def slowest_of(documents: Sequence[Document], seconds: Mapping[str, float]) -> Document | None:
    """The document that took longest, or the longest one while none has been read."""
    if read := [each for each in documents if each.id in seconds]:
        return max(read, key=lambda each: seconds[each.id])
    return max(documents, key=lambda each: each.characters, default=None)


def arithmetic(document: Document, queue: Queue) -> str:
    """What reading a document anew would take, as a sum, and what would make it quick enough."""
    said = sentence(queue)
    return f"{document.name}: {said[:1].lower()}{said[1:]}" if said else ""


def success_table(
    library: Library, snapshot: Snapshot, seconds: Mapping[str, float], why_slow: str = ""
) -> tuple[Row, ...]:
    """The rows for a library; `seconds` are LightRAG's own, by document. It reads the log."""
    total = len(snapshot.documents)
    processed = snapshot.count(Status.PROCESSED)
    sizes = {file.name: file.bytes for file in (*library.sizes(), *snapshot.files)}
    tables = library.manifest.storage == "postgres"
    graph = GRAPH_TABLES if tables else (GRAPH_FILE,)
    vectors = _vectors(sizes, library.manifest.workspace) if tables else VECTORS_FILE
    errors = loop_errors(library.log)
    slowest = max(seconds.values(), default=0.0)
    return (
        Row(
            name="Documents processed",
            value=f"{processed} of {total}",
            target="all",
            passed=0 < total == processed,
        ),
        _size(graph, sizes, GRAPH_BYTES, "100 KB"),
        _size((vectors,), sizes, VECTORS_BYTES, "1 MB"),
        Row(name="Event-loop errors", value=str(errors), target="0", passed=errors == 0),
        Row(
            name="Slowest document",
            value=f"{slowest:.0f} s" if seconds else "none yet",
            target="under 180 s",
            passed=bool(seconds) and slowest < FILE_SECONDS,
            why=why_slow,
        ),
    )


def _vectors(sizes: Mapping[str, int], workspace: str) -> str:
    """The table of the entities' vectors, which has the library's own name in its name."""
    start = f"{VECTORS_TABLE}_{workspace}"
    return next((name for name in sizes if name.startswith(start)), start)


def _size(names: tuple[str, ...], sizes: Mapping[str, int], least: int, shown: str) -> Row:
    size = sum(sizes.get(name, 0) for name in names)
    return Row(
        name=" + ".join(names),
        value=f"{size / 1024:,.0f} KB",
        target=f"over {shown}",
        passed=size > least,
    )
