"""Edits of the graph by a person: what each is, what it changes, and what is shown before.

An edit is planned on the part of LightRAG's data around the entities that it names: a mapping of
keys to values, where an absent value is None. What it changes is kept with the values before and
after, so that it can be finished, or taken back, without asking what it meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from librarian.errors import EditRefused, NameInUse
from librarian.wording import SEPARATOR, description_of, name_of, type_of

#: `node NAME`, `edge A B`, `chunks NAME`, `chunks A B`, `doc ID NAME`, `doc ID A B`; pairs sorted.
Key = tuple[str, ...]
Value = Any  #: a node's or edge's fields, a list of chunk ids, True for a document's; or None
Part = Mapping[Key, Value]


@dataclass(frozen=True, slots=True)
class Rename:
    """An entity gets a name that no other has."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Merge:
    """Two entities become one; without a description or type, theirs are joined."""

    gone: str
    kept: str
    description: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Describe:
    """An entity gets another description or type; None leaves what it has."""

    name: str
    description: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class DropEntity:
    """An entity goes, with its relations."""

    name: str


@dataclass(frozen=True, slots=True)
class DropRelation:
    """A relation goes; its entities stay."""

    source: str
    target: str


Edit = Rename | Merge | Describe | DropEntity | DropRelation
_KINDS: dict[str, type[Any]] = {
    each.__name__: each for each in (Rename, Merge, Describe, DropEntity, DropRelation)
}


@dataclass(frozen=True, slots=True)
class Change:
    """What an edit makes of one value."""

    key: Key
    before: Value
    after: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an edit would do."""

    edit: Edit  #: as it would be made, with its texts tidied
    name: str = ""  #: of the entity that results; empty where nothing is left
    type: str = ""
    description: str = ""
    moved: int = 0  #: relations that get another end
    joined: int = 0  #: relations that become one with another
    dropped: int = 0  #: relations that go
    documents: tuple[str, ...] = ()
    chunks: int = 0
    vectors: int = 0  #: texts that the embedding model is asked for


def packed(edit: Edit) -> dict[str, Any]:
    """An edit as JSON."""
    return {"kind": type(edit).__name__, **asdict(edit)}


def unpacked(data: Mapping[str, Any]) -> Edit:
    """The edit of such JSON."""
    fields = {name: value for name, value in data.items() if name != "kind"}
    edit: Edit = _KINDS[data["kind"]](**fields)
    return edit


def names_in(edit: Edit) -> tuple[str, ...]:
    """The entities that an edit names."""
    match edit:
        case Rename(old, new):
            return old, new
        case Merge(gone, kept):
            return gone, kept
        case DropRelation(source, target):
            return source, target
        case Describe(name=name) | DropEntity(name=name):
            return (name,)


def tidied(edit: Edit, named: Callable[[str], str] = str) -> Edit:
    """An edit with its texts as they would be stored; `named` is how LightRAG writes a name.

    Raises:
        EditRefused: a text cannot be stored, or the edit would change nothing.
    """
    match edit:
        case Rename(old, new):
            name = named(name_of(new))
            if not name:
                raise EditRefused("Nothing is left of this name without its quotation marks.")
            if name == old:
                raise EditRefused("That is its name already. Write another one.")
            return Rename(old, name)
        case Merge(gone, kept, description, kind):
            if gone == kept:
                raise EditRefused("An entity cannot be merged with itself. Choose another one.")
            return Merge(gone, kept, description_of(description), type_of(kind))
        case Describe(name, description, kind):
            return Describe(name, description_of(description), type_of(kind))
        case DropRelation(source, target):
            first, second = sorted((source, target))
            return DropRelation(first, second)
    return edit


def plan(edit: Edit, part: Part, most_sources: int = 200) -> tuple[Change, ...]:
    """What an edit changes in the part of the graph around what it names.

    A node keeps at most `most_sources` of its chunks' ids, as LightRAG does.

    Raises:
        EditRefused: what it names is not there, or nothing would change.
        NameInUse: the new name is another entity's.
    """
    after = dict(part)
    match edit:
        case Rename(old, new):
            _present(part, old)
            if part.get(("node", new)) is not None:
                raise NameInUse(f"“{new}” is the name of another entity.", new)
            _rewrite(after, part, old, new, most_sources)
        case Merge(gone, kept, description, kind):
            _present(part, gone, kept)
            _rewrite(after, part, gone, kept, most_sources)
            _say(after, kept, description, kind)
        case Describe(name, description, kind):
            _present(part, name)
            _say(after, name, description, kind)
        case DropEntity(name):
            _present(part, name)
            after.update({key: None for key in part if name in _ends(key)})
        case DropRelation(source, target):
            pair = {source, target}
            if part.get(("edge", *sorted(pair))) is None:
                raise EditRefused(f"“{source}” and “{target}” are not related any more.")
            gone_keys = (key for key in part if len(_ends(key)) == 2 and set(_ends(key)) == pair)
            after.update(dict.fromkeys(gone_keys))
    keys = sorted({*part, *after})
    changes = tuple(
        Change(key, part.get(key), after.get(key))
        for key in keys
        if part.get(key) != after.get(key)
    )
    if not changes:
        raise EditRefused("It is like that already: nothing would change.")
    return changes


def preview(edit: Edit, part: Part, changes: Iterable[Change]) -> Preview:
    """An edit's plan for a person to look at."""
    changed = tuple(changes)
    edges = {key[1:]: value for key, value in part.items() if key[0] == "edge" and value}
    moved = joined = dropped = 0
    match edit:
        case Rename(old, new) | Merge(old, new):
            for pair in edges:
                if old in pair:
                    other = next((end for end in pair if end != old), old)
                    loop = other in (old, new)
                    both = not loop and tuple(sorted((new, other))) in edges
                    dropped, joined = dropped + loop, joined + both
                    moved += not loop and not both
        case DropEntity() | DropRelation():
            dropped = sum(c.key[0] == "edge" and c.after is None for c in changed)
    name = "" if isinstance(edit, DropEntity | DropRelation) else names_in(edit)[-1]
    node = next((c.after for c in changed if c.key == ("node", name)), None) or {}
    touched = [c.before or {} for c in changed if c.key[0] in ("node", "edge")]
    documents = _united("file_path", *touched).split(SEPARATOR)
    chunks = {chunk for c in changed if c.key[0] == "chunks" for chunk in c.before or ()}
    return Preview(
        edit=edit,
        name=name,
        type=str(node.get("entity_type", "")),
        description=shown(str(node.get("description", ""))),
        moved=moved,
        joined=joined,
        dropped=dropped,
        documents=tuple(each for each in documents if each),
        chunks=len(chunks),
        vectors=sum(c.key[0] in ("node", "edge") and c.after is not None for c in changed),
    )


def shown(text: str) -> str:
    """A description of several parts as lines."""
    return text.replace(SEPARATOR, "\n")


def same(one: Value, other: Value) -> bool:
    """Whether two values are the same; a graph read from its file has no empty fields."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {k: v for k, v in one.items() if v != ""} == {
            k: v for k, v in other.items() if v != ""
        }
    return bool(one == other)


def _present(part: Part, *names: str) -> None:
    for name in names:
        if part.get(("node", name)) is None:
            raise EditRefused(f"“{name}” is not in the graph any more. Look for it anew.")


def _ends(key: Key) -> tuple[str, ...]:
    return key[2:] if key[0] == "doc" else key[1:]


def _rewrite(after: dict[Key, Value], part: Part, old: str, new: str, most: int) -> None:
    """Puts one name in the place of another, and makes one of what is there twice then."""
    for key, value in part.items():
        if old not in _ends(key):
            continue
        after[key] = None
        ends = tuple(new if end == old else end for end in _ends(key))
        if value is None or (len(ends) == 2 and ends[0] == ends[1]):
            continue
        head = key[: len(key) - len(ends)]
        there = (*head, *sorted(ends))
        after[there] = _one(key[0], after.get(there), value, new, most)


def _one(what: str, kept: Value, gone: Value, name: str, most: int) -> Value:
    if what == "node":
        if kept is None:
            return {**gone, "entity_id": name}
        sources = _united("source_id", kept, gone).split(SEPARATOR)[:most]
        files, words = _united("file_path", kept, gone), _united("description", kept, gone)
        return {
            **kept, "source_id": SEPARATOR.join(sources), "file_path": files, "description": words,
        }  # fmt: skip
    if kept is None:
        return gone
    if what == "chunks":
        return list(dict.fromkeys((*kept, *gone)))
    if what == "edge":
        sources = _united("source_id", kept, gone).split(SEPARATOR)[:most]
        keywords = {
            word.strip(): None
            for each in (kept, gone)
            for word in str(each.get("keywords", "")).split(",")
        }
        weights = (float(each.get("weight", 1.0)) for each in (kept, gone))
        return {
            **kept,
            "source_id": SEPARATOR.join(sources),
            "file_path": _united("file_path", kept, gone),
            "description": _united("description", kept, gone),
            "keywords": ",".join(word for word in keywords if word),
            "weight": max(*weights, float(sum(map(bool, sources)))),  # LightRAG's least
        }
    return kept


def _united(field: str, *rows: Mapping[str, Any]) -> str:
    parts = (part for row in rows for part in str(row.get(field) or "").split(SEPARATOR))
    return SEPARATOR.join(dict.fromkeys(part for part in parts if part))


def _say(after: dict[Key, Value], name: str, description: str | None, kind: str | None) -> None:
    node = after[("node", name)]
    if description is not None and description != shown(str(node.get("description", ""))):
        node = {**node, "description": description}
    if kind is not None:
        node = {**node, "entity_type": kind}
    after[("node", name)] = node
