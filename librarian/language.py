"""Which language a text is written in, by its own words."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

UNKNOWN = "the language of the input text"
_NAMES = {
    "be": "Belarusian", "bg": "Bulgarian", "cs": "Czech", "de": "German", "en": "English",
    "es": "Spanish", "fi": "Finnish", "fr": "French", "it": "Italian", "ja": "Japanese",
    "kk": "Kazakh", "ko": "Korean", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sr": "Serbian", "sv": "Swedish", "tr": "Turkish",
    "uk": "Ukrainian", "zh": "Chinese",
}  # fmt: skip
_SCRIPTS = dict.fromkeys(
    ("Belarusian", "Bulgarian", "Kazakh", "Russian", "Serbian", "Ukrainian"), "Cyrillic"
) | dict.fromkeys(("Chinese", "Japanese", "Korean"), "East Asian")
_LETTERS = {  # first and last of each range
    "Latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F)),
    "Cyrillic": ((0x400, 0x52F),),
    "East Asian": ((0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF)),
}
_LEAST_LETTERS = 60
_MANY_LETTERS = 400  # from here on the words of a text tell Latin languages apart
_CLEAR = 0.7  # share of one script; names stay in theirs
_QUOTED = 0.3  # share of it in the source from which descriptions may well be quotes
_SAMPLE = 6000  # characters; more does not change the verdict
_SLICES = 3


def language_of(text: str) -> str:
    """The English name of a text's language, or a phrase that lets the model decide."""
    return _classified(_sample(text))


def foreign(text: str, language: str, source: str = "") -> str:
    """The language of a text that is surely not in the one named; empty where it may be in it.

    Scripts tell languages apart with certainty, words only where there are many. A text that was
    made from a `source` of its own script, as quotes are, is not called foreign.
    """
    wanted = _SCRIPTS.get(language, "Latin" if language in _NAMES.values() else "")
    script, share, letters = _script(text)
    if not wanted or letters < _LEAST_LETTERS or share < _CLEAR:
        return ""
    if script != wanted:
        if _share(source, script) > _QUOTED:
            return ""
        found = language_of(text)
        return found if _SCRIPTS.get(found, "Latin") == script else f"{script} letters"
    if script != "Latin" or letters < _MANY_LETTERS:
        return ""
    found = language_of(text)
    return "" if found in (language, UNKNOWN, language_of(source)) else found


def _script(text: str) -> tuple[str, float, int]:
    """The commonest script of a text, its share of the letters, and how many letters there are."""
    counts = _letters(text)
    script = max(counts, key=lambda name: counts[name])
    total = sum(counts.values())
    return script, counts[script] / total if total else 0.0, total


def _share(text: str, script: str) -> float:
    counts = _letters(text)
    return counts[script] / (sum(counts.values()) or 1)


def _letters(text: str) -> dict[str, int]:
    """How many letters of each script a text has."""
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)
    return {
        name: sum(
            int(np.count_nonzero((units >= first) & (units <= last))) for first, last in ranges
        )
        for name, ranges in _LETTERS.items()
    }


def _sample(text: str) -> str:
    """A beginning, a middle and an end: a Russian book may open with an English licence."""
    if len(text) <= _SAMPLE:
        return text
    size = _SAMPLE // _SLICES
    step = (len(text) - size) // (_SLICES - 1)
    return " ".join(text[step * i : step * i + size] for i in range(_SLICES))


@lru_cache(maxsize=512)
def _classified(sample: str) -> str:
    import py3langid  # reads its model on import, which takes most of a second

    if not any(character.isalpha() for character in sample):
        return UNKNOWN
    code, _ = py3langid.classify(sample)
    return _NAMES.get(code, UNKNOWN)
