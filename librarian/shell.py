"""The empty page that Streamlit's scripts make into any of ours, told where its server is."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

#: At `/shelf` Streamlit's scripts ask below that address for the server first, wait a moment, and
#: ask at the root; of this they know where it is. Behind a proxy the root may be a folder.
WHERE = "window.__streamlit = {BACKEND_BASE_URL: new URL('./', window.location.href).href}"


def shell(index: str) -> str:
    """Streamlit's own `index.html` with WHERE before its first script."""
    return index.replace("<script", f"<script>{WHERE}</script>\n    <script", 1)


def shell_routes(index: str, pages: Iterable[str]) -> list[Route]:
    """The root, and an address of one part for each of `pages`; all others are Streamlit's own."""
    page = shell(index)

    async def answer(_: Request) -> HTMLResponse:
        return HTMLResponse(page, headers={"Cache-Control": "no-cache"})

    return [Route(f"/{path}", answer) for path in ("", *pages)]
