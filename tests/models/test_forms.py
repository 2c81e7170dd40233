"""What is left of an answer, and whether it is the form that was asked for."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.errors import EmptyAnswer, MalformedAnswer
from librarian.models import forms
from librarian.models.forms import EXTRACTION, KEYWORDS
from librarian.models.protocol import Completion, Remark

FORM = json.dumps({"entities": [{"name": "Маяк"}], "relationships": []}, ensure_ascii=False)
WORDS = json.dumps({"high_level_keywords": ["a"], "low_level_keywords": []})


def tidied(text: str, schema: Mapping[str, Any] | None) -> str:
    return forms.tidied(Completion(text=text), schema).text


@pytest.mark.parametrize(
    "text",
    [
        FORM,
        f"```json\n{FORM}\n```",
        f"\n```\n{FORM}\n```\n",
        f"<think>\nLet me see.\n</think>\n\n{FORM}",
        f"<think></think>```json\n{FORM}\n```",
    ],
)
def test_what_stands_around_a_form_is_taken_off(text: str) -> None:
    assert json.loads(tidied(text, EXTRACTION)) == json.loads(FORM)


@pytest.mark.parametrize(
    ("text", "remarks"),
    [
        (FORM, ()),
        (f"```json\n{FORM}\n```", (Remark.REPAIRED,)),
        (f"<think>Let me see.</think>\n{FORM}", (Remark.THOUGHT,)),
        (f"<think></think>```json\n{FORM}\n```", (Remark.REPAIRED, Remark.THOUGHT)),
    ],
)
def test_what_was_taken_off_is_remarked(text: str, remarks: tuple[Remark, ...]) -> None:
    assert forms.tidied(Completion(text=text), EXTRACTION).remarks == remarks


def test_each_form_has_its_own_lists() -> None:
    assert tidied(WORDS, KEYWORDS) == WORDS
    with pytest.raises(MalformedAnswer, match="entities"):
        tidied(WORDS, EXTRACTION)
    with pytest.raises(MalformedAnswer, match="high_level_keywords"):
        tidied(FORM, KEYWORDS)


@pytest.mark.parametrize(
    "text",
    [
        "I could not find any entities.",
        FORM[:-3],
        FORM + FORM,
        "[]",
        "null",
        "{}",
        '{"entities": {}, "relationships": []}',
        '{"entities": [], "relationships": "none"}',
        "[" * 100_000,
        f"Here it is:\n```json\n{FORM}\n```",
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(MalformedAnswer):
        tidied(text, EXTRACTION)


@pytest.mark.parametrize("text", ["", " \n\t", "<think>All of it was thought.</think>\n"])
@pytest.mark.parametrize("schema", [None, EXTRACTION])
def test_nothing_is_an_empty_answer(text: str, schema: dict[str, object] | None) -> None:
    with pytest.raises(EmptyAnswer):
        tidied(text, schema)


def test_names_are_lines_that_turn_nothing_around_them() -> None:
    row = {"name": " Ада\n\u202eЛавлейс\u2028", "type": "per\x00son", "description": "a\nb"}
    link = {"source": "a\r\nb", "target": "c", "keywords": "k\n", "description": 5}
    odd: list[object] = ["text", None, {"name": 7}]
    answer = tidied(json.dumps({"entities": [row, *odd], "relationships": [link]}), EXTRACTION)
    read = json.loads(answer)
    assert read["entities"] == [{**row, "name": "Ада Лавлейс", "type": "per son"}, *odd]
    assert read["relationships"] == [{**link, "source": "a b"}]


def test_a_plain_answer_keeps_its_fences() -> None:
    text = "See:\n```\ncode\n```"
    assert tidied(text, None) == text


@given(st.text(min_size=1).filter(lambda text: text.strip() and "<think>" not in text))
def test_a_plain_answer_is_never_changed(text: str) -> None:
    assert tidied(text, None) == text


@given(st.text())
def test_no_text_passes_as_a_form_without_being_one(text: str) -> None:
    with pytest.raises((EmptyAnswer, MalformedAnswer)):
        tidied(text, EXTRACTION)
