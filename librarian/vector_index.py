"""The index over the vectors in PostgreSQL, made once it is worth what it costs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from librarian.database import Database
from librarian.errors import LibrarianError
from librarian.postgres import CONNECT_S, away, connect

log = logging.getLogger(__name__)

# Putting a vector into its index is most of what the database does for a document, more with each
# one, and twice what making the index later takes: 1.2 ms a vector. Without an index a question
# compares all vectors: 0.6 s for 50,000 of 1,024 numbers and 1.8 s for 200,000 on two cores, and it
# misses none.
ENOUGH = 50_000  # vectors of a table: from here on it has an index, once nothing is read
MANY = 400_000  # from here on it has one also while documents are read
QUIET_S = 30.0
AGAIN_S = 600.0  # after one that could not be made: a full disk, a server that is away
MOST = 2000  # numbers of a vector; pgvector has no index for longer ones
# The last of 24,000 made up took 4.4 ms each with LightRAG's 16 and 64; with these it is 2.4 ms.
LINKS, TRIED = 12, 40
_MEMORY_MB = 1024  # for making one; beyond it pgvector goes on in its files: 4.7 times as slow

_FOUND = """
SELECT indexrelid::regclass::text AS name, indisvalid AS valid
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE indrelid = $1::text::regclass AND amname = 'hnsw'
"""
_MADE_NOW = """
SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE relid = $1::text::regclass)
"""


class VectorIndex:
    """Looks after the index of each table of vectors."""

    def __init__(
        self,
        database: Database,
        dimension: int,
        *,
        enough: int = ENOUGH,
        many: int = MANY,
        quiet_s: float = QUIET_S,
        again_s: float = AGAIN_S,
    ) -> None:
        """`dimension` is how many numbers a vector has.

        A table of `enough` vectors gets its index when nothing has been busy for `quiet_s` seconds,
        one of `many` at once; what failed is tried again after `again_s` seconds.
        """
        self._database = database
        self._dimension = dimension
        self._enough, self._many = enough, many
        self._quiet_s, self._again_s = quiet_s, again_s
        self.making = ""  #: the table of which the index is being made

    async def run(self, tables: Sequence[str], busy: Callable[[], bool]) -> None:
        """Makes the index of each table that has grown so far; ends when cancelled.

        Tables are read and written meanwhile.
        """
        left = list(tables) if self._dimension <= MOST else []
        while left:
            quiet = not busy()
            await anyio.sleep(self._quiet_s)
            try:
                left = await self._without(
                    left, self._enough if quiet and not busy() else self._many
                )
            except LibrarianError as exc:
                log.warning("The index over the vectors could not be made: %s", exc)
                await anyio.sleep(self._again_s)

    async def _without(self, tables: Sequence[str], least: int) -> list[str]:
        """The tables that have no index yet; those of `least` rows get theirs now."""
        connection = await connect(self._database)
        try:
            try:
                done = {each: await self._looked_after(connection, each, least) for each in tables}
            finally:
                with anyio.CancelScope(shield=True):  # what is cancelled ends at the server, too
                    await connection.close(timeout=CONNECT_S)
        except Exception as exc:
            raise away(exc, self._database) or LibrarianError(
                f"PostgreSQL at {self._database} says: {exc}. Questions compare all vectors until "
                "it is there; it is tried again."
            ) from exc
        return [table for table, is_done in done.items() if not is_done]

    async def _looked_after(self, connection: Any, table: str, least: int) -> bool:
        """Whether a table has its index, which is made now if it has `least` rows."""
        found = await connection.fetch(_FOUND, table)
        if any(index["valid"] for index in found):
            return True
        if await connection.fetchval(_MADE_NOW, table):
            return False  # a process that was killed had begun it, and the server goes on
        for index in found:  # begun and not ended: it would be written, and never read
            await connection.execute(f"DROP INDEX {index['name']}")
        rows = await connection.fetchval(f"SELECT count(*) FROM {table}")
        if rows < least:
            return False
        log.info("The %d vectors of %s get their index.", rows, table)
        memory = min(_MEMORY_MB, 64 + rows * (4 * self._dimension + 400) // (1 << 20))
        await connection.execute(f"SET maintenance_work_mem = '{memory}MB'")
        # Several processes would share memory by /dev/shm, of which a container has 64 MB.
        await connection.execute("SET max_parallel_maintenance_workers = 0")
        self.making = table
        try:
            await connection.execute(
                f"CREATE INDEX CONCURRENTLY ON {table} USING hnsw "
                f"(content_vector vector_cosine_ops) WITH (m = {LINKS}, ef_construction = {TRIED})"
            )
        finally:
            self.making = ""
        log.info("The %d vectors of %s have their index.", rows, table)
        return True
