"""What leaves the machine, and what the logs tell: a whole dashboard under an audit hook.

The hook is in every Python process of it, also in those that convert files. It hears Python's own
sockets only, so that the loops run without uvloop here; of the other compiled libraries in use none
has a client for the network.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from librarian.secret import HEADER, read_secret
from tests.conftest import until
from tests.ollama_server import Fault, OllamaServer

ROOT = Path(__file__).resolve().parents[1]
PDF = ROOT / "tests" / "formats" / "real" / "libreoffice.pdf"
TOKEN = "a-token-that-no-log-may-hold"
GUESS = "a-wrong-token-of-somebody"
TEXT = (
    "Ada Lovelace worked with Charles Babbage in London. "
    "Nobody but the reader may know of the heliotrope wheelbarrow.\n\n"
    "Ignored by all, the quicksilver umbrella stood in the hall of Charles Babbage."
)
QUESTION = "Who left the saffron locomotive with Charles Babbage?"
PRIVATE = ("heliotrope", "wheelbarrow", "quicksilver", "saffron", TOKEN, GUESS)
NOBODY = "127.0.0.1:9"  # a host for Ollama where nobody listens
STOPPED_S = 20.0
#: Runs in every Python process that finds it on its path.
HOOK = """
import json, os, sys

def _hear(event, details):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        told = details[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        told = details[0]
    else:
        return
    line = json.dumps([event, told], default=str) + "\\n"
    number = os.open(os.environ["HEARD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(number, line.encode())
    os.close(number)

sys.modules["uvloop"] = None
sys.addaudithook(_hear)
with open(os.environ["HEARD"] + ".processes", "a") as file:
    file.write(f"{os.getpid()}\\n")
"""

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="there every event loop connects to itself"),
]


@dataclass
class Watched:
    """A dashboard whose processes tell of every address that they turn to."""

    url: str
    home: Path
    heard: Path
    output: Path

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=headers, trust_env=False, timeout=60)

    def status(self) -> Any:
        return self.get("/api/status", Authorization=f"Bearer {TOKEN}").json()

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        sent = {
            "Authorization": f"Bearer {TOKEN}",
            HEADER: read_secret(self.home),
            **headers,
        }
        return httpx.post(f"{self.url}{path}", json=body, headers=sent, trust_env=False, timeout=60)

    def addresses(self) -> set[str]:
        """Hosts with ports that were connected to, and names that were looked up."""
        found = set()
        for line in self.heard.read_text().splitlines():
            event, told = json.loads(line)
            found.add(f"{told[0]}:{told[1]}" if isinstance(told, list) else f"{event} {told}")
        return found

    def logs(self) -> str:
        """All that it has written for people who look after it."""
        files = [self.output, *self.home.glob("librarian.log*")]
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


@contextmanager
def watched(folder: Path, **settings: str) -> Iterator[Watched]:
    """The dashboard as people start it, with the hook in it."""
    hook = folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = Watched(
        f"http://127.0.0.1:{port}", folder / "library", folder / "heard", folder / "output"
    )
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LIBRARIAN_", "OLLAMA_", "LLM_", "STREAMLIT_"))
    }
    environ = {
        **kept,
        "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}",
        "HEARD": str(running.heard),
        "LIBRARIAN_HOME": str(running.home),
        "LIBRARIAN_PORT": str(port),
        "LIBRARIAN_API_TOKEN": TOKEN,
        **settings,
    }
    running.heard.touch()
    with running.output.open("wb") as output:
        command = [sys.executable, "-m", "librarian", "serve"]
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            until(lambda: _answers(running), "the dashboard")
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOPPED_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(running: Watched) -> bool:
    try:
        return bool(running.status()["ready"])
    except (httpx.TransportError, ValueError):
        return False


def work(running: Watched) -> None:
    """A text, a PDF, a question, the graph, the doctor, and requests that are refused."""
    assert running.post("/insert", {"text": TEXT, "name": "a.txt"}).status_code == 202
    (taken,) = running.post("/api/do/add", {"path": str(PDF)}).json()["admissions"]
    assert taken["outcome"] == "accepted", taken
    until(lambda: running.status()["counts"]["processed"] == 2, "both documents")
    answer = running.post("/api/do/ask", {"question": QUESTION})
    assert answer.status_code == 200, answer.text
    own = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/", "/graph-view", "/health"):
        assert running.get(path, **own).status_code == 200
    assert running.get("/api/status", Authorization=f"Bearer {GUESS}").status_code == 401
    foreign = {"Origin": "https://saffron.example"}
    assert running.post("/insert", {"text": TEXT}, **foreign).status_code == 403
    assert running.post("/api/do/add", {"path": "/quicksilver"}).status_code == 422
    assert running.post("/insert", {"text": [TEXT]}).status_code == 400
    form = httpx.post(f"{running.url}/login", data={"token": GUESS}, trust_env=False)
    assert form.status_code == 401


def until_quiet(running: Watched) -> None:
    """What is told later than an answer is told as well."""
    size = -1
    while size != (size := running.heard.stat().st_size):
        time.sleep(0.5)


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """It has worked with the offline model."""
    folder = tmp_path_factory.mktemp("offline")
    with watched(folder, LIBRARIAN_BACKEND="offline", OLLAMA_HOST=NOBODY) as running:
        work(running)
        until_quiet(running)
        yield running


@pytest.fixture(scope="module")
def with_ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, str]]:
    """It has worked with a model that also fails now and then."""
    folder = tmp_path_factory.mktemp("ollama")
    with OllamaServer(parallel=4, num_ctx=8192) as server:
        server.inject(Fault.BROKEN_BODY)
        server.inject(Fault.INVALID_JSON, 2)
        server.inject(Fault.CUT_STREAM, 1, 3)
        with watched(folder, LIBRARIAN_BACKEND="ollama", OLLAMA_HOST=server.url) as running:
            work(running)
            until_quiet(running)
            yield running, server.url.removeprefix("http://")


def test_with_the_offline_model_nobody_else_than_the_configured_host_is_looked_for(
    offline: Watched,
) -> None:
    processes = Path(f"{offline.heard}.processes").read_text().split()
    assert len(processes) >= 2  # the hook is also in the process that converts
    assert offline.addresses() <= {NOBODY, "socket.getaddrinfo 127.0.0.1"}


def test_with_ollama_its_host_is_the_only_one(with_ollama: tuple[Watched, str]) -> None:
    running, host = with_ollama
    addresses = running.addresses()
    assert host in addresses  # the hook hears
    assert addresses <= {host, "socket.getaddrinfo 127.0.0.1"}


def test_the_logs_hold_no_text_no_question_and_no_token(
    offline: Watched, with_ollama: tuple[Watched, str]
) -> None:
    for running in (offline, with_ollama[0]):
        logs = running.logs()
        assert "librarian" in logs
        secrets = (*PRIVATE, read_secret(running.home))
        assert [word for word in secrets if word in logs] == []
