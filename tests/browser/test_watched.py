"""A watched folder, in a real browser: chosen, filled while nobody looks, left again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import App

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
LONG = "Воспоминания смотрителя маяка на острове Большой Заяцкий, том первый.txt"


def test_what_comes_into_a_watched_folder_comes_into_the_library(
    chromium: Any, app: App, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    page = chromium.new_page(viewport={"width": 1280, "height": 1200})
    page.set_default_timeout(WAIT_MS)
    page.goto(app.url)
    page.get_by_role("tab", name="Folder").click()
    page.get_by_label("Or watch a folder").fill(str(tmp_path / "nowhere"))
    page.get_by_role("button", name="Watch it").click()
    page.get_by_text("Name a folder of the machine").wait_for()
    page.get_by_label("Or watch a folder").fill(str(inbox))
    page.get_by_role("button", name="Watch it").click()
    page.get_by_text("0 files came from it").wait_for()

    (inbox / LONG).write_text("Игнат Корчагин ведёт журнал маяка.", encoding="utf-8")
    (inbox / "<img src=x onerror=1>.pdf").write_bytes(b"%PDF-1.7 broken")
    app.until(lambda report: report["counts"]["processed"] == 1, "the file to be processed")
    page.get_by_text("1 file came from it").wait_for()
    page.get_by_text("1 file could not be read").click()
    page.get_by_text("<img src=x onerror=1>.pdf").wait_for()

    page.get_by_role("button", name="Stop watching").click()
    page.get_by_label("Or watch a folder").wait_for()
    assert app.status()["counts"]["processed"] == 1
    page.close()
