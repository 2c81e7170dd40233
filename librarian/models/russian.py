"""Russian grammar for names: what a word may be, and how it is called in the nominative."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pymorphy3  # type: ignore[import-untyped]

_PERSONAL = frozenset({"Name", "Surn", "Patr"})
_PROPER = _PERSONAL | {"Geox", "Orgn"}
_FUNCTION = frozenset({"PREP", "CONJ", "PRCL", "INTJ", "NPRO", "PRED"})
_lock = threading.Lock()
_shared: list[Any] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """A word read as a noun."""

    lemma: str  #: nominative, lower case
    gender: str  #: `masc`, `femn`, `neut`, or `plur` for a noun without a singular
    cases: frozenset[tuple[str, str, str]]  #: number, case and gender it may stand in
    marks: frozenset[str]  #: of Name, Surn, Patr, Geox, Orgn
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjective:
    """A word read as an adjective."""

    cases: frozenset[tuple[str, str, str]]  #: as of a noun; the gender of a plural is empty


def agree(adjective: Adjective, noun: Noun) -> bool:
    """Whether the two may stand in one case, number and gender."""
    return not adjective.cases.isdisjoint(noun.cases)


def genitive(noun: Noun) -> bool:
    """Whether the noun may belong to the one before it."""
    return any(case == "gent" for _, case, _ in noun.cases)


@lru_cache(maxsize=30_000)
def noun(word: str) -> Noun | None:
    """The lower-case word as a common noun, if that is what it most likely is."""
    parses = _parses(word)
    if not parses or parses[0].tag.POS in _FUNCTION:
        return None
    nouns = [parse for parse in parses if parse.tag.POS == "NOUN"]
    if sum(parse.score for parse in nouns) < 0.3 or parses[0].tag.POS in ("ADVB", "NUMR", "INFN"):
        return None
    common = [parse for parse in nouns if _PROPER.isdisjoint(parse.tag.grammemes)]
    return _noun(common or nouns)


@lru_cache(maxsize=30_000)
def proper(word: str) -> Noun | None:
    """The lower-case word as a name, if the dictionary or its ending says that it is one."""
    names = [parse for parse in _names(word) if not _PROPER.isdisjoint(parse.tag.grammemes)]
    return _noun(names) if names else None


@lru_cache(maxsize=30_000)
def adjective(word: str) -> Adjective | None:
    """The lower-case word as a describing adjective or participle; `this` and `first` are not."""
    fits = [
        parse
        for parse in _parses(word)
        if parse.tag.POS in ("ADJF", "PRTF") and not {"Apro", "Anum"} & parse.tag.grammemes
    ]
    if sum(parse.score for parse in fits) < 0.3:
        return None
    cases = [_place(parse) for parse in fits]
    every = [(number, case, gender) for number, case, gender in cases if number == "sing"]
    for number, case, _ in cases:
        if number == "plur":
            every += [("plur", case, kind) for kind in ("masc", "femn", "neut", "plur")]
    return Adjective(cases=frozenset(every))


@lru_cache(maxsize=30_000)
def adjective_for(word: str, gender: str) -> str:
    """The adjective in the nominative, in the gender of its noun."""
    wanted = {"nomn", "plur"} if gender == "plur" else {"nomn", "sing", gender}
    for parse in _parses(word):
        if parse.tag.POS in ("ADJF", "PRTF") and "Apro" not in parse.tag.grammemes:
            with _lock:
                turned = parse.inflect(wanted)
            if turned is not None:
                return str(turned.word)
    return word


@lru_cache(maxsize=30_000)
def person_part(word: str, gender: str) -> str:
    """A given name, patronymic or surname in the nominative, in the gender of the person."""
    for parse in _names(word):
        if _PERSONAL & parse.tag.grammemes and parse.tag.gender == gender:
            return _nominative(parse)
    if adjective(word):
        return adjective_for(word, gender)
    reading = noun(word) or proper(word)
    return reading.lemma if reading else word


@lru_cache(maxsize=30_000)
def likelier_gender(word: str) -> str:
    """The gender of a given name that both have in some case: of the name that is the commoner."""

    def weight(gender: str) -> float:
        lemma = person_part(word, gender)
        own = [
            parse.score
            for parse in _names(lemma)
            if _PERSONAL & parse.tag.grammemes and {gender, "nomn", "sing"} <= parse.tag.grammemes
        ]
        return float(sum(own))

    return max(("masc", "femn"), key=weight)


def noun_lemma(word: str) -> str | None:
    """The nominative of a name or noun, or nothing when it is neither."""
    reading = proper(word) or noun(word)
    return reading.lemma if reading else None


@lru_cache(maxsize=30_000)
def is_common(word: str) -> bool:
    """Whether the dictionary has the lower-case word as an ordinary one."""
    return any(
        parse.is_known and _PROPER.isdisjoint(parse.tag.grammemes) for parse in _parses(word)
    )


@lru_cache(maxsize=30_000)
def noun_is_likelier(word: str) -> bool:
    """Whether the lower-case word is more often an ordinary word than a name."""
    parses = _parses(word)
    common = [parse.score for parse in parses if _PROPER.isdisjoint(parse.tag.grammemes)]
    return bool(sum(common) > 0.5)


@lru_cache(maxsize=30_000)
def genders(word: str) -> frozenset[str]:
    """The genders that the word has as a part of a person's name."""
    return frozenset(
        str(parse.tag.gender)
        for parse in _names(word)
        if _PERSONAL & parse.tag.grammemes and parse.tag.gender
    )


def _names(word: str) -> list[Any]:
    """Readings as a noun; that a name never changes is the last thing to believe of it."""
    nouns = [parse for parse in _parses(word) if parse.tag.POS == "NOUN"]
    guessed = [
        parse
        for parse in nouns
        if parse.is_known or not parse.normal_form.endswith(("ской", "цкой", "скай", "цкай"))
    ]
    changing = [parse for parse in guessed if "Fixd" not in parse.tag.grammemes]
    return changing or guessed or nouns


def _noun(parses: list[Any]) -> Noun:
    best = parses[0]
    same = [parse for parse in parses if parse.normal_form == best.normal_form]
    gender = "plur" if "Pltm" in best.tag.grammemes else str(best.tag.gender or "masc")
    return Noun(
        lemma=_nominative(best),
        gender=gender,
        cases=frozenset(_cases(same, gender)),
        marks=frozenset(best.tag.grammemes) & _PROPER,
        known=bool(best.is_known),
    )


def _cases(parses: Iterable[Any], gender: str) -> Iterable[tuple[str, str, str]]:
    for parse in parses:
        number, case, _ = _place(parse)
        yield number, case, gender


def _place(parse: Any) -> tuple[str, str, str]:
    tag = parse.tag
    case = {"gen2": "gent", "loc2": "loct"}.get(str(tag.case), str(tag.case))
    return str(tag.number), case, str(tag.gender or "")


def _nominative(parse: Any) -> str:
    """The dictionary form of a surname or patronymic is a man's, so it is turned, not looked up."""
    if {"Surn", "Patr"}.isdisjoint(parse.tag.grammemes) or parse.tag.number != "sing":
        return str(parse.normal_form)
    with _lock:
        turned = parse.inflect({"nomn"})
    return str(turned.word if turned is not None else parse.normal_form)


@lru_cache(maxsize=2_000)  # a reading is large; what is made of it is kept instead
def _parses(word: str) -> list[Any]:
    with _lock:
        if not _shared:
            _shared.append(pymorphy3.MorphAnalyzer())
        return list(_shared[0].parse(word))
