"""Edits as values: what they change, what is shown before, and what they mean later."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.errors import EditRefused, NameInUse
from librarian.mending import (
    Describe,
    DropEntity,
    DropRelation,
    Edit,
    Key,
    Merge,
    Rename,
    Value,
    packed,
    plan,
    preview,
    same,
    tidied,
    unpacked,
)
from librarian.standing import standing
from librarian.telling import effects, sentence


def node(name: str, words: str, *chunks: str) -> dict[str, Any]:
    return {
        "entity_id": name,
        "entity_type": "person",
        "description": words,
        "source_id": "<SEP>".join(chunks),
        "file_path": "a.txt",
    }


def edge(words: str, weight: float, *chunks: str, keywords: str = "k") -> dict[str, Any]:
    return {
        "description": words,
        "weight": weight,
        "keywords": keywords,
        "source_id": "<SEP>".join(chunks),
        "file_path": "a.txt",
    }


PART: dict[Key, Value] = {
    ("node", "A"): node("A", "one", "c1"),
    ("node", "B"): node("B", "two", "c1", "c2"),
    ("chunks", "A"): ["c1"],
    ("chunks", "B"): ["c1", "c2"],
    ("edge", "A", "B"): edge("the two", 1.0, "c1"),
    ("edge", "A", "C"): edge("a and c", 1.0, "c1", keywords="x, y"),
    ("edge", "B", "C"): edge("b and c", 2.0, "c1", "c2", keywords="y"),
    ("edge", "A", "D"): edge("a and d", 1.0, "c1"),
    ("chunks", "A", "C"): ["c1"],
    ("chunks", "B", "C"): ["c1", "c2"],
    ("doc", "d", "A"): True,
    ("doc", "d", "B"): True,
    ("doc", "d", "A", "C"): True,
}


def after(edit: Edit) -> dict[Key, Value]:
    changed = {change.key: change.after for change in plan(edit, PART)}
    return {key: value for key, value in (PART | changed).items() if value is not None}


def test_a_merge_moves_joins_and_drops_relations() -> None:
    found = after(Merge("A", "B"))
    assert not any("A" in key[1:] for key in found)
    assert found["node", "B"]["description"] == "two<SEP>one"
    assert found["node", "B"]["source_id"] == "c1<SEP>c2"
    assert found["edge", "B", "C"]["description"] == "b and c<SEP>a and c"
    assert found["edge", "B", "C"]["keywords"] == "y,x"
    assert found["edge", "B", "C"]["weight"] == 2.0
    assert found["edge", "B", "D"] == PART["edge", "A", "D"]
    assert found["chunks", "B", "C"] == ["c1", "c2"]
    assert found["doc", "d", "B", "C"] is True
    seen = preview(Merge("A", "B"), PART, plan(Merge("A", "B"), PART))
    assert (seen.moved, seen.joined, seen.dropped) == (1, 1, 1)
    assert (seen.description, seen.documents) == ("two\none", ("a.txt",))
    assert effects(seen).startswith("1 relation moves; 1 relation becomes one with another; 1")


def test_a_renamed_node_knows_its_name_and_keeps_the_rest() -> None:
    found = after(Rename("A", "Z"))
    assert found["node", "Z"] == PART["node", "A"] | {"entity_id": "Z"}
    assert found["edge", "B", "Z"] == PART["edge", "A", "B"]
    assert found["doc", "d", "C", "Z"] is True
    assert not any("A" in key[1:] for key in found)


def test_no_more_sources_are_kept_than_lightrag_keeps() -> None:
    changed = {change.key: change.after for change in plan(Merge("A", "B"), PART, 1)}
    assert changed["node", "B"]["source_id"] == "c1"


def test_a_type_alone_leaves_the_parts_of_the_description() -> None:
    part = {("node", "A"): node("A", "one<SEP>two", "c1")}
    (change,) = plan(Describe("A", "one\ntwo", "place"), part)
    assert change.after == part["node", "A"] | {"entity_type": "place"}


def test_a_name_in_use_is_told_with_that_name() -> None:
    with pytest.raises(NameInUse) as caught:
        plan(Rename("A", "B"), PART)
    assert caught.value.name == "B"


@pytest.mark.parametrize(
    "edit",
    [Rename("a", "b"), Merge("a", "b", "«текст»", "x"), Describe("a", "t"), DropEntity("a"),
     DropRelation("a", "b")],
)  # fmt: skip
def test_an_edit_survives_its_journal_and_has_a_sentence(edit: Edit) -> None:
    assert unpacked(json.loads(json.dumps(packed(edit)))) == edit
    assert "a" in sentence(edit)


@given(st.text(max_size=300))
def test_a_name_is_stored_as_one_line_of_text_or_refused(text: str) -> None:
    try:
        edit = tidied(Rename("some other name", text))
    except EditRefused as exc:
        assert str(exc).endswith(".")
        return
    assert isinstance(edit, Rename)
    assert edit.new == edit.new.strip() != ""
    assert "<SEP>" not in edit.new
    assert not any(c in edit.new for c in "\n\r\t\0")


def test_values_are_the_same_without_the_empty_fields_that_a_file_loses() -> None:
    assert same({"a": 1, "truncate": ""}, {"a": 1})
    assert not same({"a": 1}, None)
    assert not same({"a": 1}, {"a": 2})


def answer(*names: str, pairs: tuple[tuple[str, str], ...] = ()) -> str:
    return json.dumps(
        {
            "entities": [{"name": name, "type": "t", "description": "d"} for name in names],
            "relationships": [
                {"source": one, "target": two, "keywords": "", "description": "d"}
                for one, two in pairs
            ],
        }
    )


def test_standing_edits_are_made_to_an_answer_of_the_model() -> None:
    stands = standing([Rename("A", "B"), Merge("C", "B"), DropEntity("X"), DropRelation("P", "B")])
    given_ = answer("A", "X", "Y", pairs=(("A", "C"), ("A", "X"), ("A", "Y"), ("P", "C")))
    assert json.loads(stands.applied(given_)) == json.loads(answer("B", "Y", pairs=(("B", "Y"),)))


@pytest.mark.parametrize("odd", ["", "no json", "[1]", '{"entities": 5}', '{"entities": [3]}'])
def test_an_answer_that_is_not_of_the_form_is_left_as_it_is(odd: str) -> None:
    found = standing([Rename("A", "B")]).applied(odd)
    assert found == odd


def test_a_chain_of_edits_leads_to_the_last_name() -> None:
    stands = standing([Rename("A", "B"), Describe("B", "words"), Rename("B", "C")])
    assert stands.aliases == {"A": "C", "B": "C"}
    assert stands.words == {"C": Describe("C", "words")}


def test_a_name_that_is_given_anew_means_the_new_entity() -> None:
    stands = standing([Rename("A", "B"), Rename("C", "A")])
    assert stands.aliases == {"C": "A"}
    assert standing([DropEntity("A"), Rename("B", "A")]).gone == set()


def test_what_was_merged_into_a_deleted_entity_stays_away_too() -> None:
    stands = standing([Merge("A", "B"), DropRelation("B", "C"), DropEntity("B")])
    assert (stands.gone, stands.aliases, stands.parted) == ({"A", "B"}, {}, set())
