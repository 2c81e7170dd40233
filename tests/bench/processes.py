"""The processes that are measured: the stand-in for Ollama, the app, a command; always ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from librarian.secret import HEADER, read_secret

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0  # on a busy machine
END_S = 20.0  # an app writes its library before it ends
POLL_S = 0.05
SLOTS = 4
LATENCY_S = 0.2
ENDED = ("processed", "failed", "paused")
OURS = ("LIBRARIAN_", "OLLAMA_", "LLM_", "STREAMLIT_")  # settings of the person's own

Json = dict[str, Any]
Process = subprocess.Popen[bytes]


class Broken(Exception):
    """The run could not be measured."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """The stand-in for Ollama's server."""

    url: str

    def set(self, **values: object) -> None:
        """Changes how it behaves, or has it forget its calls."""
        httpx.post(f"{self.url}/_stand_in/set", json=values, trust_env=False).raise_for_status()

    def inject(self, fault: str, **how: object) -> None:
        """Lets a fault strike."""
        body = {"fault": fault, **how}
        httpx.post(f"{self.url}/_stand_in/inject", json=body, trust_env=False).raise_for_status()

    def calls(self) -> list[Json]:
        """What was asked of it."""
        answer = httpx.get(f"{self.url}/_stand_in/calls", trust_env=False, timeout=30)
        found: list[Json] = answer.raise_for_status().json()["calls"]
        return found

    def listens(self) -> bool:
        """Whether it takes connections."""
        return _is_open(self.url)


@dataclass(frozen=True, slots=True)
class App:
    """The dashboard."""

    url: str
    process: Process
    log: Path
    home: Path

    def status(self) -> Json:
        """What `/api/status` says."""
        report: Json = httpx.get(f"{self.url}/api/status", trust_env=False, timeout=30).json()
        return report

    def document(self, doc_id: str) -> Json:
        """A document as it is now; empty while it is not known."""
        documents = self.status()["documents"]
        return next((each for each in documents if each["id"] == doc_id), {})

    def add(self, path: Path, *, replace: bool = False) -> str:
        """Hands a file in; gives back its id."""
        body = {"path": str(path), "replace": replace}
        headers = {HEADER: read_secret(self.home)}
        answer = httpx.post(
            f"{self.url}/api/do/add", json=body, headers=headers, trust_env=False, timeout=60
        )
        admission: Json = answer.raise_for_status().json()["admissions"][0]
        if admission["outcome"] != "accepted":
            raise Broken(f"{path.name} was not accepted: {admission['message']}")
        return str(admission["doc_id"])

    def listens(self) -> bool:
        """Whether it takes connections."""
        return _is_open(self.url)

    def until_ready(self) -> None:
        """Waits until it is open over its library."""
        until(lambda: self.status()["ready"], "the app to be ready", self.process, self.log)

    def until_processed(self, doc_id: str, timeout_s: float) -> None:
        """Waits until a document is in the graph."""

        def ended() -> bool:
            return self.document(doc_id).get("status") in ENDED

        until(ended, "the document to be processed", self.process, self.log, timeout_s)
        document = self.document(doc_id)
        if document["status"] != "processed":
            raise Broken(f"The document is {document['status']}. {document['error']}")


@contextmanager
def stand_in(folder: Path, slots: int = SLOTS) -> Iterator[StandIn]:
    """A stand-in of its own process, with the offline model as its mind and a memory of it."""
    port, log = free_port(), folder / "stand_in.log"
    command = [sys.executable, "-m", "tests.ollama_server", "--port", str(port)]
    command += ["--latency", str(LATENCY_S), "--parallel", str(slots)]
    command += ["--brain", "librarian.models.offline:OfflineBrain", "--memo", str(folder / "memo")]
    url = f"http://127.0.0.1:{port}"
    with running(command, {}, log) as process:

        def answers() -> bool:
            return httpx.get(f"{url}/api/version", trust_env=False).is_success

        until(answers, "the stand-in for Ollama", process, log)
        yield StandIn(url)


@contextmanager
def app(home: Path, **environ: str) -> Iterator[App]:
    """The dashboard over a home, just started."""
    port, log = free_port(), home.with_suffix(".log")
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py"]
    command += ["--server.port", str(port)]
    settings = {"LIBRARIAN_HOME": str(home), "LIBRARIAN_PORT": str(port), **environ}
    settings["LIBRARIAN_LIBRARIES"] = str(home.with_suffix(".libraries.json"))
    with running(command, settings, log) as process:
        yield App(f"http://127.0.0.1:{port}", process, log, home)


def reads_with(ollama: StandIn) -> dict[str, str]:
    """The environment of an app that reads with a stand-in."""
    return {
        "LIBRARIAN_BACKEND": "ollama",
        "OLLAMA_HOST": ollama.url,
        "LLM_MAX_ASYNC": str(SLOTS),
        "LIBRARIAN_GLEANING": "0",
    }


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for the time of a measurement."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def running(
    command: Sequence[str],
    settings: Mapping[str, str],
    log: Path,
    output: Path | None = None,
    cwd: Path = ROOT,
) -> Iterator[Process]:
    """A process whose words go to a file; it and its children end with the block."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with log.open("ab") as errors, (output or log).open("ab") as said:
        process = subprocess.Popen(
            command, cwd=cwd, env=environ | dict(settings), stdout=said, stderr=errors
        )
        try:
            yield process
        finally:
            _end(process)


def family(process: Process) -> list[psutil.Process]:
    """A process and all that it started; none once it has ended."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(process: Process) -> None:
    """Ends a process and its children as `kill -9` does: none of them gets another word."""
    for each in family(process):
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(END_S)


def until(
    condition: Callable[[], object],
    what: str,
    process: Process,
    log: Path,
    timeout_s: float = START_S,
) -> None:
    """Waits for a condition, as long as the process lives; no answer yet means not yet."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(POLL_S)
    raise Broken(f"Waited in vain for {what}.\n{tail(log)}")


def tail(log: Path) -> str:
    """The end of what a process said."""
    return log.read_text(encoding="utf-8", errors="replace")[-3000:]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_open(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", httpx.URL(url).port or 80)) == 0


def _end(process: Process) -> None:
    relatives = family(process)[1:]
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_S)
    for relative in relatives:
        if relative.is_running():
            relative.kill()
