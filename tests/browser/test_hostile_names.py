"""Names and texts that would do harm as markup are text on every page, and in what is exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from librarian.models.offline import OfflineBrain
from tests.browser.conftest import App, started
from tests.browser.test_ask import HOSTILE, insert, processed
from tests.browser.test_graph_page import PLACE, drawn
from tests.ollama_server import OllamaServer, guess_role

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
RUN = "window.owned = 1; parent.postMessage('owned', '*'); fetch('http://evil.test/ran')"
NAMES = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f'<img src=http://evil.test/x onerror="{RUN}">',
    f'" onmouseover="{RUN}" x="',
    "' autofocus onfocus=window.owned=1 '",
    "\u202egnp.exe\u202c שלום",
    "two\nlines\r\n# heading",
    "длинное " * 62,
    "👩‍👩‍👧‍👦 семья",
    "javascript:window.owned=1",
    "[press](javascript:window.owned=1) ![p](http://evil.test/p.png) **bold** :red[red]",
    "$\\href{javascript:window.owned=1}{x}$ {{ 7 * 7 }}",
    "Анна Маякова",
)
FILE = '<img src=x onerror="window.owned=1"> [link](javascript:owned=1) **Журнал** .txt'
BOOK = "Анна Маякова ведёт журнал маяка. <script>window.owned = 1</script> Маяк горит ночью. " * 8
REACH = "() => { try { return String(parent.document) } catch (error) { return error.name } }"
ALIVE = "script:not([src]), img[src*='evil'], img[src='x'], a[href^='javascript'], [onerror]"


class HostileReader(OfflineBrain):
    """Finds nothing but harm in a book, and answers with it."""

    def answer(self, messages: list[dict[str, str]], schema: dict[str, Any] | None = None) -> str:
        """Entities with hostile names, types and descriptions; a hostile answer to a person."""
        last = messages[-1]["content"]
        if guess_role(last) == "extract":
            entities = [
                {"name": name, "type": NAMES[at % 3], "description": NAMES[-at]}
                for at, name in enumerate(NAMES, 1)
            ]
            relationships = [
                {"source": "Анна Маякова", "target": name, "keywords": "x", "description": name}
                for name in NAMES[:-1]
            ]
            return json.dumps({"entities": entities, "relationships": relationships})
        if any("---Context---" in message["content"] for message in messages):
            return "\n".join((HOSTILE, *NAMES))
        return super().answer(messages, schema)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    home = tmp_path_factory.mktemp("hostile") / "library"
    with OllamaServer(parallel=4, num_ctx=32768, brain=HostileReader()) as server:
        settings = {"LIBRARIAN_BACKEND": "ollama", "OLLAMA_HOST": server.url}
        settings["LIBRARIAN_NUM_CTX"] = "32768"
        with started(home, **settings) as app:
            insert(app, FILE, BOOK)
            app.until(processed, "the book to be processed")
            yield app


@pytest.fixture
def page(chromium: Any, library: App) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1280, "height": 1200})
    opened.set_default_timeout(WAIT_MS)
    opened.said, opened.asked = [], []
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.on("dialog", lambda dialog: opened.said.append("dialog"))
    opened.on("request", lambda one: opened.asked.append(one.url))
    opened.add_init_script("addEventListener('message', (e) => { window.got = [e.data] })")
    yield opened
    opened.close()


def said_in(frame: Any, expression: str) -> Any:
    """What a frame says, also one that is given another picture meanwhile."""
    from playwright.sync_api import Error

    while not frame.is_detached():
        try:
            return frame.evaluate(expression)
        except Error as exc:
            if "context was destroyed" not in str(exc) and not frame.is_detached():
                raise
    return None


def harmless(page: Any, app: App) -> None:
    """Nothing ran, nothing was loaded from elsewhere, no markup came to life."""
    page.wait_for_timeout(300)
    for frame in page.frames:
        assert said_in(frame, "window.owned || null") is None, frame.url
        assert not said_in(frame, "(window.got || []).includes('owned')"), frame.url
    assert [url for url in page.asked if not url.startswith((app.url, "data:", "blob:"))] == []
    shown = page.locator("[data-testid=stMain]")
    assert shown.locator(ALIVE).count() == 0
    assert shown.locator("[data-testid=stException]").count() == 0
    assert page.said == []


@pytest.mark.parametrize("path", ["", "indexing", "library", "graph", "mend", "ask", "system"])
def test_every_page_shows_the_hostile_book_as_text(page: Any, library: App, path: str) -> None:
    page.goto(f"{library.url}/{path}")
    page.get_by_role("heading").first.wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for()
    harmless(page, library)


def test_the_picture_its_tooltips_and_the_panel_show_names_as_text(page: Any, library: App) -> None:
    page.goto(f"{library.url}/graph")
    frame = drawn(page)
    names = frame.evaluate("nodes.get().map((one) => one.name)")
    assert len(names) >= len(NAMES) - 2  # LightRAG may leave out a name that is too long for it
    assert frame.evaluate(REACH) == "SecurityError"
    box = page.locator("iframe[title='Picture of the graph']").bounding_box()
    page.wait_for_timeout(700)  # the picture eases to its place
    for name in names:
        x, y = frame.evaluate(PLACE, name)
        page.mouse.move(box["x"] + x, box["y"] + y)
        page.wait_for_timeout(60)
    assert frame.locator("img, a, body body").count() == 0
    harmless(page, library)


def test_the_panel_of_each_name_shows_it_as_text(page: Any, library: App) -> None:
    page.goto(f"{library.url}/graph")
    names = drawn(page).evaluate("nodes.get().map((one) => one.name)")
    for name in names[:7]:
        page.goto(f"{library.url}/graph?selected={quote(name)}")
        page.get_by_text("Found in").wait_for()
        drawn(page)
        harmless(page, library)
    page.goto(
        f"{library.url}/graph?edge={quote('Анна Маякова')}&edge={quote(names[0])}"
        if names[0] != "Анна Маякова"
        else f"{library.url}/graph?edge={quote(names[1])}&edge={quote(names[0])}"
    )
    page.get_by_text("Found in").wait_for()
    drawn(page)
    harmless(page, library)


def test_mend_and_the_document_show_names_as_text(page: Any, library: App) -> None:
    page.goto(f"{library.url}/graph")
    names = drawn(page).evaluate("nodes.get().map((one) => one.name)")
    for name in names[:4]:
        page.goto(f"{library.url}/mend?entity={quote(name)}")
        page.get_by_role("heading", name="Mend").wait_for()
        page.locator("[data-test-script-state=notRunning]").wait_for()
        harmless(page, library)
    doc = library.status()["documents"][0]["id"]
    page.goto(f"{library.url}/document?doc={doc}")
    page.get_by_text("Chunks").first.wait_for()
    page.locator("[data-test-script-state=notRunning]").wait_for()
    harmless(page, library)


def test_an_answer_with_all_names_is_text(page: Any, library: App) -> None:
    page.goto(f"{library.url}/ask")
    page.get_by_placeholder("Ask the library").fill(f"Кто ведёт журнал? {NAMES[2]}")
    page.keyboard.press("Enter")
    page.get_by_text("mix ·").wait_for()
    text = page.get_by_test_id("stChatMessage").last.inner_text()
    assert "<script>" in text
    page.get_by_text("What the answer drew on").click()
    page.frame_locator("iframe[src*='graph-view']").locator("canvas").first.wait_for()
    harmless(page, library)


def test_the_exported_page_runs_nothing_and_asks_for_nothing(
    page: Any, chromium: Any, library: App, tmp_path: Path
) -> None:
    page.goto(f"{library.url}/graph")
    drawn(page)
    page.locator("[data-test-script-state=notRunning]").wait_for()  # it makes the button anew
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML, one file").click()
    file = tmp_path / "graph.html"
    download.value.save_as(file)

    own = chromium.new_page()
    asked: list[str] = []
    said: list[str] = []
    own.on("request", lambda one: asked.append(one.url))
    own.on("dialog", lambda dialog: said.append("dialog"))
    own.on("pageerror", lambda error: said.append(str(error)))
    own.goto(file.as_uri())
    own.wait_for_selector("html[data-ready=yes]", state="attached")
    names = own.evaluate("nodes.get().map((one) => one.name)")
    assert len(names) >= len(NAMES) - 2
    own.wait_for_timeout(700)
    for name in names:
        at = own.evaluate(PLACE, name)
        own.mouse.move(*at)
        own.wait_for_timeout(60)
        own.mouse.click(*at)
    assert own.evaluate("window.owned") is None
    assert own.locator("img, a, body body").count() == 0
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert said == []
    own.close()
