"""Pictures of the graph on request, each computed once for a version of the graph."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from librarian.communities import communities, overview
from librarian.graph import HEADING, ColourBy, html
from librarian.knowledge import Graph
from librarian.names import search
from librarian.parts import part
from librarian.positions import Positions

KEPT = 24  # pages of about 1 MB each
MOST = 200  # values of one kind in a request
LONGEST = 2000  # characters of a value; LightRAG's names are shorter
LIMITS = {"depth": (1, 6), "limit": (10, 5000), "least_degree": (0, 10_000)}
LISTS = {
    "types": "type", "documents": "document", "tags": "tag", "names": "name", "hidden": "hide",
    "expanded": "expand", "opened": "open",
}  # fmt: skip
COLOURS: dict[str, ColourBy] = {"type": "type", "community": "community"}  #: by their words
SMALL_GROUPS = "~"  #: stands for the empty key in an address, where empty values get lost


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRequest:
    """What to draw. As an address it is the same view on every machine."""

    centre: str | None = None
    depth: int = 2
    limit: int = 300
    types: frozenset[str] = frozenset()
    documents: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()  #: of documents; in the filter like their names
    names: tuple[str, ...] = ()  #: draw exactly these, and the relations between them
    ends: tuple[str, str] | None = None  #: draw a shortest path between two
    hidden: frozenset[str] = frozenset()
    expanded: frozenset[str] = frozenset()  #: with their neighbours
    opened: frozenset[str] = frozenset()  #: communities of the map
    least_degree: int = 0
    least_weight: float = 0.0
    core: bool = False  #: the best-connected entities instead of the map of a large graph
    colour_by: str = ""  #: `type` or `community`; empty is what suits the picture
    dark: bool = False

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]]) -> GraphRequest:
        """A view by its address; what makes no sense there is passed over."""
        found: dict[str, list[str]] = {}
        for key, value in pairs:
            if value and len(value) <= LONGEST and len(found.setdefault(key, [])) < MOST:
                found[key].append(value)
        one = {key: values[0] for key, values in found.items() if values}
        listed = {
            field: [_key(value) if field == "opened" else value for value in found.get(key, ())]
            for field, key in LISTS.items()
        }
        names = tuple(dict.fromkeys(listed.pop("names")))
        start, end = one.get("from"), one.get("to")
        return cls(
            centre=one.get("centre") or one.get("find"),
            names=names,
            ends=(start, end) if start and end else None,
            **{field: frozenset(values) for field, values in listed.items()},
            depth=_number(one.get("depth"), cls_default("depth"), *LIMITS["depth"]),
            limit=_number(one.get("limit"), cls_default("limit"), *LIMITS["limit"]),
            least_degree=_number(one.get("least_degree"), 0, *LIMITS["least_degree"]),
            least_weight=_weight(one.get("least_weight")),
            core=one.get("core") == "1",
            colour_by=colour if (colour := one.get("colour", "")) in COLOURS else "",
            dark=one.get("dark") == "1",
        )

    def address(self) -> dict[str, list[str]]:
        """The parameters of its address, without those that say nothing new."""
        found: dict[str, list[str]] = {}
        for field, key in LISTS.items():
            values = getattr(self, field)
            found[key] = [value or SMALL_GROUPS for value in sorted(values)]
        found["name"] = list(self.names)
        if self.centre:
            found["centre"] = [self.centre]
        if self.ends:
            found["from"], found["to"] = [self.ends[0]], [self.ends[1]]
        for field in ("depth", "limit", "least_degree", "least_weight"):
            if (value := getattr(self, field)) != cls_default(field):
                found[field] = [f"{value:g}"]
        for field in ("core", "dark"):
            if getattr(self, field):
                found[field] = ["1"]
        if self.colour_by:
            found["colour"] = [self.colour_by]
        return {key: values for key, values in found.items() if values}

    def among(self, tagged: Callable[[frozenset[str]], frozenset[str]]) -> GraphRequest:
        """The same view with names of documents for its tags; `tagged` knows whose they are."""
        if not self.tags:
            return self
        nobody = frozenset({""})  # no document at all would be every document
        documents = self.documents | (tagged(self.tags) or nobody)
        return replace(self, documents=documents, tags=frozenset())

    @property
    def whole(self) -> bool:
        """Whether all that the filters leave is to be drawn, as a map if it is too much."""
        return not (self.names or self.ends or self.centre or self.core)


class GraphViews:
    """Draws and keeps. Methods block for up to seconds; any thread but the loop's may call."""

    def __init__(self, pictures: Path) -> None:
        self._guard = threading.Lock()
        self._pages: OrderedDict[tuple[str, GraphRequest], str] = OrderedDict()
        self._positions = Positions(pictures)
        self._groups: tuple[str, Mapping[str, int]] = ("", {})

    def page(self, graph: Graph, request: GraphRequest) -> str:
        """The HTML page of a view."""
        key = (graph.version, request)
        with self._guard:  # a second tab waits for the first one's layout and has it too
            if key not in self._pages:
                self._pages[key] = self._draw(graph, request)
                while len(self._pages) > KEPT:
                    self._pages.popitem(last=False)
            self._pages.move_to_end(key)
            return self._pages[key]

    def search(self, graph: Graph, text: str, limit: int) -> tuple[str, ...]:
        """Names of entities like a text, best first."""
        return search(graph, text, limit)

    def _draw(self, graph: Graph, request: GraphRequest) -> str:
        chosen = shown_part(graph, request)
        large = request.whole and len(chosen.entities) > request.limit
        # What is drawn by names is drawn whole; only the map folds entities together.
        shown = overview(
            chosen,
            limit=request.limit if large else max(1, len(chosen.entities)),
            opened=request.opened,
            groups=self._communities(chosen) if large else None,
        )
        places = self._positions.of(
            shown.graph(chosen.version), radii=shown.radii(), inside=shown.inside()
        )
        return html(
            shown,
            places,
            title=request.centre or HEADING,
            colour_by=COLOURS.get(request.colour_by),
            dark=request.dark,
            focus=request.centre,
            indexed=bool(graph.entities),
        )

    def _communities(self, graph: Graph) -> Mapping[str, int]:
        if self._groups[0] != graph.version:
            self._groups = (graph.version, communities(graph))
        return self._groups[1]


def shown_part(graph: Graph, request: GraphRequest) -> Graph:
    """The entities and relations of a view; those of a map are all that the filters leave."""
    return part(
        graph,
        centre=request.centre,
        depth=request.depth,
        limit=max(1, len(graph.entities)) if request.whole else request.limit,
        types=request.types,
        documents=request.documents,
        names=request.names,
        ends=request.ends,
        hidden=request.hidden,
        expanded=request.expanded,
        least_degree=request.least_degree,
        least_weight=request.least_weight,
    )


def without_choices(request: GraphRequest) -> GraphRequest:
    """The same look at the whole graph."""
    return replace(GraphRequest(), colour_by=request.colour_by, dark=request.dark)


def cls_default(field: str) -> int:
    """What a request has where its address says nothing."""
    return int(next(one.default for one in fields(GraphRequest) if one.name == field))  # type: ignore[arg-type]


def _key(value: str) -> str:
    return "" if value == SMALL_GROUPS else value


def _weight(text: str | None) -> float:
    simple = text is not None and re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text)
    return float(text) if text and simple else 0.0


def _number(text: str | None, default: int, low: int, high: int) -> int:
    return max(low, min(high, int(text))) if text and text.isdecimal() else default
