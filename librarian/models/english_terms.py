"""Names and noun phrases of an English sentence, told by capitals, endings and neighbours."""

from __future__ import annotations

from librarian.models import english
from librarian.models.mention import LONGEST_RUN, Kind, Mention, Seen, Token
from librarian.models.words import Sentence


def english_mentions(run: list[Token], sentence: Sentence, seen: Seen) -> list[Mention]:
    """Every mention of a run of words: its names first, then its noun phrases."""
    found = _names(run, sentence, seen)
    start = 0
    for end in range(len(run) + 1):
        if end == len(run) or _breaks(run[end]):
            if end > start:
                before = run[start - 1].lower if start else ""
                found += _phrases(run[start:end], before, sentence, seen)
            start = end + 1
    return found


def _breaks(token: Token) -> bool:
    """Whether no noun phrase reaches over the word."""
    pure_verb = token.lower in english.VERBS and token.lower not in english.VERBS_AND_NOUNS
    return token.lower in english.FUNCTION or pure_verb or len(token.text) < 2


def _names(run: list[Token], sentence: Sentence, seen: Seen) -> list[Mention]:
    found: list[Mention] = []
    index = 0
    while index < len(run):
        length = _name_length(run, index, sentence, seen)
        if length:
            name = _spelled(run[index : index + length])
            found.append(Mention(name=name, kind=_kind(run, index, length)))
        elif run[index].tech:
            found.append(Mention(name=run[index].text, kind=Kind.TECH))
        index += max(1, length)
    return [mention for mention in found if mention.name.lower() not in _TITLES]


def _name_length(run: list[Token], index: int, sentence: Sentence, seen: Seen) -> int:
    """How many words of one name begin here; `of` joins two names, an owner's `'s` ends one."""
    length = 0
    while index + length < len(run) and length < LONGEST_RUN:
        token = run[index + length]
        after = run[index + length + 1] if index + length + 1 < len(run) else None
        joins = token.lower in ("of", "de", "van", "von") and 0 < length < LONGEST_RUN - 1
        if not (joins and after and _names_something(after, sentence, seen)):
            if not _names_something(token, sentence, seen):
                break
        gerund = length == 0 and token.lower.endswith("ing") and after and after.capital
        if gerund and len(token.text) > 6:  # a heading's verb: `Installing Debian`
            break
        length += 1
        if token.owns and not (after and after.capital):
            break
    return length


def _spelled(tokens: list[Token]) -> str:
    """The words as they are written, an owner's `'s` kept inside."""
    inner = [f"{token.text}'s" if token.owns else token.text for token in tokens[:-1]]
    return " ".join([*inner, tokens[-1].text])


def _names_something(token: Token, sentence: Sentence, seen: Seen) -> bool:
    word = token.lower
    if token.tech or not token.latin or token.nameless:
        return False
    if word in english.FUNCTION or word in english.CALENDAR:
        return False
    known = word in english.VERBS or word in english.GENERIC
    if token.acronym:
        return not known
    return token.named(sentence, seen) and not (known and word in seen.small)


def _kind(run: list[Token], index: int, length: int) -> Kind:
    before = run[index - 1].lower if index else ""
    title = run[index].lower in _TITLES or before in _TITLES
    after = run[index + length].lower if index + length < len(run) else ""
    if title or after in _SPEECH or before in _SPEECH:
        return Kind.PERSON
    if run[index + length - 1].lower in _PLACES:
        return Kind.PLACE
    return Kind.NAME


_TITLES = frozenset(
    "mr mrs ms miss sir lady lord dr captain professor aunt uncle king queen".split()
)
_SPEECH = frozenset(
    "said asked replied answered thought whispered cried smiled laughed nodded shouted told "
    "sighed murmured walked sat stood knew felt married loved".split()
)
_PLACES = frozenset(
    "street city town river lake mountain island bay road square avenue park sea valley "
    "county village castle bridge station harbour harbor kingdom".split()
)


def _phrases(run: list[Token], before: str, sentence: Sentence, seen: Seen) -> list[Mention]:
    """A noun phrase is what is left of a run of words without verbs in front and adverbs behind."""
    words = list(run)
    if before in english.BEFORE_VERB and words[0].lower not in seen.capital:
        words = words[1:]
    elif words[0].first and words[0].lower in english.VERBS:
        words = words[1:]
    while words and _weak(words[-1]):
        words.pop()
    while words and _leads_badly(words[0]):
        words.pop(0)
    if not words or len(words) > LONGEST_RUN:
        return []
    if any(word.tech or word.nameless or not word.latin for word in words):
        return []
    spelled = [_kept(word, sentence, seen) for word in words]
    if not spelled[-1].islower():
        return []
    spelled[-1] = english.singular(spelled[-1])
    if any(word.owns for word in words[:-1]):
        words = words[[word.owns for word in words].index(True) + 1 :]
        spelled = spelled[-len(words) :]
    found: list[Mention] = []
    if 2 <= len(words) <= 3:
        found.append(Mention(name=" ".join(spelled), kind=Kind.PHRASE))
    if len(words) > 2:
        found.append(Mention(name=" ".join(spelled[-2:]), kind=Kind.PHRASE, inside=True))
    if len(spelled[-1]) > 3 and spelled[-1] not in english.GENERIC_ALONE:
        found.append(Mention(name=spelled[-1], kind=Kind.WORD, inside=len(words) > 1))
    return found


def _kept(token: Token, sentence: Sentence, seen: Seen) -> str:
    """A name keeps its capitals inside a phrase."""
    return token.text if token.camel or _names_something(token, sentence, seen) else token.lower


def _weak(token: Token) -> bool:
    one = english.singular(token.lower)
    return (
        english.names_nothing(token.lower)
        or one in english.VERBS
        or one in english.GENERIC
        or not english.may_be_noun(token.lower)
        or token.nameless
    )


def _leads_badly(token: Token) -> bool:
    lower = token.lower
    return lower in english.GENERIC or lower.endswith("ly") or token.nameless
