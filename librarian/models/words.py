"""Sentences, words and stems of a text, in Russian and English."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer  # type: ignore[import-untyped]

LONGEST_WORD = 60  # letters; what is longer is data, not a word
LONGEST_SENTENCE = 600  # letters; what is longer is a table or a listing

_URL = re.compile(
    r"[<⟨]?(?:https?|ftp|mailto)://?[^\s<>⟩»\"]{1,500}[>⟩]?"
    r"|<?[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}>?"
)
_REFERENCE = re.compile(
    r"\b(?:Разделе?а?у?|Глав[аеуы]|Приложени[еяию]|Таблиц[аеуы]|Рисун[ок]\w{0,2}|Примера?"
    r"|[Ss]ection|[Cc]hapter|[Aa]ppendix|[Tt]able|[Ff]igure|[Ee]xample)"
    r"[ \u00a0]{1,3}(?:\d[\d.]{0,12}|[A-Z](?:\.\d[\d.]{0,12})?(?=[,.\s]))"
    r"(?:,\s{0,3}[«“][^»”\n]{1,120}[»”])?"
)
_OUTLINE = re.compile(r"^\s*(?:[A-ZА-Я]\.)?\d{1,3}(?:\.\d{1,3}){0,5}\.?\s+|^\s*[A-Z]\.\d[\d.]*\s+")
_WORD = re.compile(
    r"(?<![\w<])(?:~|\.{1,2})?/(?=[\w.])[\w.+@~/-]{1,200}"
    r"|\w[\w'’]*(?:(?:[-.+/]|\.\.)\w+)*(?:\+\+)?"
)
_STEM_WORD = re.compile(r"[^\W_]+")
_CYRILLIC = re.compile(r"[а-яёА-ЯЁ]")
_LATIN = re.compile(r"[a-zA-Z]")
_END = re.compile(r"[.!?…]+[\"'»”)\]]{0,3}\s+(?=[\"'«“(\[—–-]{0,2}\s?[A-ZА-ЯЁ0-9])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(«])(?:[A-ZА-ЯЁ]|т|д|п|г|гг|см|ср|напр|др|пр|стр|рис|табл|им|ул|руб|e\.g|i\.e|etc|vs"
    r"|Mr|Mrs|Ms|Dr|St|Prof|Jr|Sr|No|fig|т\.е|т\.к|т\.д|т\.п)\.$"
)
_stemmers = threading.local()


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word where it stands."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence or a heading, freed of line breaks."""

    text: str
    russian: bool
    heading: bool


def is_russian(text: str) -> bool:
    """Whether more than a quarter of the letters are Cyrillic: Russian prose is full of names."""
    cyrillic = len(_CYRILLIC.findall(text))
    return cyrillic * 3 > len(_LATIN.findall(text))


def plain(text: str) -> str:
    """The text without addresses and cross-references, which would pass for names."""
    return _REFERENCE.sub(" ", _URL.sub(" ", text))


def split_sentences(text: str) -> list[Sentence]:
    """Sentences in order; a line that ends nowhere is a heading or an item of a list."""
    found: list[Sentence] = []
    for line in _lines(text):
        for piece in _cut(line):
            if any(letter.isalpha() for letter in piece):
                heading = piece == line and len(line) < 90 and line[-1] not in ".!?…:;,"
                found.append(Sentence(text=piece, russian=is_russian(piece), heading=heading))
    return found


def words_of(text: str) -> list[Word]:
    """Words with their places; a path or a dotted name is one word."""
    return [
        Word(text=match[0].rstrip(".-/'’") or match[0], start=match.start(), end=match.end())
        for match in _WORD.finditer(text)
        if match.end() - match.start() <= LONGEST_WORD * 2
    ]


def _lines(text: str) -> list[str]:
    """Lines, with the ones that a narrow page broke in mid-sentence joined again."""
    every = [_OUTLINE.sub("", " ".join(raw.split())) for raw in text.splitlines()]
    full = sum(60 <= len(line) <= 120 for line in every)
    narrow = full * 2 > sum(bool(line) for line in every) and max(map(len, every)) <= 120
    joined: list[str] = []
    for line in every:
        broken = joined and len(joined[-1]) > 40 and joined[-1][-1] not in ".!?:;…"
        if line and broken and (narrow or line[0].islower()):
            joined[-1] = f"{joined[-1]} {line}"
        elif line or (joined and joined[-1]):
            joined.append(line)
    return [line for line in joined if line]


def _cut(line: str) -> list[str]:
    """A line cut at ends of sentences, and again where it goes on for too long."""
    pieces: list[str] = []
    start = 0
    for match in _END.finditer(line):
        if _ABBREVIATION.search(line, max(0, match.start() - 8), match.start() + 1):
            continue
        pieces.append(line[start : match.end()].strip())
        start = match.end()
    pieces.append(line[start:].strip())
    return [part for piece in pieces for part in _bounded(piece)]


def _bounded(piece: str) -> list[str]:
    parts: list[str] = []
    while len(piece) > LONGEST_SENTENCE:
        cut = piece.rfind(" ", LONGEST_SENTENCE // 2, LONGEST_SENTENCE)
        cut = cut if cut > 0 else LONGEST_SENTENCE
        parts.append(piece[:cut])
        piece = piece[cut:].lstrip()
    return [*parts, piece]


def stems(text: str) -> list[str]:
    """What the words of a text have in common with their other forms."""
    return [stem(word) for word in _STEM_WORD.findall(text.lower())]


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """The unchanging part of a lower-case word; English and Russian do not share letters."""
    word = word[:LONGEST_WORD].replace("ё", "е")
    language = "russian" if _CYRILLIC.search(word) else "english"
    stemmer = getattr(_stemmers, language, None)
    if stemmer is None:  # a stemmer keeps its place in the word, so threads cannot share one
        stemmer = snowballstemmer.stemmer(language)
        setattr(_stemmers, language, stemmer)
    root = str(stemmer.stemWord(word))
    if language == "russian" and len(root) > 5 and root.endswith(("ов", "ев", "ин", "ын")):
        return root[:-2]  # the stemmer takes a surname's nominative for a case and cuts there
    return root
