"""Embeddings by feature hashing: texts that share stems, or parts of them, are near each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from librarian.models.function_words import FUNCTION
from librarian.models.protocol import Vectors
from librarian.models.words import LONGEST_WORD, stem

_WORD = re.compile(r"[^\W_]+")
_GRAM = 4  # letters: long enough to mean something, short enough to outlive a changed ending
_GRAM_SHARE = 0.5  # of a word's weight goes to its parts
_COMMON = 0.1  # weight of a word that every text has

Features = tuple[NDArray[np.uint32], NDArray[np.float32]]


def embed(texts: Sequence[str], dimension: int) -> Vectors:
    """One row of unit length per text, the same in every process."""
    rows = np.zeros((len(texts), dimension), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[:] = _row(text, dimension)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, dtype=np.float32)


def _row(text: str, dimension: int) -> NDArray[np.float32]:
    counts = Counter(_WORD.findall(text.lower()))
    if not counts:
        counts[""] = 1
    parts = [_features(word[:LONGEST_WORD]) for word in counts]
    hashes = np.concatenate([hashed for hashed, _ in parts])
    weights = np.concatenate([weight for _, weight in parts])
    often = np.sqrt(np.fromiter(counts.values(), dtype=np.float32, count=len(counts)))
    weights = weights * np.repeat(often, [len(weight) for _, weight in parts])
    # The hash's low bit is the sign, so that features which meet in a column cancel out on average
    signed = np.where(hashes & 1, -weights, weights)
    row = np.bincount((hashes >> 1) % dimension, weights=signed, minlength=dimension)
    if not np.any(row):
        row[0] = 1.0
    return np.asarray(row, dtype=np.float32)


@lru_cache(maxsize=50_000)
def _features(word: str) -> Features:
    """Hashes of the word's stem and of its parts, with their weights."""
    root = stem(word)
    padded = f"^{root}$"
    grams = [padded[at : at + _GRAM] for at in range(max(0, len(padded) - _GRAM + 1))]
    names = [f"={root}", *grams]
    share = _GRAM_SHARE / max(1.0, len(grams)) ** 0.5
    weights = np.full(len(names), share, dtype=np.float32)
    weights[0] = 1.0
    if word in FUNCTION:
        weights *= _COMMON
    elif len(word) < 3:
        weights *= 0.3
    hashes = np.array([crc32(name.encode("utf-8", "replace")) for name in names], dtype=np.uint32)
    return hashes, weights
