"""A question in a browser: how long until its first words, beyond what the model itself takes.

The model's own time is what the stand-in spent on the search words and on the answer's prompt,
from the moment when it had a slot. Time in its queue is not the model's.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.bench import texts
from tests.bench.processes import (
    SLOTS,
    App,
    Broken,
    Json,
    StandIn,
    app,
    own_folder,
    reads_with,
    stand_in,
    until,
)
from tests.bench.report import Row
from tests.bench.watchers import chromium
from tests.ollama_server import PROMPT_SHARE

QUESTIONS = 5
FINDING_S = 0.5  # while it is found out how many go at once; quicker ones wait for this machine
IDLE_S = 2.0  # latency of a call while nothing else is asked
BUSY_S = 20.0  # and while a book is read; a real one takes as long on a processor
PAGE_MS = 60_000
READ_S = 240.0
#: Notes when Enter was pressed and when the last message had words of its own.
_CLOCK = """() => {
  window.asked = window.answered = 0;
  addEventListener("keydown", event => {
    if (event.key !== "Enter") return;
    window.before = document.querySelectorAll('[data-testid="stChatMessage"]').length;
    window.asked = performance.now();
    window.answered = 0;
  }, true);
  const look = () => {
    if (window.asked && !window.answered) {
      const messages = document.querySelectorAll('[data-testid="stChatMessage"]');
      const last = messages[messages.length - 1];
      const words = last ? [...last.querySelectorAll('[data-testid="stMarkdownContainer"]')] : [];
      const own = words.filter(each => !each.closest("button") &&
        !each.closest('[data-testid="stCaptionContainer"]') && each.innerText.trim());
      if (messages.length >= window.before + 2 && own.length) window.answered = performance.now();
    }
    requestAnimationFrame(look);
  };
  look();
}"""


def asking(corpus: Path | None) -> list[Row]:
    """Questions while nothing else is done, and while a book is read by all slots."""
    with own_folder() as folder, stand_in(folder) as ollama, chromium() as browser:
        ollama.set(latency_s=FINDING_S)
        with app(folder / "home", **reads_with(ollama)) as measured:
            measured.until_ready()
            story = texts.story(corpus, folder)
            questions = _questions(story.read_text(encoding="utf-8"))
            measured.until_processed(measured.add(story), READ_S)
            ollama.set(latency_s=IDLE_S)
            idle = _asked(measured, ollama, browser, questions[::2], IDLE_S)
            ollama.set(latency_s=BUSY_S)
            measured.add(texts.book(corpus, folder))
            _until_they_speak(measured)
            busy = _asked(measured, ollama, browser, questions[1::2], BUSY_S)
    return [
        *_rows("asking, nothing else is done", idle),
        *_rows(f"asking, all {SLOTS} slots read a book with {BUSY_S:.0f} s a call", busy),
    ]


def _rows(what: str, seconds: Sequence[float]) -> list[Row]:
    beyond = "first words beyond the model's own time"
    middle = statistics.median(seconds)
    return [
        Row(what=f"{what}: {beyond}, median of {len(seconds)}", value=middle, unit="s", most=1.0),
        Row(what=f"{what}: {beyond}, slowest", value=max(seconds), unit="s", most=1.0),
    ]


def _questions(text: str) -> list[str]:
    """Sentences of a text, far from each other, as questions about it."""
    sentences = [" ".join(each.split()) for each in re.split(r"[.!?]\s", text)]
    fitting = [each for each in sentences if 60 < len(each) < 160]
    count = 2 * QUESTIONS  # each is asked once: its search words are kept
    if len(fitting) < count:
        raise Broken("The text has too few sentences to ask about.")
    return [f"{fitting[n * len(fitting) // count]}?" for n in range(count)]


def _asked(
    measured: App, ollama: StandIn, browser: Browser, questions: Sequence[str], latency_s: float
) -> list[float]:
    page = browser.new_page()
    page.goto(f"{measured.url}/ask", timeout=PAGE_MS)
    page.get_by_role("heading", name="Ask", exact=True).wait_for(timeout=PAGE_MS)
    page.evaluate(_CLOCK)
    seconds = []
    for number, question in enumerate(questions):
        ollama.set(forget_calls=True)
        waited_s = _first_words(page, question)
        page.get_by_text("mix ·").nth(number).wait_for(timeout=PAGE_MS)
        seconds.append(waited_s - _own_time(ollama.calls(), latency_s))
        if latency_s == BUSY_S:
            _until_they_speak(measured)  # the reading goes on in between
    page.close()
    return seconds


def _first_words(page: Page, question: str) -> float:
    page.get_by_placeholder("Ask the library").fill(question)
    page.keyboard.press("Enter")
    page.wait_for_function("window.answered > 0", timeout=PAGE_MS)
    milliseconds: float = page.evaluate("window.answered - window.asked")
    return milliseconds / 1000


def _own_time(calls: list[Json], latency_s: float) -> float:
    done = [c for c in calls if c["endpoint"] == "/api/chat" and c["outcome"] == "done"]
    words = [each for each in done if each["role"] == "keyword"]
    answers = [each for each in done if each["role"] in ("query", "")]
    if len(words) != 1 or len(answers) != 1:
        raise Broken(f"{len(words)} and {len(answers)} calls for one question.")
    return float(words[0]["ended_s"] - words[0]["started_s"]) + PROMPT_SHARE * latency_s


def _until_taken(measured: App) -> None:
    def taken() -> bool:
        flight: int = measured.status()["throughput"]["calls_in_flight"]
        return flight >= SLOTS  # one more may wait at the server

    until(taken, "all slots to be taken", measured.process, measured.log)


def _until_they_speak(measured: App) -> None:
    _until_taken(measured)
    time.sleep(BUSY_S * PROMPT_SHARE * 1.2)
