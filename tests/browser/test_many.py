"""A library of many documents in a real browser: in parts, found by name, selected in one go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import expect

from librarian.documents import Document, Status, document_id
from librarian.library import Library
from librarian.models.offline import OfflineModel
from tests.browser.conftest import App, started
from tests.browser.test_library_page import go, mark, press

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
MANY = 1203
OPENED = 1042  # the only one whose id is that of its text
TEXT = "Смотритель маяка записал погоду."
FIRST = "1 to 500 of 1,203."


def name_of(number: int) -> str:
    return f"Повесть о маяке на краю света, часть {number}.txt"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """More documents than a page shows, all of them paused."""
    home = tmp_path_factory.mktemp("many") / "library"
    with closing(Library.open(home)) as made:
        made.pin(OfflineModel().card, chunk_tokens=1200, versions={})
        made.keep_original("story.txt", TEXT.encode())
        for number in range(MANY):
            made.catalogue.put(
                Document(
                    id=document_id(TEXT) if number == OPENED else f"doc-{number:032x}",
                    name=name_of(number),
                    status=Status.PAUSED,
                    bytes=60,
                    characters=32,
                    language="Russian",
                    file="story.txt",
                    created_at=float(number),
                    updated_at=float(number),
                    place=float(number),
                )
            )
    with started(home, LIBRARIAN_BACKEND="offline") as running:
        running.until(lambda report: report["ready"], "the library to be open")
        yield running


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(WAIT_MS)
    yield opened
    assert opened.get_by_test_id("stException").count() == 0
    opened.close()


def turn_to(page: Any, number: int) -> None:
    page.get_by_test_id("stPagination").get_by_role(
        "button", name=f"Page {number}", exact=True
    ).click()


def test_a_selection_spans_the_parts_of_the_shelf(page: Any, library: App) -> None:
    go(page, library, "shelf", "Shelf")
    page.get_by_text(FIRST).wait_for()
    mark(page, 2)
    page.get_by_text("1,203 documents, 1 selected").wait_for()
    turn_to(page, 3)
    page.get_by_text("1,001 to 1,203 of 1,203.").wait_for()
    mark(page, 1)
    page.get_by_text("1,203 documents, 2 selected").wait_for()
    press(page, "Select all of them")
    page.get_by_text("1,203 documents, 1,203 selected").wait_for()
    mark(page, 1)  # not that one
    page.get_by_text("1,203 documents, 1,202 selected").wait_for()
    turn_to(page, 1)
    page.get_by_text(FIRST).wait_for()
    press(page, "Tags")
    page.get_by_role("dialog").get_by_label("Add").fill("хранить")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    press(page, "Select none")
    page.get_by_text("1,203 documents", exact=True).wait_for()
    page.get_by_label("Find").fill("часть 202")
    page.keyboard.press("Enter")
    page.get_by_text("1,203 documents, 2 shown").wait_for()  # and 1202
    assert page.get_by_test_id("stPagination").count() == 0
    page.get_by_label("Find").fill("хранить")
    page.keyboard.press("Enter")
    page.get_by_text("1 to 500 of 1,202.").wait_for()


def test_the_table_of_the_queue_comes_in_parts(page: Any, library: App) -> None:
    go(page, library, "indexing", "Indexing")
    page.get_by_text(f"{FIRST} The Shelf finds any of them.").wait_for()
    page.get_by_role("button", name="Next page").click()
    page.get_by_text("501 to 1,000 of 1,203.").wait_for()


def test_a_document_is_chosen_by_a_part_of_its_name(page: Any, library: App) -> None:
    go(page, library, "document", "Document")
    search(page, "ЧАСТЬ 1042")
    page.get_by_role("combobox", name="Document", exact=True).click()
    expect(page.get_by_role("option")).to_have_count(1)
    page.get_by_role("option", name=name_of(1042)).click()
    page.get_by_role("heading", name=name_of(1042)).wait_for()


def test_documents_of_a_question_stay_chosen_while_others_are_looked_for(
    page: Any, library: App
) -> None:
    go(page, library, "ask", "Ask")
    for number in (1042, 77):
        search(page, f"часть {number}.txt")
        page.get_by_role("combobox", name="Documents", exact=True).click()
        page.get_by_role("option", name=name_of(number)).click()
        page.keyboard.press("Escape")
    chosen = page.get_by_test_id("stMultiSelect").first
    expect(chosen).to_contain_text(name_of(77))
    expect(chosen).to_contain_text(name_of(1042))


def search(page: Any, text: str) -> None:
    page.get_by_label("Find a document").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_timeout(700)
