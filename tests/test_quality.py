"""What is wrong with an answer, found by reading it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.language import foreign
from librarian.models.protocol import Completion, Remark
from librarian.quality import Alarm, Reading, reading_of, warnings_of

TEXT = "Маяк на скалистом острове построил Пётр Воронцов, и тридцать лет он жил там один. " * 4
LONG = "The lighthouse keeper wrote down every ship that passed the rocks during the long winter. "


def entity(name: str, description: str = "Смотритель маяка, построил его.") -> dict[str, str]:
    return {"name": name, "type": "person", "description": description}


def relation(source: str, target: str) -> dict[str, str]:
    return {"source": source, "target": target, "keywords": "дом", "description": "Он жил там."}


def answer(
    entities: object, relations: object = (), remarks: tuple[Remark, ...] = ()
) -> Completion:
    text = json.dumps({"entities": entities, "relationships": list(relations)})  # type: ignore[call-overload]
    return Completion(text=text, remarks=remarks)


def alarms(*answers: Completion, text: str = TEXT, language: str = "Russian") -> tuple[Alarm, ...]:
    return reading_of(text, answers, language).alarms


GOOD = answer([entity("Пётр Воронцов"), entity("Маяк")], [relation("Пётр Воронцов", "Маяк")])


def test_a_good_answer_raises_no_alarm() -> None:
    reading = reading_of(TEXT, [GOOD], "Russian")
    assert reading == Reading(entities=("Пётр Воронцов", "Маяк"), relations=1)


def test_prose_without_an_entity_is_an_alarm_and_a_line_of_numbers_is_none() -> None:
    assert alarms(answer([])) == (Alarm.NOTHING,)
    assert alarms(answer([]), text="12 14 16 — 18") == ()


def test_rows_that_lightrag_leaves_out_are_counted() -> None:
    lacking = [{"name": "Остров", "type": "", "description": "x"}, {"name": "Пётр"}]
    odd = {"name": "Скала", "type": "a/b", "description": "x"}
    itself = relation("Маяк", " Маяк ")
    assert alarms(answer([entity("Маяк"), *lacking, odd], [itself])) == (Alarm.UNUSED,)
    assert alarms(answer([entity("Маяк")], [itself])) == ()  # one of them happens


def test_a_model_in_a_loop_repeats_names() -> None:
    again = [entity("Пётр"), entity("маяк"), entity("Маяк")] * 3
    assert alarms(answer(again)) == (Alarm.REPEATED,)
    assert alarms(answer([entity(f"Имя {n}") for n in range(9)])) == ()


def test_an_answer_in_another_language_is_named() -> None:
    english = answer([entity("Пётр", LONG), entity("Маяк", LONG)])
    reading = reading_of(TEXT, [english], "Russian")
    assert reading.alarms == (Alarm.LANGUAGE,)
    assert reading.language == "English"
    assert "wrote English in place of Russian" in warnings_of({2: reading}, "Russian")[0]


def test_descriptions_that_quote_an_english_passage_of_a_russian_book_are_no_alarm() -> None:
    english = answer([entity("Lighthouse", LONG)])
    assert alarms(english, text=f"{TEXT[:80]} {LONG * 2}") == ()


def test_remarks_of_the_call_are_alarms() -> None:
    odd = answer([entity("Маяк")], remarks=(Remark.REPAIRED, Remark.THOUGHT))
    assert alarms(odd) == (Alarm.REPAIRED, Alarm.THOUGHT)


def test_a_second_answer_about_a_chunk_adds_to_the_first() -> None:
    reading = reading_of(TEXT, [answer([]), GOOD], "Russian")
    assert reading.entities == ("Пётр Воронцов", "Маяк")
    assert reading.alarms == ()


def test_warnings_name_the_chunks_from_one_and_count_what_they_do_not_list() -> None:
    empty = Reading(alarms=(Alarm.NOTHING,))
    fine = Reading(entities=("Маяк",))
    assert warnings_of({0: fine, 1: fine}, "Russian") == ()
    (one,) = warnings_of({0: fine, 26: empty}, "Russian")
    assert "in chunk 27." in one
    (many,) = warnings_of({0: fine} | dict.fromkeys(range(1, 30), empty), "Russian")
    assert "29 chunks (2, 3, 4," in many
    assert "and 17 more" in many


def test_of_a_document_without_any_entity_no_chunk_is_named() -> None:
    assert warnings_of({0: Reading(alarms=(Alarm.NOTHING,))}, "Russian") == ()


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        (TEXT, "Russian", ""),
        (TEXT, "the language of the input text", ""),
        (TEXT, "English", "Russian"),
        (LONG * 8, "English", ""),
        (LONG * 8, "German", "English"),
        (LONG, "German", ""),  # too short to be sure of
        ("灯塔看守人写下了每一艘经过岩石的船只。" * 6, "Russian", "Chinese"),
        ("Пётр", "English", ""),
        ("", "English", ""),
    ],
)
def test_a_language_is_called_foreign_only_where_it_surely_is(
    text: str, language: str, found: str
) -> None:
    assert foreign(text, language) == found


@given(st.text(), st.text(), st.sampled_from(["Russian", "English", "Japanese", "any"]))
def test_whatever_a_model_writes_is_read(text: str, written: str, language: str) -> None:
    reading = reading_of(text, [Completion(text=written)], language)
    assert reading.entities == ()


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    )
)
def test_whatever_json_a_model_writes_is_read(value: object) -> None:
    reading = reading_of(TEXT, [answer([value], [value])], "Russian")
    assert reading.relations <= 1
