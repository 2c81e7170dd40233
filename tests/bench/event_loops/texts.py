"""The English texts that every way indexes: made up, always the same."""

from __future__ import annotations

import random
from collections.abc import Iterator

from librarian.tokens import PieceTokenizer

BOOK, SEED = "harbour.txt", "lighthouse.txt"
BOOK_TOKENS = 66_000  # 60 chunks of 1,200 with LightRAG's overlap of 100
SEED_TOKENS = 2_500  # so that a question finds something before the book is there
QUESTIONS = (
    "Who keeps the ledger of the harbour?",
    "What does the pilot write down after the storm?",
)
CAST = 8  # names of a chapter
FIRST = "Ada Bram Cora Dirk Edda Finn Greta Hugo Ilse Joran Karin Lars Mina Nils Orsa Piet".split()
LAST = "Alder Brook Cask Dunmore Ebb Farrow Gale Holm Inver Keel Lark Marsh Norwell Quay".split()
TRADES = "pilot|keeper|clerk|captain|carpenter|surgeon|printer|teacher|merchant|sailor".split("|")
VERBS = "reads copies hides repairs measures sells borrows describes guards opens".split()
THINGS = "the ledger|the old chart|a brass lamp|the tide table|a sealed letter|the bell".split("|")
WHEN = "before the storm|after the storm|at low water|in the winter|without a word".split("|")
PLACES = "in the harbour|at the lighthouse|on the north pier|in the customs house".split("|")


def book() -> str:
    """The text whose indexing is watched."""
    return _text(random.Random(7), BOOK_TOKENS)


def seed() -> str:
    """A short text that is in the library before."""
    return _text(random.Random(8), SEED_TOKENS)


def _text(dice: random.Random, tokens: int) -> str:
    parts, size, count = [], 0, PieceTokenizer().count
    for paragraph in _paragraphs(dice):
        if size >= tokens:
            break
        parts.append(paragraph)
        size += count(paragraph) + 1
    return "\n\n".join(parts)


def _paragraphs(dice: random.Random) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        cast = [f"{dice.choice(FIRST)} {dice.choice(LAST)}" for _ in range(CAST)]
        yield f"Chapter {number}"
        for _ in range(dice.randint(8, 20)):
            yield " ".join(_sentence(dice, cast) for _ in range(dice.randint(2, 6)))


def _sentence(dice: random.Random, cast: list[str]) -> str:
    one, other = dice.sample(cast, 2)
    return (
        f"The {dice.choice(TRADES)} {one} {dice.choice(VERBS)} {dice.choice(THINGS)} "
        f"{dice.choice(WHEN)} and meets {other} {dice.choice(PLACES)}."
    )
