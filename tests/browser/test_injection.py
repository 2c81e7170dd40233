"""Pages over a library whose names, texts and answers are hostile: nothing of it runs or loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.browser.conftest import App, started
from tests.ollama_server import OllamaServer
from tests.test_injection import HONEST, NAMES, ORDER, TEXT, Obedient

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
FILE = '<img src=http://evil.test/f.png onerror="window.owned=1">![p](http://evil.test/p.png).txt'
ANSWER = f"""Heard <script>window.owned = 1</script> {" ".join(NAMES)}
[ref]: http://evil.test/ref
<iframe src="http://evil.test/frame"></iframe><svg onload="window.owned = 1"></svg>
<http://evil.test/auto> :material/delete: $\\href{{javascript:window.owned=1}}{{x}}$ [1]"""
#: What would have the browser load or run something, were it in a page as markup.
LIVE = "script:not([src]), iframe, img, link, object, embed, svg, a, form, [onerror], [onload]"


class Hostile(Obedient):
    """It also answers with what could do harm."""

    def answer(self, messages: list[dict[str, str]], schema: dict[str, Any] | None = None) -> str:
        """As the text orders, or the hostile answer to a person."""
        if any("---Context---" in message["content"] for message in messages):
            return ANSWER
        return super().answer(messages, schema)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app over a library that is full of it."""
    home = tmp_path_factory.mktemp("hostile") / "library"
    with OllamaServer(parallel=4, num_ctx=8192, brain=Hostile()) as server:
        settings = {"LIBRARIAN_BACKEND": "ollama", "OLLAMA_HOST": server.url}
        with started(home, **settings) as app:
            for name, text in (*HONEST.items(), (FILE, TEXT)):
                body = {"name": name, "text": text}
                posted = httpx.post(f"{app.url}/insert", json=body, trust_env=False)
                assert posted.status_code == 202
            app.until(lambda report: report["counts"]["processed"] == 3, "the documents")
            yield app


class Watch:
    """A page, and whatever it turned to that is not of its server."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self._own = page, urlsplit(url).netloc
        self.outside: list[str] = []
        self.refused: list[str] = []
        page.context.on("request", self._note)
        page.on("console", self._hear)
        page.on("dialog", lambda each: self.outside.append(f"dialog {each.message}"))

    def _note(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._own:
            self.outside.append(request.url)

    def _hear(self, message: Any) -> None:
        """The policy is a second wall: that it had to refuse something is a hole in the first."""
        if "Content Security Policy" in message.text:
            self.refused.append(message.text)

    def check(self) -> None:
        owned = [frame.evaluate("window.owned") for frame in self.page.frames]
        assert owned == [None] * len(owned)
        assert self.outside == []
        assert self.refused == []


@pytest.fixture
def watch(chromium: Any, hostile: App) -> Iterator[Watch]:
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    yield Watch(page, hostile.url)
    context.close()


def settled(page: Any) -> None:
    page.locator("[data-test-script-state=notRunning]").wait_for()
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("path", ["", "document", "indexing", "graph", "mend", "ask", "system"])
def test_no_page_runs_or_loads_what_it_lists(watch: Watch, hostile: App, path: str) -> None:
    watch.page.goto(f"{hostile.url}/{path}")
    settled(watch.page)
    for expander in watch.page.get_by_test_id("stExpander").all():
        expander.locator("summary").click()
    settled(watch.page)
    watch.check()


def test_the_document_shows_its_chunk_and_names_as_text(watch: Watch, hostile: App) -> None:
    report = hostile.status()
    (doc,) = (each["id"] for each in report["documents"] if "evil.test" in each["name"])
    watch.page.goto(f"{hostile.url}/document?chunk={doc}-chunk-000")
    watch.page.get_by_text(ORDER).first.wait_for()
    settled(watch.page)
    for expander in watch.page.get_by_test_id("stExpander").all():
        expander.locator("summary").click()
    settled(watch.page)
    body = watch.page.get_by_test_id("stMain")
    shown = body.inner_text()
    assert "<script>window.owned=1</script>" in shown
    for markdown in body.get_by_test_id("stMarkdown").all():
        assert markdown.locator(LIVE).count() == 0
    watch.check()


@pytest.mark.parametrize("name", [*NAMES[:7], NAMES[8]])
def test_a_name_that_is_chosen_in_the_graph_is_text(watch: Watch, hostile: App, name: str) -> None:
    watch.page.goto(f"{hostile.url}/graph?centre={quote(name)}")
    watch.page.frame_locator("iframe[src*='graph-view']").locator("canvas").first.wait_for()
    settled(watch.page)
    watch.check()
    watch.page.goto(f"{hostile.url}/ask?about={quote(name)}")
    settled(watch.page)
    watch.check()


def test_an_answer_loads_and_runs_nothing(watch: Watch, hostile: App) -> None:
    page = watch.page
    page.goto(f"{hostile.url}/ask")
    page.get_by_placeholder("Ask the library").fill("Who worked with Charles Babbage?")
    page.keyboard.press("Enter")
    page.get_by_text("mix ·").wait_for()
    settled(page)
    answer = page.get_by_test_id("stChatMessage").last
    text = answer.inner_text()
    assert "<script>window.owned = 1</script>" in text
    assert '<iframe src="http://evil.test/frame">' in text.replace("\u2060", "")
    links = answer.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert all(link.lstrip("/").startswith("document?chunk=doc-") for link in links)
    assert answer.locator("script, iframe:not([src*='graph-view']), img").count() == 0
    watch.check()


def test_an_exported_graph_loads_nothing_and_says_so_itself(
    watch: Watch, hostile: App, tmp_path: Path
) -> None:
    from librarian.secret import HEADER, read_secret

    answer = httpx.post(
        f"{hostile.url}/api/do/html",
        json={},
        headers={HEADER: read_secret(hostile.home)},
        trust_env=False,
    )
    (page,) = answer.json()["files"].values()
    policy = page.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    file = tmp_path / "graph.html"
    file.write_text(page, encoding="utf-8")
    watch.page.route("file://**", lambda route: route.continue_())
    watch.page.goto(file.as_uri())
    watch.page.locator("canvas").first.wait_for()
    shown = watch.page.evaluate("nodes.get().map((one) => one.name)")
    assert json.dumps(NAMES[0]) in json.dumps(shown)
    watch.outside = [each for each in watch.outside if each != file.as_uri()]
    watch.check()


def test_what_a_page_would_load_from_elsewhere_is_refused_by_its_policy(
    watch: Watch, hostile: App
) -> None:
    """The second wall stands: what would come in as markup stays dead."""
    watch.page.goto(hostile.url)
    settled(watch.page)
    watch.page.evaluate(
        """async () => {
          const box = document.createElement("div");
          box.innerHTML = '<img src="http://evil.test/i.png"><img src=x onerror="owned = 1">'
            + '<iframe src="http://evil.test/f"></iframe>';
          document.body.append(box);
          const script = document.createElement("script");
          script.textContent = "window.owned = 1";
          document.body.append(script);
          await fetch("http://evil.test/x").catch(() => 0);
        }"""
    )
    watch.page.wait_for_timeout(500)
    assert watch.page.evaluate("window.owned") is None
    assert len(watch.refused) >= 4
    watch.refused.clear()
    watch.outside = [each for each in watch.outside if "evil.test" not in each]
    watch.check()
