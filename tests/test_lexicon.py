"""Passages by the words of a question."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from librarian.app import Librarian
from librarian.lexicon import Lexicon
from tests.bench import texts
from tests.conftest import until_processed

LIGHTHOUSE = "Смотритель зажигает лампу маяка каждый вечер и гасит её на рассвете."
HARVEST = "Осенью крестьяне убирают рожь и везут мешки с зерном на мельницу, а вечером поют."
HARBOUR = "The harbour master writes down every ship that comes in before noon."
ROWS = {
    id_: {"content": text}
    for id_, text in {"light": LIGHTHOUSE, "rye": HARVEST, "port": HARBOUR}.items()
}
FACT = "Кружевница Агафья Тимофеева прятала серебряный напёрсток в дупле старой липы."


def ranked(question: str, most: int = 10, lexicon: Lexicon | None = None) -> list[str]:
    return (lexicon or Lexicon()).ranked(question, ROWS, most, lambda _: True)


def test_words_are_found_in_their_other_forms() -> None:
    assert ranked("Кто зажёг лампы на маяках вечерами?")[0] == "light"
    assert ranked("мельниц и мешках")[0] == "rye"
    assert ranked("Which ships came in?") == ["port"]


def test_a_rare_word_counts_more_than_one_that_many_passages_have() -> None:
    assert ranked("вечер рожью") == ["rye", "light"]
    assert ranked("вечер маяка") == ["light", "rye"]


def test_without_a_word_of_the_question_nothing_is_found() -> None:
    assert ranked("квантовая хромодинамика") == []
    assert ranked("") == []
    assert ranked("?!\0\ud800") == []
    assert Lexicon().ranked("маяк", {}, 10, lambda _: True) == []


def test_only_passages_that_are_asked_for_are_found_and_no_more_than_wanted() -> None:
    found = Lexicon().ranked("вечер", ROWS, 10, lambda id_: id_ != "light")
    assert found == ["rye"]
    assert len(ranked("вечер", most=1)) == 1


def test_passages_come_and_go() -> None:
    lexicon = Lexicon()
    assert ranked("вечер", lexicon=lexicon) == ["light", "rye"]
    left = {"rye": ROWS["rye"], "new": {"content": "Вечер вечеру рознь."}}
    assert lexicon.ranked("вечер", left, 10, lambda _: True) == ["new", "rye"]
    assert lexicon.ranked("маяк", left, 10, lambda _: True) == []
    assert ranked("маяк", lexicon=lexicon) == ["light"]


@given(st.text(), st.lists(st.text(), max_size=5))
def test_any_text_can_be_asked_for_and_searched(question: str, contents: list[str]) -> None:
    rows = {str(number): {"content": text} for number, text in enumerate(contents)}
    found = Lexicon().ranked(question, rows, 3, lambda _: True)
    assert len(set(found)) == len(found) <= 3
    assert rows.keys() >= set(found)


def test_one_sentence_of_a_long_book_is_the_first_thing_that_is_quoted(
    librarian: Librarian, tmp_path: Path
) -> None:
    book = texts.story(None, tmp_path).read_text(encoding="utf-8")
    half = book.index("\n\n", len(book) // 2)
    for name, text in {
        "story.txt": f"{book[:half]} {FACT}{book[half:]}",
        "notes.txt": "Агафья Тимофеева любила липы.",
    }.items():
        librarian.add_text(name, text)
        until_processed(librarian, name)
    ids = {view.document.name: view.document.id for view in librarian.snapshot().documents}
    for mode in ("mix", "naive"):
        answer = librarian.ask("У кого был напёрсток?", mode).answer
        first = answer.text.split("\n\n> ")[1]
        assert FACT in first
    answer = librarian.ask("Кто любит липу?", documents=[ids["notes.txt"]]).answer
    assert {passage.document for passage in answer.sources} == {"notes.txt"}
