"""What a person writes into the graph: names, types and descriptions that LightRAG can store."""

from __future__ import annotations

import unicodedata

from librarian.errors import EditRefused

SEPARATOR = "<SEP>"  # LightRAG's, between the parts of a field
MOST_NAME = 256  # characters; LightRAG cuts longer names of its own
MOST_TEXT = 20_000
MOST_TYPE = 60
_NO_TYPE = set("'()<>|/\\")  # LightRAG takes no type with these


def name_of(text: str) -> str:
    """A name that can be stored.

    Raises:
        EditRefused: it cannot; why.
    """
    name = text.strip()
    if not name:
        raise EditRefused("A name has to have at least one letter.")
    if len(name) > MOST_NAME:
        raise EditRefused(f"A name may have {MOST_NAME} characters; this one has {len(name):,}.")
    _check(name, "A name")
    if "\n" in name or "\t" in name:
        raise EditRefused("A name has to be on one line, without tabs.")
    return name


def description_of(text: str | None) -> str | None:
    """A description that can be stored; None stays None.

    Raises:
        EditRefused: it cannot; why.
    """
    if text is None:
        return None
    words = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not words:
        raise EditRefused("A description cannot be empty. Write a sentence, or leave it as it was.")
    if len(words) > MOST_TEXT:
        raise EditRefused(
            f"A description may have {MOST_TEXT:,} characters; this one has {len(words):,}."
        )
    _check(words, "A description")
    return words


def type_of(text: str | None) -> str | None:
    """A type of entity as LightRAG writes it; None stays None.

    Raises:
        EditRefused: it cannot; why.
    """
    if text is None:
        return None
    kind = "".join(text.split()).lower()
    if not kind or len(kind) > MOST_TYPE or _NO_TYPE & set(kind):
        raise EditRefused(
            f"A type is one word of at most {MOST_TYPE} letters, without brackets or slashes."
        )
    _check(kind, "A type")
    return kind


def _check(text: str, what: str) -> None:
    if SEPARATOR in text:
        raise EditRefused(f"{what} cannot have {SEPARATOR} in it: it separates descriptions.")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Cn") and c not in "\n\t" for c in text):
        raise EditRefused(f"{what} cannot have invisible control characters in it.")
