"""The graph as a picture: what to show of it, how to find an entity, and the page that draws it."""

from __future__ import annotations

import heapq
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from hashlib import blake2s
from html import escape
from importlib import resources
from typing import Any, Literal

from librarian.communities import communities
from librarian.knowledge import Entity, Graph
from librarian.layout import degrees, radius

ColourBy = Literal["type", "community"]
Neighbours = Mapping[str, Sequence[str]]

CAPTION = 28  # characters under a node; its tooltip has the whole name
WORDS = 300  # characters of an entity's description that the page holds
EDGE_WORDS = 160
LEGEND = 20  # entries; smaller groups share a last one
HEADING = "Knowledge graph"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)

# After the colour-blind-safe palettes of Okabe and Ito and of Tol; for white and for near-black.
PALETTE = (
    "#4477aa", "#ee6677", "#2b9348", "#d9b92f", "#5bbfe6", "#b0508f", "#e8912d", "#3fb0a0",
    "#8072d1", "#c9541a", "#8f9434", "#b98aa5",
)  # fmt: skip
GREY = "#99a1ac"
KNOWN = (
    "person", "organization", "location", "event", "concept", "creature", "artifact", "method",
    "content", "category", "naturalobject", "data",
)  # fmt: skip
ALIASES = {"geo": "location", "organisation": "organization", "product": "artifact"}
UNTYPED = frozenset({"", "unknown", "other", "none"})

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\s]+")
_MARKS = re.compile(r"[\W_]")
_OUTSIDE = re.compile(
    r"<link\b[^>]*\bhref=\"https?:[^>]*>|<script\b[^>]*\bsrc=\"https?:[^>]*>\s*</script>"
    r"|<center>\s*<h1>\s*</h1>\s*</center>|<!--.*?-->",
    re.DOTALL,
)


def part(
    graph: Graph,
    *,
    centre: str | None,
    depth: int,
    limit: int,
    types: frozenset[str] = frozenset(),
    documents: frozenset[str] = frozenset(),
) -> Graph:
    """The best-connected core, or what is around a centre; an unknown centre has nothing around."""
    entities = {
        entity.name: entity
        for entity in graph.entities
        if entity.name == centre
        or (not types or entity.type in types)
        and (not documents or not documents.isdisjoint(entity.documents))
    }
    near: dict[str, list[str]] = {name: [] for name in entities}
    for relation in graph.relations:
        if relation.source in near and relation.target in near:
            if not documents or not documents.isdisjoint(relation.documents):
                near[relation.source].append(relation.target)
                near[relation.target].append(relation.source)
    kept = _core(near, limit) if centre is None else _around(near, centre, depth, limit)
    relations = tuple(
        relation
        for relation in graph.relations
        if relation.source in kept and relation.target in kept
        if not documents or not documents.isdisjoint(relation.documents)
    )
    asked = repr((graph.version, centre, depth, limit, sorted(types), sorted(documents)))
    return Graph(
        entities=tuple(entities[name] for name in entities if name in kept),
        relations=relations,
        version=blake2s(asked.encode(errors="backslashreplace"), digest_size=12).hexdigest(),
    )


def _core(near: Neighbours, limit: int) -> set[str]:
    """Grows from the best-connected entity of the largest component, always to the best next."""
    kept: set[str] = set()
    for component in sorted(_components(near), key=len, reverse=True):
        first = max(component, key=lambda name: len(near[name]))
        found, waiting = {first}, [(0, 0, first)]
        while waiting and len(kept) < limit:
            _, _, name = heapq.heappop(waiting)
            kept.add(name)
            for other in near[name]:
                if other not in found:
                    found.add(other)
                    heapq.heappush(waiting, (-len(near[other]), len(found), other))
        if len(kept) >= limit:
            break
    return kept


def _components(near: Neighbours) -> list[list[str]]:
    found: set[str] = set()
    components = []
    for start in near:
        if start in found:
            continue
        found.add(start)
        component = [start]
        for name in component:  # grows while it is read
            for other in near[name]:
                if other not in found:
                    found.add(other)
                    component.append(other)
        components.append(component)
    return components


def _around(near: Neighbours, centre: str, depth: int, limit: int) -> set[str]:
    """Breadth first, the best-connected of a step first; all of it hangs together."""
    kept = {centre} if centre in near else set()
    step = list(kept)
    for _ in range(depth):
        reached = {other for name in step for other in near[name]} - kept
        step = sorted(reached, key=lambda name: (-len(near[name]), name))[: limit - len(kept)]
        kept.update(step)
    return kept


class Names:
    """Finds entities by parts of their names; made once for a version of a graph."""

    def __init__(self, graph: Graph) -> None:
        count = degrees(graph)
        ranked = sorted(graph.entities, key=lambda entity: (-count[entity.name], entity.name))
        self._names = [entity.name for entity in ranked]
        self._folded = [_folded(name) for name in self._names]
        self._spaced = [_MARKS.sub(" ", name) for name in self._folded]

    def search(self, text: str, limit: int = 20) -> tuple[str, ...]:
        """Equal names first, then beginnings, beginnings of words, parts; best connected first."""
        wanted = _folded(text)
        words = wanted.split()
        if not words:
            return tuple(self._names[:limit])
        found = (
            (_rank(name, self._spaced[place], wanted), place)
            for place, name in enumerate(self._folded)
            if words[0] in name and all(word in name for word in words)
        )
        return tuple(self._names[place] for _, place in heapq.nsmallest(limit, found))


class _Same:
    """A graph as a key of a cache; hashing its content would take longer than the search."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.graph is self.graph

    def __hash__(self) -> int:
        return id(self.graph)


@lru_cache(maxsize=1)
def _names(key: _Same) -> Names:
    return Names(key.graph)


def search(graph: Graph, text: str, limit: int = 20) -> tuple[str, ...]:
    """Names of entities like a text, best first; quick from the second time on the same graph."""
    return _names(_Same(graph)).search(text, limit)


def _folded(text: str) -> str:
    return " ".join(text.casefold().replace("ё", "е").split())


def _rank(name: str, spaced: str, wanted: str) -> int:
    if name.startswith(wanted):
        return int(name != wanted)
    if f" {wanted}" in spaced:
        return 2
    return 3 if wanted in name else 4


def html(
    graph: Graph,
    positions: Mapping[str, tuple[float, float]],
    *,
    title: str,
    colour_by: ColourBy = "type",
    dark: bool = False,
    focus: str | None = None,
) -> str:
    """One page that holds all it needs and asks the network for nothing."""
    heading = _line(title, 120) or HEADING
    if not graph.entities:
        return _dressed(
            "<html><head></head><body></body></html>", heading, _static("empty.html"), dark
        )
    ids = {entity.name: number for number, entity in enumerate(graph.entities)}
    edges = _edges(graph, ids)
    group, legend = _groups(graph, colour_by)
    colours = {str(number): colour for number, (_, colour, _) in enumerate(legend)}
    count = Counter(edge["from"] for edge in edges) + Counter(edge["to"] for edge in edges)
    nodes = _nodes(graph, positions, group, count)
    config = {"colours": colours, "focus": None if focus is None else ids.get(focus)}
    counts = f"{_counted(len(nodes), 'entity', 'entities')} · {_counted(len(edges), 'relation')}"
    body = (
        f'<div id="head" class="panel"><b>{escape(heading)}</b><span>{counts}</span></div>'
        f"{_static('tools.html')}{_legend(legend)}"
        f'<div id="tip" class="panel" hidden></div><aside id="card" class="panel" hidden></aside>'
        f'<script id="config-data" type="application/json">{_json(config)}</script>'
        f"<script>{_static('graph.js')}</script>"
    )
    return _dressed(_drawn(nodes, edges, colours, dark), heading, body, dark)


def _groups(graph: Graph, by: ColourBy) -> tuple[dict[str, int], list[tuple[str, str, int]]]:
    """The group of each entity, and each group's label, colour and size, largest first."""
    if by == "community":
        keys: Mapping[str, Hashable] = communities(graph)
    else:
        keys = {entity.name: _type(entity) for entity in graph.entities}
    sizes = Counter(keys.values()).most_common()
    least = 3 if by == "community" else 1
    own = {key: at for at, (key, size) in enumerate(sizes[:LEGEND]) if size >= least}
    group = {name: own.get(key, len(own)) for name, key in keys.items()}
    if by == "community":
        labels = _hubs(graph, group)
        colours = [*PALETTE, *[GREY] * len(own)]
    else:
        labels = {number: str(key) for key, number in own.items()}
        colours = [_colour(labels[number]) for number in range(len(own))]
    legend = [(labels[number], colours[number], sizes[number][1]) for number in range(len(own))]
    if rest := sum(size for _, size in sizes[len(own) :]):
        legend.append(("smaller groups", GREY, rest))
    return group, legend


def _hubs(graph: Graph, group: Mapping[str, int]) -> dict[int, str]:
    """Communities have no names; each is called after its best-connected entity."""
    count = degrees(graph)
    best = sorted(graph.entities, key=lambda entity: count[entity.name])
    return {group[entity.name]: _line(entity.name, CAPTION) for entity in best}


def _type(entity: Entity) -> str:
    kind = _line(entity.type, CAPTION).casefold()
    return "unknown" if kind in UNTYPED else kind


def _colour(kind: str) -> str:
    """The same for a type in every view."""
    if kind == "unknown":
        return GREY
    kind = ALIASES.get(kind, kind)
    if kind in KNOWN:
        return PALETTE[KNOWN.index(kind)]
    return PALETTE[zlib.crc32(kind.encode(errors="replace")) % len(PALETTE)]


def _nodes(
    graph: Graph,
    positions: Mapping[str, tuple[float, float]],
    group: Mapping[str, int],
    count: Mapping[int, int],
) -> list[dict[str, Any]]:
    nodes = []
    for number, entity in enumerate(graph.entities):
        x, y = positions[entity.name]
        nodes.append(
            {
                "id": number,
                "x": x,
                "y": y,
                "size": round(radius(count[number]), 1),
                "group": str(group[entity.name]),
                "name": _whole(entity.name),
                "caption": _line(entity.name, CAPTION) or "(no name)",
                "kind": _type(entity),
                "words": _cut(_whole(entity.description).strip(), WORDS),
            }
        )
    return nodes


def _edges(graph: Graph, ids: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "from": ids[relation.source],
            "to": ids[relation.target],
            "width": round(min(0.7 + 0.6 * math.sqrt(max(relation.weight, 0.0)), 5.0), 1),
            "words": _cut(_whole(relation.description).strip(), EDGE_WORDS),
        }
        for relation in graph.relations
        if relation.source != relation.target
    ]


def _drawn(
    nodes: list[dict[str, Any]], edges: list[dict[str, Any]], colours: dict[str, str], dark: bool
) -> str:
    """The page as pyvis makes it."""
    from pyvis.network import Network  # type: ignore[import-untyped]  # imports IPython: 0.5 s

    network = Network(height="100%", width="100%", directed=True, cdn_resources="in_line")
    # add_node and add_edge look through all nodes each time. Texts are not in `title`: pyvis shows
    # titles as HTML as soon as one of them has the word href in it.
    network.nodes, network.edges = nodes, edges
    network.templateEnv.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    back, line = (
        ("#0f141b", "rgba(150,170,200,0.24)") if dark else ("#ffffff", "rgba(80,95,120,0.22)")
    )
    network.options = {
        "physics": {"enabled": False},
        "layout": {"improvedLayout": False},
        "nodes": {"shape": "dot", "borderWidth": 1.5, "borderWidthSelected": 1.5, "chosen": False},
        "edges": {"smooth": False, "color": line, "chosen": False, "hoverWidth": 0},
        "groups": {
            key: {"color": {"background": colour, "border": back}}
            for key, colour in colours.items()
        },
        "interaction": {
            "hover": True,
            "hoverConnectedEdges": False,
            "selectConnectedEdges": False,
            "hideEdgesOnZoom": len(edges) > 4000,
            "hideEdgesOnDrag": len(edges) > 4000,
        },
    }
    return str(network.generate_html())


def _dressed(page: str, title: str, body: str, dark: bool) -> str:
    """Takes out what pyvis would load from elsewhere and its look; puts ours in."""
    page = _OUTSIDE.sub("", page)
    head = (
        f'<!doctype html>\n<html lang="en" class="{"dark" if dark else "light"}"><head>'
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title>"
    )
    before, _, inside = page.partition("<head>")
    inside = inside.replace('<meta charset="utf-8">', "", 1)
    inside, _, end = inside.rpartition("</body>")
    styled, _, drawn = inside.rpartition("</head>")
    style = f"<style>{_static('graph.css')}</style>"
    return f"{head}{styled}{style}</head>{drawn}{body}</body>{end}"


def _legend(legend: Iterable[tuple[str, str, int]]) -> str:
    entries = (
        f'<button data-group="{number}" aria-pressed="true" title="{escape(label)}">'
        f'<i style="background:{colour}"></i><span>{escape(label)}</span><em>{size}</em></button>'
        for number, (label, colour, size) in enumerate(legend)
    )
    return f'<nav id="legend" class="panel" aria-label="Colours">{"".join(entries)}</nav>'


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}".replace(",", "\u202f")


def _line(text: str, limit: int) -> str:
    """A text on one line, without characters that change what is around it."""
    return _cut(_CONTROL.sub(" ", _whole(text)).strip(), limit)


def _whole(text: str) -> str:
    """A text that UTF-8 can hold: half of a character pair becomes a question mark."""
    return text.encode(errors="replace").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _json(value: object) -> str:
    return json.dumps(value).replace("<", "\\u003c")


@cache
def _static(name: str) -> str:
    return (resources.files("librarian") / "static" / name).read_text(encoding="utf-8")
