"""The graph as values: entities, the relations between them, and the passages behind them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A node of the knowledge graph; its name is its key."""

    name: str
    type: str
    description: str
    documents: tuple[str, ...] = ()  #: names of the documents it was found in
    chunks: tuple[str, ...] = ()  #: ids of the chunks it was found in


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """An undirected edge between two entities, named by their keys."""

    source: str
    target: str
    description: str
    keywords: str = ""
    weight: float = 1.0
    documents: tuple[str, ...] = ()
    chunks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A whole knowledge graph, or a part of one.

    Every relation's ends are among the entities. `version` changes whenever the content does.
    """

    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]
    version: str

    def entity(self, name: str) -> Entity | None:
        """The one of that name; it looks at each."""
        return next((one for one in self.entities if one.name == name), None)

    def relation(self, one: str, other: str) -> Relation | None:
        """The one between two entities, in either order; it looks at each."""
        ends = {(one, other), (other, one)}
        return next((each for each in self.relations if (each.source, each.target) in ends), None)
