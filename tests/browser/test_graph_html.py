"""The graph page in a real browser, framed and sandboxed as the dashboard shows it."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from librarian.graph import html
from librarian.knowledge import Entity, Graph, Relation
from librarian.layout import layout

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
OUTER = b"""<!doctype html><link rel="icon" href="data:,"><body style="margin:0"><script>
window.got = []; window.owned = false;
addEventListener("message", (event) => got.push(event.data));
</script><iframe src="/graph" style="border:0;width:1000px;height:700px"></iframe>"""
PLANTED = (
    "</script><script>window.owned = 1; parent.postMessage('owned', '*')</script>",
    "<img src=x onerror=\"window.owned = 1; parent.postMessage('owned', '*')\">",
    "<a href=javascript:parent.postMessage('owned','*') onmouseover=parent.postMessage('owned')>",
)
COLOURS = """() => {
  const canvas = document.querySelector("canvas");
  const bytes = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(bytes.buffer)).size;
}"""
PLACE = """(name) => {
  const node = nodes.get().find((one) => one.name === name);
  const { x, y } = network.canvasToDOM(network.getPositions([node.id])[node.id]);
  return [x, y];
}"""


def planted(size: int) -> Graph:
    choice = random.Random(3)
    names = [*PLANTED, *(f"Сущность {number} with a rather long name" for number in range(size))]
    names = names[:size]
    return Graph(
        entities=tuple(
            Entity(name=name, type=PLANTED[at % 3] if at < 9 else "person", description=name)
            for at, name in enumerate(names)
        ),
        relations=tuple(
            Relation(
                source=names[at], target=names[choice.randrange(at)], description=names[at % 3]
            )
            for at in range(1, size)
            for _ in range(3)
        ),
        version="1",
    )


@dataclass
class Opened:
    """The outer page, the frame in it, and what was heard of them."""

    page: Any
    frame: Any
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def colours(self) -> int:
        return int(self.frame.evaluate(COLOURS))

    def until(self, condition: str) -> None:
        """Asks again and again from outside; the page's policy forbids `eval`."""
        for _ in range(100):
            if self.frame.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(condition)

    def messages(self) -> list[Any]:
        return list(self.page.evaluate("got"))

    def place(self, name: str) -> tuple[float, float]:
        x, y = self.frame.evaluate(PLACE, name)
        return float(x), float(y)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, request: pytest.FixtureRequest) -> Iterator[Opened]:
    graph: Graph = getattr(request, "param", None) or planted(500)
    made = html(graph, layout(graph), title=PLANTED[0], colour_by="type").encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            inner = self.path == "/graph"
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            if inner:
                self.send_header("Content-Security-Policy", "sandbox allow-scripts allow-downloads")
            self.end_headers()
            self.wfile.write(made if inner else OUTER)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.on("console", lambda one: said.append(one.text))
    page.on("pageerror", lambda one: said.append(str(one)))
    page.on("dialog", lambda one: said.append("dialog"))
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        frame = page.frames[1]
        if graph.entities:
            frame.wait_for_selector("html[data-ready=yes]", state="attached")
        frame.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
        yield Opened(page, frame, asked, said)
    finally:
        page.close()
        server.shutdown()
        server.server_close()
        thread.join()


def test_five_hundred_nodes_are_drawn_without_a_word_on_the_console(opened: Opened) -> None:
    assert opened.frame.evaluate("nodes.length") == 500
    assert opened.colours() > 100
    assert opened.said == []


def test_nothing_but_the_two_pages_is_asked_for(opened: Opened) -> None:
    opened.page.wait_for_timeout(300)
    assert [url.split("/", 3)[3] for url in opened.asked] == ["", "graph"]


def test_parent_is_out_of_reach(opened: Opened) -> None:
    reach = "() => { try { return String(parent.document) } catch (error) { return error.name } }"
    assert opened.frame.evaluate(reach) == "SecurityError"


def test_planted_markup_never_runs(opened: Opened) -> None:
    for name in PLANTED:
        x, y = opened.place(name)
        opened.page.mouse.move(x, y)
        opened.page.wait_for_timeout(150)
        opened.page.mouse.click(x, y)
        opened.page.wait_for_timeout(400)
    assert opened.frame.evaluate("typeof window.owned") == "undefined"
    assert opened.page.evaluate("owned") is False
    assert "owned" not in opened.messages()
    assert opened.frame.locator("img, a, body body").count() == 0
    assert opened.said == []


def test_hovering_shows_the_name_as_text(opened: Opened) -> None:
    opened.page.mouse.move(*opened.place(PLANTED[1]))
    opened.frame.wait_for_selector("#tip:not([hidden])")
    assert opened.frame.inner_text("#tip .name") == PLANTED[1]


def test_clicking_tells_the_parent_and_shows_the_related(opened: Opened) -> None:
    opened.page.mouse.click(*opened.place(PLANTED[0]))
    opened.frame.wait_for_selector("#card:not([hidden])")
    assert opened.messages() == [{"type": "librarian:select", "name": PLANTED[0]}]
    opened.frame.click("#card li button >> nth=0")
    opened.page.wait_for_timeout(200)
    assert len(opened.messages()) == 2
    opened.frame.click("#card .close")
    assert opened.frame.is_hidden("#card")
    assert opened.said == []


def test_legend_hides_a_type_and_its_relations(opened: Opened) -> None:
    count = "edges.get().filter((edge) => !edge.hidden).length"
    before = opened.frame.evaluate(count)
    opened.frame.click("#legend button >> nth=0")
    hidden = opened.frame.evaluate("nodes.get().filter((node) => node.hidden).length")
    assert hidden == 491
    assert opened.frame.evaluate(count) < before
    opened.frame.click("#legend button >> nth=0")
    assert opened.frame.evaluate(count) == before


def test_zoom_and_fit_change_the_view(opened: Opened) -> None:
    fitted = opened.frame.evaluate("network.getScale()")
    opened.frame.click("#closer")
    opened.until(f"network.getScale() > {fitted} * 1.3")
    opened.frame.click("#fit")
    opened.until(f"Math.abs(network.getScale() / {fitted} - 1) < 0.01")


@pytest.mark.parametrize(
    "opened", [Graph(entities=(), relations=(), version="1")], indirect=True, ids=["empty"]
)
def test_page_of_nothing_is_read_by_people(opened: Opened) -> None:
    assert "Nothing is indexed yet" in opened.frame.inner_text("body")
    assert opened.said == []
