"""What waits for a person's start, in a real browser: shown with its cost, started, left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import App

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
TEXTS = {
    "маяк.txt": "Игнат Корчагин ведёт журнал маяка. Маяк горит ночью.",
    "lamp.txt": "Anna Petrova lights the lamp of the harbour every night.",
}


def test_a_folder_waits_until_it_is_started(chromium: Any, app: App, tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    page = chromium.new_page(viewport={"width": 1280, "height": 1200})
    page.set_default_timeout(WAIT_MS)
    page.goto(app.url)
    page.get_by_text("all", exact=True).click()
    page.wait_for_timeout(500)
    page.get_by_role("tab", name="Folder").click()
    page.get_by_label("Path on the machine that runs the library").fill(str(tmp_path))
    page.get_by_role("button", name="Add all files").click()
    page.get_by_text("2 documents for you to start").wait_for()
    page.get_by_text("Chosen: 2 chunks").wait_for()
    assert [each["status"] for each in app.status()["documents"]] == ["paused", "paused"]

    page.get_by_role("button", name="Start 2 documents").click()
    page.get_by_text("for you to start").wait_for(state="detached")
    app.until(lambda report: report["counts"]["processed"] == 2, "both to be processed")
    page.close()
