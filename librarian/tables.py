"""What a library has in LightRAG's tables of PostgreSQL."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from librarian.errors import LibrarianError
from librarian.evidence import SEPARATOR
from librarian.holdings import AT_ONCE, KEYED, SAID, VECTORS, Row, Vectored
from librarian.library import FileSize
from librarian.postgres import Waiting, let_go
from librarian.saving import Still
from librarian.vector_index import VectorIndex
from librarian.vectors import Rows

if TYPE_CHECKING:
    from lightrag import LightRAG

GRAPH = ("lightrag_graph_nodes", "lightrag_graph_edges")
_SOURCES = "EXISTS (SELECT FROM unnest(chunk_ids) AS c WHERE split_part(c, '-chunk-', 1) = ANY($3))"
#: Of each storage of vectors: what of a row is told, and which are of documents.
_TOLD = {
    "chunks": ("id, content, file_path, full_doc_id", "full_doc_id = ANY($3)"),
    "entities": ("entity_name", _SOURCES),
    "relationships": ("source_id AS src_id, target_id AS tgt_id", _SOURCES),
}


class Tables:
    """Tables of PostgreSQL, which several libraries share; those of vectors are a library's own."""

    tables = True

    def __init__(self, rag: LightRAG, waiting: Waiting, index: VectorIndex) -> None:
        self._rag = rag
        self._waiting = waiting
        self._index = index
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

    async def noted(self) -> None:
        """It is: a row is there when LightRAG has written it."""

    async def keep_files(self, busy: Callable[[], bool], still: Still) -> None:
        """There are none; the vectors get their index then."""
        tables = [table_of(getattr(self._rag, name)) for name in VECTORS]
        await self._index.run(tables, busy)

    async def save(self) -> None:
        """Everything is there already."""

    def end(self) -> None:
        """Lets go of the server where LightRAG could not."""
        let_go(self._db)

    async def known(self) -> bool:
        """Whether there is any document."""
        sql = "SELECT EXISTS (SELECT FROM lightrag_doc_status WHERE workspace = $1) AS known"
        return bool((await self._query(sql))[0]["known"])

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

    async def nodes(self) -> AsyncIterator[list[Row]]:
        """All nodes of the graph, sorted as the server sorts names."""
        async for rows in self._parts(GRAPH[0], ("id",)):
            yield [{**orjson.loads(row["properties"]), "id": row["id"]} for row in rows]

    async def edges(self) -> AsyncIterator[list[Row]]:
        """All edges of the graph, sorted like the nodes."""
        async for rows in self._parts(GRAPH[1], ("src_id", "tgt_id")):
            yield [
                {
                    **orjson.loads(row["properties"]),
                    "source": row["src_id"],
                    "target": row["tgt_id"],
                }
                for row in rows
            ]

    async def _parts(self, table: str, key: tuple[str, ...]) -> AsyncIterator[list[Row]]:
        """The rows of a table of the graph, each part from where the one before ended."""
        graph = self._rag.chunk_entity_relation_graph
        columns = ", ".join(key)
        after = ", ".join(f"${number}" for number, _ in enumerate(key, start=4))
        last: tuple[str, ...] = ("",) * len(key)  # no name is empty
        while True:
            rows = await self._query(
                f"SELECT {columns}, properties::text FROM {table} WHERE workspace = $1 "
                f"AND namespace = $2 AND ({columns}) > ({after}) ORDER BY {columns} LIMIT $3",
                graph.namespace,
                AT_ONCE,
                *last,
            )
            if rows:
                yield rows
            if len(rows) < AT_ONCE:
                return
            last = tuple(rows[-1][each] for each in key)

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
        said = SAID[storage.namespace]
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
        found = (
            replace(each, indexed_now=each.name == self._index.making)
            for each in self._sizes.values()
        )
        return tuple(sorted(found, key=lambda each: -each.bytes))

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
        plain = re.sub(r"([\\%_])", r"\\\1", workspace)
        rows = await self._db.query(
            "SELECT tablename AS name FROM pg_tables WHERE schemaname = ANY(current_schemas(false))"
            " AND tablename LIKE $1",
            [f"lightrag\\_vdb\\_%\\_{plain}\\_%d"],
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


def table_of(storage: Any) -> str:
    """The table of a storage that is no graph."""
    from lightrag.kg.postgres_impl import namespace_to_table_name

    own = getattr(storage, "table_name", None)
    return str(own or namespace_to_table_name(storage.namespace)).lower()
