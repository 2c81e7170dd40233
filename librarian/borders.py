"""Borders of a new version's chunks: where a fresh cut would cost much, those of the old version.

Borders that depend on the text alone find back to the old ones within a chunk or two after most
edits, but not after all of them. Then every chunk whose text is still there stays as it was, and
only the rest is cut: an edit costs the chunks that it touches, and one beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

from librarian.chunking import FILL, Chunk, Count, chunks_of
from librarian.documents import Document, document_id
from librarian.errors import LibraryError, UnknownDocument
from librarian.library import Library
from librarian.tokens import PieceTokenizer

CUTS = ".cuts.json"  # beside an original, where its borders are not those of a fresh cut
FEW = 3  # new chunks; where a fresh cut has no more, it is taken
REACH = 4  # times its length: how far behind the one before a chunk is looked for

Span = tuple[int, int]  #: first character, and the one after the last


def chunks_in(library: Library, document: Document, text: str) -> tuple[Chunk, ...]:
    """The chunks of a document with this text, as the model is given them; none before it has one.

    Raises:
        LibraryError: its list of borders is damaged.
    """
    limit = library.manifest.chunk_tokens
    if not limit:
        return ()
    borders = borders_of(library, document)
    return chunks_of(text, limit=limit, count=PieceTokenizer().count, borders=borders)


def borders_of(library: Library, document: Document) -> tuple[int, ...]:
    """Where its chunks begin, in characters; empty where a fresh cut says it.

    Raises:
        LibraryError: its list of borders is damaged.
    """
    file = f"{document.file}{CUTS}"
    if not (library.files / file).exists():
        return ()
    try:
        return tuple(map(int, json.loads(library.read_original(file))))
    except (ValueError, TypeError) as exc:
        raise LibraryError(f"{file} is damaged; delete the document and add it anew.") from exc


def borders_of_text(library: Library, text: str) -> tuple[int, ...]:
    """The same for the document with this text, if there is one.

    Raises:
        LibraryError: its list of borders is damaged.
    """
    try:
        return borders_of(library, library.catalogue.get(document_id(text)))
    except UnknownDocument:  # it was deleted a moment ago
        return ()


def keep_borders(library: Library, file: str, text: str, old: Sequence[Chunk]) -> None:
    """Notes for a new version, whose original is this file, which borders stay; if any need to."""
    limit, count = library.manifest.chunk_tokens, PieceTokenizer().count
    if old:
        fresh = chunks_of(text, limit=limit, count=count)
        if borders := borders_after(text, fresh, old, limit=limit, count=count):
            library.keep_original(f"{file}{CUTS}", json.dumps(borders).encode())


def borders_after(
    text: str, fresh: Sequence[Chunk], old: Sequence[Chunk], *, limit: int, count: Count
) -> tuple[int, ...]:
    """Where the chunks of a new version begin, in characters; empty: where its `fresh` ones do.

    `old` are the chunks of the version before. No chunk is above `limit` tokens.
    """
    known = {chunk.text for chunk in old}
    if _new(fresh, known) <= FEW:
        return ()
    kept = _large_enough_between(text, _still_there(text, old), limit * FILL, count)
    begins = [start for start, _ in kept]
    for start, end in _between(text, kept):
        rest = chunks_of(text[start:end], limit=limit, count=count)
        begins.extend(start + chunk.start for chunk in rest)
    borders = tuple(sorted(begins))
    made = chunks_of(text, limit=limit, count=count, borders=borders)
    return borders if _new(made, known) < _new(fresh, known) else ()


def _new(chunks: Sequence[Chunk], known: set[str]) -> int:
    return sum(chunk.text not in known for chunk in chunks)


def _still_there(text: str, old: Sequence[Chunk]) -> list[Span]:
    """The old chunks that the text still has, in their order.

    Each is looked for near the one before: books repeat themselves. The more are missed, the
    farther: much may have been added.
    """
    kept: list[Span] = []
    missed = 1
    for chunk in old:
        after = kept[-1][1] if kept else 0
        start = text.find(chunk.text, after, after + missed * REACH * len(chunk.text))
        missed = 1 if start >= 0 else missed + 1
        if start >= 0:
            kept.append((start, start + len(chunk.text)))
    return kept


def _large_enough_between(text: str, kept: list[Span], least: float, count: Count) -> list[Span]:
    """Without those beside which too little is left for a chunk of its own: they are cut anew."""
    given_up = set()
    for number, (start, end) in enumerate(_between(text, kept)):
        if text[start:end].strip() and count(text[start:end]) < least:
            given_up.add(max(0, number - 1))  # the one before it; at the beginning the one after
    return [span for number, span in enumerate(kept) if number not in given_up]


def _between(text: str, kept: list[Span]) -> Iterator[Span]:
    """What lies before, between and after: one more than there are."""
    edges = [(0, 0), *kept, (len(text), len(text))]
    for (_, end), (start, _) in pairwise(edges):
        yield end, start
