"""The way through a whole book's graph: search, node, passage, question, citation, subgraph.

`LIBRARIAN_CORPUS` names a folder of real texts; without it one of the same size is made up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bench import texts
from tests.browser.conftest import App, started
from tests.browser.test_graph_page import FRAME, PLACE, click, drawn
from tests.browser.test_pages import processed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
BEST = """(besides) => {
  const plain = ({ name }) => name && name !== besides && /^\\p{Lu}\\p{L}{2,}$/u.test(name);
  const degree = (node) => network.getConnectedEdges(node.id).length;
  return nodes.get().filter(plain).sort((one, other) => degree(other) - degree(one))[0].name;
}"""
EDGE = """(name) => {
  const node = nodes.get().find((one) => one.name === name);
  const middle = (edge) => {
    const ends = network.getPositions([edge.from, edge.to]);
    return [(ends[edge.from].x + ends[edge.to].x) / 2, (ends[edge.from].y + ends[edge.to].y) / 2];
  };
  for (const id of network.getConnectedEdges(node.id)) {
    const edge = edges.get(id);
    const [x, y] = middle(edge);
    const at = network.canvasToDOM({ x, y });
    const inside = at.x > 60 && at.y > 60 && at.x < innerWidth - 60 && at.y < innerHeight - 60;
    if (inside && network.getNodeAt(at) === undefined && network.getEdgeAt(at) === id) {
      return [at.x, at.y];
    }
  }
  return null;
}"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A library with one long text, read by the offline model."""
    folder = tmp_path_factory.mktemp("walk")
    given = os.environ.get("LIBRARIAN_CORPUS")
    text = texts.story(Path(given) if given else None, folder).read_text(encoding="utf-8")
    with started(folder / "library", LIBRARIAN_BACKEND="offline") as running:
        body = {"name": "книга.txt", "text": text}
        httpx.post(f"{running.url}/insert", json=body, trust_env=False).raise_for_status()
        running.until(processed, "the book to be processed")
        yield running


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1440, "height": 1200})
    opened.set_default_timeout(WAIT_MS)
    opened.said = []
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    yield opened
    opened.close()


def test_from_a_search_to_the_part_of_the_graph_that_an_answer_used(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph?core=1&limit=100")
    name = drawn(page).evaluate(BEST)

    page.get_by_placeholder("Part of a name").first.click()  # search
    page.keyboard.type(name[: max(4, len(name) - 2)].lower())
    page.get_by_role("option", name=name, exact=True).click()
    page.get_by_role("heading", name=name, exact=True).wait_for()
    frame = drawn(page)
    assert frame.evaluate("nodes.get().length") > 1

    other = frame.evaluate(BEST, name)
    click(page, frame.evaluate(PLACE, other))  # node
    page.get_by_role("heading", name=other, exact=True).wait_for()

    page.get_by_text("Found in").wait_for()  # passage
    marked = page.locator("span[style*='background'], .stMarkdownColoredBackground")
    words = {word.lower() for text in marked.all_inner_texts() for word in text.split()}
    assert any(word[:4].lower() in each for word in other.split() for each in words)

    page.get_by_role("button", name="Ask", exact=True).click()  # ask
    page.wait_for_url("**/ask?about=*")
    page.get_by_role("button", name=re.compile(f"[«“]{other}[»”]")).click()
    page.get_by_text("mix ·").wait_for()
    answer = page.get_by_test_id("stChatMessage").last
    quoted = " ".join(answer.locator("blockquote").first.inner_text().split())[:40]
    with page.context.expect_page() as opened:  # citation
        answer.locator("a", has_text="[1]").first.click()
    document = opened.value
    document.set_default_timeout(WAIT_MS)
    document.get_by_text("книга.txt").first.wait_for()
    document.get_by_text(quoted).first.wait_for()
    document.close()

    page.get_by_text("What the answer drew on").click()  # subgraph
    part = page.frame_locator("iframe[src*='graph-view']")
    part.locator("html[data-ready=yes]").wait_for(state="attached")
    shown = next(each for each in page.frames if "name=" in each.url)
    assert shown.evaluate("nodes.get().length") >= 1
    assert page.locator(FRAME).count() == 0

    assert page.said == []


def test_a_click_on_a_line_tells_what_joins_its_ends(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph?core=1&limit=50")
    name = drawn(page).evaluate(BEST)
    page.goto(f"{filled.url}/graph?centre={name}&depth=1&limit=50")
    frame = drawn(page)
    page.wait_for_timeout(700)  # the picture eases to its place
    at = frame.evaluate(EDGE, name)
    assert at is not None, "no line has a free middle"
    click(page, at)
    page.get_by_role("heading", name=" — ").wait_for()
    page.get_by_text("weight").first.wait_for()
    page.get_by_text("Found in").wait_for()
    assert page.url.count("edge=") == 2
    assert page.said == []


def test_hiding_is_undone_and_a_path_joins_two_entities(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph?core=1&limit=100")
    frame = drawn(page)
    name = frame.evaluate(BEST)
    page.goto(f"{filled.url}/graph?centre={name}&depth=1&limit=100")
    frame = drawn(page)
    other = frame.evaluate(BEST, name)

    def names() -> list[str]:
        found: list[str] = drawn(page).evaluate("nodes.get().map((one) => one.name)")
        return found

    page.goto(f"{filled.url}/graph?centre={name}&depth=1&limit=100&selected={other}")
    page.get_by_role("button", name="Hide", exact=True).click()
    undo = page.get_by_role("button", name="again")
    undo.wait_for()
    page.wait_for_timeout(500)
    assert other not in names()
    undo.click()
    undo.wait_for(state="detached")
    page.wait_for_timeout(500)
    assert other in names()

    page.goto(f"{filled.url}/graph?selected={name}")
    drawn(page)
    page.get_by_placeholder("Part of a name").last.click()
    page.keyboard.type(other.lower())
    page.get_by_role("option", name=other, exact=True).click()
    page.wait_for_url("**from=**")
    page.wait_for_timeout(500)
    assert {name, other} <= set(names())
    assert page.said == []


def test_the_picture_is_saved_as_png(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph?core=1&limit=50")
    frame = drawn(page)
    with page.expect_download() as download:
        frame.get_by_role("button", name="Save as PNG").click()
    data = Path(download.value.path()).read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 10_000  # a picture, not an empty canvas


def test_a_map_of_communities_opens_one_and_shuts_it_again(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph?limit=50")
    frame = drawn(page)
    before = frame.evaluate("nodes.get().length")
    at = frame.evaluate(
        "() => { const one = nodes.get().sort((a, b) => b.size - a.size)[0];"
        " const at = network.canvasToDOM(network.getPositions([one.id])[one.id]);"
        " return [at.x, at.y]; }"
    )
    click(page, at)
    shut = page.get_by_role("button", name="Close the communities")
    shut.wait_for()
    page.wait_for_timeout(500)
    assert drawn(page).evaluate("nodes.get().length") > before
    shut.click()
    shut.wait_for(state="detached")
    page.wait_for_timeout(500)
    assert drawn(page).evaluate("nodes.get().length") == before
    assert page.said == []
