"""Answers made of the best passages' own words, and summaries of the best sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from math import log

from librarian.models.asked import Passage
from librarian.models.extraction import shortened
from librarian.models.function_words import FUNCTION
from librarian.models.words import is_russian, split_sentences, stem

MOST_QUOTES = 5
_LEAST_STEM = 4  # letters of a stem that may be cut at another letter
_ENDING = 2  # letters that stems of one name may differ by
_WINDOW = 3  # sentences of one quote
_QUOTE = 700  # letters
_LEAST_MATCH = 0.2  # of the weight of the question's words
_PLACE = 0.05  # how much less each place in the order of the passages counts
_WORD = re.compile(r"[^\W_]+")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$&:!])")
_LIST_MARK = re.compile(r"^(\d{1,9})?([-+=.)])")
_LETTERS_PER_TOKEN = 3.0  # of a Russian text, at worst
#: Words that ask for what is said, and are not what it is said about.
_ASKING = frozenset(
    "говорится говорят сказано рассказывается рассказано расскажи расскажите написано пишется "
    "пишут упоминается упомянуто известно описано описывается опиши опишите объясни объясните "
    "said says say tell told written mentioned known described describe explain".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Neighbouring sentences of one passage."""

    number: str
    text: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    text: str
    stems: frozenset[str]
    heading: bool


def content_stems(text: str) -> list[str]:
    """Stems of the words that say what a text is about."""
    return [
        stem(word)
        for word in _WORD.findall(text.lower())
        if word not in FUNCTION and not word.isdigit()
    ]


def answer(question: str, passages: Sequence[Passage], names: dict[str, str]) -> list[str]:
    """The answer in pieces: what it is, up to five quotes, and the documents they are from."""
    russian = is_russian(question)
    quotes = best_quotes(question, passages)
    if not quotes:
        return [_NOTHING_RU if russian else _NOTHING_EN]
    pieces = [_FOUND_RU if russian else _FOUND_EN]
    pieces += [f"\n\n> {escaped(quote.text)} [{quote.number}]" for quote in quotes]
    pieces.append("\n\n### References\n")
    for number in dict.fromkeys(quote.number for quote in quotes):
        pieces.append(f"\n- [{number}] {escaped(names.get(number, number))}")
    return pieces


_FOUND_RU = "Языковой модели нет, поэтому ниже — дословные цитаты из самых подходящих мест книг."
_FOUND_EN = "No language model is in use, so these are word-for-word quotes of the best passages."
_NOTHING_RU = "В найденных местах книг нет слов этого вопроса. Попробуйте спросить другими словами."
_NOTHING_EN = "The passages that were found hold none of the question's words. Try other words."


def best_quotes(question: str, passages: Sequence[Passage]) -> list[Quote]:
    """The places that hold most of the question's rarer words; no sentence twice.

    The passages come best first: of two such places, the earlier passage's is better.
    """
    pages = [_page(passage) for passage in passages]
    held = frozenset().union(*(line.stems for page in pages for line in page))
    asked = dict.fromkeys(as_held(word, held) for word in asked_about(question))
    rarity = _rarity([line.stems for page in pages for line in page])
    whole = sum(rarity(word) for word in asked)
    candidates: list[tuple[float, int, int]] = []
    for at, page in enumerate(pages):
        for start in range(len(page)):
            score = _score(page, start, asked, rarity)
            if score > 0 and score >= _LEAST_MATCH * whole:
                candidates.append((score / (1 + _PLACE * at), at, start))
    candidates.sort(key=lambda row: (-row[0], row[1], row[2]))
    return _distinct(candidates, pages, [passage.number for passage in passages])


def asked_about(question: str) -> list[str]:
    """Stems of what a question is about, without the words that only ask."""
    words = _WORD.findall(question.lower())
    about = content_stems(" ".join(word for word in words if word not in _ASKING))
    return about or content_stems(question)


def as_held(word: str, held: Set[str]) -> str:
    """A stem as the passages have it: names in other cases are cut at other letters."""
    if word in held or len(word) < _LEAST_STEM:
        return word
    near = (
        each
        for each in held
        if len(each) >= _LEAST_STEM
        and abs(len(each) - len(word)) <= _ENDING
        and (each.startswith(word) or word.startswith(each))
    )
    return min(near, key=lambda each: (abs(len(each) - len(word)), each), default=word)


def _page(passage: Passage) -> list[_Line]:
    """The passage's sentences; headings are only a hint, unless there is nothing else."""
    sentences = split_sentences(passage.text)
    bare = all(sentence.heading for sentence in sentences)
    return [
        _Line(
            text=sentence.text,
            stems=frozenset(content_stems(sentence.text)),
            heading=sentence.heading and not bare,
        )
        for sentence in sentences
    ]


def _rarity(sentences: Sequence[frozenset[str]]) -> Callable[[str], float]:
    """How much a word tells: the fewer sentences have it, the more."""
    seen = Counter(word for sentence in sentences for word in sentence)
    return lambda word: log(1 + (len(sentences) + 1) / (1 + seen[word]))


def _score(
    page: Sequence[_Line], start: int, asked: dict[str, None], rarity: Callable[[str], float]
) -> float:
    """The words of the first sentence count in full; of the heading and what follows, by half."""
    if page[start].heading or asked.keys().isdisjoint(page[start].stems):
        return 0.0
    around: set[str] = set()
    for line in page[start + 1 : _window_end(page, start)]:
        around |= line.stems
    if start and page[start - 1].heading:
        around |= page[start - 1].stems
    first = sum(rarity(word) for word in asked if word in page[start].stems)
    rest = sum(rarity(word) for word in asked if word in around - page[start].stems)
    held = sum(word in page[start].stems or word in around for word in asked)
    return (first + 0.5 * rest) * (0.5 + 0.5 * held / len(asked))


def _window_end(page: Sequence[_Line], start: int) -> int:
    """A quote does not reach over the next heading."""
    end = start + 1
    while end < min(len(page), start + _WINDOW) and not page[end].heading:
        end += 1
    return end


def _distinct(
    candidates: Sequence[tuple[float, int, int]], pages: Sequence[list[_Line]], numbers: list[str]
) -> list[Quote]:
    said: set[str] = set()
    quotes: list[Quote] = []
    for score, at, start in candidates:
        texts = [line.text for line in pages[at][start : _window_end(pages[at], start)]]
        if said.isdisjoint(texts):
            said.update(texts)
            text = shortened(" ".join(texts), _QUOTE)
            quotes.append(Quote(number=numbers[at], text=text, score=score))
        if len(quotes) == MOST_QUOTES:
            break
    return quotes


def escaped(text: str) -> str:
    """The text as Markdown that shows it letter by letter."""
    one_line = " ".join(text.split())
    return _LIST_MARK.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", one_line))


def summarised(texts: Sequence[str], tokens: int) -> str:
    """Distinct sentences of the descriptions, the most telling first, within the length."""
    sentences = list(
        dict.fromkeys(sentence.text for text in texts for sentence in split_sentences(text))
    )
    if not sentences:
        return " ".join(" ".join(texts).split())
    stems = [frozenset(content_stems(sentence)) for sentence in sentences]
    shared = Counter(word for one in stems for word in one)
    left = list(range(len(sentences)))
    told: set[str] = set()
    chosen: list[str] = []
    room = tokens * _LETTERS_PER_TOKEN
    while left:
        best = max(left, key=lambda at: _news(stems[at], told, shared))
        left.remove(best)
        if _news(stems[best], told, shared) <= 0 and chosen:
            break
        if len(sentences[best]) <= room or not chosen:
            chosen.append(shortened(sentences[best], int(room)) if not chosen else sentences[best])
            room -= len(sentences[best]) + 1
        told |= stems[best]
    return " ".join(chosen)


def _news(words: frozenset[str], told: set[str], shared: Counter[str]) -> float:
    """What a sentence adds: words that many descriptions share, and were not told yet."""
    fresh = words - told
    return float(sum(shared[word] ** 0.5 for word in fresh) / (len(words) + 3) ** 0.5)
