"""Files from a browser: through broken connections, from folders, and on after a reload."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser.conftest import App

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
LARS = "Капитан Ларс Хольм прибыл в Беломорск на пароходе «Аврора Севера»."
LARGE = 20 * 1024 * 1024  # three slices


@pytest.fixture
def page(chromium: Any, app: App) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(WAIT_MS)
    opened.goto(app.url)
    opened.get_by_text("Drop files or folders here").wait_for()
    yield opened
    opened.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is refused when it has arrived: what it holds is not the matter here."""
    path = tmp_path / "large.bin"
    path.write_bytes(b"\0" * LARGE)
    return path


def sent_bytes(page: Any) -> list[int]:
    """Where each slice began that the page sends from now on."""
    offsets: list[int] = []

    def note(request: Any) -> None:
        if request.method == "PUT":
            offsets.append(int(parse_qs(urlsplit(request.url).query)["offset"][0]))

    page.on("request", note)
    return offsets


def test_a_lost_connection_is_gone_on_from(page: Any, large: Path) -> None:
    broken: list[str] = []

    def breaking(route: Any) -> None:
        if route.request.method == "PUT" and len(broken) < 2:
            broken.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    page.route("**/upload/*", breaking)
    offsets = sent_bytes(page)
    page.set_input_files("input[type=file]", [str(large)])
    page.get_by_text("large.bin was refused").wait_for()
    assert len(broken) == 2
    assert len(offsets) == 5  # three slices, of which two were tried twice


def test_after_a_reload_only_the_rest_is_sent(page: Any, app: App, large: Path) -> None:
    stopped: list[str] = []  # slices after the first, which then is there

    def stopping(route: Any) -> None:
        if route.request.method == "PUT" and "offset=0" not in route.request.url:
            stopped.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    page.route("**/upload/*", stopping)
    page.set_input_files("input[type=file]", [str(large)])
    while not stopped:
        page.wait_for_timeout(100)
    page.get_by_text("trying again").wait_for()
    page.unroute("**/upload/*")
    page.goto(app.url)
    page.get_by_text("Drop files or folders here").wait_for()
    offsets = sent_bytes(page)
    page.set_input_files("input[type=file]", [str(large)])
    page.get_by_text("large.bin was refused").wait_for()
    assert offsets
    assert 0 not in offsets


def test_a_cancelled_file_says_that_what_came_is_kept(page: Any, large: Path) -> None:
    page.route("**/upload/*", lambda route: route.abort())
    page.set_input_files("input[type=file]", [str(large)])
    page.get_by_text("trying again").wait_for()
    page.get_by_role("button", name="Cancel large.bin").click()
    page.get_by_text("cancelled").wait_for()


def test_a_folder_and_an_archive_keep_their_relative_names(
    page: Any, app: App, tmp_path: Path
) -> None:
    shelf = tmp_path / "Полка"
    (shelf / "Север").mkdir(parents=True)
    (shelf / "Север" / "ларс.txt").write_text(LARS, encoding="utf-8")
    (shelf / ".hidden.txt").write_text("not to be taken", encoding="utf-8")
    archive = tmp_path / "more.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("notes/<b>keeper</b>.txt", "Ignat Korchagin kept the lighthouse log.")
    page.set_input_files("input[webkitdirectory]", str(shelf))
    page.get_by_text("Полка∕Север∕ларс.txt is in the queue").wait_for()
    page.set_input_files("input[type=file]", [str(archive)])
    page.get_by_text("<b>keeper<∕b>.txt is in the queue").wait_for()
    names = {document["name"] for document in app.status()["documents"]}
    assert "Полка∕Север∕ларс.txt" in names
    assert not any("hidden" in name for name in names)
