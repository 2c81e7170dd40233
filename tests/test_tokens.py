"""The tokenizer: reversible for every text, the same from every thread."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.tokens import PieceTokenizer

ANY_TEXT = st.text(st.characters())  # surrogates and NUL included
PROSE_EN = "The lighthouse keeper lights the lamp every evening and writes down every ship. " * 40
PROSE_RU = "Смотритель зажигает лампу маяка каждый вечер и записывает проходящие суда. " * 40


@given(ANY_TEXT)
def test_every_text_comes_back(text: str) -> None:
    tokenizer = PieceTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(ANY_TEXT)
def test_counting_agrees_with_encoding(text: str) -> None:
    tokenizer = PieceTokenizer()
    assert tokenizer.count(text) == len(tokenizer.encode(text))


@given(ANY_TEXT, st.integers(0, 200))
def test_tokens_can_be_cut_anywhere(text: str, place: int) -> None:
    tokenizer = PieceTokenizer()
    tokens = tokenizer.encode(text)
    head, tail = tokenizer.decode(tokens[:place]), tokenizer.decode(tokens[place:])
    assert head + tail == text


@pytest.mark.parametrize(
    "text",
    ["", "\x00", "\x00\x00a\x00", "\ud800", "a\udfffb", "\U0010ffff" * 9, "👩‍👩‍👧", "é", "é"],
)
def test_odd_characters_come_back(text: str) -> None:
    tokenizer = PieceTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_token_has_a_few_characters_in_both_languages() -> None:
    tokenizer = PieceTokenizer()
    assert 2.5 < len(PROSE_EN) / tokenizer.count(PROSE_EN) < 5
    assert 2 < len(PROSE_RU) / tokenizer.count(PROSE_RU) < 4


def test_many_threads_count_as_one() -> None:
    tokenizer = PieceTokenizer()
    texts = [PROSE_RU[n:] + PROSE_EN[n:] for n in range(60)]
    alone = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(tokenizer.encode, texts)) == alone
        assert list(threads.map(tokenizer.decode, alone)) == texts
