"""All vectors of a library made anew, with the embedding model that is configured now."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import anyio
from anyio import to_thread

from librarian.assembly import open_engine
from librarian.calls import Calls
from librarian.engine import Engine
from librarian.errors import DatabaseUnavailable, LibraryBusy, LibraryError
from librarian.holdings import sweep
from librarian.library import Library
from librarian.logbook import Logbook
from librarian.models.choice import choose
from librarian.models.protocol import Model
from librarian.portal import Portal
from librarian.postgres import patient
from librarian.settings import Settings
from librarian.whereabouts import database_of

log = logging.getLogger(__name__)

POLL_S = 0.25


class LibraryInUse(LibraryError):
    """Vectors are made anew only while nothing else works with the library. Close its dashboard,
    or wait until the command that has it has ended, and run `re-embed` again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is."""

    done: int = 0  #: texts
    total: int = 0  #: 0 while it is not known
    waiting: str = ""  #: what everything waits for, and what to do about it


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was made."""

    embed: str
    dimension: int
    before: str  #: the embedding model that the library had
    chunks: int = 0
    entities: int = 0
    relations: int = 0
    elapsed_s: float = 0.0
    notice: str = ""
    warnings: tuple[str, ...] = ()


def re_embed(
    settings: Settings, told: Callable[[Progress], None], model: Model | None = None
) -> Report:
    """Makes the vectors of a home anew; `told` hears now and then how far it is.

    Raises:
        LibraryInUse: a dashboard or another command has the home.
        LibrarianError: it could not be done; the library is as it was.
    """
    with ExitStack() as exits:
        try:
            library = Library.open(settings.home)
        except LibraryBusy as exc:
            raise LibraryInUse(exc.detail) from exc
        exits.callback(library.close)
        logbook = Logbook(library.log)
        exits.callback(logbook.close)
        portal = Portal()
        exits.callback(portal.close)
        work = Reembedding(library, settings, model)
        future = portal.start(work.run)
        exits.callback(future.cancel)
        while not future.done():
            told(work.progress)
            time.sleep(POLL_S)
        return future.result()


class Reembedding:
    """New vectors beside the old ones, and then in their place.

    They are made in a copy of LightRAG's folder. Until the one write of library.json that names
    that copy, the library is what it was, whenever the process ends.
    """

    def __init__(self, library: Library, settings: Settings, model: Model | None = None) -> None:
        self._library = library
        self._settings = settings
        self._given_model = model
        self._calls: Calls | None = None
        self._engine: Engine | None = None
        self._total = 0

    @property
    def progress(self) -> Progress:
        """How far it is now; never waits."""
        calls, total = self._calls, self._total
        if calls is None:
            return Progress()
        waiting = calls.waiting_for
        if self._engine is not None and waiting is None:
            waiting = self._engine.holdings.waiting_for
        done = min(calls.account.texts_embedded, total)
        return Progress(done=done, total=total, waiting=str(waiting) if waiting else "")

    async def run(self) -> Report:
        """Makes the vectors and goes over to them.

        Raises:
            LibrarianError: it could not be done; the library is as it was.
        """
        model, notice = await self._model()
        try:
            before, begun_s = self._library.manifest.embed, time.monotonic()
            card = model.card
            report = Report(embed=card.embed, dimension=card.dimension, before=before)
            if self._library.catalogue.any_indexed():
                report = await self._made(model, report)
            else:  # there is nothing yet, and the choice is free
                manifest, chunk_tokens = self._library.manifest, self._settings.chunk_tokens
                self._library.pin(card, chunk_tokens=chunk_tokens, versions=manifest.versions)
            return replace(report, notice=notice, elapsed_s=time.monotonic() - begun_s)
        finally:
            with anyio.CancelScope(shield=True):
                await model.aclose()

    async def _model(self) -> tuple[Model, str]:
        if self._given_model is not None:
            return self._given_model, ""
        settings = self._settings
        backend = self._library.manifest.backend
        if settings.backend == "auto" and backend not in ("", "offline"):
            # A server that is only not running must not turn a library into an offline one.
            settings = replace(settings, backend=backend)
        choice = await choose(settings)
        return choice.model, choice.notice

    async def _sweep(self, engine: Engine) -> None:
        try:
            await sweep(self._library, engine.holdings)
        except DatabaseUnavailable as exc:  # the next opening does it
            log.warning("%s", exc)

    async def _made(self, model: Model, report: Report) -> Report:
        library, settings = self._library, self._settings
        try:
            workspace = await to_thread.run_sync(library.copy_storage)
            self._calls = calls = Calls(
                model, limit=settings.llm_max_async, batch=settings.embed_batch
            )
            async with open_engine(
                directory=library.cache,
                workspace=workspace,
                settings=settings,
                chunk_tokens=library.manifest.chunk_tokens,
                calls=calls,
                heard=lambda _: None,
                database=database_of(library, settings),
            ) as engine:
                try:
                    with patient():
                        await engine.holdings.adopt(library.manifest.workspace)
                        rows = await engine.vector_rows()
                        self._total = rows.total
                        self._engine = engine
                        await engine.embed_anew(rows)
                except BaseException:
                    with anyio.CancelScope(shield=True):
                        await self._sweep(engine)
                    raise
            await to_thread.run_sync(library.take_storage, workspace, model.card)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(library.drop_unused)
        return replace(
            report,
            chunks=len(rows.chunks),
            entities=len(rows.entities),
            relations=len(rows.relations),
            warnings=tuple(calls.remarks),
        )
