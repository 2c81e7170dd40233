"""Borders of a new version: an edit of one paragraph costs three chunks at most, wherever it is."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from librarian.borders import FEW, borders_after
from librarian.chunking import Chunk, chunks_of
from tests.test_chunking import COUNT, LIMIT, TEXTS, book, cut, solid


def after(text: str, old: tuple[Chunk, ...], limit: int = LIMIT) -> tuple[Chunk, ...]:
    """The chunks of a new version."""
    borders = borders_after(text, cut(text, limit), old, limit=limit, count=COUNT)
    return chunks_of(text, limit=limit, count=COUNT, borders=borders)


def new(chunks: tuple[Chunk, ...], old: tuple[Chunk, ...]) -> int:
    known = {chunk.text for chunk in old}
    return sum(chunk.text not in known for chunk in chunks)


def edited(paragraphs: list[str], random: Random) -> list[str]:
    found, at = list(paragraphs), random.randrange(len(paragraphs))
    match random.choice(["insert", "delete", "reword"]):
        case "insert":
            found.insert(at, book(1, random.randrange(1000)))
        case "delete":
            del found[at]
        case _:
            found[at] = " ".join(reversed(found[at].split()))
    return found


def test_an_edit_costs_three_chunks_at_most_where_a_fresh_cut_costs_more() -> None:
    random, dearer = Random(7), 0
    for seed in range(4):
        paragraphs = book(300, seed).split("\n\n")
        old = cut("\n\n".join(paragraphs))
        for _ in range(40):
            text = "\n\n".join(edited(paragraphs, random))
            assert new(after(text, old), old) <= FEW
            dearer += new(cut(text), old) > FEW
    assert dearer > 0


def test_edit_after_edit_each_costs_three_chunks_at_most() -> None:
    random = Random(11)
    paragraphs = book(300).split("\n\n")
    old = cut("\n\n".join(paragraphs))
    for _ in range(60):
        paragraphs = edited(paragraphs, random)
        chunks = after("\n\n".join(paragraphs), old)
        assert new(chunks, old) <= FEW
        old = chunks


def test_a_chapter_that_comes_in_costs_its_own_chunks() -> None:
    paragraphs, chapter = book(300).split("\n\n"), book(80, seed=9)
    old = cut("\n\n".join(paragraphs))
    text = "\n\n".join([*paragraphs[:150], chapter, *paragraphs[150:]])
    assert new(after(text, old), old) <= len(cut(chapter)) + FEW


def test_a_fresh_cut_is_taken_where_it_costs_little() -> None:
    text = book(300)
    assert borders_after(text, cut(text), cut(text), limit=LIMIT, count=COUNT) == ()


@settings(max_examples=150)
@given(TEXTS, TEXTS, st.integers(8, 120))
def test_whatever_the_versions_nothing_is_lost_and_the_limit_holds(
    before: str, text: str, limit: int
) -> None:
    chunks = after(text, cut(before, limit), limit)
    assert solid("".join(chunk.text for chunk in chunks)) == solid(text)
    assert all(chunk.tokens == COUNT(chunk.text) <= limit for chunk in chunks)
    assert all(a.start + len(a.text) <= b.start for a, b in pairwise(chunks))


@given(TEXTS, st.lists(st.integers(-5, 500)), st.integers(8, 120))
def test_borders_that_are_wrong_lose_nothing(text: str, borders: list[int], limit: int) -> None:
    chunks = chunks_of(text, limit=limit, count=COUNT, borders=borders)
    assert solid("".join(chunk.text for chunk in chunks)) == solid(text)
    assert all(chunk.tokens <= limit for chunk in chunks)
