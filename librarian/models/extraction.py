"""Entities and relations of a passage, and search words of a question, as LightRAG wants them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations

from librarian.models.asked import entity_types, input_text, record_limits
from librarian.models.function_words import FUNCTION
from librarian.models.kinds import type_of
from librarian.models.terms import Found, Term, find_terms
from librarian.models.words import words_of

MOST_ENTITIES = 14
MOST_RELATIONS = 18
_DESCRIPTION = 200  # letters
NOTHING = '{"entities": [], "relationships": []}'


def extract(request: str) -> str:
    """The entities and relations of the prompt's text, as JSON."""
    total, entities = record_limits(request)
    found = find_terms(input_text(request), min(entities, total, MOST_ENTITIES))
    allowed = entity_types(request)
    relations = _relations(found)[: max(0, min(MOST_RELATIONS, total - len(found.terms)))]
    answer = {
        "entities": [
            {
                "name": term.name,
                "type": type_of(term, found.sentences, allowed),
                "description": describe(found, term.sentences),
            }
            for term in found.terms
        ],
        "relationships": relations,
    }
    return json.dumps(answer, ensure_ascii=False)


def keywords(question: str) -> str:
    """Phrases and words of the question as high, its names and all terms as low level, as JSON."""
    terms = find_terms(question, 12).terms
    low = [term.name for term in terms] or _bare_words(question)
    high = [term.name for term in terms if term.kind in ("phrase", "word")] or low
    answer = {"high_level_keywords": high[:6], "low_level_keywords": low}
    return json.dumps(answer, ensure_ascii=False)


def _bare_words(question: str) -> list[str]:
    """What is left of a question that names nothing: LightRAG refuses to search for no words."""
    words = [word.text.lower() for word in words_of(question)]
    return [word for word in dict.fromkeys(words) if len(word) > 2 and word not in FUNCTION][:6]


def describe(found: Found, places: Sequence[int]) -> str:
    """The sentence that tells most: whole, neither a heading nor a listing, and soon."""

    def worth(place: int) -> float:
        sentence = found.sentences[place]
        length = len(sentence.text)
        points = 1.0 if 50 <= length <= _DESCRIPTION else 0.3
        points += 0.6 if sentence.text[-1] in ".!?…" else 0.0
        points += 0.5 if sentence.text[0].isupper() else 0.0
        return points - (1.0 if sentence.heading else 0.0)

    best = max(places, key=worth)
    return shortened(found.sentences[best].text, _DESCRIPTION)


def shortened(text: str, length: int) -> str:
    """The text, or as many of its first words as fit, with a sign that there was more."""
    if len(text) <= length:
        return text
    cut = text.rfind(" ", length // 2, length)
    return text[: cut if cut > 0 else length].rstrip(" ,;:—–-") + "…"


def _relations(found: Found) -> list[dict[str, str]]:
    """Pairs that share a sentence: the best one of every term first, then the rest by weight."""
    spots = {term.name: set(term.sentences) for term in found.terms}
    crowd = [
        sum(at in spots[term.name] for term in found.terms) for at in range(len(found.sentences))
    ]
    weighed: list[tuple[float, Term, Term, list[int]]] = []
    for one, other in combinations(found.terms, 2):
        shared = sorted(spots[one.name] & spots[other.name])
        if shared and not _holds(one.name, other.name):
            close = sum(1.0 / (crowd[at] - 1) for at in shared)
            weighed.append((close * (one.score + other.score), one, other, shared))
    weighed.sort(key=lambda pair: -pair[0])
    joined: set[str] = set()
    first: list[tuple[Term, Term, list[int]]] = []
    rest: list[tuple[Term, Term, list[int]]] = []
    for _, one, other, shared in weighed:
        fresh = one.name not in joined or other.name not in joined
        joined |= {one.name, other.name}
        (first if fresh else rest).append((one, other, shared))
    return [_relation(found, one, other, shared) for one, other, shared in first + rest]


def _holds(one: str, other: str) -> bool:
    """Whether one name is made of the other, which every sentence then shares with it."""
    first, second = set(one.lower().split()), set(other.lower().split())
    return first <= second or second <= first


def _relation(found: Found, one: Term, other: Term, shared: list[int]) -> dict[str, str]:
    about = [
        term.name
        for term in found.terms
        if term.name not in (one.name, other.name) and not set(term.sentences).isdisjoint(shared)
    ]
    return {
        "source": one.name,
        "target": other.name,
        "keywords": ", ".join(about[:3] or [one.name, other.name]),
        "description": describe(found, shared),
    }
