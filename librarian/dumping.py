"""What of a library is in PostgreSQL, written into a folder as the files of LightRAG."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, to_process, to_thread

from librarian.assembly import open_storages
from librarian.backup import gather
from librarian.copying import Mirror, Store, parts_of
from librarian.durable import write_json
from librarian.errors import LibraryError, WrongStorage
from librarian.library import Library
from librarian.manifest import NAME, Manifest
from librarian.models.protocol import ModelCard
from librarian.opening import forget_shared
from librarian.portal import Portal
from librarian.settings import Settings
from librarian.whereabouts import database_of


async def gathered(library: Library, settings: Settings, parts: Path) -> None:
    """Puts all of a library into a folder; call it while nothing of the graph is being written.

    What comes out of a database is read by another process: LightRAG keeps files that it has
    written in memory for as long as the process lives.

    Raises:
        LibraryError: an original is missing, or the database gave something else than it has.
        DatabaseUnavailable: the server is away.
        OSError: there is no room.
    """
    await to_thread.run_sync(gather, library, parts)
    if database_of(library, settings) is not None:
        do = partial(dump, settings, library.manifest, parts)
        await to_process.run_sync(do, cancellable=True, limiter=CapacityLimiter(1))


def dump(settings: Settings, manifest: Manifest, parts: Path) -> None:
    """Writes the files, and a library.json that says so; it blocks, on a loop of its own.

    Raises:
        LibraryError: what was written is not what the database has.
        DatabaseUnavailable: the server is away.
    """
    # A worker of anyio has no main module where its parent's is no file; libraries look for one.
    sys.modules.setdefault("__main__", sys.modules[__name__])
    portal = Portal()
    try:
        portal.call(_dumped, settings, manifest, parts)
    finally:
        portal.close()
    write_json(parts / NAME, asdict(replace(manifest, storage="files")))


async def _dumped(settings: Settings, manifest: Manifest, parts: Path) -> None:
    open_ = partial(
        open_storages,
        directory=parts / "lightrag_cache",
        workspace=manifest.workspace,
        settings=settings,
        card=ModelCard(
            backend=manifest.backend,
            llm=manifest.llm,
            embed=manifest.embed,
            host="",
            dimension=manifest.dimension,
        ),
    )
    if settings.database is None:
        raise WrongStorage("LIBRARIAN_DATABASE_URL is not set, so there is no database.")
    try:
        async with AsyncExitStack() as stack:
            files = await stack.enter_async_context(open_())
            tables = await stack.enter_async_context(open_(database=settings.database))
            await Mirror(tables, files, lambda _: None).run()
            if await _listed(tables) != await _listed(files):
                raise LibraryError("What was read from the database is not what it has.")
    finally:
        forget_shared()


async def _listed(store: Store) -> list[object]:
    return [part async for part in parts_of(store)]
