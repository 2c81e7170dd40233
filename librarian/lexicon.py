"""Which passages hold the words of a question: a search beside the one by vectors."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from librarian.models.quotes import as_held, asked_about, content_stems

_SATURATION = 1.2  # BM25's k1: how soon it stops to matter that a word comes once more
_LENGTH = 0.75  # BM25's b: how much a word of a long passage counts less

Words = tuple[NDArray[np.int32], NDArray[np.float32]]  #: numbers of stems, how often each comes


class Lexicon:
    """Stems of all passages. Methods take a second for a book's worth of news; any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._numbers: dict[str, int] = {}  # of stems
        self._words: dict[str, Words] = {}  # of passages, by id
        self._index = _Index({})

    def take(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Reads passages before anybody asks for them; `rows` as for `ranked`."""
        with self._guard:
            self._take(rows)

    def ranked(
        self,
        question: str,
        rows: Mapping[str, Mapping[str, Any]],
        most: int,
        keep: Callable[[str], bool],
    ) -> list[str]:
        """Ids of those passages that hold words of the question, best first.

        `rows` are all passages by id, whose text is under "content"; the same id never gets
        another text. `keep` tells by its id whether a passage is asked for.
        """
        with self._guard:
            self._take(rows)
            numbers = self._numbers
            asked = {as_held(word, numbers.keys()) for word in asked_about(question)}
            scores = self._index.scores(sorted(numbers[word] for word in asked & numbers.keys()))
            found: list[str] = []
            for at in np.argsort(-scores, kind="stable"):
                if len(found) == most or scores[at] <= 0:
                    break
                if keep(self._index.ids[at]):
                    found.append(self._index.ids[at])
            return found

    def _take(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Reads the passages that are new, and forgets those that are gone."""
        if rows.keys() == self._words.keys():
            return
        for id_ in self._words.keys() - rows.keys():
            del self._words[id_]
        for id_ in rows.keys() - self._words.keys():
            counts = Counter(content_stems(str(rows[id_]["content"])))
            numbers = [self._numbers.setdefault(word, len(self._numbers)) for word in counts]
            self._words[id_] = (
                np.array(numbers, dtype=np.int32),
                np.fromiter(counts.values(), dtype=np.float32, count=len(counts)),
            )
        self._index = _Index(self._words)


class _Index:
    """For each stem the passages that hold it, after Okapi BM25.

    Robertson, Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond, 2009.
    """

    def __init__(self, words: Mapping[str, Words]) -> None:
        self.ids = sorted(words)
        lengths = np.array([words[id_][1].sum() for id_ in self.ids], dtype=np.float32)
        share = lengths / max(1.0, float(lengths.mean())) if self.ids else lengths
        worn = _SATURATION * (1 - _LENGTH + _LENGTH * share)
        parts = [words[id_] for id_ in self.ids]
        held = np.concatenate([part for part, _ in parts] or [np.empty(0, np.int32)])
        often = np.concatenate([part for _, part in parts] or [np.empty(0, np.float32)])
        places = np.repeat(np.arange(len(parts)), [len(part) for part, _ in parts])
        order = np.argsort(held, kind="stable")
        self._held, self._places = held[order], places[order].astype(np.int32)
        self._weights = (often * (_SATURATION + 1) / (often + worn[places]))[order]

    def scores(self, numbers: list[int]) -> NDArray[np.float32]:
        """How well each passage fits stems; 0 for one that holds none of them."""
        scores = np.zeros(len(self.ids), dtype=np.float32)
        for number in numbers:
            start, end = np.searchsorted(self._held, (number, number + 1))
            rarity = np.log1p((len(self.ids) - (end - start) + 0.5) / (end - start + 0.5))
            scores[self._places[start:end]] += rarity * self._weights[start:end]
        return scores
