"""The graph as files for other programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from librarian.graph import ColourBy, html
from librarian.knowledge import Graph
from librarian.layout import layout
from librarian.parts import part

DRAWN = 5000  # entities; browsers cannot move more
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SEPARATOR = "; "
_GRAPHML = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="n0" for="node" attr.name="label" attr.type="string"/>
<key id="n1" for="node" attr.name="type" attr.type="string"/>
<key id="n2" for="node" attr.name="description" attr.type="string"/>
<key id="n3" for="node" attr.name="documents" attr.type="string"/>
<key id="e0" for="edge" attr.name="weight" attr.type="double"/>
<key id="e1" for="edge" attr.name="keywords" attr.type="string"/>
<key id="e2" for="edge" attr.name="description" attr.type="string"/>
<key id="e3" for="edge" attr.name="documents" attr.type="string"/>
<graph edgedefault="undirected">"""


def to_graphml(graph: Graph) -> bytes:
    """For Gephi, yEd, Cytoscape and networkx; what XML cannot hold becomes U+FFFD."""
    ids = {entity.name: f"n{number}" for number, entity in enumerate(graph.entities)}
    lines = [_GRAPHML]
    for one in graph.entities:
        values = (one.name, one.type, one.description, _SEPARATOR.join(one.documents))
        lines.append(f'<node id="{ids[one.name]}">{_values("n", values)}</node>')
    for number, link in enumerate(graph.relations):
        documents = _SEPARATOR.join(link.documents)
        values = (repr(float(link.weight)), link.keywords, link.description, documents)
        ends = f'source="{ids[link.source]}" target="{ids[link.target]}"'
        lines.append(f'<edge id="e{number}" {ends}>{_values("e", values)}</edge>')
    return "\n".join([*lines, "</graph>", "</graphml>", ""]).encode()


def to_csv(graph: Graph) -> tuple[bytes, bytes]:
    """Tables of entities and of relations, which spreadsheets open as text, never as formulas."""
    nodes = (
        (one.name, one.type, one.description, _SEPARATOR.join(one.documents))
        for one in graph.entities
    )
    edges = (
        (
            one.source,
            one.target,
            one.weight,
            one.keywords,
            one.description,
            _SEPARATOR.join(one.documents),
        )
        for one in graph.relations
    )
    return (
        _table(("name", "type", "description", "documents"), nodes),
        _table(("source", "target", "weight", "keywords", "description", "documents"), edges),
    )


def to_html(
    graph: Graph,
    *,
    title: str = "Knowledge graph",
    colour_by: ColourBy | None = None,
    dark: bool = False,
) -> str:
    """A page that needs no other file; of very large graphs it shows the best-connected core."""
    if len(graph.entities) > DRAWN:
        graph = part(graph, centre=None, depth=0, limit=DRAWN)
    return html(graph, layout(graph), title=title, colour_by=colour_by, dark=dark)


def _values(kind: str, values: Iterable[str]) -> str:
    return "".join(
        f'<data key="{kind}{number}">{_xml(value)}</data>' for number, value in enumerate(values)
    )


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text), {"\r": "&#13;"})


def _table(head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(head)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return file.getvalue().encode("utf-8-sig", errors="replace")


def _cell(value: str | float) -> str | float:
    """A leading apostrophe keeps spreadsheets from running a text as a formula."""
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
