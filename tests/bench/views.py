"""Pages of the graph in a browser, beside what pyvis makes of itself; and the search of names."""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

from playwright.sync_api import Browser
from pyvis.network import Network  # type: ignore[import-untyped]

from librarian.graph import html
from librarian.knowledge import Entity, Graph
from librarian.names import Names
from librarian.views import GraphRequest, GraphViews
from tests.bench.pictures import made_up
from tests.bench.processes import own_folder
from tests.bench.report import Row
from tests.bench.watchers import chromium

TRIES = 3
PATIENCE_MS = 120_000
STABLE = (
    "<script>network.once('stabilizationIterationsDone', () => { window.settled = 1 })</script>"
)
SYLLABLES = "ра ско ль ни ков пе тер бург ма ри на lon don ver mont ska ya ов ич".split()


def views(corpus: Path | None) -> list[Row]:
    """From the request to a drawn picture, positions known; medians of three."""
    rows: list[Row] = []
    with own_folder() as folder, chromium() as browser:
        for nodes, edges, most in ((200, 600, None), (1000, 3000, 1.0), (5000, 15_000, 2.5)):
            request = GraphRequest(limit=nodes)
            took = _opened(browser, folder, made_up(nodes, edges), request)
            what = f"view: {nodes:,} nodes, {edges:,} edges, usable"
            rows.append(Row(what=what, value=took, unit="s", most=most))
        took = _opened(browser, folder, made_up(20_000, 60_000), GraphRequest())
        rows.append(Row(what="view: 20,000 nodes as their map", value=took, unit="s", most=1.5))
        took = _pyvis(browser, folder, made_up(200, 600))
        rows.append(Row(what="view: 200 nodes, pyvis by its defaults", value=took, unit="s"))
    return [*rows, _built(), *_searched()]


def _opened(browser: Browser, folder: Path, graph: Graph, request: GraphRequest) -> float:
    GraphViews(folder / "pictures").page(graph, request)
    seconds = []
    for _ in range(TRIES):
        # A new object has the positions on disk only; communities and the page are made anew.
        start = time.perf_counter()
        file = folder / "view.html"
        made = GraphViews(folder / "pictures").page(graph, request)
        file.write_text(made, encoding="utf-8", errors="replace")
        seconds.append(time.perf_counter() - start + _until(browser, file, "html[data-ready=yes]"))
    return statistics.median(seconds)


def _until(browser: Browser, file: Path, selector: str) -> float:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    try:
        start = time.perf_counter()
        page.goto(file.as_uri())
        page.wait_for_selector(selector, state="attached", timeout=PATIENCE_MS)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        return time.perf_counter() - start
    finally:
        page.close()


def _pyvis(browser: Browser, folder: Path, graph: Graph) -> float:
    network = Network(cdn_resources="in_line")
    for entity in graph.entities:
        network.add_node(entity.name)
    for relation in graph.relations:
        network.add_edge(relation.source, relation.target)
    file = folder / "pyvis.html"
    file.write_text(network.generate_html().replace("</body>", f"{STABLE}</body>"), "utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.route("http*://**", lambda route: route.abort())
    try:
        start = time.perf_counter()
        page.goto(file.as_uri(), wait_until="commit")
        page.wait_for_function("window.settled === 1", timeout=PATIENCE_MS)
        return time.perf_counter() - start
    finally:
        page.close()


def _built() -> Row:
    graph = made_up(10_000, 30_000)
    places = {entity.name: (0.0, 0.0) for entity in graph.entities}
    html(graph, places, title="warm")
    start = time.perf_counter()
    html(graph, places, title="Graph")
    took = time.perf_counter() - start
    return Row(what="view: HTML of 30,000 edges in Python", value=took, unit="s", most=1)


def _searched() -> list[Row]:
    choice = random.Random(5)
    names: dict[str, None] = {}
    while len(names) < 50_000:
        words = ("".join(choice.choices(SYLLABLES, k=3)) for _ in range(2))
        names[" ".join(words)] = None
    entities = tuple(Entity(name=name, type="", description="") for name in names)
    graph = Graph(entities=entities, relations=(), version="1")
    found = Names(graph)
    worst = 0.0
    for text in ("р", "раско", "петербурге", "londons", "ков ска", "nothing like it", "Маринами"):
        start = time.perf_counter()
        found.search(text)
        worst = max(worst, time.perf_counter() - start)
    return [Row(what="search: 50,000 entities, slowest", value=1e3 * worst, unit="ms", most=50)]
