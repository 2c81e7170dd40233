"""What a person's edits mean for all that comes later: they stand until they are taken back.

LightRAG makes entities anew from what the model once wrote: for a new document, and from its cache
where a document is deleted. So a name that a person has changed would come back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from librarian.mending import Describe, DropEntity, DropRelation, Edit, Merge, Rename

Pair = tuple[str, str]


@dataclass(slots=True)
class Standing:
    """All edits together, with each name as it is called now."""

    aliases: dict[str, str] = field(default_factory=dict)  #: what a name is called now
    gone: set[str] = field(default_factory=set)  #: entities that stay away
    parted: set[Pair] = field(default_factory=set)  #: relations that stay away; sorted pairs
    words: dict[str, Describe] = field(default_factory=dict)  #: what a person wrote, by name

    def __bool__(self) -> bool:
        return bool(self.aliases or self.gone or self.parted or self.words)

    def applied(self, answer: str, named: Callable[[str], str] = str) -> str:
        """A model's answer of entities and relations, with these edits made to it.

        `named` is how LightRAG writes a name. What is no JSON object comes back as it is.
        """
        try:
            data = json.loads(answer)
        except ValueError:
            return answer
        if not self or not isinstance(data, dict):
            return answer
        entities, relations = data.get("entities"), data.get("relationships")
        if isinstance(entities, list):
            data["entities"] = [each for each in entities if self._keeps_entity(each, named)]
        if isinstance(relations, list):
            data["relationships"] = [each for each in relations if self._keeps_pair(each, named)]
        return json.dumps(data, ensure_ascii=False)

    def _keeps_entity(self, row: Any, named: Callable[[str], str]) -> bool:
        """Gives a row its name of now; whether it is to stay."""
        if not isinstance(row, dict):
            return True
        name = named(str(row.get("name", "")))
        if name in self.aliases:
            row["name"] = self.aliases[name]
        return name not in self.gone

    def _keeps_pair(self, row: Any, named: Callable[[str], str]) -> bool:
        if not isinstance(row, dict):
            return True
        ends = []
        for end in ("source", "target"):
            name = named(str(row.get(end, "")))
            if name in self.gone:
                return False
            if name in self.aliases:
                row[end] = name = self.aliases[name]
            ends.append(name)
        return ends[0] != ends[1] and (min(ends), max(ends)) not in self.parted


def standing(edits: Iterable[Edit]) -> Standing:
    """What edits mean together, the oldest first."""
    found = Standing()
    for edit in edits:
        match edit:
            case Rename(old, new):
                _call(found, old, new)
                if old in found.words:
                    said = found.words.pop(old)
                    found.words[new] = Describe(new, said.description, said.type)
            case Merge(gone, kept, description, kind):
                _call(found, gone, kept)
                found.words.pop(gone, None)
                found.words.pop(kept, None)
                if description is not None or kind is not None:
                    found.words[kept] = Describe(kept, description, kind)
            case Describe(name, description, kind):
                said = found.words.get(name, Describe(name))
                found.words[name] = Describe(
                    name,
                    said.description if description is None else description,
                    said.type if kind is None else kind,
                )
            case DropEntity(name):
                others = [each for each, called in found.aliases.items() if called == name]
                for each in (name, *others):
                    found.aliases.pop(each, None)
                    found.gone.add(each)
                found.words.pop(name, None)
                found.parted = {pair for pair in found.parted if name not in pair}
            case DropRelation(source, target):
                found.parted.add((min(source, target), max(source, target)))
    return found


def _call(found: Standing, old: str, new: str) -> None:
    """Gives a name to what had another one; from now on, the new name means this entity."""
    found.aliases = {each: new if to == old else to for each, to in found.aliases.items()}
    found.aliases[old] = new
    found.aliases.pop(new, None)
    found.gone.discard(new)
    pairs = {tuple(sorted(new if end == old else end for end in pair)) for pair in found.parted}
    found.parted = {(first, second) for first, second in pairs if first != second}
