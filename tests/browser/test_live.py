"""The Indexing page while a book is read: from the estimate through every phase, and an outage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import started
from tests.ollama_server import OllamaServer
from tests.test_indexing import book

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WAIT_MS = 60_000
PHASES = ["converting", "chunking", "extracting", "merging", "embedding", "saving"]


def test_a_book_is_followed_from_its_estimate_to_its_end(chromium: Any, tmp_path: Path) -> None:
    file = tmp_path / "Путешествие капитана.txt"
    file.write_text(book(240), encoding="utf-8")
    with (
        OllamaServer(parallel=2, num_ctx=8192, latency_s=0.3, embed_latency_s=0.5) as server,
        started(
            tmp_path / "library",
            LIBRARIAN_BACKEND="ollama",
            OLLAMA_HOST=server.url,
            LLM_MAX_ASYNC="2",
        ) as app,
    ):
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(WAIT_MS)
        page.goto(app.url)
        page.set_input_files("input[type=file]", [str(file)])
        page.get_by_text(re.compile(r"Chosen: \d+ chunks, about \d+ calls")).wait_for()
        page.get_by_role("button", name="Start 1 document").click()

        page.get_by_role("link", name="Indexing", exact=True).click()
        page.get_by_role("heading", name="Indexing", exact=True).wait_for()
        page.get_by_text("working", exact=True).wait_for()
        page.get_by_text(re.compile(r"About .* calls × 0\.\d+ s, 2 at a time")).wait_for()
        shown, phases = [share_of(page)], []

        server.stop()
        page.get_by_text("waiting", exact=True).wait_for()
        page.get_by_text("ollama serve").first.wait_for()
        assert app.status()["documents"][0]["status"] == "processing"
        server.start()
        page.get_by_text("working", exact=True).wait_for()

        while (report := app.status()["documents"][0])["status"] == "processing":
            shown.append(share_of(page))
            phases.append(report["phase"])
            page.wait_for_timeout(250)  # the table beside the canvas follows it after a moment
        page.get_by_text("idle", exact=True).wait_for()
        page.wait_for_function(f"({STATE})().startsWith('processed')")
        assert shown == sorted(shown)
        assert len(set(shown)) > 3
        seen = [PHASES.index(phase) for phase in phases]
        assert seen == sorted(seen)
        assert {"extracting", "embedding"} <= set(phases)  # others may be over between two looks
        page.close()


# The grid is a canvas; inside it is the table that screen readers are told.
SHARE = """() => {
  const cell = document.querySelector('td[data-testid="glide-cell-2-0"]');
  return cell ? Number(cell.textContent) : 0;
}"""


STATE = """() => {
  const cell = document.querySelector('td[data-testid="glide-cell-1-0"]');
  return cell ? cell.textContent : "";
}"""


def share_of(page: Any) -> float:
    """How much the bar of the one document shows, from 0 to 1."""
    return float(page.evaluate(SHARE))
