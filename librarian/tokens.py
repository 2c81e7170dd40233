"""A tokenizer that needs no download: short pieces of words, packed into integers.

It only has to measure texts and to cut them where LightRAG wants, so a token is its own text:
up to four characters, in base 2**21 (a code point needs 21 bits). That makes it reversible,
free of any state, and safe to use from every thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

# Calibrated so that books come out at about as many tokens as with the tokenizers of current
# models: a Latin piece of four letters, a Cyrillic one of three, with the space before it.
_PIECE = re.compile(r" ?(?:[^\W\d_A-Za-z]{1,3}|[A-Za-z]{1,4}|\d{1,3})|\s{1,4}|[^\w\s]{1,3}|_", re.S)
_SHIFT = 21
_MASK = (1 << _SHIFT) - 1


class PieceTokenizer:
    """Counts and cuts text by pieces of words; `decode(encode(text)) == text` for every text."""

    def encode(self, content: str) -> list[int]:
        """The tokens of a text."""
        return list(map(_pack, _PIECE.findall(content)))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens."""
        return "".join(_unpack(token) for token in tokens)

    def count(self, content: str) -> int:
        """How many tokens a text has, without making them."""
        return _PIECE.subn("", content)[1]


@lru_cache(maxsize=1 << 16)
def _pack(piece: str) -> int:
    token = 0
    for character in reversed(piece):
        token = token << _SHIFT | ord(character) + 1  # + 1, so that NUL is not the end
    return token


def _unpack(token: int) -> str:
    characters = []
    while token:
        characters.append(chr((token & _MASK) - 1))
        token >>= _SHIFT
    return "".join(characters)
