"""What LightRAG keeps a vector of, in its own words: rows of its three vector storages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Rows = dict[str, dict[str, Any]]
Named = Callable[[str, str], str]  #: an id, of a text and a prefix
Cut = Callable[[str, str], str]  #: a content that is not too long, of a content and its label


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorRows:
    """Everything of a library that has a vector, by id, without the vectors."""

    chunks: Rows
    entities: Rows
    relations: Rows

    @property
    def total(self) -> int:
        """How many vectors that is."""
        return len(self.chunks) + len(self.entities) + len(self.relations)


def chunk_rows(stored: dict[str, dict[str, Any]]) -> Rows:
    """The rows of stored chunks; LightRAG takes the chunk as it is."""
    return {name: dict(chunk) for name, chunk in stored.items() if chunk.get("content")}


def entity_rows(nodes: Iterable[dict[str, Any]], named: Named, cut: Cut) -> Rows:
    """The rows of the graph's nodes, as `_merge_nodes_then_upsert` of LightRAG makes them."""
    rows: Rows = {}
    for node in nodes:
        name = str(node.get("entity_id") or node["id"])
        content = f"{name}\n{node.get('description') or ''}"
        rows[named(name, "ent-")] = {
            "entity_name": name,
            "entity_type": node.get("entity_type") or "",
            "content": cut(content, f"entity:{name}"),
            "source_id": node.get("source_id") or "",
            "file_path": node.get("file_path") or "",
        }
    return rows


def relation_rows(edges: Iterable[dict[str, Any]], named: Named, cut: Cut) -> Rows:
    """The rows of the graph's edges, as `_merge_edges_then_upsert` of LightRAG makes them."""
    rows: Rows = {}
    for edge in edges:
        source, target = sorted((str(edge["source"]), str(edge["target"])))
        keywords, description = edge.get("keywords") or "", edge.get("description") or ""
        content = f"{keywords}\t{source}\n{target}\n{description}"
        rows[named(source + target, "rel-")] = {
            "src_id": source,
            "tgt_id": target,
            "source_id": edge.get("source_id") or "",
            "content": cut(content, f"relationship:{source}-{target}"),
            "keywords": keywords,
            "description": description,
            "weight": float(edge.get("weight", 1.0)),
            "file_path": edge.get("file_path") or "",
        }
    return rows
