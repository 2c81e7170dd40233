"""What a mention of a term is, and the words of a sentence as its readers see them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from librarian.models import english, russian
from librarian.models.words import Sentence, Word, plain, words_of

_LATIN = re.compile(r"[A-Za-z]")
_CYRILLIC = re.compile(r"[А-Яа-яЁё]")
_TITLE = re.compile(r"[«“]([^«»“”\n]{3,60})[»”]|(?<!\w)\"([^\"\n]{3,60})\"(?!\w)")
_TECH = re.compile(r"^(?:~|\.{0,2}/)|[a-z]_|\w\.[A-Za-z]|\w/[\w.-]*[/.]|/$")
_MIXED = re.compile(r"^[A-Z]?[a-z]+[A-Z]|^[A-Z]{2,}[a-z]")
_NUMBER = re.compile(r"^[\W\d_]*\w?[\W\d_]*$")
_UNITS = frozenset("kb mb gb tb kib mib gib hz khz mhz ghz ms bps id am pm ok etc e.g i.e".split())
_CODE = frozenset(
    "char struct int unsigned long void const sizeof static null return double float union enum "
    "true false".split()
)
_JOINING_DOT = re.compile(r"(?:^|\s)(?:Mr|Mrs|Ms|Dr|St|[A-ZА-ЯЁ])$")
LONGEST_RUN = 4  # words of one name


class Kind(StrEnum):
    """How a mention was recognised, which tells how far to trust it."""

    PERSON = "person"
    PLACE = "place"
    NAME = "name"
    TITLE = "title"  #: in quotes
    TECH = "tech"  #: a path, a file, an identifier, or a Latin word in a Russian text
    PHRASE = "phrase"
    WORD = "word"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A term in a sentence; `inside` says that a longer one holds it."""

    name: str
    kind: Kind
    inside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the rest of the text tells of a capital at the start of a sentence."""

    capital: frozenset[str]  #: lower-cased words that had a capital in mid-sentence
    small: frozenset[str]  #: words that were written small

    def named(self, word: str) -> bool:
        """Whether the word is a name wherever it stands."""
        return word in self.capital and word not in self.small


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A word with what its place and letters say."""

    text: str
    lower: str
    first: bool  #: of its sentence, where a capital says nothing
    capital: bool
    latin: bool
    tech: bool  #: a path, a file or an identifier by its look
    owns: bool  #: ends in 's

    @property
    def mixed(self) -> bool:
        """Both alphabets, as in a Russian noun with a foreign first part."""
        return bool(_LATIN.search(self.text) and _CYRILLIC.search(self.text))

    @property
    def camel(self) -> bool:
        """Capitals inside the word, which no common noun has."""
        return bool(_MIXED.search(self.text))

    @property
    def acronym(self) -> bool:
        """Nothing but capitals."""
        letters = [letter for letter in self.text if letter.isalpha()]
        return 2 <= len(letters) <= 12 and self.text.replace("s", "").isupper()

    @property
    def nameless(self) -> bool:
        """A number, one letter, a unit, or a word of a programming language."""
        return bool(_NUMBER.match(self.text)) or self.lower in _UNITS or self.lower in _CODE

    def named(self, sentence: Sentence, seen: Seen) -> bool:
        """Whether its capital makes it a name."""
        if not self.capital or len(self.text) < 2:
            return False
        if self.latin and (self.acronym or self.camel):
            return True
        if self.first or sentence.heading:
            return seen.named(self.lower)
        return True


def runs_of(sentence: Sentence) -> Iterator[list[Token]]:
    """Words with nothing but a space between them; a name does not reach over a comma."""
    text = _unshouted(plain(sentence.text))
    run: list[Token] = []
    previous = 0
    for word in words_of(text):
        gap = text[previous : word.start].strip(" \u00a0")
        joined = gap == "." and _JOINING_DOT.search(text, max(0, previous - 5), previous)
        if run and gap and not joined:
            yield run
            run = []
        run.append(_token(word, text))
        previous = word.start + len(word.text)
    if run:
        yield run


def titles_of(sentence: Sentence) -> list[str]:
    """What stands in quotes and is a title, not a remark."""
    found = []
    for match in _TITLE.finditer("" if sentence.heading else plain(sentence.text)):
        words = " ".join((match[1] or match[2]).split()).strip(" .,;:")
        short = words.count(" ") < 5 and len(words) > 2 and words[-1] not in "!?,"
        if short and words[:1].isupper() and not words.isupper() and _names_a_work(words):
            found.append(words)
    return found


def _names_a_work(words: str) -> bool:
    """A title begins with what it is about; a remark with who does something."""
    first, *rest = words.split()
    if _CYRILLIC.search(first):
        lower = first.lower()
        return bool(russian.noun(lower) or russian.adjective(lower) or not russian.is_common(lower))
    lowered = [word for word in rest if word.islower() and word not in english.FUNCTION]
    return not lowered and first.lower() not in english.FUNCTION - {"the", "a", "an"}


def _unshouted(text: str) -> str:
    """A text all in capitals says nothing with them."""
    return text.lower() if len(text) > 20 and text.upper() == text else text


def _token(word: Word, text: str) -> Token:
    spelled = word.text.removesuffix("'s").removesuffix("’s")
    latin = bool(_LATIN.search(spelled)) and not _CYRILLIC.search(spelled)
    after = text[word.end : word.end + 3]
    called = after[:1] == "(" and after[1:].strip("0123456789") == ")"
    first = not text[: word.start].strip(" «“\"'(—–-[*•")
    lower = spelled.lower().replace("’", "'")
    looks = called or bool(_TECH.search(spelled)) or (first and bool(_MIXED.search(spelled)))
    return Token(
        text=spelled,
        lower=lower,
        first=first,
        capital=spelled[:1].isupper(),
        latin=latin,
        tech=latin and looks and lower not in _UNITS,
        owns=spelled != word.text,
    )
