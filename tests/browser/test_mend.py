"""Mending in a real browser: a rename with a hostile name, a merge, the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.browser.conftest import App
from tests.browser.test_pages import BOOK, WAIT_MS, go, processed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
NAME = "Беломорск"
OTHER = "Игнат Корчагин"
HOSTILE = "<img src=x onerror=window.owned=1> [Город](javascript:alert(1)) *на* Белом море"


@pytest.fixture
def page(chromium: Any, app: App) -> Iterator[Any]:
    if not app.status()["documents"]:
        text = {"text": BOOK, "name": "маяк.txt"}
        httpx.post(f"{app.url}/insert", json=text, trust_env=False).raise_for_status()
    app.until(processed, "the book to be processed")
    opened = chromium.new_page(viewport={"width": 1280, "height": 1000})
    opened.set_default_timeout(WAIT_MS)
    yield opened
    opened.close()


def undone(page: Any) -> None:
    page.get_by_role("button", name="Undo").first.click()
    page.get_by_text("is undone").first.wait_for()


def test_a_hostile_name_is_given_shown_as_text_and_taken_back(page: Any, app: App) -> None:
    go(page, app, f"mend?entity={quote(NAME)}", "Mend")
    page.get_by_text("None yet. Each edit is listed here").wait_for()
    page.get_by_label("New name").fill(HOSTILE)
    page.keyboard.press("Enter")
    page.get_by_text("No language model is asked.").wait_for()
    assert HOSTILE in page.inner_text("section.stMain, [data-testid=stMain]")
    page.get_by_role("button", name="Rename it").click()
    page.get_by_text("Edit 1:").first.wait_for()
    assert page.evaluate("window.owned") is None
    assert page.locator("[data-testid=stMain] img[src=x]").count() == 0
    assert page.locator("a[href^=javascript]").count() == 0
    undone(page)
    go(page, app, f"mend?entity={quote(NAME)}", "Mend")
    page.get_by_label("New name").wait_for()


def test_a_taken_name_is_offered_as_a_merge(page: Any, app: App) -> None:
    go(page, app, f"mend?entity={quote(NAME)}", "Mend")
    page.get_by_label("New name").fill(OTHER)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Merge the two").click()
    page.get_by_text(f"{NAME} merged into {OTHER}").first.wait_for()
    undone(page)


def test_a_name_that_is_too_long_is_refused_with_its_length(page: Any, app: App) -> None:
    go(page, app, f"mend?entity={quote(NAME)}", "Mend")
    page.get_by_label("New name").fill("я" * 500)
    page.keyboard.press("Enter")
    page.get_by_text("this one has 500").wait_for()
    assert page.get_by_role("button", name="Rename it").count() == 0


def test_an_entity_is_found_as_one_writes_and_deleted_and_is_back(page: Any, app: App) -> None:
    go(page, app, "mend", "Mend")
    page.get_by_text("Delete", exact=True).click()
    page.get_by_text("stays away when a document names it again").wait_for()
    page.get_by_label("Find an entity").fill("корчаг")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete the entity").click()
    page.get_by_text("deleted.").first.wait_for()
    undone(page)
