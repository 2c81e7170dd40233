"""The terms of a passage, best first, with the sentences that mention them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import log2

from librarian.models.english_terms import english_mentions
from librarian.models.mention import Kind, Mention, Seen, runs_of, titles_of
from librarian.models.russian_terms import russian_mentions
from librarian.models.words import Sentence, split_sentences, words_of

_WEIGHT = {
    Kind.PERSON: 2.4,
    Kind.PLACE: 2.2,
    Kind.NAME: 2.0,
    Kind.TECH: 1.7,
    Kind.PHRASE: 1.9,
    Kind.TITLE: 1.3,
    Kind.WORD: 1.0,
}
_SHORT_TEXT = 6  # sentences; in fewer a word need not come twice to matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A name or phrase in its one written form."""

    name: str
    kind: Kind
    score: float
    sentences: tuple[int, ...]  #: where it is mentioned


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The terms of a text and its sentences."""

    terms: tuple[Term, ...]
    sentences: tuple[Sentence, ...]


def find_terms(text: str, limit: int) -> Found:
    """At most `limit` terms. The same words give the same names in every text."""
    sentences = split_sentences(text)
    seen = _seen(sentences)
    every = [
        (place, mention)
        for place, sentence in enumerate(sentences)
        for mention in _mentions(sentence, seen)
    ]
    terms = _ranked(every, short=len(sentences) < _SHORT_TEXT)
    return Found(terms=tuple(terms[:limit]), sentences=tuple(sentences))


def _mentions(sentence: Sentence, seen: Seen) -> list[Mention]:
    found = [Mention(name=title, kind=Kind.TITLE) for title in titles_of(sentence)]
    read = russian_mentions if sentence.russian else english_mentions
    for run in runs_of(sentence):
        found += read(run, sentence, seen)
    return found


def _seen(sentences: list[Sentence]) -> Seen:
    capital: set[str] = set()
    small: set[str] = set()
    for sentence in sentences:
        for place, word in enumerate(words_of(sentence.text)):
            if word.text[0].islower():
                small.add(word.text)
            elif place and not sentence.heading:
                if sentence.text[word.start - 2 : word.start - 1] not in ("«", '"', "“", ".", ":"):
                    capital.add(word.text.lower())
    return Seen(capital=frozenset(capital), small=frozenset(small))


def _ranked(every: list[tuple[int, Mention]], *, short: bool) -> list[Term]:
    counts = Counter(mention.name for _, mention in every)
    held = Counter(mention.name for _, mention in every if mention.inside)
    places: dict[str, list[int]] = {}
    kinds: dict[str, Kind] = {}
    for place, mention in every:
        if place not in places.setdefault(mention.name, []):
            places[mention.name].append(place)
        best = kinds.get(mention.name, mention.kind)
        kinds[mention.name] = max(best, mention.kind, key=_WEIGHT.__getitem__)
    _recognise_people(kinds)
    terms = []
    for name, count in counts.items():
        kind = kinds[name]
        alone = count - 0.7 * held[name]
        if kind is Kind.WORD and not short and (count < 2 or alone < 1.2):
            continue
        if kind is Kind.PHRASE and count < 2 and name.isascii() and name.split()[0].istitle():
            continue  # mostly a name and the verb after it
        score = _WEIGHT[kind] * (1 + log2(max(1.0, alone))) * (1.1 if " " in name else 1.0)
        terms.append(Term(name=name, kind=kind, score=score, sentences=tuple(places[name])))
    terms.sort(key=lambda term: (-term.score, term.sentences[0], term.name))
    return terms


def _recognise_people(kinds: dict[str, Kind]) -> None:
    """Who is known by one name is known by the full one."""
    people = {name for name, kind in kinds.items() if kind is Kind.PERSON}
    for name, kind in kinds.items():
        words = name.split()
        if kind is Kind.NAME and len(words) == 2 and not people.isdisjoint(words):
            kinds[name] = Kind.PERSON
