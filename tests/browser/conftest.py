"""Chromium, and the real app, for each module that asks for them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
START_S = 40.0  # a busy machine; usually it takes two
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def chromium_path() -> str:
    """Where Chromium is; without one the test is passed over, or fails where it is required."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("LIBRARIAN_REQUIRE_BROWSER"):
            pytest.fail("Chromium is required and is not here. Install Debian's `chromium`.")
        pytest.skip("Chromium is not here")
    return path


@pytest.fixture(scope="module")  # Playwright keeps a loop running in this thread while it is open
def chromium() -> Iterator[Any]:
    """A running headless browser."""
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class App:
    """The dashboard as a process of its own."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    token: str = ""

    def status(self) -> dict[str, Any]:
        """What `/api/status` says."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = httpx.get(f"{self.url}/api/status", headers=headers, trust_env=False)
        report: dict[str, Any] = answer.json()
        return report

    def until(self, condition: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Waits until the status is as it should be."""
        deadline = time.monotonic() + START_S
        while not condition(report := self.status()):
            assert time.monotonic() < deadline, f"waited for {what}: {report}"
            time.sleep(0.1)
        return report


@contextmanager
def started(home: Path, **settings: str) -> Iterator[App]:
    """The real app over a home, until the block is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {
        "LIBRARIAN_HOME": str(home),
        "LIBRARIAN_PORT": str(port),
        "LIBRARIAN_LIBRARIES": str(home.parent / "libraries.json"),  # not this user's own list
    }
    environ = os.environ | own | settings
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py"]
    process = subprocess.Popen(
        [*command, "--server.port", str(port)],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    token = settings.get("LIBRARIAN_API_TOKEN", "")
    running = App(f"http://127.0.0.1:{port}", home, process, token)
    try:
        _until_answering(running)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The real app over an empty library with the offline model."""
    home = tmp_path_factory.mktemp("app") / "library"
    with started(home, LIBRARIAN_BACKEND="offline") as running:
        yield running


def _until_answering(running: App) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert running.process.poll() is None, "the app ended by itself"
        try:
            if running.status()["ready"]:
                return
        except httpx.TransportError:
            pass  # it is not listening yet
        time.sleep(0.1)
    pytest.fail("the app did not start")
