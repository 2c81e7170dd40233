"""What no method of LightRAG's tells of its storages: asked of its files, or of PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from anyio import to_thread

from librarian.errors import DatabaseUnavailable, LibrarianError
from librarian.evidence import SEPARATOR
from librarian.library import FileSize, Library
from librarian.postgres import Waiting, let_go
from librarian.vectors import Rows

if TYPE_CHECKING:
    from lightrag import LightRAG

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
VECTORS = ("chunks_vdb", "entities_vdb", "relationships_vdb")
GRAPH = ("lightrag_graph_nodes", "lightrag_graph_edges")


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

    def end(self) -> None:
        """Lets go of what LightRAG has left open."""
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

    def __init__(self, rag: LightRAG) -> None:
        self._rag = rag
        self._places: tuple[str, int, dict[str, int]] = ("", 0, {})

    async def close(self) -> None:
        """Nothing waits."""

    def end(self) -> None:
        """Nothing is left open."""

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
        if storage.namespace in _SAID:
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
            id_: ({key: row[key] for key in _SAID[storage.namespace] if key in row}, vector)
            for id_, (row, vector) in found.items()
        }

    async def sizes(self) -> tuple[FileSize, ...]:
        """There are no tables."""
        return ()

    async def adopt(self, workspace: str) -> None:
        """Files are copied as files, before they are opened."""

    async def drop(self, workspace: str) -> None:
        """Files are deleted as files."""


class Tables:
    """Tables of PostgreSQL, which several libraries share; those of vectors are a library's own."""

    tables = True

    def __init__(self, rag: LightRAG, waiting: Waiting) -> None:
        self._rag = rag
        self._waiting = waiting
        self._db: Any = rag.doc_status.db
        self._workspace = rag.workspace
        self._chunks: Rows = {}
        self._sizes: dict[str, FileSize] = {}

    @property
    def waiting_for(self) -> LibrarianError | None:
        """What the work waits for, while the server is away."""
        return self._waiting.reason

    async def close(self) -> None:
        """Nothing waits from now on."""
        await self._waiting.close()

    def end(self) -> None:
        """Lets go of the server where LightRAG could not."""
        let_go(self._db)

    async def chunks(self) -> Rows:
        """All passages by id; what was read before is not read again."""
        names = set(await self.ids(self._rag.text_chunks))
        for gone in self._chunks.keys() - names:
            del self._chunks[gone]
        new = sorted(names - self._chunks.keys())
        for start in range(0, len(new), 500):
            part = new[start : start + 500]
            rows = await self._rag.text_chunks.get_by_ids(part)
            self._chunks |= {id_: row for id_, row in zip(part, rows, strict=True) if row}
        return dict(self._chunks)

    async def naming(self, names: Collection[str]) -> dict[str, set[str]]:
        """The documents that brought any of these entities, with those they brought."""
        rows = await self._query(
            "SELECT id, name FROM lightrag_full_entities, "
            "jsonb_array_elements_text(entity_names) AS name "
            "WHERE workspace = $1 AND entity_names ?| $2 AND name = ANY($2)",
            list(names),
        )
        found: dict[str, set[str]] = {}
        for row in rows:
            found.setdefault(row["id"], set()).add(row["name"])
        return found

    async def nearest(
        self, storage: Any, embedding: Any, most: int, documents: Collection[str]
    ) -> list[Row]:
        """The nearest rows of a vector storage that chosen documents have a part in.

        They are chosen first, and compared one by one: the index over all vectors gives its 40
        nearest, of which all may be of other documents.
        """
        told, chosen = _TOLD[storage.namespace]
        return await self._query(
            f"WITH own AS MATERIALIZED (SELECT *, content_vector <=> $2::vector AS distance "
            f"FROM {storage.table_name} WHERE workspace = $1 AND {chosen}) "
            f"SELECT {told}, EXTRACT(EPOCH FROM create_time)::BIGINT AS created_at FROM own "
            f"WHERE distance < $4 ORDER BY distance LIMIT $5",
            embedding,
            list(documents),
            1 - storage.cosine_better_than_threshold,
            most,
        )

    async def ids(self, storage: Any) -> list[str]:
        """The ids of all rows of a storage, sorted."""
        rows = await self._query(f"SELECT id FROM {table_of(storage)} WHERE workspace = $1")
        return sorted(row["id"] for row in rows)

    async def vector_rows(self, storage: Any, ids: Collection[str]) -> dict[str, Vectored]:
        """Rows with their vectors."""
        rows = await self._query(
            f"SELECT * FROM {table_of(storage)} WHERE workspace = $1 AND id = ANY($2)",
            list(ids),
        )
        for row in rows:
            if storage.namespace == "relationships":
                row["src_id"], row["tgt_id"] = row["source_id"], row["target_id"]
            row["source_id"] = SEPARATOR.join(row.get("chunk_ids") or ())
        said = _SAID[storage.namespace]
        return {
            row["id"]: ({key: row[key] for key in said}, row["content_vector"].to_numpy())
            for row in rows
        }

    async def sizes(self) -> tuple[FileSize, ...]:
        """Tables with their indexes, largest first; most of them hold other libraries, too."""
        rows = await self._db.query(
            "SELECT name, pg_total_relation_size(to_regclass(name)) AS bytes "
            "FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL",
            [self.names],
            multirows=True,
        )
        for row in rows:
            known = self._sizes.get(row["name"])
            if known is None or known.bytes != row["bytes"]:
                self._sizes[row["name"]] = FileSize(
                    name=row["name"], bytes=row["bytes"], modified_at=time.time(), table=True
                )
        return tuple(sorted(self._sizes.values(), key=lambda each: -each.bytes))

    async def adopt(self, workspace: str) -> None:
        """Copies all rows of another workspace but its vectors, inside the server."""
        for table in self._shared:
            rows = await self._db.query(
                "SELECT attname AS name FROM pg_attribute WHERE attrelid = to_regclass($1) "
                "AND attnum > 0 AND NOT attisdropped AND attname <> 'workspace'",
                [table],
                multirows=True,
            )
            columns = ", ".join(f'"{row["name"]}"' for row in rows)
            await self._db.execute(
                f"INSERT INTO {table} (workspace, {columns}) SELECT $1, {columns} FROM {table} "
                "WHERE workspace = $2 ON CONFLICT DO NOTHING",
                {"to": self._workspace, "from": workspace},
            )

    async def drop(self, workspace: str) -> None:
        """Removes all of a workspace, its tables of vectors among it."""
        for table in reversed(self._shared):  # edges before nodes
            await self._db.execute(
                f"DELETE FROM {table} WHERE workspace = $1", {"workspace": workspace}
            )
        rows = await self._db.query(
            "SELECT tablename AS name FROM pg_tables WHERE schemaname = ANY(current_schemas(false))"
            " AND tablename LIKE $1",
            [f"lightrag\\_vdb\\_%\\_{workspace.replace('_', chr(92) + '_')}\\_%d"],
            multirows=True,
        )
        for row in rows:
            await self._db.execute(f'DROP TABLE IF EXISTS "{row["name"]}"')

    @property
    def _shared(self) -> list[str]:
        return [*GRAPH, *(table_of(getattr(self._rag, name)) for name in KEYED)]

    @property
    def names(self) -> list[str]:
        """The tables that hold the library."""
        return [*GRAPH, *(table_of(getattr(self._rag, name)) for name in (*KEYED, *VECTORS))]

    async def _query(self, sql: str, *values: Any) -> list[Row]:
        rows: list[Row] = await self._db.query(sql, [self._workspace, *values], multirows=True)
        return rows


#: Of each storage of vectors, what LightRAG keeps beside a vector.
_SAID = {
    "chunks": ("content", "full_doc_id", "file_path"),
    "entities": ("content", "entity_name", "source_id", "file_path"),
    "relationships": ("content", "src_id", "tgt_id", "source_id", "file_path"),
}
_SOURCES = "EXISTS (SELECT FROM unnest(chunk_ids) AS c WHERE split_part(c, '-chunk-', 1) = ANY($3))"
#: Of each storage of vectors: what of a row is told, and which are of documents.
_TOLD = {
    "chunks": ("id, content, file_path, full_doc_id", "full_doc_id = ANY($3)"),
    "entities": ("entity_name", _SOURCES),
    "relationships": ("source_id AS src_id, target_id AS tgt_id", _SOURCES),
}


def table_of(storage: Any) -> str:
    """The table of a storage that is no graph."""
    from lightrag.kg.postgres_impl import namespace_to_table_name

    own = getattr(storage, "table_name", None)
    return str(own or namespace_to_table_name(storage.namespace)).lower()


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
