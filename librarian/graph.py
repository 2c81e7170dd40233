"""The page that draws a graph, or the map of one, in a frame of its own."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from importlib import resources
from typing import Any, Literal

from librarian.communities import Edge, Node, Overview, communities
from librarian.knowledge import Graph

ColourBy = Literal["type", "community"]

CAPTION = 28  # characters under a node; its tooltip has the whole name
WORDS = 300  # characters of an entity's description that the page holds
EDGE_WORDS = 160
LEGEND = 20  # entries; smaller groups share a last one
HEADING = "Knowledge graph"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
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
_OUTSIDE = re.compile(
    r"<link\b[^>]*\bhref=\"https?:[^>]*>|<script\b[^>]*\bsrc=\"https?:[^>]*>\s*</script>"
    r"|<center>\s*<h1>\s*</h1>\s*</center>|<!--.*?-->",
    re.DOTALL,
)


def html(
    shown: Graph | Overview,
    positions: Mapping[str, tuple[float, float]],
    *,
    title: str,
    colour_by: ColourBy | None = None,
    dark: bool = False,
    focus: str | None = None,
    indexed: bool = False,
) -> str:
    """One page that holds all it needs and asks the network for nothing.

    `positions` are by names of entities, of an Overview by keys of nodes; `focus` is an entity.
    Unless it is said what to colour by, a map shows its communities, and entities their types.
    An `indexed` library has entities, also where none of them are shown.
    """
    heading = _line(title, 120) or HEADING
    drawn = plain(shown) if isinstance(shown, Graph) else shown
    if not drawn.nodes:
        said = _static("none.html" if indexed else "empty.html")
        return _dressed("<html><head></head><body></body></html>", heading, said, dark)
    ids = {node.key: number for number, node in enumerate(drawn.nodes)}
    edges = _edges(drawn, ids)
    group, legend = _groups(drawn, colour_by or ("community" if drawn.collapsed else "type"))
    colours = {str(number): colour for number, (_, colour, _) in enumerate(legend)}
    nodes = _nodes(drawn, positions, group)
    marked = [ids[node.key] for node in drawn.nodes if node.entity and node.entity.name == focus]
    config = {"colours": colours, "focus": marked[0] if marked else None}
    body = (
        f'<div id="head" class="panel"><b>{escape(heading)}</b><span>{_counts(drawn)}</span></div>'
        f"{_static('tools.html')}{_legend(legend)}"
        f'<div id="tip" class="panel" hidden></div><aside id="card" class="panel" hidden></aside>'
        f'<script id="config-data" type="application/json">{_json(config)}</script>'
        f"<script>{_static('graph.js')}</script>"
    )
    return _dressed(_drawn(nodes, edges, colours, dark), heading, body, dark)


def plain(graph: Graph) -> Overview:
    """A graph as a map on which every entity stands for itself, under its name."""
    links = [one for one in graph.relations if one.source != one.target]
    count = Counter(end for one in links for end in (one.source, one.target))
    return Overview(
        nodes=tuple(
            Node(
                key=entity.name,
                kind="entity",
                label=entity.name,
                community="",
                names=(entity.name,),
                degree=count[entity.name],
                entity=entity,
            )
            for entity in graph.entities
        ),
        edges=tuple(
            Edge(source=one.source, target=one.target, weight=one.weight, count=1, relation=one)
            for one in links
        ),
        collapsed=False,
        opened=frozenset(),
    )


def _counts(drawn: Overview) -> str:
    """How much is drawn, and how much it stands for."""
    entities = sum(node.members for node in drawn.nodes)
    relations = sum(edge.count for edge in drawn.edges) + sum(node.inside for node in drawn.nodes)
    counts = f"{_counted(entities, 'entity', 'entities')} · {_counted(relations, 'relation')}"
    return f"{counts} · click a circle to open it" if drawn.collapsed else counts


def _groups(drawn: Overview, by: ColourBy) -> tuple[dict[str, int], list[tuple[str, str, int]]]:
    """The group of each node by key, and each group's label, colour and size, largest first."""
    by_community = by == "community"
    keys = _communities(drawn) if by_community else _types(drawn)
    counted: Counter[str] = Counter()
    for node in drawn.nodes:
        counted[keys[node.key]] += node.members
    sizes = counted.most_common()
    least = 3 if by_community else 1
    own = {key: at for at, (key, size) in enumerate(sizes[:LEGEND]) if key and size >= least}
    own = {key: at for at, key in enumerate(own)}
    group = {key: own.get(kind, len(own)) for key, kind in keys.items()}
    legend = [
        (
            _line(key, CAPTION),
            (PALETTE[at] if at < len(PALETTE) else GREY) if by_community else _colour(key),
            counted[key],
        )
        for key, at in own.items()
    ]
    if rest := sum(size for key, size in sizes if key not in own):
        legend.append(("smaller groups", GREY, rest))
    return group, legend


def _types(drawn: Overview) -> dict[str, str]:
    """The type of each entity; of a node that stands for many, the commonest."""
    return {
        node.key: _type(node.entity.type if node.entity else (*node.types, "")[0])
        for node in drawn.nodes
    }


def _communities(drawn: Overview) -> dict[str, str]:
    """Communities have no names; each is called after its best-connected entity."""
    if drawn.collapsed:
        return {node.key: node.community for node in drawn.nodes}
    entities = {node.key: node.entity for node in drawn.nodes if node.entity}
    names = {entity.name: key for key, entity in entities.items()}
    relations = tuple(edge.relation for edge in drawn.edges if edge.relation)
    graph = Graph(entities=tuple(entities.values()), relations=relations, version="")
    numbers = communities(graph)
    best: dict[int, Node] = {}
    for node in drawn.nodes:
        if node.entity:
            number = numbers[node.entity.name]
            if number not in best or node.degree > best[number].degree:
                best[number] = node
    return {names[name]: best[number].label for name, number in numbers.items()}


def _type(named: str) -> str:
    kind = _line(named, CAPTION).casefold()
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
    drawn: Overview, positions: Mapping[str, tuple[float, float]], group: Mapping[str, int]
) -> list[dict[str, Any]]:
    nodes = []
    for number, node in enumerate(drawn.nodes):
        x, y = positions[node.key]
        line: dict[str, Any] = {
            "id": number,
            "x": x,
            "y": y,
            "size": round(node.radius, 1),
            "group": str(group[node.key]),
            "caption": _line(node.label, CAPTION) or "(no name)",
        }
        if node.entity is not None:
            line["name"] = _whole(node.entity.name)
            line["kind"] = _type(node.entity.type)
            line["words"] = _cut(_whole(node.entity.description).strip(), WORDS)
        else:
            line["name"] = _whole(node.label)
            line["kind"] = _counted(node.members, "entity", "entities")
            line["words"] = "\n".join(_line(name, CAPTION) for name in node.names)
            line["opens"] = _whole(node.community)
        nodes.append(line)
    return nodes


def _edges(drawn: Overview, ids: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "from": ids[edge.source],
            "to": ids[edge.target],
            "width": round(min(0.7 + 0.6 * math.sqrt(max(edge.weight, 0.0)), 5.0), 1),
            "words": _cut(_whole(edge.relation.description).strip(), EDGE_WORDS)
            if edge.relation
            else _counted(edge.count, "relation"),
            "one": edge.relation is not None,
        }
        for edge in drawn.edges
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
