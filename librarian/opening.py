"""LightRAG imported and opened, without a trace in this process's environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from anyio import to_thread

from librarian import collector
from librarian.database import Database
from librarian.errors import EngineError
from librarian.facts import examine
from librarian.holdings import Files, Holdings
from librarian.postgres import CLASSES, Waiting, away, client, environment, let_go
from librarian.saving import Saving
from librarian.tables import Tables
from librarian.translation import translated
from librarian.vector_index import VectorIndex

if TYPE_CHECKING:
    from lightrag import LightRAG


async def opened(
    build: Callable[..., LightRAG], database: Database | None, dimension: int
) -> tuple[LightRAG, Holdings]:
    """LightRAG with its storages open, and what tells of them."""
    if database is None:
        with collector.paused(), translated():
            rag = await to_thread.run_sync(build)
            await rag.initialize_storages()
            files = Files(rag, await to_thread.run_sync(Saving, rag))
        collector.keep()
        return rag, files
    await examine(database)
    others = client()
    try:
        with _environment(environment(database)), translated():
            rag = await to_thread.run_sync(partial(build, CLASSES))
            await rag.initialize_storages()
    except BaseException as exc:
        if (left := client()) is not others:
            let_go(left)
        cause = exc.__cause__ if isinstance(exc, EngineError) else exc
        if cause is not None and (reason := away(cause, database)):
            raise reason from exc
        raise
    return rag, Tables(rag, Waiting(rag.doc_status.db, database), VectorIndex(database, dimension))


def forget_shared() -> None:
    """Ends what LightRAG's instances of this process have in common."""
    from lightrag.kg.shared_storage import finalize_share_data

    finalize_share_data()


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """What LightRAG reads of the environment while it is opened; afterwards all is as it was."""
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def import_lightrag() -> None:
    """Imports LightRAG without letting a stray `.env` change this process's environment."""
    with _environment({}):
        import lightrag
        import lightrag.kg.shared_storage
        import lightrag.utils  # noqa: F401
    for handler in list(logging.getLogger("lightrag").handlers):
        if type(handler).__name__ == "SafeStreamHandler":
            logging.getLogger("lightrag").removeHandler(handler)
