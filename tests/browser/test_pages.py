"""The pages in a real browser: a newcomer's way from a file to an answer with its source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.conftest import App

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
HOSTILE = "<img src=x onerror=window.owned=1>'\"].txt"
BOOK = """Капитан Ларс Хольм прибыл в Беломорск на пароходе «Аврора Севера» весной 1904 года.

В Беломорске капитан Ларс Хольм встретил смотрителя маяка Игната Корчагина. Игнат Корчагин показал
капитану линзу Френеля, которую инженер Павел Ремизов привёз из Гамбурга.

Музей Беломорска хранит журнал маяка. Журнал маяка начал вести Игнат Корчагин.

<script>window.owned = 1</script></textarea><img src=x onerror="window.owned = 1">
"""


@pytest.fixture
def page(chromium: Any, app: App) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(WAIT_MS)
    yield opened
    opened.close()


def go(page: Any, app: App, place: str, heading: str) -> None:
    page.goto(f"{app.url}/{place}")
    page.get_by_role("heading", name=heading, exact=True).wait_for()


def processed(report: dict[str, Any]) -> bool:
    return bool(report["documents"]) and all(
        document["status"] == "processed" for document in report["documents"]
    )


def test_from_a_file_to_an_answer_with_its_source(page: Any, app: App, tmp_path: Path) -> None:
    outside: list[str] = []
    page.on("request", lambda request: _note_outside(outside, request.url, app.url))
    book = tmp_path / HOSTILE.replace("/", "")
    book.write_text(BOOK, encoding="utf-8")

    go(page, app, "", "Library")
    page.get_by_text("Nothing here yet.").wait_for()
    page.set_input_files("input[type=file]", [str(book)])
    page.get_by_text("is in the queue").wait_for()
    app.until(processed, "the book to be processed")

    go(page, app, "indexing", "Indexing")
    page.get_by_test_id("stDataFrame").first.wait_for()
    page.get_by_text("idle").first.wait_for()

    go(page, app, "graph", "Graph")
    frame = page.frame_locator("iframe[src*='graph-view']")
    frame.locator("canvas").first.wait_for()

    go(page, app, "ask", "Ask")
    page.get_by_placeholder("Ask the library").fill("Кто вёл журнал маяка?")
    page.keyboard.press("Enter")
    page.get_by_text(" · mix").wait_for()
    assert "Корчагин" in page.get_by_test_id("stChatMessage").last.inner_text()

    (chunk,) = [f"{each['id']}-chunk-000" for each in app.status()["documents"]]
    page.goto(f"{app.url}/document?chunk={chunk}")
    page.get_by_text("the one you came for").wait_for()
    page.get_by_text("window.owned = 1").first.wait_for()
    page.get_by_text("The model's answer").click()
    page.get_by_text('"entities"').wait_for()

    assert page.evaluate("window.owned") is None
    assert not outside


def test_a_page_of_any_address_knows_where_the_server_is(page: Any, app: App) -> None:
    """Streamlit's scripts would ask below the page's own address first, and wait."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    go(page, app, "shelf?part=1", "Shelf")
    assert [url for url in asked if "/_stcore/health" in url] == [f"{app.url}/_stcore/health"]
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Graph").click()
    page.get_by_role("heading", name="Graph", exact=True).wait_for()
    assert page.url == f"{app.url}/graph"


def test_what_cannot_be_taken_is_refused_in_words(page: Any, app: App, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7 not text")
    go(page, app, "", "Library")
    page.set_input_files("input[type=file]", [str(tmp_path / n) for n in ("empty.txt", "scan.pdf")])
    page.get_by_text("empty.txt was refused").wait_for()
    page.get_by_text("scan.pdf was refused. It is damaged").wait_for()


def test_a_new_text_under_a_known_name_is_asked_about(page: Any, app: App, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("Павел Ремизов построил маяк на мысе Тихом.", encoding="utf-8")
    go(page, app, "", "Library")
    page.set_input_files("input[type=file]", [str(note)])
    page.get_by_text("note.txt is in the queue").wait_for()
    app.until(processed, "the note to be processed")

    note.write_text("Вера Корчагина спасла пароход у мыса Тихого.", encoding="utf-8")
    page.set_input_files("input[type=file]", [str(note)])
    page.get_by_role("button", name="Replace").click()
    page.get_by_role("button", name="Replace").wait_for(state="detached")
    report = app.until(processed, "the new note to be processed")
    assert sum(document["name"] == "note.txt" for document in report["documents"]) == 1


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (420, "dark")])
def test_every_page_opens_without_an_error(
    chromium: Any, app: App, scheme: str, width: int
) -> None:
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 860})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    for place, heading in (
        ("", "Library"),
        ("document", "Document"),
        ("indexing", "Indexing"),
        ("graph", "Graph"),
        ("ask", "Ask"),
        ("system", "System"),
    ):
        go(page, app, place, heading)
        page.get_by_test_id("stSpinner").wait_for(state="detached")
        assert page.get_by_test_id("stException").count() == 0
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth + 1")
        assert not wide, f"{heading} is wider than the window"
    context.close()


def test_the_journal_is_cleared_only_by_who_knows_what_it_costs(page: Any, app: App) -> None:
    go(page, app, "system", "System")
    page.get_by_test_id("stSpinner").wait_for(state="detached")
    button = page.get_by_role("button", name="Clear", exact=True)
    assert button.is_enabled()
    page.get_by_text("the journal", exact=True).click()
    page.get_by_text("I know what that costs").wait_for()
    assert "answer" in page.get_by_text("I know what that costs").inner_text()
    assert button.is_disabled()
    page.get_by_text("I know what that costs").click()
    page.wait_for_function(
        "[...document.querySelectorAll('button')].some(b => b.innerText.includes('Clear')"
        " && !b.disabled)"
    )
    button.click()
    page.get_by_text("Cleared: the journal.").wait_for()
    assert page.get_by_test_id("stException").count() == 0


def test_a_document_is_deleted_after_a_question(page: Any, app: App) -> None:
    body = {"text": "Инженер Павел Ремизов уехал в Гамбург.", "name": "last.txt"}
    assert httpx.post(f"{app.url}/insert", json=body, trust_env=False).status_code == 202
    app.until(processed, "the text to be processed")
    go(page, app, "indexing", "Indexing")
    table = page.get_by_test_id("stDataFrame").first
    table.wait_for()
    page.get_by_text("idle", exact=True).wait_for()
    for button in ("Keep it", "Delete"):
        page.wait_for_timeout(500)  # the grid is a canvas: it is drawn after the table is there
        place = table.bounding_box()
        page.mouse.click(place["x"] + 590, place["y"] + 52)  # the newest document's actions
        page.get_by_text("Delete", exact=True).last.click()
        page.get_by_text("will be taken out of the graph").wait_for()
        page.get_by_role("button", name=button, exact=True).click()
        page.get_by_text("will be taken out of the graph").wait_for(state="detached")
        there = "last.txt" in {document["name"] for document in app.status()["documents"]}
        assert there is (button == "Keep it")


def _note_outside(outside: list[str], url: str, own: str) -> None:
    own_socket = own.replace("http", "ws")
    if not url.startswith((own, own_socket, "data:", "blob:", "about:")):
        outside.append(url)


def test_what_is_folded_on_indexing_comes_when_it_is_opened_and_stays(page: Any, app: App) -> None:
    go(page, app, "indexing", "Indexing")
    page.locator("[data-test-script-state=notRunning]").wait_for()
    assert page.get_by_test_id("stCode").count() == 0
    page.get_by_text("Files of the library").click()
    page.get_by_test_id("stExpander").get_by_test_id("stDataFrame").wait_for()
    page.get_by_text("Log", exact=True).click()
    page.get_by_test_id("stCode").wait_for()
    page.wait_for_timeout(6000)  # it is refreshed meanwhile
    assert page.get_by_test_id("stCode").count() == 1
    page.get_by_text("Log", exact=True).click()
    page.get_by_test_id("stCode").wait_for(state="detached")
    page.get_by_test_id("stExpander").get_by_test_id("stDataFrame").wait_for()
    assert page.get_by_test_id("stException").count() == 0
