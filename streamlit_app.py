"""The app: opens the library before the first browser comes, closes it when the server stops."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module, resources
from pathlib import Path

import streamlit as st
from anyio import CancelScope, create_task_group, to_thread
from starlette.middleware import Middleware

from librarian.app import Librarian
from librarian.entrance import Entrance
from librarian.errors import LibrarianError
from librarian.homes import Homes
from librarian.registry import PROCESS
from librarian.settings import Settings, check_door, server_url
from librarian.shell import shell_routes
from librarian.web import routes

log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_: object) -> AsyncIterator[None]:
    """The library is open for as long as the server runs."""
    try:
        # Streamlit's own flags win: they say where the server really listens.
        port, host = st.get_option("server.port"), st.get_option("server.address")
        host = host or "0.0.0.0"  # what Streamlit does where it has no address
        settings = Settings.from_env(port=port, host=host)
        PROCESS.settings = settings
        check_door(settings)
        PROCESS.lock(settings.api_token)
        address = server_url(settings.host, settings.port)
        librarian = await to_thread.run_sync(lambda: Librarian.open(settings, address=address))
    except LibrarianError as exc:
        PROCESS.hold(exc)  # the pages say so
        yield
        return
    PROCESS.hold(librarian)
    try:
        await to_thread.run_sync(Homes(settings.homes_file).opened, settings.home)
    except LibrarianError as exc:
        log.warning("The list of libraries could not be written: %s", exc)
    try:
        async with create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, load_tables)
            yield
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(PROCESS.close)


def load_tables() -> None:
    """Loads what the first page, and its first table, would wait a second for."""
    for name in ("PIL.Image", "pandas", "pyarrow.compute"):
        import_module(name)


PAGES = Path(__file__).parent / "pages"
INDEX = resources.files("streamlit") / "static" / "index.html"
app = st.App(
    PAGES / "navigation.py",
    lifespan=lifespan,
    routes=[
        *routes(PROCESS.get),
        *shell_routes(
            INDEX.read_text(encoding="utf-8"), sorted(path.stem for path in PAGES.glob("*.py"))
        ),
    ],
    middleware=[Middleware(Entrance, token=PROCESS.token)],
)
