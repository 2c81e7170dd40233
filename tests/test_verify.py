"""The success table: what it says, and the sum behind its time row."""

from __future__ import annotations

import pytest

from librarian.app import Librarian
from librarian.documents import Document, Status
from librarian.estimates import Queue
from librarian.verify import arithmetic, slowest_of
from tests.conftest import until_processed


def document(doc_id: str, characters: int = 1000) -> Document:
    return Document(
        id=doc_id,
        name=f"{doc_id}.txt",
        status=Status.PROCESSED,
        bytes=1,
        characters=characters,
        language="English",
        file="",
        created_at=0,
        updated_at=0,
    )


def test_the_sum_says_what_would_reach_three_minutes() -> None:
    queue = Queue(
        eta_s=21_543, eta_low_s=20_000, eta_high_s=24_000, calls=501, seconds_per_call=43, at_once=1
    )
    said = arithmetic(document("book"), queue)
    assert said.startswith("book.txt: about 6 h ")
    assert "501 calls × 43 s, 1 at a time" in said
    assert "Under 3 minutes with 120 at a time, or 0.36 s a call" in said  # 501 × 43 / 180


def test_a_document_that_is_quick_enough_needs_no_advice() -> None:
    queue = Queue(eta_s=26, eta_low_s=25, eta_high_s=28, calls=501, seconds_per_call=0.2, at_once=4)
    assert "Under 3 minutes" not in arithmetic(document("book"), queue)


def test_before_the_first_call_the_calls_are_counted_all_the_same() -> None:
    said = arithmetic(document("book"), Queue(calls=501))
    assert "501 calls" in said
    assert "is known when the first has ended" in said


def test_the_slowest_one_is_taken_or_the_longest_while_none_is_read() -> None:
    short, long = document("short"), document("long", 9000)
    assert slowest_of([short, long], {"short": 9.0, "long": 3.0}) is short
    assert slowest_of([short, long], {}) is long
    assert slowest_of([], {}) is None


def test_the_table_of_a_library_has_the_sum_at_its_time_row(librarian: Librarian) -> None:
    assert [row.why for row in librarian.verify()] == [""] * 5
    librarian.add_text("ada.txt", "Ada Lovelace worked with Charles Babbage in London.")
    until_processed(librarian, "ada.txt")
    whys = [row.why for row in librarian.verify()]
    assert whys[:4] == [""] * 4
    assert whys[4].startswith("ada.txt: ")
    assert "call" in whys[4]


@pytest.mark.parametrize("name", ["<b>book</b>", "Очень длинное имя " * 8])
def test_any_name_stands_in_the_sum(name: str) -> None:
    assert name in arithmetic(document(name), Queue(calls=1))
