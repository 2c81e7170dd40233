"""Chunks: nothing lost, nothing above the limit, and an edit moves few of them."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librarian.chunking import Chunk, chunks_of
from librarian.tokens import PieceTokenizer

COUNT = PieceTokenizer().count
LIMIT = 200
PIECES = st.sampled_from(
    ["word", "Слово", ". ", "\n", "\n\n", " ", "# Heading\n\n", "x" * 300, "…", "1234567890", "\t"]
)
TEXTS = st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=120).map("".join))


def book(paragraphs: int, seed: int = 1) -> str:
    """A text of paragraphs of uneven length."""
    random = Random(seed)
    words = "lamp keeper harbour lens captain bell storm ledger rope winter island letter".split()
    return "\n\n".join(
        " ".join(
            " ".join(random.choices(words, k=random.randint(5, 14))).capitalize() + f" {n}."
            for _ in range(random.randint(1, 7))
        )
        for n in range(paragraphs)
    )


def cut(text: str, limit: int = LIMIT) -> tuple[Chunk, ...]:
    return chunks_of(text, limit=limit, count=COUNT)


def solid(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=200)
@given(TEXTS, st.integers(8, 120))
def test_chunks_hold_all_of_the_text_in_order_within_the_limit(text: str, limit: int) -> None:
    chunks = cut(text, limit)
    assert solid("".join(chunk.text for chunk in chunks)) == solid(text)
    assert [chunk.order for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert text[chunk.start : chunk.start + len(chunk.text)] == chunk.text
        assert chunk.tokens == COUNT(chunk.text) <= limit
        assert chunk.text.strip() == chunk.text != ""
    assert all(a.start + len(a.text) <= b.start for a, b in pairwise(chunks))


@given(TEXTS)
def test_the_same_text_gives_the_same_chunks(text: str) -> None:
    assert cut(text) == cut("".join(list(text)))


@pytest.mark.parametrize("text", ["", " \n\t ", "\n" * 500])
def test_no_text_is_no_chunk(text: str) -> None:
    assert cut(text) == ()


def test_a_short_text_is_one_chunk() -> None:
    (chunk,) = cut("  One line.\n")
    assert (chunk.text, chunk.start, chunk.order) == ("One line.", 2, 0)


def test_a_megabyte_without_a_space_is_cut_within_the_limit() -> None:
    text = "абвгд" * 200_000
    chunks = cut(text, 1200)
    assert "".join(chunk.text for chunk in chunks) == text
    assert max(chunk.tokens for chunk in chunks) <= 1200
    assert len(chunks) <= 2 * COUNT(text) / 1200


def test_a_book_is_cut_into_chunks_near_the_limit() -> None:
    text = book(2500)
    chunks = cut(text, 1200)
    assert len(chunks) > 20
    mean = sum(chunk.tokens for chunk in chunks) / len(chunks)
    assert 0.72 * 1200 <= mean <= 1200
    assert len(chunks) <= 1.4 * COUNT(text) / 1200


def test_prose_is_cut_between_paragraphs() -> None:
    text = book(1500)
    starts = [chunk.start for chunk in cut(text, 1200)][1:]
    assert len(starts) > 20
    at_paragraphs = sum(text[:start].endswith("\n\n") for start in starts)
    assert at_paragraphs > 0.9 * len(starts)


def test_a_heading_stays_with_its_text() -> None:
    sections = [f"## Section {n}\n\n{book(2, n)}" for n in range(60)]
    chunks = cut("\n\n".join(sections))
    assert len(chunks) > 10
    assert not any(chunk.text.splitlines()[-1].startswith("#") for chunk in chunks)
    assert sum(chunk.text.startswith("## Section") for chunk in chunks) > 0.3 * len(chunks)


@pytest.mark.parametrize("place", [0.02, 0.5, 0.97])
def test_an_inserted_paragraph_changes_few_chunks(place: float) -> None:
    paragraphs = book(1500).split("\n\n")
    before = {chunk.text for chunk in cut("\n\n".join(paragraphs))}
    paragraphs.insert(int(place * len(paragraphs)), "A paragraph that was not there before.")
    after = [chunk.text for chunk in cut("\n\n".join(paragraphs))]
    assert len(after) > 100
    assert sum(text not in before for text in after) <= 6


def test_a_changed_word_changes_few_chunks() -> None:
    text = book(1500)
    before = {chunk.text for chunk in cut(text)}
    after = cut(text.replace("lamp", "lantern", 1))
    assert 1 <= sum(chunk.text not in before for chunk in after) <= 6


def test_huge_lines_are_packed_and_not_lost() -> None:
    line = "One sentence of a table without an end | " * 400
    chunks = cut("\n".join([line] * 5))
    assert max(chunk.tokens for chunk in chunks) <= LIMIT
    assert solid("".join(chunk.text for chunk in chunks)) == solid(line * 5)
