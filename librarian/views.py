"""Pictures of the graph on request, each computed once for a version of the graph."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from librarian.graph import html, part, search
from librarian.knowledge import Graph
from librarian.layout import layout

KEPT = 24  # pages of about 1 MB each


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRequest:
    """What to draw."""

    centre: str | None = None
    depth: int = 2
    limit: int = 300
    types: frozenset[str] = frozenset()
    documents: frozenset[str] = frozenset()
    colour_by: str = "type"
    dark: bool = False


class GraphViews:
    """Draws and keeps. Methods block for up to seconds; any thread but the loop's may call."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._pages: OrderedDict[tuple[str, GraphRequest], str] = OrderedDict()

    def page(self, graph: Graph, request: GraphRequest) -> str:
        """The HTML page of a view."""
        key = (graph.version, request)
        with self._guard:  # a second tab waits for the first one's layout and has it too
            if key not in self._pages:
                self._pages[key] = _draw(graph, request)
                while len(self._pages) > KEPT:
                    self._pages.popitem(last=False)
            self._pages.move_to_end(key)
            return self._pages[key]

    def search(self, graph: Graph, text: str, limit: int) -> tuple[str, ...]:
        """Names of entities like a text, best first."""
        return search(graph, text, limit)


def _draw(graph: Graph, request: GraphRequest) -> str:
    shown = part(
        graph,
        centre=request.centre,
        depth=request.depth,
        limit=request.limit,
        types=request.types,
        documents=request.documents,
    )
    return html(
        shown,
        layout(shown),
        title=request.centre or "Knowledge graph",
        colour_by="community" if request.colour_by == "community" else "type",
        dark=request.dark,
        focus=request.centre,
    )
