"""What of a library is in PostgreSQL, written into a folder as the files of LightRAG."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from anyio import run_process, to_thread

from librarian.assembly import open_storages
from librarian.backup import gather
from librarian.copying import Mirror, Store, parts_of
from librarian.durable import write_json
from librarian.errors import LibrarianError, LibraryError, WrongStorage
from librarian.library import Library
from librarian.manifest import NAME, Manifest
from librarian.models.protocol import ModelCard
from librarian.opening import forget_shared
from librarian.portal import Portal
from librarian.settings import Settings
from librarian.whereabouts import database_of

_ROOT = Path(__file__).resolve().parent.parent


async def gathered(library: Library, settings: Settings, parts: Path) -> None:
    """Puts all of a library into a folder; call it while nothing of the graph is being written.

    What comes out of a database is read by another process: LightRAG keeps files that it has
    written in memory for as long as the process lives. It is none of `anyio.to_process`, which
    would run the main module there: under Streamlit that is the page that ran last.

    Raises:
        LibraryError: an original is missing, or the database gave something else than it has.
        DatabaseUnavailable: the server is away.
        OSError: there is no room.
    """
    await to_thread.run_sync(gather, library, parts)
    if database_of(library, settings) is not None:
        await _dumped_elsewhere(settings, library.manifest, parts)


async def _dumped_elsewhere(settings: Settings, manifest: Manifest, parts: Path) -> None:
    ended = await run_process(
        [sys.executable, "-m", __name__],
        input=pickle.dumps((settings, manifest, parts)),  # the password is in no list of processes
        stderr=None,
        check=False,
        cwd=_ROOT,
    )
    if ended.returncode == 0:
        return
    try:
        error = pickle.loads(ended.stdout)
    except (pickle.UnpicklingError, EOFError):
        error = LibraryError(f"The process that reads the database broke down: {ended.returncode}.")
    raise error


def dump(settings: Settings, manifest: Manifest, parts: Path) -> None:
    """Writes the files, and a library.json that says so; it blocks, on a loop of its own.

    Raises:
        LibraryError: what was written is not what the database has.
        DatabaseUnavailable: the server is away.
    """
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


def main() -> int:
    """Dumps what the standard input says; writes the error to the standard output, and 1."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library's print is no answer
    settings, manifest, parts = pickle.load(sys.stdin.buffer)
    try:
        dump(settings, manifest, parts)
    except (LibrarianError, OSError) as exc:
        with answers:
            pickle.dump(exc, answers)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
