"""The graph as files for other programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

import networkx as nx  # type: ignore[import-untyped]

from librarian.graph import html, part
from librarian.knowledge import Graph
from librarian.layout import layout

DRAWN = 5000  # entities; browsers cannot move more
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SEPARATOR = "; "


def to_graphml(graph: Graph) -> bytes:
    """For Gephi, yEd, Cytoscape and networkx; what XML cannot hold becomes U+FFFD."""
    made = nx.MultiGraph()
    ids = {entity.name: f"n{number}" for number, entity in enumerate(graph.entities)}
    for entity in graph.entities:
        made.add_node(
            ids[entity.name],
            label=_xml(entity.name),
            type=_xml(entity.type),
            description=_xml(entity.description),
            documents=_xml(_SEPARATOR.join(entity.documents)),
        )
    for relation in graph.relations:
        made.add_edge(
            ids[relation.source],
            ids[relation.target],
            weight=float(relation.weight),
            keywords=_xml(relation.keywords),
            description=_xml(relation.description),
            documents=_xml(_SEPARATOR.join(relation.documents)),
        )
    made = made if made.size() != nx.Graph(made).size() else nx.Graph(made)
    file = io.BytesIO()
    nx.write_graphml_xml(made, file, encoding="utf-8")
    return file.getvalue()


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


def to_html(graph: Graph, *, title: str = "Knowledge graph", dark: bool = False) -> str:
    """A page that needs no other file; of very large graphs it shows the best-connected core."""
    if len(graph.entities) > DRAWN:
        graph = part(graph, centre=None, depth=0, limit=DRAWN)
    return html(graph, layout(graph), title=title, dark=dark)


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


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
