"""The servers of the ways as processes, and what is sent to them."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.event_loops import texts
from tests.bench.processes import Process, StandIn, free_port, kill, running, until

QUERY_S = 30.0
POLL_S = 0.1
LOOP_ERROR = re.compile(
    r"different (event )?loop|another (event )?loop|running (asyncio )?event loop|"
    r"event loop is already running|event loop is closed|Can't patch loop|Leaving task",
    re.I,
)
CODE = ('f"', '"', "'", "raise ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way of indexing and of asking."""

    key: str
    title: str
    opened: str  #: where LightRAG was opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of a question."""

    seconds: float
    answered: bool
    text: str  #: the beginning of the answer, or the error
    meanwhile: bool  #: the text was still being indexed when it was asked
    before_end: bool  #: and still was when the answer came


class Ended(Exception):
    """The way the sending of a text ended, other than well."""


@dataclass(frozen=True, slots=True)
class Server:
    """The web server of a way, with its worker if it has one."""

    url: str
    port: int
    processes: tuple[Process, ...]
    logs: tuple[Path, ...]

    def insert(self, text: str, name: str, limit_s: float) -> None:
        """Sends a text and waits until it is in.

        Raises:
            Ended: it is not; why.
        """
        deadline = time.monotonic() + limit_s
        late = Ended(f"no end within {limit_s:.0f} s")
        try:
            with httpx.Client(trust_env=False, timeout=limit_s) as client:
                answer = client.post(f"{self.url}/insert", json={"text": text, "name": name})
                if answer.status_code == 200:
                    return
                if answer.status_code != 202:
                    raise Ended(_error_of(answer))
                while (left_s := deadline - time.monotonic()) > 0:
                    state = client.get(f"{self.url}/state", timeout=left_s).json()
                    if state["state"] == "done":
                        return
                    if state["state"] == "failed":
                        raise Ended(state["error"])
                    time.sleep(POLL_S)
        except httpx.TimeoutException as exc:
            raise late from exc
        except httpx.TransportError as exc:
            raise Ended(f"{type(exc).__name__}: {exc}") from exc
        raise late

    def kill(self) -> None:
        """Ends all of it as `kill -9` does."""
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                kill(process)

    def loop_errors(self) -> list[str]:
        """The lines of its logs that tell of a wrong loop."""
        lines = [
            line.strip()
            for log in self.logs
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        ]
        # A traceback shows the line of code that raises, which is not another error.
        return [line for line in lines if LOOP_ERROR.search(line) and not line.startswith(CODE)]


class Sending:
    """The sending of the book, in a thread."""

    def __init__(self, server: Server, limit_s: float) -> None:
        self.begun_s = time.monotonic()
        self.ended_s = 0.0
        self.error = ""
        self._server = server
        self._limit_s = limit_s
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.ended_s > 0

    def join(self) -> None:
        """Waits for the end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._server.insert(texts.book(), texts.BOOK, self._limit_s)
        except Ended as exc:
            self.error = str(exc)
        self.ended_s = time.monotonic()


class Question:
    """A question, asked in a thread."""

    def __init__(self, server: Server, text: str) -> None:
        self._url, self._text = server.url, text
        self._begun_s = time.monotonic()
        self._ended_s = 0.0
        self._found: tuple[bool, str] = False, ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def answer(self, sending: Sending) -> Asked:
        """What became of it, once that is known."""
        self._thread.join()
        good, text = self._found
        return Asked(
            seconds=self._ended_s - self._begun_s,
            answered=good and "[no-context]" not in text,
            text=text.partition("\n")[0][:500],
            meanwhile=not sending.over or sending.ended_s > self._begun_s,
            before_end=not sending.over or sending.ended_s > self._ended_s,
        )

    def _run(self) -> None:
        try:
            found = httpx.get(
                f"{self._url}/query", params={"q": self._text}, trust_env=False, timeout=QUERY_S
            )
            text = str(found.json()["answer"] or "") if found.is_success else _error_of(found)
            self._found = found.is_success and bool(text), text or "an empty answer"
        except httpx.TimeoutException:
            self._found = False, f"no answer within {QUERY_S:.0f} s"
        except httpx.TransportError as exc:
            self._found = False, f"{type(exc).__name__}: {exc}"
        self._ended_s = time.monotonic()


@contextmanager
def served(way: Way, home: Path, ollama: StandIn) -> Iterator[Server]:
    """The processes of a way over a home, ready for work."""
    port, module = free_port(), [sys.executable, "-m"]
    url, log = f"http://127.0.0.1:{port}", home.with_suffix(".log")
    here, ready = "tests.bench.event_loops", "/ping"
    environ: dict[str, str] = {}
    commands = [[*module, f"{here}.webs", way.key, str(port), str(home), ollama.url]]
    if way.key == "portal":
        commands = [[*module, f"{here}.ours", str(port), str(home), ollama.url]]
    elif way.key == "celery":
        # The worker first: the folders of its messages are there when the web server looks.
        worker = [*module, "celery", "-A", f"{here}.worker:celery", "worker", "--pool", "prefork"]
        commands = [[*worker, "-c", "1", "-l", "info", "--without-gossip", "--without-mingle"]]
        commands += [[*module, f"{here}.sender", str(port)]]
        environ, ready = {"BENCH_HOME": str(home), "BENCH_OLLAMA": ollama.url}, "/ready"
    logs = [log.with_suffix(f".{number}.log") for number in range(len(commands))]
    with ExitStack() as exits:
        processes = [
            exits.enter_context(running(command, environ, each))
            for command, each in zip(commands, logs, strict=True)
        ]

        def answers() -> bool:
            return httpx.get(f"{url}{ready}", trust_env=False, timeout=60).is_success

        until(answers, f"the server of {way.key}", processes[-1], logs[-1])
        server = Server(url, port, tuple(processes), tuple(logs))
        yield server


def _error_of(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError):
        return f"HTTP {answer.status_code}: {answer.text.partition(chr(10))[0]}"
