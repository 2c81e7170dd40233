"""What no method of LightRAG's tells of its storages: asked of its files, or of PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from anyio import to_thread
from anyio.lowlevel import checkpoint

from librarian.errors import DatabaseUnavailable, LibrarianError, WrongStorage
from librarian.evidence import SEPARATOR
from librarian.library import FileSize, Library
from librarian.saving import Saving, Still
from librarian.vectors import Rows

if TYPE_CHECKING:
    from lightrag import LightRAG

T = TypeVar("T")
Row = dict[str, Any]
Vectored = tuple[Row, Any]  #: a row, and its vector

#: Of these LightRAG has storages; the vectors are the last three.
KEYED = (
    "full_docs",
    "text_chunks",
    "full_entities",
    "full_relations",
    "entity_chunks",
    "relation_chunks",
    "llm_response_cache",
    "doc_status",
)
AT_ONCE = 2000  # nodes of the graph that are read before others have a turn
VECTORS = ("chunks_vdb", "entities_vdb", "relationships_vdb")


class Holdings(Protocol):
    """All that a library has in LightRAG."""

    tables: bool  #: whether it is in tables

    @property
    def waiting_for(self) -> LibrarianError | None:
        """What the work waits for, where the storages are out of reach."""
        ...

    async def close(self) -> None:
        """Nothing waits from now on."""
        ...

    async def noted(self) -> None:
        """Returns when what LightRAG says of its documents is on the disk."""
        ...

    async def keep_files(self, busy: Callable[[], bool], still: Still) -> None:
        """Writes LightRAG's files whenever it is quiet, where there are any; see `Saving.run`."""
        ...

    async def save(self) -> None:
        """Writes the files once more, where that is quick; afterwards nothing is written."""
        ...

    def end(self) -> None:
        """Lets go of what LightRAG has left open."""
        ...

    async def known(self) -> bool:
        """Whether there is any document."""
        ...

    async def chunks(self) -> Rows:
        """All passages by id. The same id never has another text."""
        ...

    async def naming(self, names: Collection[str]) -> dict[str, set[str]]:
        """The documents that brought any of these entities, with those they brought."""
        ...

    async def nearest(
        self, storage: Any, embedding: Any, most: int, documents: Collection[str]
    ) -> list[Row]:
        """The nearest rows of a vector storage that chosen documents have a part in."""
        ...

    def nodes(self) -> AsyncIterator[list[Row]]:
        """All nodes of the graph with their `id`, a part at a time."""
        ...

    def edges(self) -> AsyncIterator[list[Row]]:
        """All edges of the graph with their `source` and `target`, a part at a time."""
        ...

    async def ids(self, storage: Any) -> list[str]:
        """The ids of all rows of a storage that is no graph, sorted."""
        ...

    async def vector_rows(self, storage: Any, ids: Collection[str]) -> dict[str, Vectored]:
        """Rows of a vector storage in LightRAG's words, with their vectors as they are compared."""
        ...

    async def sizes(self) -> tuple[FileSize, ...]:
        """Tables, largest first; files are listed by the library itself."""
        ...

    async def adopt(self, workspace: str) -> None:
        """Copies all rows of another workspace but its vectors."""
        ...

    async def drop(self, workspace: str) -> None:
        """Removes all of a workspace, tables that are its own among it."""
        ...


class Files:
    """LightRAG's own files: it keeps all of their rows in memory."""

    waiting_for: LibrarianError | None = None

    tables = False

    def __init__(self, rag: LightRAG, saving: Saving) -> None:
        self._rag = rag
        self.saving = saving
        self._places: tuple[str, int, dict[str, int]] = ("", 0, {})

    async def close(self) -> None:
        """Nothing waits."""

    async def noted(self) -> None:
        """Returns when what LightRAG says of its documents is on the disk."""
        await self.saving.commit(Path(self._rag.doc_status._file_name).name)

    async def keep_files(self, busy: Callable[[], bool], still: Still) -> None:
        """Writes them whenever it is quiet."""
        await self.saving.run(busy, still)

    async def save(self) -> None:
        """Writes them once more, where that is quick."""
        await self.saving.close()

    def end(self) -> None:
        """Closes the file of the changes."""
        self.saving.end()

    async def known(self) -> bool:
        """Whether there is any document."""
        return bool(self._rag.doc_status._data)

    async def chunks(self) -> Rows:
        """All passages by id."""
        return dict(self._rag.text_chunks._data)

    async def naming(self, names: Collection[str]) -> dict[str, set[str]]:
        """The documents that brought any of these entities, with those they brought."""
        wanted = set(names)
        found = {
            doc_id: wanted.intersection(row["entity_names"])
            for doc_id, row in self._rag.full_entities._data.items()
        }
        return {doc_id: named for doc_id, named in found.items() if named}

    async def nearest(
        self, storage: Any, embedding: Any, most: int, documents: Collection[str]
    ) -> list[Row]:
        """The nearest rows of a vector storage that chosen documents have a part in."""

        def of(row: Mapping[str, Any]) -> bool:
            if "full_doc_id" in row:
                return row["full_doc_id"] in documents
            sources = str(row.get("source_id", "")).split(SEPARATOR)
            return any(each.rpartition("-chunk-")[0] in documents for each in sources)

        client = await storage._get_client()
        if not any(map(of, (await storage.client_storage)["data"])):
            return []  # the library fails where its filter leaves nothing
        found = client.query(
            query=embedding,
            top_k=most,
            better_than_threshold=storage.cosine_better_than_threshold,
            filter_lambda=of,
        )
        return [
            {key: value for key, value in row.items() if key != "vector"}
            | {"id": row["__id__"], "distance": row["__metrics__"]}
            | {"created_at": row.get("__created_at__")}
            for row in found
        ]

    async def ids(self, storage: Any) -> list[str]:
        """The ids of all rows of a storage, sorted."""
        if storage.namespace in SAID:
            return sorted(row["__id__"] for row in (await storage.client_storage)["data"])
        return sorted(storage._data)

    async def vector_rows(self, storage: Any, ids: Collection[str]) -> dict[str, Vectored]:
        """Rows with their vectors; what is kept of a vector in the row itself is rounded."""
        held = await storage.client_storage
        key, count, places = self._places
        if key != storage.namespace or count != len(held["data"]):
            places = {row["__id__"]: at for at, row in enumerate(held["data"])}
            self._places = (storage.namespace, len(places), places)
        found = {id_: (held["data"][places[id_]], held["matrix"][places[id_]]) for id_ in ids}
        return {
            id_: ({key: row[key] for key in SAID[storage.namespace] if key in row}, vector)
            for id_, (row, vector) in found.items()
        }

    async def nodes(self) -> AsyncIterator[list[Row]]:
        """All nodes of the graph, as each is when its part is read."""
        found = self._rag.chunk_entity_relation_graph._graph._node
        for names in in_parts(list(found)):
            yield [{**found[name], "id": name} for name in names if name in found]
            await checkpoint()

    async def edges(self) -> AsyncIterator[list[Row]]:
        """All edges of the graph, each from the node that came first."""
        found, seen = self._rag.chunk_entity_relation_graph._graph._adj, set[str]()
        for names in in_parts(list(found)):
            rows = []
            for name in names:
                for other, row in found.get(name, {}).items():
                    if other not in seen:
                        rows.append({**row, "source": name, "target": other})
                seen.add(name)
            yield rows
            await checkpoint()

    async def sizes(self) -> tuple[FileSize, ...]:
        """There are no tables."""
        return ()

    async def adopt(self, workspace: str) -> None:
        """Files are copied as files, before they are opened."""

    async def drop(self, workspace: str) -> None:
        """Files are deleted as files."""


def in_parts(names: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many at a time that the loop is let go of in between."""
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]


#: Of each storage of vectors, what LightRAG keeps beside a vector.
SAID = {
    "chunks": ("content", "full_doc_id", "file_path"),
    "entities": ("content", "entity_name", "source_id", "file_path"),
    "relationships": ("content", "src_id", "tgt_id", "source_id", "file_path"),
}


async def take_up(library: Library, holdings: Holdings) -> None:
    """Looks whether a library is where it should be, and tidies up there.

    Raises:
        WrongStorage: it is another database than that of this library.
        DatabaseUnavailable: the server is away again.
    """
    indexed = await to_thread.run_sync(library.catalogue.any_indexed)
    if indexed and library.manifest.storage == "postgres" and not await holdings.known():
        raise WrongStorage(
            "The database of LIBRARIAN_DATABASE_URL has nothing of this library, whose name there "
            f"is {library.manifest.workspace}. Set it to the database that has, or restore that "
            "one from its backup."
        )
    await sweep(library, holdings)


async def sweep(library: Library, holdings: Holdings) -> None:
    """Removes from a database what an attempt at new vectors has left there.

    Raises:
        DatabaseUnavailable: the next opening tries again.
    """
    if library.manifest.storage == "postgres" and (unused := library.unused()):
        for workspace in unused:
            await holdings.drop(workspace)
        library.end_attempt()


async def sizes_of(
    library: Library, holdings: Holdings | None, before: tuple[FileSize, ...]
) -> tuple[FileSize, ...]:
    """What grows with a library, largest first: its files, and tables while they are there.

    `before` is what this gave last; its tables are told again while the database is away.
    """
    files = await to_thread.run_sync(library.sizes)
    try:
        tables = await holdings.sizes() if holdings else ()
    except DatabaseUnavailable:
        tables = tuple(each for each in before if each.table)
    return tuple(sorted((*files, *tables), key=lambda each: -each.bytes))
