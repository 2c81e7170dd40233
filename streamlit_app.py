"""The app: opens the library before the first browser comes, closes it when the server stops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from anyio import CancelScope, to_thread
from starlette.middleware import Middleware

from librarian.app import Librarian
from librarian.entrance import Entrance
from librarian.errors import LibrarianError
from librarian.registry import PROCESS
from librarian.settings import Settings, check_door, server_url
from librarian.web import routes


@asynccontextmanager
async def lifespan(_: object) -> AsyncIterator[None]:
    """The library is open for as long as the server runs."""
    try:
        # Streamlit's own flags win: they say where the server really listens.
        port, host = st.get_option("server.port"), st.get_option("server.address")
        host = host or "0.0.0.0"  # what Streamlit does where it has no address
        settings = Settings.from_env(port=port, host=host)
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
        yield
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(librarian.close)


app = st.App(
    Path(__file__).parent / "pages" / "navigation.py",
    lifespan=lifespan,
    routes=routes(PROCESS.get),
    middleware=[Middleware(Entrance, token=PROCESS.token)],
)
