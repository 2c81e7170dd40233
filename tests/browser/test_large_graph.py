"""The Graph page over a graph that takes long to read, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import expect

from librarian.changes import NAME, Change, Changes
from librarian.latest import LARGE
from librarian.library import Library
from librarian.models.offline import OfflineModel
from tests.browser.conftest import App, started
from tests.browser.test_ask import BOOK, OTHER, insert, processed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
GRAPH = "graph_chunk_entity_relation.graphml"
EARLIER = "It is being read anew."
ENDED = "[data-test-script-state=notRunning]"  # the page's run


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A library with a large graph, of which no document tells: it is not read unasked."""
    home = tmp_path_factory.mktemp("large") / "library"
    with closing(Library.open(home)) as made:
        made.pin(OfflineModel().card, chunk_tokens=1200, versions={})
        made.storage.mkdir(parents=True)
        with closing(Changes(made.storage / NAME)) as changes:
            changes.write(_node(f"Лампа {number}") for number in range(LARGE))
    with started(home, LIBRARIAN_BACKEND="offline") as running:
        running.until(lambda report: report["ready"], "the library to be open")
        yield running


def _node(name: str) -> Change:
    row = {
        "entity_id": name,
        "entity_type": "artifact",
        "description": f"{name} горит.",
        "source_id": "chunk-0",
        "file_path": "маяки.txt",
        "created_at": 1,
        "truncate": "",
    }
    return Change(GRAPH, json.dumps([name], ensure_ascii=False), row)


def test_the_graph_is_shown_as_it_was_until_the_newer_one_is_there(
    chromium: Any, library: App
) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{library.url}/graph")
    page.get_by_text(f"{LARGE:,} entities and 0 relations").wait_for()
    assert page.get_by_text(EARLIER).count() == 0

    insert(library, "мыс.txt", OTHER)
    library.until(processed, "the book to be processed")
    page.reload()
    newer = page.get_by_role("button", name="Show it as it is now")
    page.get_by_text(EARLIER).or_(newer).wait_for()  # a quick machine has read it by now
    page.get_by_text(f"{LARGE:,} entities and 0 relations").wait_for()
    newer.click()
    page.get_by_text(f"{LARGE:,} entities and 0 relations").wait_for(state="detached")
    newer.wait_for(state="detached")
    assert page.get_by_text(EARLIER).count() == 0

    insert(library, "маяк.txt", BOOK)
    library.until(processed, "the other book to be processed")
    page.goto(f"{library.url}/graph?centre=Игнат+Корчагин&selected=Игнат+Корчагин")
    page.get_by_role("heading", name="Игнат Корчагин").wait_for()
    assert page.get_by_text("There is no entity").count() == 0
    page.close()


def test_an_edit_of_a_large_graph_is_there_at_once(chromium: Any, library: App) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{library.url}/mend?entity=Лампа+77")
    for new, edit in (("Линза Френеля", "Edit 1:"), ("Линза Аргана", "Edit 2:")):
        name = page.get_by_label("New name")
        name.fill(new)
        name.press("Enter")
        page.get_by_role("button", name="Rename it").click()
        page.get_by_text(edit).first.wait_for()
        page.locator(ENDED).wait_for(state="attached")
        expect(name).to_have_value(new)
    page.get_by_label("Find an entity").fill("Лампа 77")
    page.get_by_label("Find an entity").press("Enter")
    page.wait_for_function(
        "name => [...document.querySelectorAll('input')].some(each => each.value === name)",
        arg="Лампа 770",
    )
    page.locator(ENDED).wait_for(state="attached")
    expect(page.get_by_label("New name")).to_have_value("Лампа 770")
    page.close()
