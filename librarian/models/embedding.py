"""What vectors of an embedder must be, and whether it is still the one that it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from librarian.errors import BadEmbedding, ModelUnsuitable
from librarian.models.protocol import Vectors

# What an embedder makes of this text tells whether it is still the same one under its name.
PROBE = "The librarian keeps the catalogue. Библиотекарь ведёт каталог."
FINGERPRINT = 64  # first numbers of that vector
SAME = 0.95  # cosine; another quantization of a model stays above, another model far below


def checked(
    rows: Sequence[Sequence[float]], texts: Sequence[str], *, name: str, dimension: int
) -> Vectors:
    """The vectors of some texts, shape `(len(texts), dimension)`; a dimension of 0 is any.

    Raises:
        ModelError: a wrong count or dimension, a number that is none, or an all-zero row.
    """
    if len(rows) != len(texts):
        raise BadEmbedding(f"{name} gave {len(rows)} vectors for {len(texts)} texts.")
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise BadEmbedding(f"{name} gave vectors of different lengths.")
    found = lengths.pop() if lengths else dimension
    if dimension and found != dimension:
        raise ModelUnsuitable(
            f"{name} now gives {found} numbers a vector, not {dimension}: another model has taken "
            "its name."
        )
    vectors = np.asarray(rows, dtype=np.float32).reshape(len(rows), found)
    if not np.isfinite(vectors).all() or (len(vectors) and not vectors.any(axis=1).all()):
        raise BadEmbedding(f"{name} gave an empty vector.")
    return vectors


def recognised(probe: Vectors, fingerprint: tuple[float, ...], name: str) -> tuple[float, ...]:
    """The fingerprint of an embedder by its vector of `PROBE`: the known one, if there is one.

    Raises:
        ModelUnsuitable: it is another embedder than that of the known fingerprint.
    """
    now = probe[0, :FINGERPRINT]
    if not fingerprint:
        return tuple(round(float(number), 5) for number in now)
    known = np.asarray(fingerprint, dtype=np.float32)
    likeness = float(known @ now / (np.linalg.norm(known) * np.linalg.norm(now) or 1.0))
    if likeness < SAME:
        raise ModelUnsuitable(
            f"{name} gives other vectors than those of this library: another model has taken its "
            "name. Put the old one back, or stop this program and run `re-embed`."
        )
    return fingerprint
