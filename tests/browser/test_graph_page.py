"""The Graph page in a real browser: from a search over a node to the passage it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.browser.conftest import App
from tests.browser.test_pages import BOOK, WAIT_MS, processed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
NAME = '<img src=x onerror="window.owned=1"> [link](javascript:owned=1) **Журнал**.txt'
PLACE = """(wanted) => {
  const node = nodes.get().find((one) => one.name === wanted);
  const at = network.canvasToDOM(network.getPositions([node.id])[node.id]);
  return [at.x, at.y];
}"""


@pytest.fixture(scope="module")
def filled(app: App) -> App:
    httpx.post(f"{app.url}/insert", json={"name": NAME, "text": BOOK}, trust_env=False)
    app.until(processed, "the book to be processed")
    return app


@pytest.fixture(params=[("light", 1280), ("dark", 420)], ids=["light", "dark-narrow"])
def page(chromium: Any, filled: App, request: pytest.FixtureRequest) -> Iterator[Any]:
    theme, width = request.param
    opened = chromium.new_page(viewport={"width": width, "height": 1200}, color_scheme=theme)
    opened.set_default_timeout(WAIT_MS)
    opened.said = []
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.on("dialog", lambda dialog: opened.said.append("dialog"))
    yield opened
    opened.close()


def drawn(page: Any) -> Any:
    """The frame with the picture, once it is there."""
    page.frame_locator(FRAME).locator("html[data-ready=yes]").wait_for(state="attached")
    return next(frame for frame in page.frames if "graph-view" in frame.url)


FRAME = "iframe[title='Picture of the graph']"


def click(page: Any, at: tuple[float, float]) -> None:
    page.locator(FRAME).scroll_into_view_if_needed()
    page.wait_for_timeout(700)  # the picture eases to its place
    box = page.locator(FRAME).bounding_box()
    page.mouse.click(box["x"] + at[0], box["y"] + at[1])


def test_search_leads_to_a_node_and_to_its_passage(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph")
    drawn(page)
    page.get_by_placeholder("Part of a name").first.click()
    page.keyboard.type("корчагиным")
    page.get_by_role("option", name="Игнат Корчагин").click()
    page.get_by_role("heading", name="Игнат Корчагин").wait_for()
    page.get_by_text("Found in").wait_for()
    assert "centre=" in page.url and "selected=" in page.url
    passage = page.get_by_text("смотрителя маяка").last
    passage.wait_for()
    marked = page.locator("span[style*='background'], .stMarkdownColoredBackground")
    assert "Корчагин" in " ".join(marked.all_inner_texts())
    assert page.evaluate("window.owned") is None
    assert page.locator("img[src='x'], a[href^='javascript']").count() == 0
    page.get_by_text("In its document").first.click()
    page.wait_for_url("**/document?chunk=*")
    page.get_by_text("смотрителя маяка").first.wait_for()
    assert page.evaluate("window.owned") is None
    assert page.said == []


def test_the_page_says_that_the_picture_is_being_drawn(page: Any, filled: App) -> None:
    held: list[Any] = []
    page.route("**/graph-view?*", lambda route: held.append(route))
    page.goto(f"{filled.url}/graph?limit=200")
    page.get_by_text("Drawing the graph").wait_for()
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    drawn(page)
    page.get_by_text("Drawing the graph").wait_for(state="hidden")


def test_a_click_on_a_node_reaches_the_page_and_leaves_the_picture(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph?centre=Игнат Корчагин&depth=1")
    frame = drawn(page)
    frame.evaluate("window.same = 1")
    other = frame.evaluate("nodes.get().find((one) => one.name !== 'Игнат Корчагин').name")
    page.wait_for_timeout(500)
    click(page, frame.evaluate(PLACE, other))
    page.get_by_role("heading", name=other, exact=True).wait_for()
    assert frame.evaluate("window.same") == 1
    assert page.said == []


def test_an_address_shows_the_same_in_another_browser(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph?centre=Игнат Корчагин&depth=1&selected=Игнат Корчагин")
    page.get_by_role("heading", name="Игнат Корчагин").wait_for()
    frame = drawn(page)
    assert frame.evaluate("document.querySelector('#head b').textContent") == "Игнат Корчагин"


def test_an_address_of_no_entity_says_so_and_leads_on(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph?centre=Игната Корчагина&selected=Игната Корчагина")
    page.get_by_text("There is no entity “Игната Корчагина”").wait_for()
    assert page.get_by_text("Nothing is indexed").count() == 0
    page.get_by_role("button", name="Игнат Корчагин", exact=True).click()
    page.get_by_role("heading", name="Игнат Корчагин").wait_for()
    drawn(page)
    page.goto(f"{filled.url}/graph?centre=qqqqqqqq")
    page.get_by_text("There is no entity “qqqqqqqq”").wait_for()
    assert page.get_by_text("Perhaps one of these").count() == 0
    page.get_by_role("button", name="Whole graph").click()
    drawn(page)
    assert page.said == []


def test_the_page_hears_names_from_its_own_frame_only(page: Any, filled: App) -> None:
    page.goto(f"{filled.url}/graph")
    frame = drawn(page)
    page.evaluate("window.postMessage({ type: 'librarian:select', name: 'Игнат Корчагин' }, '*')")
    for said in ("{ type: 'librarian:select', name: 7 }", "{ type: 'librarian:edge' }", "null"):
        frame.evaluate(f"window.parent.postMessage({said}, '*')")
    frame.evaluate(
        "window.parent.postMessage({ type: 'librarian:select', name: '<b>no</b>' }, '*')"
    )
    page.wait_for_function("location.search.includes('selected')")
    assert "%3Cb%3Eno" in page.url
    page.get_by_text("Click a node or a line").wait_for()
    reach = "() => { try { return String(parent.document) } catch (error) { return error.name } }"
    assert frame.evaluate(reach) == "SecurityError"
    assert page.said == []
