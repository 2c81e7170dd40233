"""What looks on while the app works: at its status, its memory, its page."""

from __future__ import annotations

import base64
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.bench.processes import ENDED, Json, Process, family

STATUS_EVERY_S = 0.1
MEMORY_EVERY_S = 0.2
PUMP_MS = 200.0  # Playwright hands events out only while it is asked to wait
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


class Watcher:
    """Looks again and again in a thread of its own, for as long as its block lasts."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def look(self) -> None:
        """One look."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self._stop.is_set():
            begun_s = time.monotonic()
            self.look()
            self._stop.wait(max(0.0, begun_s + self._every_s - time.monotonic()))


class StatusWatcher(Watcher):
    """Asks for the status: how long the answer takes, and what the one document is at."""

    def __init__(self, url: str) -> None:
        super().__init__(STATUS_EVERY_S)
        self._client = httpx.Client(trust_env=False, timeout=10)
        self._url = f"{url}/api/status"
        self._before_s = 0.0
        self.seconds: list[float] = []  #: of each answer
        self.phases: dict[str, float] = {}  #: seconds in each
        self.max_lag_s = 0.0  #: of the app's loop, as it says itself
        self.document: Json = {}  #: as it was when it ended
        self.trouble = ""
        self.ended_s = 0.0
        self.ended = threading.Event()

    def look(self) -> None:
        """Asks, unless the document has ended."""
        if self.ended.is_set():
            return
        begun_s = time.monotonic()
        try:
            answer = self._client.get(self._url)
        except httpx.TransportError as exc:
            self.trouble = f"The app did not say how it is: {exc!r}"
            self.ended.set()
            return
        now_s = time.monotonic()
        self.seconds.append(now_s - begun_s)
        self._note(answer.json(), now_s)

    def _note(self, report: Json, now_s: float) -> None:
        self.max_lag_s = max(self.max_lag_s, report["loop"]["max_lag_s"])
        for document in report["documents"]:
            phase = document["phase"] or document["status"]
            if self._before_s:
                self.phases[phase] = self.phases.get(phase, 0.0) + now_s - self._before_s
            if document["status"] in ENDED:
                self.phases.pop(document["status"], None)
                self.document, self.ended_s = document, now_s
                self.ended.set()
        self._before_s = now_s


class MemoryWatcher(Watcher):
    """The most memory that a process and its children had in use together."""

    def __init__(self, process: Process) -> None:
        super().__init__(MEMORY_EVERY_S)
        self._process = process
        self.peak = 0  #: bytes

    def look(self) -> None:
        """Adds them up."""
        total = 0
        for each in family(self._process):
            try:
                total += each.memory_info().rss
            except psutil.NoSuchProcess:
                pass
        self.peak = max(self.peak, total)


class PageWatcher:
    """The page's talk with the server, with the browser's own times: refresh asked, refresh done.

    A refresh is a fragment's timed rerun; it is done when the server says that the script is.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[tuple[str, float, bytes]] = []
        channel = page.context.new_cdp_session(page)
        channel.send("Network.enable")
        channel.on("Network.webSocketFrameSent", lambda event: self._keep("sent", event))
        channel.on("Network.webSocketFrameReceived", lambda event: self._keep("got", event))

    def forget(self) -> None:
        """Begins anew."""
        self._page.wait_for_timeout(PUMP_MS)
        self._frames.clear()

    def wait(self) -> None:
        """Lets the browser's news in for a moment."""
        self._page.wait_for_timeout(PUMP_MS)

    def refreshes(self) -> list[float]:
        """Seconds of each refresh that was asked for and done."""
        waiting: list[float] = []
        seconds: list[float] = []
        for direction, at_s, data in self._frames:
            if direction == "sent" and BackMsg.FromString(data).rerun_script.is_auto_rerun:
                waiting.append(at_s)
            elif direction == "got" and _is_end(data):
                seconds += [at_s - asked_s for asked_s in waiting]
                waiting.clear()
        return seconds

    def _keep(self, direction: str, event: Json) -> None:
        frame = event["response"]
        if frame["opcode"] == 2:  # binary
            data = base64.b64decode(frame["payloadData"])
            self._frames.append((direction, event["timestamp"], data))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser: $CHROMIUM, the system's, or the one of Playwright."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_path(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def person(profile: Path) -> Iterator[BrowserContext]:
    """The same as somebody has it, who keeps what it has loaded and compiled before."""
    with sync_playwright() as driver:
        opened = driver.chromium.launch_persistent_context(
            profile, executable_path=_path(), args=FLAGS
        )
        try:
            yield opened
        finally:
            opened.close()


def _path() -> str | None:
    given = os.environ.get("CHROMIUM")
    return given or shutil.which("chromium") or shutil.which("google-chrome")


def _is_end(data: bytes) -> bool:
    return bool(ForwardMsg.FromString(data).WhichOneof("type") == "script_finished")
