"""The type of an entity, told by its form; what cannot be told is a concept."""

from __future__ import annotations

import re
from collections.abc import Sequence

from librarian.models.mention import Kind
from librarian.models.terms import Term
from librarian.models.words import Sentence

_ORGANIZATION = re.compile(
    r"\b(?:foundation|project|company|inc|ltd|corporation|university|institute|ministry|committee"
    r"|team|society|association|bank|press)\b|компани|университет|институт|министерств|комитет"
    r"|организаци|фонд\b|общество|завод|академи|банк\b",
    re.IGNORECASE,
)
_METHOD = re.compile(
    r"(?:овка|ройка|рузка|метка|ация|яция|иция|ание|ение|ировка|борка)(?:\s|$)"
    r"|(?:ing|ation|tion|ment)$",
    re.IGNORECASE,
)
_DATA = re.compile(
    r"^(?:данные|адрес|размер|имя|таблица|список|значение|пароль|идентификатор)\b"
    r"|\b(?:data|address|size|table|password|identifier|value|number)$",
    re.IGNORECASE,
)
_ARTIFACT = re.compile(
    r"^(?:программа|файл|диск|карта|сервер|устройство|пакет|драйвер|ядро|компьютер|образ|каталог"
    r"|клавиатура|мышь|принтер|утилита|установщик|загрузчик|команда|библиотека)\b"
    r"|\b(?:диск|система|обеспечение|сервер|установщик|загрузчик|карта|устройство|файл|ядро|пакет|компьютер|драйвер)$"
    r"|\b(?:disk|file|server|device|package|driver|kernel|computer|image|installer|card|program"
    r"|system|tool|library|directory|software|hardware|loader|machine)$",
    re.IGNORECASE,
)


def type_of(term: Term, sentences: Sequence[Sentence], allowed: frozenset[str]) -> str:
    """One of the allowed types, or `Other`."""
    guess = _guess(term)
    if allowed and guess not in allowed:
        return "Other"
    return guess


def _guess(term: Term) -> str:
    if term.kind is Kind.PLACE:
        return "Location"
    if " " in term.name and _ORGANIZATION.search(term.name) and term.kind is not Kind.TITLE:
        return "Organization"
    if term.kind is Kind.PERSON:
        return "Person"
    if term.kind is Kind.TITLE:
        return "Content"
    if term.kind is Kind.TECH or _ARTIFACT.search(term.name):
        return "Artifact"
    if term.kind is Kind.NAME:
        return "Artifact" if term.name.isupper() or "/" in term.name else "Other"
    if _DATA.search(term.name):
        return "Data"
    return "Method" if _METHOD.search(term.name) else "Concept"
