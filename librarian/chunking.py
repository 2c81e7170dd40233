"""Chunks whose borders are chosen from the text itself, so that an edit moves one or two of them.

Every place where a text may be cut (a heading, a blank line, a line's or a sentence's end, at
worst a word's) has a price that depends on nothing but the characters around it. The cuts are
those with the least total price that keep every chunk within its limits (a shortest path). Far
from an edit the prices are the same, so the path is the same.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# What a chunk costs, against the price of a place, decides between few chunks and chunks that stay
# as they are after an edit. With these, a book of 2 MB has 495 chunks, 9 % more than windows of
# 1,200 tokens that overlap by 100, and a paragraph inserted, deleted or reworded changes 1.7 of
# them on average, in one of ten edits more than 3. With 471 chunks it was 3, and one in five.
FILL = 0.4  # of the limit; smaller chunks are not made, but at the end
_CHUNK_COST = 1.0
_RANK_COST = 4.0  # of the middle of a word; a heading costs nothing
_PLACE_COST = 3.0  # of the worst place among equals
_AROUND = 24  # characters on each side of a cut that its price depends on
_LINE = re.compile(r"[^\n]*\n+|[^\n]+$")
_SENTENCE = re.compile(r".+?(?:[.!?…»\"”]+\s+|\n+|$)", re.S)
_HEADING = re.compile(r"#{1,6} \S|[A-ZА-ЯЁ0-9][^.!?\n]{0,78}$")

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a document: its text and place."""

    order: int  #: from 0
    start: int  #: offset of its first character in the document
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    tokens: int
    rank: float  # how bad it is to cut before this piece: 0 a heading, 1 the middle of a word


def chunks_of(
    text: str, *, limit: int, count: Count, borders: Sequence[int] = ()
) -> tuple[Chunk, ...]:
    """The chunks of a document, none above `limit` tokens; together they hold all of its text.

    The same text always gives the same chunks, or those that begin at the `borders`, in characters,
    where there are such and they keep the limit. Surrounding white space is left out.
    """
    if borders:
        places = sorted({0, *borders, len(text)})
        given = _stripped(text, pairwise(places), count)
        if places[-1] == len(text) and all(chunk.tokens <= limit for chunk in given):
            return given
    pieces = _pieces(text, limit, count)
    if not pieces:
        return ()
    cuts = _cuts(text, pieces, limit)
    spans = ((pieces[first].start, pieces[last].end) for first, last in cuts)
    return _stripped(text, spans, count)


def _stripped(text: str, spans: Iterable[tuple[int, int]], count: Count) -> tuple[Chunk, ...]:
    found = []
    for start, end in spans:
        body = text[start:end]
        stripped = body.strip()
        if stripped:
            lead = len(body) - len(body.lstrip())
            found.append((start + lead, stripped))
    return tuple(
        Chunk(order=order, start=start, text=body, tokens=count(body))
        for order, (start, body) in enumerate(found)
    )


def _pieces(text: str, limit: int, count: Count) -> list[_Piece]:
    """Lines, cut further into sentences, words or characters where one is too long."""
    grain = max(1, limit // 8)  # small enough that FILL always leaves places to choose from
    pieces: list[_Piece] = []
    after_blank, after_heading = True, False
    for line in _LINE.finditer(text):
        body = line.group()
        rank = _line_rank(body.rstrip("\n"), after_blank)
        heading = rank == 0.0
        if after_heading:  # a heading at the end of a chunk says nothing about either side
            rank = 0.6 if heading else 0.9
        tokens = count(body)
        if tokens <= grain:
            pieces.append(_Piece(line.start(), line.end(), tokens, rank))
        else:
            pieces.extend(_split(body, line.start(), rank, grain, count))
        after_blank, after_heading = body.endswith("\n\n"), heading
    return pieces


def _line_rank(line: str, after_blank: bool) -> float:
    if line.startswith("#") and _HEADING.match(line):
        return 0.0
    if after_blank:
        return 0.0 if _HEADING.match(line) else 0.1
    return 0.4


def _split(line: str, offset: int, rank: float, grain: int, count: Count) -> list[_Piece]:
    pieces: list[_Piece] = []
    for sentence in _SENTENCE.finditer(line):
        body, start = sentence.group(), offset + sentence.start()
        tokens = count(body)
        own = rank if not pieces else 0.5
        if tokens <= grain:
            pieces.append(_Piece(start, start + len(body), tokens, own))
        else:
            pieces.extend(_shred(body, start, own, grain, count))
    return pieces


def _shred(text: str, offset: int, rank: float, grain: int, count: Count) -> list[_Piece]:
    """A sentence too long to keep: cut at spaces, and where there are none, anywhere."""
    pieces: list[_Piece] = []
    begin = 0
    while begin < len(text):
        end = min(len(text), begin + grain)  # a token has at least one character
        space = text.rfind(" ", begin + grain // 2, end)
        cut = space + 1 if end < len(text) and space > 0 else end
        own = rank if not pieces else (0.8 if text[begin - 1] == " " else 1.0)
        body = text[begin:cut]
        pieces.append(_Piece(offset + begin, offset + cut, count(body), own))
        begin = cut
    return pieces


def _price(text: str, piece: _Piece) -> float:
    around = text[max(0, piece.start - _AROUND) : piece.start + _AROUND]
    luck = zlib.crc32(around.encode("utf-8", "surrogatepass")) / 2**32
    return _RANK_COST * piece.rank + _PLACE_COST * luck


def _cuts(text: str, pieces: list[_Piece], limit: int) -> list[tuple[int, int]]:
    """First and last piece of each chunk, on the path of least total price.

    Dynamic programming over the cut places, with a monotone queue for the sliding window of
    allowed chunk lengths: time linear in the number of pieces.
    """
    ends = [0]
    for piece in pieces:
        ends.append(ends[-1] + piece.tokens)
    total, least = ends[-1], int(limit * FILL)
    # Joining pieces can change their token count a little at each seam; keep room for that.
    most = limit - max(2, limit // 50)
    best = [0.0] + [float("inf")] * len(pieces)
    came = [-1] * (len(pieces) + 1)
    window: deque[int] = deque()
    entered = 0
    for place in range(1, len(pieces) + 1):
        final = place == len(pieces)
        floor = 0 if final else least
        while entered < place and ends[place] - ends[entered] >= floor:
            while window and best[window[-1]] >= best[entered]:
                window.pop()
            window.append(entered)
            entered += 1
        while window and ends[place] - ends[window[0]] > most:
            window.popleft()
        if window and best[window[0]] != float("inf"):
            price = 0.0 if final else _price(text, pieces[place])
            best[place] = best[window[0]] + price + _CHUNK_COST
            came[place] = window[0]
    if came[-1] < 0 and total:
        return _packed(ends, most)
    spans = []
    place = len(pieces)
    while place > 0:
        spans.append((came[place], place - 1))
        place = came[place]
    return spans[::-1]


def _packed(ends: list[int], most: int) -> list[tuple[int, int]]:
    """Plain packing, for texts in which no path keeps the limits (a few huge pieces)."""
    spans, first = [], 0
    for place in range(1, len(ends)):
        if ends[place] - ends[first] > most and place - 1 > first:
            spans.append((first, place - 2))
            first = place - 1
    spans.append((first, len(ends) - 2))
    return spans
