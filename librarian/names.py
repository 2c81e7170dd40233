"""Finding entities by what people type: parts of names, in any case, number or inflection."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache

import snowballstemmer  # type: ignore[import-untyped]

from librarian.knowledge import Graph
from librarian.layout import degrees

LEAST_STEM = 3  # letters; shorter ones begin too many words
LONGEST_ENDING = 4  # letters after a stem, as in "Раскольниковыми"
WORDS = 12  # of a name that are looked for in a text
_MARKS = re.compile(r"[\W_]")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")


class Names:
    """Finds entities by parts of their names; made once for a version of a graph."""

    def __init__(self, graph: Graph) -> None:
        count = degrees(graph)
        ranked = sorted(graph.entities, key=lambda entity: (-count[entity.name], entity.name))
        self._names = [entity.name for entity in ranked]
        self._folded = [_folded(name) for name in self._names]
        self._spaced = [" " + _MARKS.sub(" ", name) for name in self._folded]
        self._text, self._words = _Lines(self._folded), _Lines(self._spaced)

    def search(self, text: str, limit: int = 20) -> tuple[str, ...]:
        """Equal names first, then beginnings, beginnings of words, parts, other inflections.

        The best connected come first among equals.
        """
        wanted = _folded(text)
        words = wanted.split()
        if not words:
            return tuple(self._names[:limit])
        found: dict[int, None] = {}
        for lines, needle in (
            (self._text, f"\n{wanted}\n"),
            (self._text, f"\n{wanted}"),
            (self._words, f" {wanted}"),
            (self._text, wanted),
        ):
            lines.find(needle, found, limit)
        if len(found) < limit and len(words) > 1:
            for place, name in enumerate(self._folded):
                if words[0] in name and all(word in name for word in words):
                    found.setdefault(place)
        if len(found) < limit:
            found.update(dict.fromkeys(self._inflected(words, set(found))))
        return tuple(self._names[place] for place in list(found)[:limit])

    def _inflected(self, words: list[str], known: set[int]) -> list[int]:
        """Where the words of a text stand in another form, by their stems."""
        stems = [_stem(word) for word in words]
        if not all(stems):
            return []
        starts = [f" {stem}" for stem in stems]
        likely = [
            place
            for place, spaced in enumerate(self._spaced)
            if starts[0] in spaced and all(start in spaced for start in starts)
        ]
        pattern = [
            re.compile(rf" {re.escape(stem)}\w{{0,{LONGEST_ENDING}}}(?!\w)") for stem in stems
        ]
        return [
            place
            for place in likely
            if place not in known and all(one.search(self._spaced[place]) for one in pattern)
        ]


class _Lines:
    """Many short texts as one, in which Python looks without a loop of its own."""

    def __init__(self, texts: list[str]) -> None:
        self._all = "".join(f"\n{text}" for text in texts) + "\n"
        self._starts = [0, *itertools.accumulate(len(text) + 1 for text in texts)]

    def find(self, needle: str, found: dict[int, None], limit: int) -> None:
        """Adds the places of texts with it, in their order, until there are enough."""
        at = self._all.find(needle)
        while at >= 0 and len(found) < limit:
            place = bisect_right(self._starts, at) - 1
            found.setdefault(place)
            at = self._all.find(needle, self._starts[place + 1])


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


def _stem(word: str) -> str:
    """The stem by Snowball's rules (Porter, 1980 and 2001); empty for one that is too short."""
    stem = str(_stemmer("russian" if _CYRILLIC.search(word) else "english")(word))
    stem = stem.removesuffix("i")  # Snowball writes "stori" for both story and stories
    return stem if len(stem) >= LEAST_STEM and not _MARKS.search(stem) else ""


@lru_cache(maxsize=2)
def _stemmer(language: str) -> Callable[[str], str]:
    stem: Callable[[str], str] = snowballstemmer.stemmer(language).stemWord
    return stem


def mention(name: str) -> re.Pattern[str]:
    """Finds a name in a text, in other cases and inflections too."""
    words = [word for word in _MARKS.sub(" ", _folded(name)).split()][:WORDS]
    parts = []
    for word in words:
        stem = _stem(word)
        one = re.escape(stem) + rf"\w{{0,{LONGEST_ENDING}}}" if stem else re.escape(word)
        parts.append(one.replace("е", "[её]"))
    return re.compile(r"\b" + r"[\W_]{1,3}".join(parts) + r"\b" if parts else r"(?!)", re.I)
