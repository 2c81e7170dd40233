"""What a PostgreSQL server says of itself, and whether a library can be kept there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from librarian.checks import Check, failure, fine, warning
from librarian.database import Database
from librarian.errors import DatabaseUnavailable, DatabaseUnfit, WrongStorage
from librarian.library import Library
from librarian.postgres import CONNECT_S, CONNECTIONS, connect
from librarian.settings import Settings
from librarian.whereabouts import database_of, stays

VERSION, VECTOR, RIGHTS = "PostgreSQL", "pgvector", "Database rights"  # names of checks
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
    def faults(self) -> dict[str, tuple[str, str]]:
        """What keeps a library from being kept there, and what to do, by the name of its check."""
        found: dict[str, tuple[str, str]] = {}
        if self.version < LEAST_VERSION:
            found[VERSION] = (
                f"It is version {self.version_text}; {LEAST_VERSION} or later is needed.",
                "Update the server.",
            )
        if not self.vector and not self.offered:
            found[VECTOR] = (
                "The server has no pgvector, which searches vectors.",
                "Install it there: on Debian and Ubuntu, "
                f"`apt install postgresql-{self.version}-pgvector`.",
            )
        elif _numbers(self.vector or self.offered) < LEAST_VECTOR:
            least = ".".join(map(str, LEAST_VECTOR))
            found[VECTOR] = (
                f"It is version {self.vector or self.offered}; {least} or later is needed.",
                "Update it, then run `ALTER EXTENSION vector UPDATE` in this database.",
            )
        elif not self.vector and not self.may_extend:
            found[VECTOR] = (
                "It is not in this database yet, and this user may not put it there.",
                "Have an administrator run `CREATE EXTENSION vector` in this database once.",
            )
        if not self.may_create:
            found[RIGHTS] = (
                "This user may not make tables in the database.",
                "Have an administrator run `GRANT CREATE, USAGE ON SCHEMA public TO` this user, or "
                "make this user the owner of the database.",
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
        DatabaseUnavailable: it does not answer within four seconds.
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
    for name, (message, remedy) in (await facts(database)).faults.items():
        raise DatabaseUnfit(f"{name} at {database}: {message} {remedy}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])


async def of_database(library: Library, settings: Settings) -> tuple[Check, ...]:
    """What the doctor looks at in the database; nothing where a library has none."""
    try:
        database = database_of(library, settings) or settings.database
    except WrongStorage as exc:
        return (failure(VERSION, "LIBRARIAN_DATABASE_URL is not set.", exc.detail),)
    if database is None:
        return ()
    try:
        found = await facts(database)
    except DatabaseUnavailable as exc:
        return (
            failure(VERSION, exc.detail, " ".join((DatabaseUnavailable.__doc__ or "").split())),
        )
    except DatabaseUnfit as exc:
        return (failure(VERSION, f"{database} cannot be used.", exc.detail),)
    seen = {
        VERSION: f"{database} answers; version {found.version_text}.",
        VECTOR: f"Version {found.vector}."
        if found.vector
        else f"Version {found.offered} is put into the database when a library is begun there.",
        RIGHTS: "This user may make tables.",
    }
    checks = [
        failure(name, *found.faults[name]) if name in found.faults else fine(name, text)
        for name, text in seen.items()
    ]
    checks.append(_connections(found))
    if kept := stays(library, settings):
        checks.append(warning("Storage", "This library is in files.", kept))
    return tuple(checks)


def _connections(found: Facts) -> Check:
    title, free = "Database connections", found.most - found.used
    message = f"{found.used} of {found.most} are taken; this program takes up to {CONNECTIONS}."
    if free >= CONNECTIONS:
        return fine(title, message)
    return warning(
        title,
        message,
        "Close other programs that use the server, or raise its max_connections: work waits for a "
        "free one.",
    )
