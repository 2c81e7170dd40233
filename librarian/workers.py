"""Conversion in processes of its own: a hostile or broken file costs itself only."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from librarian import errors
from librarian.conversion import TEXT_BYTES, Converted, convert
from librarian.documents import MAX_BYTES
from librarian.errors import DocumentError, ScannedDocument, UnreadableDocument
from librarian.recognition import languages
from librarian.settings import without_secrets

AT_ONCE = 2  # conversions; a third waits, so that the model and the pages keep their share
POLL_S = 0.1
MEMORY_EVERY = 2  # polls
PAGE_S = 20.0  # for each picture of a page that is read, on average
_ADDRESSES = 4  # times the memory: what a program maps and never touches
_ANSWER_BYTES = 6 * TEXT_BYTES + (1 << 20)  # JSON writes a Russian letter in six
Watch = Callable[[float], None]  #: told the seconds that a conversion has taken
WatchFile = Callable[[str, float], None]  #: the same of several files, with the name first


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may cost."""

    seconds: float = 120.0
    seconds_per_mb: float = 10.0
    memory: int = 1 << 30  #: bytes, resident

    def seconds_for(self, size: int) -> float:
        """The time for a file of this many bytes."""
        return self.seconds + self.seconds_per_mb * size / (1 << 20)


class Converter:
    """Workers that are started when needed, used again, and replaced after a failure."""

    def __init__(
        self,
        limits: Limits | None = None,
        command: Sequence[str] = (),
        at_once: int = AT_ONCE,
        languages: Callable[[], str] = languages,
    ) -> None:
        """`command` starts a worker; by default one that runs this module.

        `languages` are those in which scans are read, as `recognition.languages` gives them.
        """
        self._limits = limits or Limits()
        self._command = tuple(command) or (sys.executable, "-m", "librarian.workers")
        self._languages = languages
        self._slots = threading.BoundedSemaphore(at_once)
        self._guard = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False
        self.started = 0  #: workers so far

    def convert(self, name: str, data: bytes, watch: Watch | None = None) -> Converted:
        """The text of a file. Blocks; `watch` is called a few times a second with the seconds it
        has taken, in this thread, and ends the conversion by raising.

        Raises:
            DocumentError: it cannot be read, or took more than it may.
        """
        with self._slot(time.monotonic(), watch):
            answer = self._asked(name, data, watch)
            if answer.get("error") == ScannedDocument.__name__ and (known := self._languages()):
                answer = self._asked(name, data, watch, known, int(answer["pages"]))
        if "error" in answer:
            raise _error(answer)
        return Converted(
            text=answer["text"],
            pages=tuple(answer["pages"]),
            recognised=bool(answer.get("recognised")),
        )

    def _asked(
        self, name: str, data: bytes, watch: Watch | None, recognise: str = "", pictures: int = 0
    ) -> dict[str, Any]:
        worker = self._taken()
        try:
            limit = self._limits.seconds_for(len(data)) + PAGE_S * pictures
            worker.ask(name, data, recognise)
            return self._answer(worker, limit, watch)
        except BaseException:
            worker.kill()
            raise
        finally:
            self._given_back(worker)

    def close(self) -> None:
        """Ends every worker; conversions that run fail."""
        with self._guard:
            self._closed = True
            workers = [*self._idle, *self._busy]
            self._idle.clear()
        for worker in workers:
            worker.kill()

    @contextlib.contextmanager
    def _slot(self, started: float, watch: Watch | None) -> Iterator[None]:
        while not self._slots.acquire(timeout=POLL_S):
            if watch is not None:
                watch(time.monotonic() - started)
        try:
            yield
        finally:
            self._slots.release()

    def _taken(self) -> _Worker:
        with self._guard:
            if self._closed:
                raise DocumentError("The library is being closed.")
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    break
                worker.kill()
            else:
                worker = _Worker(self._command, self._limits.memory)
                self.started += 1
            self._busy.add(worker)
            return worker

    def _given_back(self, worker: _Worker) -> None:
        with self._guard:
            self._busy.discard(worker)
            if worker.alive and not self._closed:
                self._idle.append(worker)
                return
        worker.kill()

    def _answer(self, worker: _Worker, limit: float, watch: Watch | None) -> dict[str, Any]:
        for polls, taken in enumerate(worker.waited()):
            if watch is not None:
                watch(taken)
            if taken > limit:
                raise UnreadableDocument(f"It could not be read in {limit:,.0f} seconds.")
            if polls % MEMORY_EVERY == 0 and worker.memory() > self._limits.memory:
                raise _too_much(self._limits.memory)
        if worker.answer is None:
            if worker.memory_was > self._limits.memory // 2:
                raise _too_much(self._limits.memory)
            raise UnreadableDocument("It could not be read: the program that reads it broke down.")
        return worker.answer


class _Worker:
    """One process, and the thread that speaks with it."""

    def __init__(self, command: Sequence[str], memory: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="librarian-")
        self._process = subprocess.Popen(
            [*command, str(memory), self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may quote the document
            cwd=Path(__file__).resolve().parent.parent,
            env=without_secrets(),
        )
        self._measured = psutil.Process(self._process.pid)
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.answer: dict[str, Any] | None = None
        self.memory_was = 0

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, name: str, data: bytes, recognise: str) -> None:
        """Sends a file; the answer comes to those who wait."""
        self.answer, self.memory_was = None, 0
        asked = (name, data, recognise)
        threading.Thread(target=self._exchange, args=asked, daemon=True).start()

    def waited(self) -> Iterator[float]:
        """The seconds since the question, a few times each, until there is an answer or none."""
        started = time.monotonic()
        while True:
            try:
                self.answer = self._answers.get(timeout=POLL_S)
                return
            except queue.Empty:
                yield time.monotonic() - started

    def memory(self) -> int:
        """Bytes that it holds now; 0 when it is gone."""
        try:
            now = int(self._measured.memory_info().rss)
        except psutil.Error:
            return 0
        self.memory_was = max(self.memory_was, now)
        return now

    def kill(self) -> None:
        """Ends it and removes what it left."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):  # the speaking thread may hold it
                    pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _exchange(self, name: str, data: bytes, recognise: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            _send(self._process.stdin, json.dumps([name, len(data), recognise]).encode())
            self._process.stdin.write(data)
            self._process.stdin.flush()
            answer = json.loads(_received(self._process.stdout, _ANSWER_BYTES))
            self._answers.put(answer if isinstance(answer, dict) else None)
        except (OSError, ValueError, EOFError):  # it is gone
            self._answers.put(None)


def _too_much(memory: int) -> UnreadableDocument:
    return UnreadableDocument(f"Reading it took more than {memory >> 20:,} MB of memory.")


def _error(answer: dict[str, Any]) -> DocumentError:
    kind = getattr(errors, str(answer["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, DocumentError)):
        kind = UnreadableDocument
    return kind(str(answer.get("detail") or ""))


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(len(data).to_bytes(8, "big") + data)
    pipe.flush()


def _received(pipe: IO[bytes], most: int) -> bytes:
    head = pipe.read(8)
    size = int.from_bytes(head, "big")
    if len(head) < 8 or size > most:
        raise EOFError
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


# --- inside the worker ----------------------------------------------------------------------


def main(memory: int, folder: str) -> None:
    """Reads files from the standard input until it ends, and answers each."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library's print is no answer
    for name in ("TMPDIR", "TMP", "TEMP"):  # the library unpacks a part of itself there
        os.environ[name] = folder
    _limit(memory)
    while True:
        try:
            name, size, recognise = json.loads(_received(asked, 1 << 20))
        except EOFError:
            return
        answer = _answered(str(name), asked.read(int(size)), str(recognise))
        _send(answers, json.dumps(answer).encode())


def _answered(name: str, data: bytes, recognise: str) -> dict[str, Any]:
    try:
        converted = convert(name, data, recognise)
    except ScannedDocument as exc:
        return {"error": type(exc).__name__, "detail": exc.detail, "pages": exc.pages}
    except DocumentError as exc:
        return {"error": type(exc).__name__, "detail": exc.detail}
    except RecursionError:
        return {"error": "UnreadableDocument", "detail": "Its parts are nested too deeply."}
    return asdict(converted)


def _limit(memory: int) -> None:
    """The system's own limits, where it has some; elsewhere only the watch of the other side."""
    if sys.platform == "win32":
        return
    import resource

    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MAX_BYTES),  # a scan is drawn from a file
        (resource.RLIMIT_AS, _ADDRESSES * memory),
    ):
        with contextlib.suppress(OSError, ValueError):  # macOS has no limit of addresses
            resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
