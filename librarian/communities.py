"""The graph as a map: groups of closely related entities, and each group as one node."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import graspologic_native

from librarian.knowledge import Entity, Graph, Relation
from librarian.layout import degrees, radius

Kind: TypeAlias = Literal["entity", "community", "rest", "small"]

SEED = 7
ITERATIONS = 2  # further rounds of Leiden change little
GROUPS = 80  # communities that a map shows by themselves
LEAST, SHARE = 3, 0.002  # members of such a community: so many, and so much of the graph
OPENED = 150  # entities that an opened community shows
NAMES = 3  # of a collapsed node, for its label
SMALL = ""  #: the key that opens the node of small groups; no entity has this name
WIDEST = 90.0  # radius of a collapsed node


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a map draws at one place: an entity, or many that stand for one another.

    The kinds: an `entity`; a closed `community`; the `rest` of an opened one that is shown in
    part; all `small` groups and single entities together.
    """

    key: str  #: unique within a map, whatever the names are
    kind: Kind
    label: str  #: hostile text, as entities' names are
    community: str  #: open this to see more; `SMALL` for the small groups
    names: tuple[str, ...]  #: the best-connected entities in it, best first
    members: int = 1  #: entities
    groups: int = 1  #: communities; more than one in the node of small groups only
    inside: int = 0  #: relations between its members
    degree: int = 0  #: relations of its members to entities outside it
    entity: Entity | None = None  #: for the kind `entity`
    types: tuple[str, ...] = ()  #: of the members, the commonest first; of the other kinds

    @property
    def radius(self) -> float:
        """How large it is drawn; the area of a collapsed node follows its number of members."""
        if self.kind == "entity":
            return radius(self.degree)
        return min(WIDEST, 12.0 + 1.6 * math.sqrt(self.members))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """All relations between two nodes of a map."""

    source: str  #: key of a node
    target: str
    weight: float  #: the sum of the relations' weights
    count: int  #: how many relations it stands for
    relation: Relation | None = None  #: if it stands for one only


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A graph made small enough to be looked at."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]  #: heaviest first
    collapsed: bool  #: whether some nodes stand for several entities
    opened: frozenset[str]  #: keys of the communities that are open

    def graph(self, version: str) -> Graph:
        """The drawn nodes as a graph of their own, named by key, to be laid out."""
        return Graph(
            entities=tuple(
                Entity(name=node.key, type=node.kind, description="") for node in self.nodes
            ),
            relations=tuple(
                Relation(source=edge.source, target=edge.target, description="", weight=edge.weight)
                for edge in self.edges
            ),
            version=version,
        )

    def inside(self) -> dict[str, str]:
        """Under which other key an earlier map may have had a node: opened and closed ones."""
        earlier = {}
        for node in self.nodes:
            closed = _many_key("small" if node.community == SMALL else "community", node.community)
            if node.community in self.opened:
                earlier[node.key] = closed
            elif node.kind != "entity":
                earlier[node.key] = _many_key("rest", node.community)
        return earlier

    def radii(self) -> dict[str, float]:
        """How large each node is drawn, by key."""
        return {node.key: node.radius for node in self.nodes}


def communities(graph: Graph) -> dict[str, int]:
    """The group of closely related entities that each belongs to; group 0 is the largest.

    Leiden (Traag, Waltman and van Eck, 2019) on modularity by weight. The same content gives the
    same groups. Entities without relations are groups of one.
    """
    order = {entity.name: number for number, entity in enumerate(graph.entities)}
    weights = _weights(graph, order)
    found: Mapping[str, int] = {}
    if weights:
        _, found = graspologic_native.leiden(
            [(str(a), str(b), weight) for (a, b), weight in sorted(weights.items())],
            starting_communities=None,
            resolution=1.0,
            randomness=0.001,
            iterations=ITERATIONS,
            use_modularity=True,
            seed=SEED,
            trials=1,
        )
    groups: dict[int, list[str]] = defaultdict(list)
    for name, number in order.items():
        groups[found.get(str(number), -1 - number)].append(name)
    ranked = sorted(groups.values(), key=lambda group: (-len(group), order[group[0]]))
    return {name: number for number, group in enumerate(ranked) for name in group}


def _weights(graph: Graph, order: Mapping[str, int]) -> dict[tuple[int, int], float]:
    """What holds each pair of entities together; a weight that is no number counts as one."""
    weights: dict[tuple[int, int], float] = defaultdict(float)
    for relation in graph.relations:
        a, b = order.get(relation.source, -1), order.get(relation.target, -1)
        if a != b and a >= 0 and b >= 0:
            weight = relation.weight if math.isfinite(relation.weight) else 1.0
            weights[min(a, b), max(a, b)] += min(max(weight, 0.01), 1e6)
    return weights


def overview(
    graph: Graph,
    *,
    limit: int,
    opened: frozenset[str] = frozenset(),
    groups: Mapping[str, int] | None = None,
) -> Overview:
    """The whole graph if it has at most `limit` entities; else its map.

    On a map, each community is one node, but those in `opened` show their best-connected entities,
    `limit` in all. A community's key is the name of its best-connected entity; every other member's
    name opens it as well, so that a key stays good when the graph grows. Names that are not in the
    graph are ignored. A map of one community opens it. `groups` are the graph's communities, if
    they are known already.
    """
    count = degrees(graph)
    if len(graph.entities) <= limit:
        nodes = [_single(entity, count) for entity in graph.entities]
        home = {entity.name: node.key for entity, node in zip(graph.entities, nodes, strict=True)}
        return _assembled(graph, nodes, home, frozenset())
    shown, small = _shown(graph, count, communities(graph) if groups is None else groups)
    key_of = {name: key for key, members in shown.items() for name in members}
    key_of |= {name: SMALL for members in small for name in members}
    wanted = {key_of[name] for name in opened if name in key_of}
    if SMALL in opened:
        wanted.add(SMALL)
    if len(shown) + bool(small) == 1:
        wanted = set(shown) or {SMALL}
    return _map(graph, count, shown, small, wanted, limit)


def _shown(
    graph: Graph, count: Mapping[str, int], groups: Mapping[str, int]
) -> tuple[dict[str, list[str]], list[list[str]]]:
    """Communities with a node of their own by key, and the others; members best-connected first."""
    members: dict[int, list[str]] = defaultdict(list)
    for entity in sorted(graph.entities, key=lambda each: (-count.get(each.name, 0), each.name)):
        members[groups[entity.name]].append(entity.name)
    ranked = [members[number] for number in sorted(members)]
    least = max(LEAST, SHARE * len(graph.entities))
    large = [one for one in ranked[:GROUPS] if len(one) >= least]
    return {one[0]: one for one in large}, ranked[len(large) :]


def _map(
    graph: Graph,
    count: Mapping[str, int],
    shown: Mapping[str, list[str]],
    small: Sequence[list[str]],
    wanted: Iterable[str],
    limit: int,
) -> Overview:
    entities = {entity.name: entity for entity in graph.entities}
    parts = dict(shown)
    if small:
        loose = [name for group in small for name in group]
        parts[SMALL] = sorted(loose, key=lambda name: (-count.get(name, 0), name))
    open_now = frozenset(wanted) & parts.keys()
    share = max(1, min(OPENED, limit // max(1, len(open_now))))
    nodes: list[Node] = []
    home: dict[str, str] = {}
    for key, members in parts.items():
        seen = members[:share] if key in open_now else []
        nodes += [_single(entities[name], count, key) for name in seen]
        home |= {name: _entity_key(name) for name in seen}
        if rest := members[len(seen) :]:
            count_of = len(small) if key == SMALL else 1
            types = Counter(entities[name].type for name in rest)
            nodes.append(_many(key, rest, len(seen), count_of, types))
            home |= dict.fromkeys(rest, nodes[-1].key)
    return _assembled(graph, nodes, home, open_now)


def _entity_key(name: str) -> str:
    return f"entity:{name}"


def _many_key(kind: Kind, community: str) -> str:
    return f"{kind}:{community}"


def _single(entity: Entity, count: Mapping[str, int], community: str | None = None) -> Node:
    return Node(
        key=_entity_key(entity.name),
        kind="entity",
        label=entity.name,
        community=entity.name if community is None else community,
        names=(entity.name,),
        degree=count.get(entity.name, 0),
        entity=entity,
    )


def _many(key: str, members: Sequence[str], seen: int, groups: int, types: Counter[str]) -> Node:
    names = tuple(members[:NAMES])
    kind: Kind = "rest" if seen else "small" if key == SMALL else "community"
    label = f"… {len(members)} more" if seen else ", ".join(names)
    if kind == "small":
        label = f"{groups} small groups"
    return Node(
        key=_many_key(kind, key),
        kind=kind,
        label=label,
        community=key,
        names=names,
        members=len(members),
        groups=groups,
        types=tuple(one for one, _ in sorted(types.items(), key=lambda each: (-each[1], each[0]))),
    )


def _assembled(
    graph: Graph, nodes: Sequence[Node], home: Mapping[str, str], opened: frozenset[str]
) -> Overview:
    """Adds up the relations between the nodes and inside them."""
    between: dict[tuple[str, str], list[Relation]] = defaultdict(list)
    inside: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    for relation in graph.relations:
        a, b = home[relation.source], home[relation.target]
        if a == b:
            inside[a] += relation.source != relation.target
        else:
            between[min(a, b), max(a, b)].append(relation)
            outside.update((a, b))
    edges = (_edge(pair, relations) for pair, relations in between.items())
    return Overview(
        nodes=tuple(_counted(node, inside, outside) for node in nodes),
        edges=tuple(sorted(edges, key=lambda edge: (-edge.weight, edge.source, edge.target))),
        collapsed=any(node.kind != "entity" for node in nodes),
        opened=opened,
    )


def _counted(node: Node, inside: Mapping[str, int], outside: Mapping[str, int]) -> Node:
    if node.kind == "entity":
        return node
    return replace(node, inside=inside.get(node.key, 0), degree=outside.get(node.key, 0))


def _edge(pair: tuple[str, str], relations: Sequence[Relation]) -> Edge:
    return Edge(
        source=pair[0],
        target=pair[1],
        weight=sum(one.weight for one in relations if math.isfinite(one.weight)),
        count=len(relations),
        relation=relations[0] if len(relations) == 1 else None,
    )
