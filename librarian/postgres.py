"""PostgreSQL under LightRAG: its four classes of storages, and work that waits while it is away."""

from __future__ import annotations

import logging
import re
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from librarian.database import Database
from librarian.errors import DatabaseUnavailable, DatabaseUnfit, DocumentPaused

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")
log = logging.getLogger(__name__)

CLASSES = {
    "kv_storage": "PGKVStorage",
    "vector_storage": "PGVectorStorage",
    "graph_storage": "PGTableGraphStorage",
    "doc_status_storage": "PGDocStatusStorage",
}
CONNECTIONS = 12  # of one dashboard; a server allows 100 by default, for all of its clients
POLL_S = 2.0
CONNECT_S = 4.0  # the doctor has ten seconds for all that it looks at
# The index over the vectors (`vector_index.py`), where there is one, is searched further than by
# default: 0.98 of the nearest 40 of 24,000 made up are found in place of 0.95, for 2 ms a question.
_SEARCH = "SET hnsw.ef_search = 160"

_LOST = re.compile(r"connection (is|was) closed|pool is clos")
_TAKEN = "released back to the pool"
_patient: ContextVar[bool] = ContextVar("patient", default=False)
_missed: ContextVar[list[DatabaseUnavailable] | None] = ContextVar("missed", default=None)


@contextmanager
def patient() -> Iterator[None]:
    """What is done inside waits for the database, however long; a person's question does not."""
    token = _patient.set(True)
    try:
        yield
    finally:
        _patient.reset(token)


@contextmanager
def heeded() -> Iterator[None]:
    """What nobody waited for is an error of all that was to be done inside."""
    missed: list[DatabaseUnavailable] = []
    token = _missed.set(missed)
    try:
        yield
    except Exception as exc:
        if missed and exc is not missed[0]:
            raise missed[0] from exc
        raise
    finally:
        _missed.reset(token)
    if missed:
        raise missed[0]


def environment(database: Database) -> dict[str, str]:
    """What LightRAG reads about the database when it connects; nothing is left to chance."""
    files = {f"POSTGRES_SSL_{name}": "" for name in ("ROOT_CERT", "CERT", "KEY", "CRL")}
    names = {"sslrootcert": "ROOT_CERT", "sslcert": "CERT", "sslkey": "KEY", "sslcrl": "CRL"}
    return (
        files
        | {f"POSTGRES_SSL_{names[key]}": path for key, path in database.files.items()}
        | {
            "POSTGRES_HOST": database.host,
            "POSTGRES_PORT": str(database.port),
            "POSTGRES_USER": database.user,
            "POSTGRES_PASSWORD": database.password,
            "POSTGRES_DATABASE": database.name,
            "POSTGRES_SSL_MODE": database.ssl,
            "POSTGRES_WORKSPACE": "",  # else it would overrule the library's own
            "POSTGRES_MAX_CONNECTIONS": str(CONNECTIONS),
            "POSTGRES_VECTOR_INDEX_TYPE": "",  # it is made later, by `VectorIndex`
            "POSTGRES_CONNECTION_RETRIES": "1",  # `Waiting` repeats, and says what it waits for
            "POSTGRES_SERVER_SETTINGS": "application_name=ai-librarian",
        }
    )


class Waiting:
    """Has everything that LightRAG does in the database wait while the server is away.

    Connections are kept between two uses. The pool would clean each by a question of its own, which
    is half of all questions, and LightRAG leaves nothing behind that had to be cleaned.
    """

    def __init__(self, db: Any, database: Database) -> None:
        self.reason: DatabaseUnavailable | None = None  #: what the work waits for
        self._database = database
        self._pool = db.pool
        self._slots = anyio.Semaphore(CONNECTIONS, fast_acquire=True)
        self._idle: list[Any] = []
        self._closed = anyio.Event()
        db._run_with_retry = self.run
        # What the pool says of lost connections, with all their frames, is said here once.
        logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)

    async def run(self, operation: Callable[[Any], Awaitable[T]], **_: object) -> T:
        """Does something over a connection; what LightRAG writes is the same when written twice.

        Raises:
            DatabaseUnavailable: it is away, and this is for a person, or the program ends.
        """
        while True:
            try:
                result = await self._once(operation)
            except _Stale:
                continue
            except Exception as exc:
                reason = away(exc, self._database)
                if reason is None:
                    raise
                if self.reason is None:
                    log.warning("%s", reason)
                self.reason = reason
                if not _patient.get():
                    if (missed := _missed.get()) is not None:
                        missed.append(reason)
                    raise reason from exc
                with anyio.move_on_after(POLL_S):
                    await self._closed.wait()
                if self._closed.is_set():
                    raise DocumentPaused from exc  # it was not done, and is done at the next start
            else:
                if self.reason is not None:
                    log.info("PostgreSQL is back.")
                self.reason = None
                return result

    async def close(self) -> None:
        """Nothing waits from now on, and no connection is kept."""
        self._closed.set()
        while self._idle:
            await self._pool.release(self._idle.pop())

    async def _once(self, operation: Callable[[Any], Awaitable[T]]) -> T:
        async with self._slots:
            kept = bool(self._idle)
            connection = self._idle.pop() if kept else await self._pool.acquire()
            try:
                if not kept:
                    await connection.execute(_SEARCH)
                result = await operation(connection)
            except BaseException as exc:
                # The pool takes back a connection that breaks while it is kept.
                stale = kept and bool(_TAKEN in str(exc) or away(exc, self._database))
                await self._pool.release(connection)
                if stale:
                    raise _Stale from exc  # it broke while nobody used it; a new one may not
                raise
            if self._closed.is_set():
                await self._pool.release(connection)
            else:
                self._idle.append(connection)
            return result


class _Stale(Exception):
    """A connection that was kept is none any more."""


def away(exc: BaseException, database: Database) -> DatabaseUnavailable | None:
    """Why the database cannot be had for now; None for an error of another kind."""
    import asyncpg.exceptions as pg

    said = " ".join(str(exc).split()) or type(exc).__name__
    match exc:
        case pg.InvalidAuthorizationSpecificationError() | pg.InvalidCatalogNameError():
            advice = "Correct LIBRARIAN_DATABASE_URL, or let this user in."
        case pg.TooManyConnectionsError():
            advice = f"Raise its max_connections: this program uses up to {CONNECTIONS}."
        case pg.InsufficientResourcesError():
            advice = "Free room on its disk or in its memory."
        case pg.ReadOnlySQLTransactionError():
            advice = "It is a copy that cannot be written; give the main server's address."
        case (
            OSError()  # of which are: refused, broken, no such host, too late
            | TimeoutError()
            | pg.PostgresConnectionError()
            | pg.OperatorInterventionError()
        ) if not isinstance(exc, pg.QueryCanceledError):
            advice = ""
        case pg.InterfaceError() if _LOST.search(str(exc)):
            advice = ""
        case _:
            return None
    return DatabaseUnavailable(f"PostgreSQL at {database} is not there: {said}. {advice}".strip())


def client() -> Any:
    """The client that LightRAG keeps for the whole process; None where there is none yet."""
    manager = getattr(sys.modules.get("lightrag.kg.postgres_impl"), "ClientManager", None)
    return manager and manager._instances["db"]


def let_go(db: Any) -> None:
    """Ends what LightRAG has left open of a client, on the loop that it was opened on."""
    if db is not None and client() is db:
        from lightrag.kg.postgres_impl import ClientManager

        ClientManager._instances.update(db=None, ref_count=0, vector_signature=None)
    if db is not None and db.pool is not None:
        db.pool.terminate()


async def connect(database: Database) -> asyncpg.Connection:
    """A connection of its own, within four seconds.

    Raises:
        DatabaseUnavailable: there is none.
        DatabaseUnfit: a file that the URL names cannot be used.
    """
    import asyncpg

    try:
        return await asyncpg.connect(
            host=database.host,
            port=database.port,
            user=database.user,
            password=database.password,
            database=database.name,
            ssl=_ssl(database),
            timeout=CONNECT_S,
            server_settings={"application_name": "ai-librarian"},
        )
    except Exception as exc:
        reason = away(exc, database)
        if reason is None:
            raise DatabaseUnfit(
                f"PostgreSQL at {database} cannot be used: {exc}. Correct LIBRARIAN_DATABASE_URL."
            ) from exc
        raise reason from exc


def _ssl(database: Database) -> ssl.SSLContext | bool:
    """As LightRAG does it."""
    if not database.ssl or database.ssl == "disable":
        return False
    context = ssl.create_default_context()
    context.check_hostname = database.ssl != "verify-ca"
    try:
        if path := database.files.get("sslrootcert"):
            context.load_verify_locations(cafile=path)
        if path := database.files.get("sslcert"):
            context.load_cert_chain(path, database.files.get("sslkey"))
        if path := database.files.get("sslcrl"):
            context.load_verify_locations(path)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as exc:  # SSLError is one
        raise DatabaseUnfit(
            f"A certificate that LIBRARIAN_DATABASE_URL names cannot be used: {exc}. Correct it."
        ) from exc
    return context
