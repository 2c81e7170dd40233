"""The shelf and the libraries in a real browser: what a person orders, deletes and changes over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import App, started

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
LONG = (
    "Воспоминания капитана дальнего плавания Ларса Кристиановича Хольма о путешествиях к Северному "
    "полюсу, том первый.txt"
)
HOSTILE = "<img src=x onerror=window.owned=1> *b* $x$.txt"
TEXTS = {
    "books/note.md": "Charles Babbage designed the Analytical Engine in London.",
    LONG: "Капитан Ларс Хольм прибыл в Беломорск на пароходе «Аврора Севера».",
    HOSTILE: "William Herschel showed Mary Somerville the telescope in Slough.",
}
LABEL = "История <b>мореплавания</b>"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[App]:
    """An app of one test's own, with three documents."""
    with started(tmp_path / "library", LIBRARIAN_BACKEND="offline") as running:
        fill(running, TEXTS)
        yield running


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(WAIT_MS)
    yield opened
    opened.close()


def fill(app: App, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        body = {"text": text, "name": name}
        assert httpx.post(f"{app.url}/insert", json=body, trust_env=False).status_code == 202
    app.until(lambda report: processed(report, len(texts)), "the texts to be processed")


def processed(report: dict[str, Any], count: int) -> bool:
    statuses = [document["status"] for document in report["documents"]]
    return len(statuses) == count and set(statuses) <= {"processed"}


def go(page: Any, app: App, place: str, heading: str) -> None:
    page.goto(f"{app.url}/{place}")
    page.get_by_role("heading", name=heading, exact=True).wait_for()


def names(app: App) -> set[str]:
    return {document["name"] for document in app.status()["documents"]}


def mark(page: Any, *rows: int) -> None:
    """Selects rows of the table, which is a canvas: the newest document is row 1."""
    table = page.get_by_test_id("stDataFrame").first
    table.wait_for()
    page.wait_for_timeout(700)
    place = table.bounding_box()
    for row in rows:
        page.mouse.click(place["x"] + 18, place["y"] + 18 + 35 * row)
        page.wait_for_timeout(500)


def press(page: Any, name: str) -> None:
    page.get_by_test_id("stMain").get_by_role("button", name=name, exact=True).click()


def confirm(page: Any, name: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()
    page.get_by_role("dialog").wait_for(state="detached")


def test_documents_are_found_tagged_and_renamed(page: Any, own: App) -> None:
    go(page, own, "shelf", "Shelf")
    mark(page, 1, 2)
    page.get_by_text("3 documents, 2 selected").wait_for()
    press(page, "Tags")
    page.get_by_role("dialog").get_by_label("Add").fill("путешествия")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    confirm(page, "Save")
    page.get_by_label("Find").fill("ПУТЕШЕСТВИЯ")
    page.keyboard.press("Enter")
    page.get_by_text("3 documents, 2 shown, 2 selected").wait_for()
    page.get_by_label("Find").fill("КАПИТАНА путешествия")
    page.keyboard.press("Enter")
    page.get_by_text("3 documents, 1 shown, 1 selected").wait_for()
    press(page, "Rename")
    field = page.get_by_role("dialog").get_by_label("Name")
    expect(field).to_have_value(LONG)
    field.fill("books/note.md")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    page.get_by_text("is another document's name").wait_for()
    field.fill("Капитан Хольм")
    confirm(page, "Rename")
    own.until(lambda _: "Капитан Хольм" in names(own), "the new name")

    go(page, own, "graph?selected=Ларс Хольм", "Graph")
    page.get_by_text("Капитан Хольм").first.wait_for()
    go(page, own, "ask", "Ask")
    page.get_by_role("combobox", name="Tags").click()
    page.get_by_role("option", name="путешествия").click()
    page.keyboard.press("Escape")
    page.get_by_placeholder("Ask the library").fill("Куда прибыл Ларс Хольм?")
    page.keyboard.press("Enter")
    page.get_by_text(" · mix").wait_for()
    page.get_by_text("Капитан Хольм").first.wait_for()
    assert page.get_by_text("note.md").count() == 0
    assert page.evaluate("window.owned") is None


def test_a_deletion_is_previewed_and_undone(page: Any, own: App) -> None:
    go(page, own, "shelf", "Shelf")
    mark(page, 1, 3)
    press(page, "Delete")
    page.get_by_text("2 documents with 2 chunks").wait_for()
    page.get_by_text("Its answers stay in the journal").wait_for()
    confirm(page, "Keep")
    assert len(names(own)) == 3
    press(page, "Delete")
    confirm(page, "Delete")
    page.get_by_text("Deleted: 2 documents.").wait_for()
    own.until(lambda report: processed(report, 1), "two to be gone")
    press(page, "Undo")
    own.until(lambda report: processed(report, 3), "them to be back")
    assert page.get_by_test_id("stException").count() == 0


def test_one_document_is_replaced_from_its_row(page: Any, own: App, tmp_path: Path) -> None:
    new = tmp_path / "another name.txt"
    new.write_text("William Herschel showed Caroline Herschel the comet in Bath.", encoding="utf-8")
    before = {each["name"]: each["id"] for each in own.status()["documents"]}
    go(page, own, "shelf", "Shelf")
    mark(page, 1)
    press(page, "Replace")
    page.get_by_role("dialog").locator("input[type=file]").set_input_files(str(new))
    confirm(page, "Replace")
    page.get_by_text("has a new version in the queue").wait_for()
    own.until(lambda report: processed(report, 3), "the new version to be processed")
    after = {each["name"]: each["id"] for each in own.status()["documents"]}
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert len(changed) == 1
    assert "onerror" in changed.pop()


def test_two_libraries_are_never_mixed(chromium: Any, own: App, tmp_path: Path) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    page, other = context.new_page(), context.new_page()
    first = {each["id"] for each in own.status()["documents"]}
    go(other, own, "ask", "Ask")
    other.get_by_placeholder("Ask the library").fill("Who designed the Analytical Engine?")
    other.keyboard.press("Enter")
    other.get_by_text(" · mix").wait_for()

    go(page, own, "libraries", "Libraries")
    page.get_by_label("Name").last.fill(LABEL)
    page.get_by_label("Folder for it").fill(str(tmp_path / "second"))
    press(page, "Create…")
    page.get_by_text("Every tab of this dashboard changes over").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Create and open").click()
    page.get_by_text("Nothing here yet.").wait_for()
    page.get_by_test_id("stSidebar").get_by_text("История").first.wait_for()
    assert own.status()["documents"] == []

    other.get_by_text("This dashboard has another library open now").wait_for()
    other.get_by_role("button", name="Save this tab's conversation").wait_for()
    assert other.get_by_text("Babbage").count() == 0
    other.get_by_role("button", name="Show it").click()
    other.get_by_text("Nothing here yet.").wait_for()
    for place, heading in (("ask", "Ask"), ("shelf", "Shelf"), ("graph", "Graph")):
        go(other, own, place, heading)
        other.wait_for_timeout(500)
        assert other.get_by_text("Babbage").count() == 0
        assert other.get_by_text("note.md").count() == 0
        assert other.get_by_test_id("stException").count() == 0
    fill(own, {"second.txt": "Ada Lovelace wrote notes in Ockham Park."})

    go(page, own, "libraries", "Libraries")
    press(page, "Open")
    page.get_by_role("dialog").get_by_role("button", name="Open", exact=True).click()
    page.get_by_role("heading", name="Library", exact=True).wait_for()
    report = own.until(lambda report: processed(report, 3), "the first library to be there")
    assert {each["id"] for each in report["documents"]} == first
    go(page, own, "graph?selected=Analytical Engine", "Graph")
    page.get_by_text("Found in 1 passage").wait_for()
    assert page.get_by_text("Ockham").count() == 0

    go(page, own, "libraries", "Libraries")
    press(page, "Forget")
    page.get_by_role("button", name="Forget it").click()
    page.get_by_text(str(tmp_path / "second")).wait_for(state="detached")
    assert (tmp_path / "second" / "library.json").exists()
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (420, "dark")])
def test_the_shelf_and_the_libraries_fit(chromium: Any, app: App, scheme: str, width: int) -> None:
    if width == 1280 and scheme == "light":
        page = chromium.new_page()
        go(page, app, "shelf", "Shelf")
        page.get_by_text("No documents yet.").wait_for()
        page.close()
        fill(app, TEXTS)
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 860})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    for place, heading in (("shelf", "Shelf"), ("libraries", "Libraries")):
        go(page, app, place, heading)
        page.wait_for_timeout(500)
        assert page.get_by_test_id("stException").count() == 0
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth + 1")
        assert not wide, f"{heading} is wider than the window"
    context.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[App]:
    with started(tmp_path / "library", LIBRARIAN_BACKEND="offline") as running:
        yield running


def test_a_click_counts_also_where_the_page_is_left_at_once(page: Any, empty: App) -> None:
    go(page, empty, "", "Library")
    page.get_by_role("button", name="Load the sample library").click()
    page.get_by_role("link", name="Ask", exact=True).click()
    page.get_by_role("heading", name="Ask", exact=True).wait_for()
    empty.until(lambda report: processed(report, 2), "the samples to be processed")

    page.get_by_role("link", name="Library", exact=True).click()
    page.get_by_role("tab", name="Text").click()
    page.get_by_label("Title").fill("Гавань")
    page.get_by_label("Text", exact=True).fill(TEXTS["books/note.md"])
    page.get_by_role("button", name="Add the text").click()
    page.get_by_role("link", name="Indexing", exact=True).click()
    page.get_by_role("heading", name="Indexing", exact=True).wait_for()
    empty.until(lambda report: processed(report, 3), "the text to be processed")
    assert "Гавань.md" in {each["name"] for each in empty.status()["documents"]}


def test_a_text_that_is_refused_is_not_lost(page: Any, empty: App) -> None:
    go(page, empty, "", "Library")
    page.get_by_role("tab", name="Text").click()
    page.get_by_label("Title").fill("Только заголовок")
    page.get_by_role("button", name="Add the text").click()
    page.get_by_text("was refused").wait_for()
    expect(page.get_by_label("Title")).to_have_value("Только заголовок")
    page.get_by_label("Text", exact=True).fill(TEXTS["books/note.md"])
    page.get_by_role("button", name="Add the text").click()
    page.get_by_text("is in the queue").wait_for()
    expect(page.get_by_label("Title")).to_have_value("")
    expect(page.get_by_label("Text", exact=True)).to_have_value("")
