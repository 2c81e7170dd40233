"""The Ask page in a real browser: from a question to its evidence, and no way in for a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from librarian.models.offline import OfflineBrain
from tests.browser.conftest import App, started
from tests.formats import writers
from tests.ollama_server import OllamaServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
BOOK = """Капитан Ларс Хольм прибыл в Беломорск на пароходе «Аврора Севера» весной 1904 года.

Музей Беломорска хранит журнал маяка. Журнал маяка начал вести Игнат Корчагин.
"""
OTHER = "Павел Ремизов построил маяк на мысе Тихом. Журнал маяка вела Вера Ремизова."
HOSTILE = """Before <script>window.owned = 1</script> <img src=x onerror="window.owned = 1">
![pixel](http://evil.test/pixel.png) [press](javascript:window.owned=1) [1](http://evil.test/one)
http://evil.test/bare www.evil.test me@evil.test <http://evil.test/auto> [7]
[ref]: http://evil.test/ref
:material/delete: :red[red] :smile: $\\href{javascript:window.owned=1}{x}$ &lt;b&gt; \u202egnp.exe
</textarea><svg onload="window.owned = 1"> After [1]."""


class HostileBrain(OfflineBrain):
    """Reads books as the offline model does, and answers with whatever could do harm."""

    def answer(self, messages: list[dict[str, str]], schema: dict[str, Any] | None = None) -> str:
        """The hostile answer to a question of a person."""
        asked = any("---Context---" in message["content"] for message in messages)
        return HOSTILE if asked else super().answer(messages, schema)


def insert(app: App, name: str, text: str) -> None:
    body = {"name": name, "text": text}
    httpx.post(f"{app.url}/insert", json=body, trust_env=False).raise_for_status()


def processed(report: dict[str, Any]) -> bool:
    return bool(report["documents"]) and all(
        document["status"] == "processed" for document in report["documents"]
    )


@pytest.fixture(scope="module")
def library(app: App) -> App:
    insert(app, "маяк.txt", BOOK)
    insert(app, "мыс.txt", OTHER)
    app.until(processed, "the books to be processed")
    return app


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(WAIT_MS)
    yield opened
    opened.close()


def ask(page: Any, app: App, question: str) -> None:
    page.goto(f"{app.url}/ask")
    page.get_by_role("heading", name="Ask", exact=True).wait_for()
    page.get_by_placeholder("Ask the library").fill(question)
    page.keyboard.press("Enter")


def test_an_answer_leads_to_its_passages_its_graph_and_its_file(page: Any, library: App) -> None:
    ask(page, library, "Кто начал вести журнал маяка?")
    page.get_by_text("mix ·").wait_for()
    answer = page.get_by_test_id("stChatMessage").last
    assert "Корчагин" in answer.inner_text()
    address = answer.locator("a", has_text="[1]").first.get_attribute("href")
    assert address.startswith("/document?chunk=doc-")

    assert page.locator("iframe[src*='graph-view']").count() == 0
    page.get_by_text("What the answer drew on").click()
    page.frame_locator("iframe[src*='graph-view']").locator("canvas").first.wait_for()

    page.locator("[data-test-script-state=notRunning]").wait_for()
    markdown = page.get_by_role("button", name="Markdown")
    markdown.focus()  # by keyboard: Chromium may still send a click to where the frame was
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert text.startswith("## Кто начал вести журнал маяка?")
    assert "### Sources" in text


def test_chosen_documents_are_the_only_ones_quoted(page: Any, library: App) -> None:
    page.goto(f"{library.url}/ask")
    page.get_by_test_id("stMultiSelect").locator("input").click()
    page.get_by_role("option", name="мыс.txt").click()
    page.get_by_placeholder("Ask the library").fill("Кто вёл журнал маяка?")
    page.keyboard.press("Enter")
    page.get_by_text("mix ·").wait_for()
    text = page.get_by_test_id("stChatMessage").last.inner_text()
    assert "Ремизов" in text
    assert "маяк.txt" not in text
    assert "Корчагин" not in text


def test_a_kept_conversation_is_there_for_another_tab_until_deleted(
    page: Any, chromium: Any, library: App
) -> None:
    ask(page, library, "Кто прибыл в Беломорск?")
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_role("button", name="Keep", exact=True).wait_for(state="detached")

    other = chromium.new_page()
    other.set_default_timeout(WAIT_MS)
    other.goto(f"{library.url}/ask")
    other.get_by_text("Kept conversations").click()
    body = other.get_by_test_id("stExpander").first
    body.get_by_role("button", name="Open", exact=True).click()
    other.get_by_test_id("stChatMessage").first.wait_for()
    assert "Кто прибыл" in other.get_by_test_id("stChatMessage").first.inner_text()
    other.locator("[data-test-script-state=notRunning]").wait_for()
    body.get_by_role("button", name="Delete", exact=True).click()
    dialog = other.get_by_test_id("stDialog")
    dialog.get_by_text("It cannot be brought back.").wait_for()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    other.get_by_text("It cannot be brought back.").wait_for(state="detached")
    assert not list((library.home / "conversations").glob("*.json"))
    other.close()


def test_a_link_about_an_entity_asks_only_when_pressed(page: Any, library: App) -> None:
    page.goto(f"{library.url}/ask?about=Игнат Корчагин")
    button = page.get_by_role("button", name="Что говорится о «Игнат Корчагин»?")
    button.wait_for()
    assert page.get_by_test_id("stChatMessage").count() == 0
    button.click()
    page.get_by_text("mix ·").wait_for()


def test_a_passage_says_its_page_and_an_address_in_a_name_is_no_link(
    page: Any, library: App, tmp_path: Path
) -> None:
    name = "www.evil.test me@evil.test Гавань.pdf"
    number = iter(range(10_000))
    filling = [
        [f"Ledger line {next(number)} counts barrels of herring." for _ in range(45)]
        for _ in range(6)
    ]
    filling[4][20] = "The pilot Arvid Lindgren kept a tame seal called Bosun."
    (tmp_path / name).write_bytes(writers.pdf(filling))
    page.goto(library.url)
    page.set_input_files("input[type=file]", [str(tmp_path / name)])
    library.until(
        lambda report: processed(report) and len(report["documents"]) == 3, "the PDF to be read"
    )
    ask(page, library, "What was the tame seal called?")
    page.get_by_text("mix ·").wait_for()
    answer = page.get_by_test_id("stChatMessage").last
    answer.get_by_text("[1] www.evil.test me@evil.test").first.click()
    link = answer.get_by_role("link", name="Open in its document, p.").first
    link.wait_for()
    assert int(link.inner_text().rpartition("p. ")[2]) in (4, 5)
    assert page.locator("a[href*='evil.test']").count() == 0
    link.click()
    page.get_by_role("heading", name="www.evil.test me@evil.test").wait_for()
    page.get_by_text("the one you came for").wait_for()
    assert page.locator("a[href*='evil.test']").count() == 0


def test_an_address_of_no_document_says_so_and_leads_to_the_library(
    page: Any, library: App
) -> None:
    page.goto(f"{library.url}/document?doc=doc-0123")
    page.get_by_text("No document of the library is the one of this address").wait_for()
    assert page.get_by_text("`status`").count() == 0
    page.get_by_role("link", name="See Library").click()
    page.get_by_role("heading", name="Library", exact=True).wait_for()


def test_nothing_in_a_models_answer_runs_or_loads(page: Any, tmp_path: Path) -> None:
    outside: list[str] = []
    with OllamaServer(parallel=4, num_ctx=8192, brain=HostileBrain()) as server:
        settings = {"LIBRARIAN_BACKEND": "ollama", "OLLAMA_HOST": server.url}
        with started(tmp_path / "library", **settings) as app:
            insert(app, "маяк.txt", BOOK)
            app.until(processed, "the book to be processed")
            page.on(
                "request",
                lambda each: outside.append(each.url) if "evil.test" in each.url else None,
            )
            ask(page, app, "Кто вёл журнал маяка?")
            page.get_by_text("mix ·").wait_for()
            answer = page.get_by_test_id("stChatMessage").last
            text = answer.inner_text()
            assert "<script>" in text
            assert "<img src=x" in text
            assert ":red[red]" in text.replace("\u2060", "")
            assert "[7]" not in text
            links = answer.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
            assert links
            # Those in the text, and those that open a passage in its document.
            assert all(link.lstrip("/").startswith("document?chunk=doc-") for link in links)
            assert answer.locator("img, svg[onload], script").count() == 0
            assert page.evaluate("window.owned") is None
            assert not outside


def test_a_stopped_answer_stays_as_far_as_it_came(page: Any, tmp_path: Path) -> None:
    with OllamaServer(parallel=4, num_ctx=8192, brain=HostileBrain()) as server:
        settings = {"LIBRARIAN_BACKEND": "ollama", "OLLAMA_HOST": server.url}
        with started(tmp_path / "library", **settings) as app:
            insert(app, "маяк.txt", BOOK)
            app.until(processed, "the book to be processed")
            server.latency_s = 20.0
            page.goto(f"{app.url}/ask")
            page.get_by_test_id("stSelectbox").locator("input").click()
            page.get_by_role("option", name="naive").click()  # its only call is the answer
            page.get_by_placeholder("Ask the library").fill("Кто вёл журнал маяка?")
            page.keyboard.press("Enter")
            page.get_by_test_id("stChatMessage").last.get_by_text("Before").wait_for()
            page.get_by_role("button", name="Stop the answer").click()
            page.get_by_text("stopped by you").wait_for()
            server.wait_until(lambda each: each.generating == 0, 20)
            assert "Before" in page.get_by_test_id("stChatMessage").last.inner_text()
