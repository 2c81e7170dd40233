"""Which language a text is written in, by its own words."""

from __future__ import annotations

from functools import lru_cache

UNKNOWN = "the language of the input text"
_NAMES = {
    "be": "Belarusian", "bg": "Bulgarian", "cs": "Czech", "de": "German", "en": "English",
    "es": "Spanish", "fi": "Finnish", "fr": "French", "it": "Italian", "ja": "Japanese",
    "kk": "Kazakh", "ko": "Korean", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sr": "Serbian", "sv": "Swedish", "tr": "Turkish",
    "uk": "Ukrainian", "zh": "Chinese",
}  # fmt: skip
_SAMPLE = 6000  # characters; more does not change the verdict
_SLICES = 3


def language_of(text: str) -> str:
    """The English name of a text's language, or a phrase that lets the model decide."""
    return _classified(_sample(text))


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
