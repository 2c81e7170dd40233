"""A library with a token, as a browser on the network meets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.conftest import App, started

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
TOKEN = "a token of twenty-five ch"
ADA = "Ada Lovelace worked with Charles Babbage on the Analytical Engine in London."


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with a token, and a document in it."""
    home = tmp_path_factory.mktemp("guarded") / "library"
    with started(home, LIBRARIAN_BACKEND="offline", LIBRARIAN_API_TOKEN=TOKEN) as running:
        posted = httpx.post(
            f"{running.url}/insert",
            json={"text": ADA, "name": "ada.txt"},
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        )
        assert posted.status_code == 202
        running.until(lambda report: report["counts"]["processed"] == 1, "the document")
        yield running


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 420, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    yield opened
    context.close()


def log_in(page: Any, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Open the library").click()


def test_a_page_is_shown_after_the_token_and_not_before(
    page: Any, guarded: App, tmp_path: Path
) -> None:
    heard: list[str] = []
    page.on("websocket", lambda socket: heard.append(socket.url))
    page.goto(f"{guarded.url}/graph?centre=Charles+Babbage")
    assert page.get_by_label("Token").is_visible()
    assert "Babbage" not in page.locator("body").inner_text()
    page.screenshot(path=tmp_path / "login.png")
    log_in(page, "a guess")
    assert page.get_by_role("alert").inner_text() == "That is not the token."
    assert heard == []
    log_in(page, TOKEN)
    page.get_by_role("heading", name="Graph").wait_for()
    page.frame_locator("iframe[title='Picture of the graph']").locator("canvas").first.wait_for()
    assert "centre=Charles+Babbage" in page.url
    page.reload()
    page.get_by_role("heading", name="Graph").wait_for()


def test_a_file_is_uploaded_after_the_login(page: Any, guarded: App, tmp_path: Path) -> None:
    path = tmp_path / "curie.txt"
    path.write_text("Marie Curie met Ada Lovelace in Paris.", encoding="utf-8")
    page.goto(guarded.url)
    log_in(page, TOKEN)
    page.get_by_text("Drop files or folders here").wait_for()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose files").click()
    chosen.value.set_files(path)
    guarded.until(lambda report: report["counts"]["processed"] == 2, "the upload")


def test_another_browser_has_to_log_in_itself(page: Any, chromium: Any, guarded: App) -> None:
    page.goto(guarded.url)
    log_in(page, TOKEN)
    page.get_by_text("Drop files or folders here").wait_for()
    other = chromium.new_context()
    try:
        stranger = other.new_page()
        stranger.goto(f"{guarded.url}/ask")
        assert stranger.get_by_label("Token").is_visible()
    finally:
        other.close()


def test_who_logs_out_is_asked_again(page: Any, guarded: App) -> None:
    page.goto(f"{guarded.url}/system")
    log_in(page, TOKEN)
    page.get_by_role("link", name="Log out of this browser").click()
    page.get_by_label("Token").wait_for()
    page.goto(f"{guarded.url}/system")
    assert page.get_by_label("Token").is_visible()
