"""A library's graph and vectors, moved from files into PostgreSQL or back, as they are."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass, replace
from pathlib import Path

from anyio import to_thread

from librarian.assembly import open_storages
from librarian.copying import CLOSE, Mirror, Part, Store, apart, parts_of
from librarian.database import Database
from librarian.durable import settle, write_json
from librarian.errors import DatabaseUnavailable, LibraryBusy, LibraryError, SettingsError
from librarian.library import Library
from librarian.logbook import Logbook
from librarian.models.protocol import ModelCard
from librarian.opening import forget_shared
from librarian.portal import Portal
from librarian.postgres import patient
from librarian.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.25
ATTEMPT = "migrate.json"  # whose half-filled target it is
KEPT = "before-migration"  # folder of files that were copied into a database


class MigrationBusy(LibraryError):
    """A library is moved only while nothing else works with it. Close its dashboard, or wait until
    the command that has it has ended, and run `migrate` again."""


class TargetNotEmpty(LibraryError):
    # No docstring: it says what is there, and what to do. Nothing was changed.
    pass


class MigrationFailed(LibraryError):
    """The library is as it was, and what was copied is taken out again. Run `migrate` again; if it
    ends here again, the named rows are at fault: report that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is."""

    done: int = 0  #: rows that are where they should be
    total: int = 0  #: 0 while it is not known
    waiting: str = ""  #: what it waits for, and what to do about it


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was moved: each storage has as many rows with the same hash on both sides."""

    to: str
    parts: tuple[Part, ...] = ()
    apart: float = 0.0  #: how far the number of a vector that differs most is from what it was
    elapsed_s: float = 0.0
    kept: str = ""  #: where the files are that were copied; empty where rows were deleted

    @property
    def rows(self) -> int:
        """Of all storages."""
        return sum(part.rows for part in self.parts)


def migrate(settings: Settings, to: str, told: Callable[[Progress], None]) -> Report:
    """Moves the library of a home; `told` hears now and then how far it is.

    Raises:
        MigrationBusy: a dashboard or another command has the home.
        TargetNotEmpty: there are data already where it is to go.
        LibrarianError: it could not be done; the library is as it was.
    """
    with ExitStack() as exits:
        try:
            library = Library.open(settings.home)
        except LibraryBusy as exc:
            raise MigrationBusy(exc.detail) from exc
        exits.callback(library.close)
        logbook = Logbook(library.log)
        exits.callback(logbook.close)
        portal = Portal()
        exits.callback(portal.close)
        work = Migration(library, settings, to)
        future = portal.start(work.run)
        exits.callback(future.cancel)
        while not future.done():
            told(work.progress)
            time.sleep(POLL_S)
        return future.result()


class Migration:
    """Copies, compares, and goes over by one write of library.json; then the source is put away.

    A copy that was interrupted is gone on with: rows that are the same are not written again.
    """

    def __init__(self, library: Library, settings: Settings, to: str) -> None:
        self._library = library
        self._settings = settings
        self._to = to
        self._done = self._total = 0
        self._stores: tuple[Store, ...] = ()

    @property
    def progress(self) -> Progress:
        """How far it is now; never waits."""
        reasons = (store.holdings.waiting_for for store in self._stores)
        waiting = next(filter(None, reasons), None)
        return Progress(done=self._done, total=self._total, waiting=str(waiting or ""))

    async def run(self) -> Report:
        """Moves the library.

        Raises:
            LibrarianError: it could not be done; the library is as it was.
        """
        library, begun_s = self._library, time.monotonic()
        database = self._settings.database
        if database is None:
            raise SettingsError("LIBRARIAN_DATABASE_URL is not set, so there is no database.")
        report = Report(to=self._to)
        if library.manifest.storage != self._to:
            if library.catalogue.any_indexed():
                report = await self._moved(database)
            self._go_over()
        if (library.home / ATTEMPT).exists():
            report = replace(report, kept=await self._put_away(database))
        return replace(report, elapsed_s=time.monotonic() - begun_s)

    async def _moved(self, database: Database) -> Report:
        marker = self._library.home / ATTEMPT
        begun = {"to": self._to, "workspace": self._library.manifest.workspace}
        if self._to == "files":
            if self._foreign_files():
                raise TargetNotEmpty(self._not_empty(database))
            write_json(marker, begun)
        async with self._open(database) as (source, target):
            if not marker.exists() and not await target.empty():
                raise TargetNotEmpty(self._not_empty(database))
            write_json(marker, begun)
            with patient():
                mirror = Mirror(source, target, self._hear)
                self._total = await mirror.total()
                await mirror.run()
                return await self._compared(source, target)

    async def _compared(self, source: Store, target: Store) -> Report:
        """Reads both sides anew."""
        theirs = {part.name: part async for part in parts_of(target)}
        report = Report(to=self._to)
        async for part in parts_of(source):
            other = theirs[part.name]
            far = [apart(v, other.vectors[k]) for k, v in part.vectors.items() if part == other]
            if part != other or max(far, default=0.0) > CLOSE:
                await target.drop()
                (self._library.home / ATTEMPT).unlink()
                raise MigrationFailed(
                    f"{part.name}: {part.rows:,} rows and {other.rows:,} are not the same."
                )
            report = replace(
                report,
                parts=(*report.parts, other),
                apart=max(report.apart, *far) if far else report.apart,
            )
        return report

    @asynccontextmanager
    async def _open(self, database: Database) -> AsyncIterator[tuple[Store, Store]]:
        """Where it is, and where it is to go."""
        try:
            async with AsyncExitStack() as stack:
                files = await stack.enter_async_context(self._store(None))
                tables = await stack.enter_async_context(self._store(database))
                both = (files, tables) if self._to == "postgres" else (tables, files)
                self._stores = both
                yield both
        finally:
            self._stores = ()
            forget_shared()

    def _store(self, database: Database | None) -> AbstractAsyncContextManager[Store]:
        known = self._library.manifest
        return open_storages(
            directory=self._library.cache,
            workspace=known.workspace,
            settings=self._settings,
            card=ModelCard(
                backend=known.backend,
                llm=known.llm,
                embed=known.embed,
                host="",
                dimension=known.dimension,
            ),
            database=database,
        )

    def _go_over(self) -> None:
        library = self._library
        if self._to == "files" and library.storage.is_dir():
            settle((*library.storage.iterdir(), library.storage, library.cache))
        library.move_to(self._to)

    async def _put_away(self, database: Database) -> str:
        """Files are kept aside, rows deleted: a copy that nothing names would never be found."""
        library, kept = self._library, ""
        if self._to == "postgres":
            if library.storage.is_dir():
                place = library.home / KEPT / time.strftime("%Y%m%d-%H%M%S")
                await to_thread.run_sync(_move, library.storage, place)
                kept = str(place)
        else:
            try:
                async with self._store(database) as store:
                    await store.holdings.drop(library.manifest.workspace)
            except DatabaseUnavailable as exc:  # the next `migrate` deletes them
                log.warning("What was copied is still in the database: %s", exc)
                return kept
            finally:
                forget_shared()
        (library.home / ATTEMPT).unlink()
        return kept

    def _hear(self, rows: int) -> None:
        self._done += rows

    def _foreign_files(self) -> bool:
        folder = self._library.storage
        marked = (self._library.home / ATTEMPT).exists()
        return not marked and folder.is_dir() and any(folder.iterdir())

    def _not_empty(self, database: Database) -> str:
        workspace = self._library.manifest.workspace
        if self._to == "files":
            return (
                f"There are files in {self._library.storage} already, which this program has not "
                "put there now. Move that folder away and run `migrate` again."
            )
        return (
            f"The database {database} has data of this library already (under {workspace}): "
            "another copy of this folder was moved there. Give another database, or delete the "
            "rows of that workspace in its lightrag_… tables, and run `migrate` again."
        )


def _move(folder: Path, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, place)
    except OSError as exc:
        raise LibraryError(f"{folder} could not be put away: {exc.strerror or exc}.") from exc
