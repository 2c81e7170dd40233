"""Names and noun phrases of a Russian sentence, each called by its nominative."""

from __future__ import annotations

import re

from librarian.models import english, russian
from librarian.models.mention import LONGEST_RUN, Kind, Mention, Seen, Token
from librarian.models.russian_common import GENERIC_ADJECTIVES, GENERIC_NOUNS, QUALIFIED
from librarian.models.words import Sentence

_SURNAME = re.compile(  # in any case
    r"(?:[оеё]в|[иы]н|(?:[оеё]в|[иы]н)(?:а|у|ым|е|ой|ою|ы|ых)|[сц]к(?:ий|ая|ого|ому|им|ом|ой|ую)"
    r"|енко|ич|ича|ичу|ичем|иче|вн[аыуе]|вной|дзе|швили)$"
)
_KEEPS_FORM = re.compile(r"[иоуюэ]$")  # of a name that no dictionary has


def russian_mentions(run: list[Token], sentence: Sentence, seen: Seen) -> list[Mention]:
    """Every mention of a run of words, in order."""
    found: list[Mention] = []
    held: set[int] = set()
    index = 0
    while index < len(run):
        taken = _latin_name(run, index) or _russian_name(run, index, sentence, seen)
        if taken:
            found.append(taken[0])
            index += taken[1]
        else:
            found += _noun_phrases(run, index, sentence, held)
            index += 1
    return found


def _latin_name(run: list[Token], index: int) -> tuple[Mention, int] | None:
    """A Latin word in a Russian sentence names something; capitalised ones belong together."""
    token = run[index]
    if not token.latin or token.nameless or token.lower in english.FUNCTION:
        return None
    if token.tech or not token.capital:
        useful = token.tech or not english.names_nothing(token.lower)
        return (Mention(name=token.text, kind=Kind.TECH), 1) if useful else None
    length = 1
    while index + length < len(run) and length < LONGEST_RUN:
        follower = run[index + length]
        if not (follower.latin and follower.capital):
            break
        length += 1
    name = " ".join(part.text for part in run[index : index + length])
    if length == 1 and (len(name) < 2 or english.names_nothing(token.lower)):
        return None
    return Mention(name=name, kind=Kind.NAME), length


def _russian_name(
    run: list[Token], index: int, sentence: Sentence, seen: Seen
) -> tuple[Mention, int] | None:
    names: list[Token] = []
    for token in run[index : index + LONGEST_RUN]:
        surname = bool(names) and _personal(names[0]) and bool(_SURNAME.search(token.lower))
        if token.latin or not token.capital:
            break
        if not surname and not _may_name(token, sentence, seen):
            break
        names.append(token)
    if not names:
        return None
    lowers = [token.lower for token in names]
    personal = [_personal(token) or bool(_SURNAME.search(token.lower)) for token in names]
    personal[0] = _personal(names[0])
    if len(names) > 1 and personal[0]:
        count = max(2, next((at for at, yes in enumerate(personal) if not yes), len(names)))
        return Mention(name=_person(lowers[:count]), kind=Kind.PERSON), count
    if personal[0]:
        return Mention(name=_lone_person(lowers[0], seen), kind=Kind.PERSON), 1
    name = _other_name(names[0])
    return (name, 1) if name else None


def _personal(token: Token) -> bool:
    """A part of a person's name: one of the dictionary, or one that ends as surnames do."""
    reading = russian.proper(token.lower)
    marked = reading is not None and bool(reading.marks & {"Name", "Surn", "Patr"})
    return marked and bool((reading and reading.known) or _SURNAME.search(token.lower))


def _other_name(token: Token) -> Mention | None:
    if token.mixed:
        head, _, tail = token.text.rpartition("-")
        lemma = russian.noun_lemma(tail.lower()) or tail
        return Mention(name=f"{head}-{lemma}", kind=Kind.PHRASE) if head else None
    if token.acronym and not russian.is_common(token.lower):
        return Mention(name=token.text, kind=Kind.NAME)
    reading = russian.proper(token.lower) or russian.noun(token.lower)
    if reading is None or len(token.lower) < 3:
        return None
    lemma = reading.lemma
    if not reading.known and _KEEPS_FORM.search(token.lower):
        lemma = token.lower
    kind = Kind.PLACE if "Geox" in reading.marks else Kind.NAME
    return Mention(name=_titled(lemma), kind=kind)


def _may_name(token: Token, sentence: Sentence, seen: Seen) -> bool:
    """A capital names something unless the word is an ordinary one that any sentence may begin."""
    if token.acronym and len(token.text) > 5:
        return False
    common = russian.is_common(token.lower)
    if not common:
        return True
    reading = russian.proper(token.lower)
    named = token.named(sentence, seen)
    return bool(named and reading and reading.known and not russian.noun_is_likelier(token.lower))


def _person(parts: list[str]) -> str:
    every = [some for part in parts if (some := russian.genders(part))]
    shared = frozenset.intersection(*every) if every else frozenset()
    gender = next(iter(shared)) if len(shared) == 1 else russian.likelier_gender(parts[0])
    return " ".join(_titled(russian.person_part(part, gender)) for part in parts)


def _lone_person(word: str, seen: Seen) -> str:
    """`Каренина` is a woman, or a man in the genitive: his other cases decide."""
    genders = russian.genders(word)
    reading = russian.proper(word)
    if len(genders) == 1:
        gender = next(iter(genders))
    elif reading and "Name" in reading.marks:
        gender = russian.likelier_gender(word)
    elif word.endswith("а"):
        root = word[:-1]
        man = {root, f"{root}у", f"{root}ым", f"{root}е"} & seen.capital
        gender = "masc" if man else "femn"
    else:
        gender = "masc"
    return _titled(russian.person_part(word, gender))


def _titled(word: str) -> str:
    return "-".join(part[:1].upper() + part[1:] for part in word.split("-"))


def _noun_phrases(
    run: list[Token], index: int, sentence: Sentence, held: set[int]
) -> list[Mention]:
    """The noun at this place alone, with its adjectives before and its genitives after."""
    token = run[index]
    head = None if token.latin or token.text.isupper() else russian.noun(token.lower)
    if head is None or len(head.lemma) < 3:
        return []
    plain_noun = head.lemma not in GENERIC_NOUNS
    found: list[Mention] = []
    described = _adjectives(run, index, sentence, head)
    owners, reach = _owners(run, index)
    if described and (plain_noun or head.lemma in QUALIFIED):
        longer = len(described) > 1
        name = f"{described[-1]} {head.lemma}"
        found.append(Mention(name=name, kind=Kind.PHRASE, inside=longer))
        if longer:
            found.append(Mention(name=" ".join([*described, head.lemma]), kind=Kind.PHRASE))
    if owners and (plain_noun or head.lemma in QUALIFIED):
        found.append(Mention(name=f"{head.lemma} {owners}", kind=Kind.PHRASE))
        held.add(index + reach)
    if plain_noun:
        inside = bool(found) or index in held
        found.append(Mention(name=head.lemma, kind=Kind.WORD, inside=inside))
    return found


def _adjectives(run: list[Token], index: int, sentence: Sentence, head: russian.Noun) -> list[str]:
    """Describing words before the noun, in its nominative."""
    found: list[str] = []
    for token in reversed(run[max(0, index - 2) : index]):
        reading = None if token.latin else russian.adjective(token.lower)
        if reading is None or not russian.agree(reading, head):
            break
        if russian.adjective_for(token.lower, "masc") in GENERIC_ADJECTIVES:
            break
        called = russian.adjective_for(token.lower, head.gender)
        named = token.capital and not token.first and not sentence.heading
        found.insert(0, _titled(called) if named else called)
    return found


def _owners(run: list[Token], index: int) -> tuple[str, int]:
    """The genitive after the noun, as it is written (`ответов` in `файл ответов`), and how far."""
    words: list[str] = []
    for reach, token in enumerate(run[index + 1 : index + 3], start=1):
        if token.latin or token.capital:
            break
        reading = russian.noun(token.lower)
        if reading and russian.genitive(reading):
            generic = reading.lemma in GENERIC_NOUNS and reading.lemma not in QUALIFIED
            return ("", 0) if generic else (" ".join([*words, token.lower]), reach)
        described = russian.adjective(token.lower)
        if described is None or not any(case == "gent" for _, case, _ in described.cases):
            break
        if russian.adjective_for(token.lower, "masc") in GENERIC_ADJECTIVES:
            break
        words.append(token.lower)
    return "", 0
