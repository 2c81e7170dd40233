"""What a PostgreSQL server says of itself, and whether a library can be kept there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from librarian.database import Database
from librarian.errors import DatabaseUnfit
from librarian.postgres import CONNECT_S, connect

LEAST_VERSION = 14
LEAST_VECTOR = (0, 5, 0)  # the first pgvector with HNSW


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a server says of itself and of its user."""

    version: int  #: the first number
    version_text: str
    vector: str  #: version of pgvector in this database; empty for none
    offered: str  #: version of pgvector that the server could put there
    may_extend: bool  #: this user may put it there
    may_create: bool  #: tables
    most: int  #: connections that it allows
    used: int  #: of which are taken now, those of this program among them

    @property
    def faults(self) -> dict[str, str]:
        """What keeps a library from being kept there, by the name of its check."""
        found: dict[str, str] = {}
        if self.version < LEAST_VERSION:
            found["version"] = (
                f"It is version {self.version_text}; {LEAST_VERSION} or later is needed. Update it."
            )
        if not self.vector and not self.offered:
            found["pgvector"] = (
                "It has no pgvector, which searches vectors. Install it on the server: on Debian "
                f"and Ubuntu, `apt install postgresql-{self.version}-pgvector`."
            )
        elif _numbers(self.vector or self.offered) < LEAST_VECTOR:
            least = ".".join(map(str, LEAST_VECTOR))
            found["pgvector"] = (
                f"Its pgvector is {self.vector or self.offered}; {least} or later is needed. "
                "Update it, then run `ALTER EXTENSION vector UPDATE` in this database."
            )
        elif not self.vector and not self.may_extend:
            found["pgvector"] = (
                "pgvector is not in this database yet, and this user may not put it there. Have an "
                "administrator run `CREATE EXTENSION vector` in it once."
            )
        if not self.may_create:
            found["rights"] = (
                "This user may not make tables there. Have an administrator run `GRANT CREATE, "
                "USAGE ON SCHEMA public TO` this user, or make this user the database's owner."
            )
        return found


_FACTS = """
SELECT current_setting('server_version_num')::int / 10000 AS version,
       current_setting('server_version') AS version_text,
       COALESCE((SELECT extversion FROM pg_extension WHERE extname = 'vector'), '') AS vector,
       COALESCE((SELECT default_version FROM pg_available_extensions WHERE name = 'vector'), '')
           AS offered,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
           OR COALESCE((SELECT bool_or(trusted OR NOT superuser)
                        FROM pg_available_extension_versions WHERE name = 'vector'), false)
           AND has_database_privilege(current_database(), 'CREATE') AS may_extend,
       COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
       current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int AS most,
       (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend') AS used
"""


async def facts(database: Database) -> Facts:
    """What there is to know about a server.

    Raises:
        DatabaseUnavailable: it does not answer within five seconds.
        DatabaseUnfit: it is something else, or a file that the URL names cannot be used.
    """
    connection = await connect(database)
    try:
        return Facts(**dict(await connection.fetchrow(_FACTS)))
    finally:
        await connection.close(timeout=CONNECT_S)


async def examine(database: Database) -> None:
    """Looks whether a library can be kept there, before LightRAG tries.

    Raises:
        DatabaseUnavailable: it does not answer.
        DatabaseUnfit: it lacks something; what, and what to do.
    """
    found = (await facts(database)).faults
    if found:
        raise DatabaseUnfit(f"PostgreSQL at {database}: {next(iter(found.values()))}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])
