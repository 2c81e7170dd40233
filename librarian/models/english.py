"""English words that name nothing, and what the endings of the others tell."""

from __future__ import annotations

import re
from functools import lru_cache

_FUNCTION = """
aloud lit a about above across after afterwards again against ago all almost alone along already
also although always am among an and another any anybody anyhow anyone anything anyway anywhere
are aren't around as at away back be became because become becomes been before beforehand behind
being below beside besides between beyond both but by can can't cannot could couldn't did didn't
do does doesn't doing don't down due during each either else elsewhere enough etc even ever every
everybody everyone everything everywhere except few first for former from further furthermore had
hadn't hardly has hasn't have haven't having he he'd he'll he's hence her here hers herself him
himself his how however i i'd i'll i'm i've if in indeed instead into is isn't it it'll it's its
itself just last later latter least less let let's like likely many may maybe me meanwhile might
mine more moreover most mostly much must my myself near nearly neither never nevertheless next no
nobody none nor not nothing now nowhere of off often oh on once one only onto or other others
otherwise our ours ourselves out over own per perhaps please quite rather really s same seldom
several shall she she'd she'll she's should shouldn't since so some somebody somehow someone
something sometimes somewhere soon still such t than that that's the their theirs them themselves
then there thereby therefore these they they'd they'll they're they've this those though through
throughout thus till to together too toward towards two under unless until up upon us usually very
via was wasn't we we'd we'll we're we've well were weren't what whatever when whenever where
whereas wherever whether which whichever while who whoever whole whom whose why will with within
without won't would wouldn't yes yet you you'd you'll you're you've your yours yourself yourselves
three four five six seven eight nine ten second third i.e e.g vs ok aka re
"""
_VERBS = """
accept access add allow allowed allows answered appear apply ask asked assume avoid back began
begged begin believe bought bring broke brought build burn call called came cannot caught cause
causes change check choose closed come comes complete configure connect consider consist contain
contains continue copy correspond create cut define delete depend describe describes determine
died differ disable discuss display download drew drove edit enable encounter ensure enter entered
exist exists expect explain fail fell felt fetch fill find finish fit fix follow followed follows
force gave get gets give gives go goes going gone got grew happen hated have hear heard held help
hold hoped hung ignore include includes indicate indicates insert install invoke keep keeps kept
knew know knows lay lead leave led left let list lived load look looked lose lost loved made make
makes match mean means mention met mount move moved named need needs note obtain occur occurs
offer open opened owned passed pay perform pick place please plug prefer prepare press prevent
print proceed produce prompt provide provides put ran reach read receive received recommend refer
release remain remained remember remove replace replied report represent require requires reset
restart result resume return returned returns rode rose ruined run runs said sat save saw say says
see seem seemed sees select send sent set sets show shows sit skip slept specifies specify spent
spoke stand start starts state stay stop stopped store suggest supply support suppose take taken
takes taught tell think thought told took transfer tried tries try turn turned type understand
unpack upgrade use used uses using verify wait waited walked want wanted watch went wish wished
work worked works write written wrote
"""
_GENERIC = """
able abstract additional advance alternative amount answer appropriate article available bad basic
best better big bit book case certain chance chapter clear close common complete concern contents
correct couple course current day default desired detail details different difference difficult
direct easy easier easily effect end entire example extra fact far figure final fine following
free full fully general good great half hand help high higher howto idea important individual
information instance item kind known large larger left less level line list little long lot low
lower main major manual manner method minor minute moment month name necessary new newer night
normal note notes number old older optional order original page paragraph part particular people
person piece place point possible present previous problem proper purpose question reason recent
relevant right rest result section sense separate several short similar simple single situation
small smaller so-called sort special specific standard step steps stuff sure table term thing
things thousand time times tip title today top true type typical use used useful user usual value
values various version warning way ways week word words work world wrong year years zero
description synopsis see options author authors reporting bugs copyright colophon notes history
conforming caution important eyes head face voice
"""
FUNCTION = frozenset(_FUNCTION.split())
VERBS = frozenset(_VERBS.split())
GENERIC = frozenset(_GENERIC.split())
GENERIC_ALONE = frozenset("system file program code condition party".split())
CALENDAR = frozenset(
    "january february march april may june july august september october november december "
    "monday tuesday wednesday thursday friday saturday sunday christmas easter".split()
)
VERBS_AND_NOUNS = frozenset(
    "access address back build burn call cause change check copy display download edit fill find "
    "fit fix hold install list load look lead match move mount need note offer open place plug "
    "print prompt reach release report reset restart result return set show stand start state "
    "stay stop store supply support test transfer try turn type update upgrade use watch work "
    "wait update".split()
)
BEFORE_VERB = frozenset(
    "to will can may must should would could might you we they i not don't did does do let".split()
)
_NOT_NOUN = re.compile(
    r".{2,}(?:ly|able|ible|ful|less|ious|eous|ically|ish|ed|n't)$|.{3,}(?:ive|ic|ical|ous|ary)$"
)
_NOUN_ALL_THE_SAME = frozenset(
    "family assembly library binary dictionary boundary summary temporary archive drive "
    "directive native traffic topic fabric logic music public magic feed seed speed bed need "
    "shed embed table cable variable executable primary secondary secretary reply supply "
    "anomaly".split()
)
_SINGULAR_S = re.compile(r"(?:ss|us|is|ics|as|os|news|series|species)$")
_ES = re.compile(r"(?:s|x|z|ch|sh)es$")


def names_nothing(word: str) -> bool:
    """Whether the lower-case word cannot be a term or an end of one."""
    return word in FUNCTION or word in GENERIC or word in VERBS or len(word) < 3


def may_be_noun(word: str) -> bool:
    """Whether the ending lets the lower-case word stand at the end of a noun phrase."""
    return word in _NOUN_ALL_THE_SAME or not _NOT_NOUN.match(word)


@lru_cache(maxsize=50_000)
def singular(word: str) -> str:
    """One of what the lower-case plural names; a word with no plural ending stays."""
    if len(word) < 4 or not word.endswith("s") or _SINGULAR_S.search(word):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if _ES.search(word) and not word.endswith(("ases", "uses", "oses", "ises", "aches", "izes")):
        return word[:-2]
    return word[:-1]
