"""Citations are checked against the passages that were really given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.answers import Answer, checked_citations, conversation, pieces, recent
from librarian.evidence import Passage
from librarian.models.protocol import Message


def passages(*numbers: int) -> tuple[Passage, ...]:
    return tuple(
        Passage(number=n, document=f"{n}.txt", chunk=f"doc-{n}-chunk-000", text="…")
        for n in numbers
    )


def test_known_numbers_stay_in_the_order_they_were_cited() -> None:
    text = "First [2], then [1], and [2] again."
    assert checked_citations(text, passages(1, 2, 3)) == (text, (2, 1))


def test_numbers_that_no_passage_has_are_dropped() -> None:
    text, cited = checked_citations("True [1]. Invented [9][10].", passages(1))
    assert text == "True [1]. Invented."
    assert cited == (1,)


def test_without_passages_nothing_is_cited() -> None:
    assert checked_citations("All [1] of [2] it.", ()) == ("All of it.", ())


@pytest.mark.parametrize(
    "ending",
    [
        "\n\n### References\n\n- [1] a.txt\n- [7] invented.txt",
        "\n# references\n[1] a.txt",
        "\n\n#### REFERENCES:\n* [2] b.txt\n",
    ],
)
def test_the_models_own_list_of_references_is_left_out(ending: str) -> None:
    text, cited = checked_citations(f"It was so [1].{ending}", passages(1, 2))
    assert (text, cited) == ("It was so [1].", (1,))


def test_the_word_references_inside_the_text_stays() -> None:
    text = "He wrote References to it [1].\nThe references were lost."
    assert checked_citations(text, passages(1)) == (text, (1,))


def test_other_brackets_stay() -> None:
    text = "See [note], [1871] and a[0] of [1]."
    found, cited = checked_citations(text, passages(0, 1))
    assert (found, cited) == (text, (0, 1))


@given(st.text(), st.sets(st.integers(0, 999)))
def test_only_known_numbers_are_ever_cited(text: str, numbers: set[int]) -> None:
    _, cited = checked_citations(text, passages(*numbers))
    assert set(cited) <= numbers
    assert len(cited) == len(set(cited))


def test_of_several_numbers_in_one_bracket_the_known_ones_stay() -> None:
    assert checked_citations("It was so [1, 9; 2].", passages(1, 2)) == (
        "It was so [1][2].",
        (1, 2),
    )


def test_what_is_dropped_never_makes_a_new_citation() -> None:
    text, cited = checked_citations("So [[9]7] it was [1].", passages(1))
    assert "7]" not in text
    assert cited == (1,)


def test_a_citation_leads_to_the_passage_that_says_it() -> None:
    found = tuple(
        Passage(number=1, document="a.txt", chunk=f"doc-a-chunk-{n}", text=text)
        for n, text in enumerate(("The weather was fine.", "Ada Lovelace wrote the first program."))
    )
    parts = list(pieces("The first program was by Ada [1]. Invented [7].", found))
    assert parts == ["The first program was by Ada ", found[1], ". Invented [7]."]


def test_the_end_of_a_conversation_is_carried_from_a_question_on() -> None:
    history = tuple(
        Message(role=role, content=f"word {n}")  # two tokens
        for n, role in enumerate(("user", "assistant") * 3)
    )
    assert recent(history, 10_000) == history
    assert recent(history, 7) == history[4:]
    assert recent(history, 0) == ()


def test_a_conversation_tells_questions_and_answers_in_turn() -> None:
    turn = Answer(question="Who?", text="Ada.", mode="mix", sources=(), cited=())
    assert conversation([turn]) == (
        Message(role="user", content="Who?"),
        Message(role="assistant", content="Ada."),
    )
