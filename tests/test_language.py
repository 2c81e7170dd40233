"""Which letters a text has, as regular expressions count them."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from librarian.language import _letters, foreign

SCRIPTS = {
    "Latin": "[A-Za-z\u00c0-\u024f]",
    "Cyrillic": "[\u0400-\u052f]",
    "East Asian": "[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]",
}
BORDERS = (
    "@AZ[`az{\u00bf\u00c0\u024f\u0250\u03ff\u0400\u052f\u0530\u303f\u3040\u30ff\u3100"
    "\u4dff\u4e00\u9fff\ua000\uabff\uac00\ud7af\ud7b0"
)


@given(st.text(st.characters()) | st.text(BORDERS))
@example(BORDERS)
@example("\ud800 \udfff 😀 𠀀")
def test_letters_are_counted_by_script(text: str) -> None:
    assert _letters(text) == {
        name: len(re.findall(letter, text)) for name, letter in SCRIPTS.items()
    }


def test_an_answer_in_another_script_is_foreign_to_its_language() -> None:
    said = "The keeper of the lighthouse writes down every ship that passes in the night. " * 2
    assert foreign(said, "Russian", "Смотритель записывает суда.") == "English"
    assert foreign(said, "Russian", said) == ""
    assert foreign("", "Russian", said) == ""
