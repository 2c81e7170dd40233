"""LightRAG's graph as a file: GraphML, an entity or a relation in each piece.

networkx, with which LightRAG reads and writes it, has the whole file in memory as elements of XML
first: for 200,000 entities 3 GB and minutes to write them, 2.7 GB to read them. The form is that of
http://graphml.graphdrawing.org/specification.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import networkx as nx  # type: ignore[import-untyped]

Row = dict[str, Any]
_HEAD = b"""<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
"""
_BEGIN, _END = b'<graph edgedefault="undirected">\n', b"</graph>\n"
_LAST = (b"</node>\n", b"</edge>\n")  # of a piece; within one there is no bare `<`
_KINDS = {str: "string", int: "long", float: "double"}  # all that LightRAG writes
_MADE: dict[str, Callable[[str], Any]] = {"string": str, "long": int, "double": float}
_RETURN = {"\r": "&#13;"}  # a reader would take it for the end of a line
_NOT_XML = dict.fromkeys(
    (*(n for n in range(32) if chr(n) not in "\t\n\r"), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF)
)
AT_ONCE = 1 << 20  # bytes that are parsed


def pieces(graph: nx.Graph) -> Iterator[bytes]:
    """The file of a graph. The graph must not change meanwhile."""
    keys: dict[tuple[str, str, str], str] = {}
    for scope, each in (("node", graph.nodes(data=True)), ("edge", graph.edges(data=True))):
        for *_, row in each:
            for name, value in row.items():
                keys.setdefault((scope, name, _kind(value)), f"d{len(keys)}")
    yield _HEAD
    for (scope, name, kind), key in keys.items():
        said = f'id="{key}" for="{scope}" attr.name={quoteattr(name)} attr.type="{kind}"'
        yield f"<key {said}/>\n".encode()
    yield _BEGIN
    for name, row in graph.nodes(data=True):
        yield f"<node id={_quoted(name)}>{_data(keys, 'node', row)}</node>\n".encode()
    for one, other, row in graph.edges(data=True):
        ends = f"source={_quoted(one)} target={_quoted(other)}"
        yield f"<edge {ends}>{_data(keys, 'edge', row)}</edge>\n".encode()
    yield _END + b"</graphml>\n"


def read(path: Path) -> nx.Graph:
    """The graph of a file; one that was written here is read in little memory, and exactly.

    networkx loses most of what is empty.

    Raises:
        ElementTree.ParseError: it is damaged.
    """
    with path.open("rb") as file:
        if file.read(len(_HEAD)) == _HEAD:
            try:
                return _read(file)
            except (ElementTree.ParseError, KeyError, ValueError):
                pass  # networkx says what is wrong with it
    return nx.read_graphml(path)


def _read(file: BinaryIO) -> nx.Graph:
    made: dict[str, tuple[str, Callable[[str], Any]]] = {}
    for key in _parsed(takewhile(lambda line: line != _BEGIN, file)):
        made[key.attrib["id"]] = key.attrib["attr.name"], _MADE[key.attrib["attr.type"]]
    graph = nx.Graph(node_default={}, edge_default={})  # as networkx has it
    for part in _parts(file):
        for each in _parsed(part):
            row: Row = {}
            for data in each:
                name, make = made[data.attrib["key"]]
                row[name] = make(data.text or "")
            if each.tag == "node":
                graph.add_node(each.attrib["id"], **row)
            else:
                graph.add_edge(each.attrib["source"], each.attrib["target"], **row)
    return graph


def _parts(file: BinaryIO) -> Iterator[list[bytes]]:
    """Some lines at a time, that begin with a piece and end with one."""
    lines, size = list[bytes](), 0
    for line in file:
        if line == _END:
            break
        lines.append(line)
        size += len(line)
        if size > AT_ONCE and line.endswith(_LAST):
            yield lines
            lines, size = [], 0
    else:
        raise ElementTree.ParseError("The file ends too early.")
    yield lines


def _parsed(lines: Iterable[bytes]) -> ElementTree.Element:
    return ElementTree.fromstring(b"".join((b"<all>", *lines, b"</all>")))


def _kind(value: object) -> str:
    return _KINDS[type(value)]


def _escaped(value: object) -> str:
    return escape(str(value).translate(_NOT_XML), _RETURN)


def _quoted(name: str) -> str:
    return quoteattr(name.translate(_NOT_XML), _RETURN)


def _data(keys: Mapping[tuple[str, str, str], str], scope: str, row: Row) -> str:
    return "".join(
        f'<data key="{keys[scope, name, _kind(value)]}">{_escaped(value)}</data>'
        for name, value in row.items()
    )
