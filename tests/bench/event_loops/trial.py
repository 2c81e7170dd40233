"""One way of indexing, tried out: a whole run with questions meanwhile, then one that is killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.bench.event_loops import texts
from tests.bench.event_loops.servers import (
    LOOP_ERROR,
    POLL_S,
    Asked,
    Question,
    Sending,
    Server,
    Way,
    served,
)
from tests.bench.processes import (
    ROOT,
    Broken,
    StandIn,
)
from tests.bench.report import percentile

IDLE_S = 2.0  # of pings before the text is sent
AHEAD_S = 0.1  # a question asked first
LEAST_S = 2.0  # of pings, even if it is refused at once
ASK_AFTER = 20  # answers about chunks, a third of the book
ASK_LATEST_S = 10.0
HALF = 30  # answers about chunks, before the kill
SETTLE_S = 1.0
STATUSES, GRAPH = "kv_store_doc_status.json", "graph_chunk_entity_relation.graphml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pings:
    """What the client outside saw."""

    asked: int
    unanswered: int  #: when the run ended; they count with their age
    p95_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A run that was killed, and the same again."""

    paid: int  #: answers that had come before
    again: int  #: of them, how many were asked for again
    ended: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The book sent once, and what was seen meanwhile."""

    finished: bool
    error: str  #: its first line
    status: str  #: of the document, on the disk
    wall_s: float
    calls: int  #: of the chat model, without those of questions
    entities: int
    idle: Pings | None  #: before
    pings: Pings | None
    asked: tuple[Asked, ...]
    loop_errors: int  #: lines of the log
    loop_error: str  #: the first of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """All that was seen of a way."""

    way: Way
    alone: tuple[Run, ...] = ()  #: with nothing else to do
    asked: Run | None = None  #: with two questions after a third of the answers
    late: Run | None = None  #: sent just after a question
    killed: Killed | None = None
    unstarted: str = ""  #: why there is no server

    @property
    def runs(self) -> tuple[Run, ...]:
        """Those that were made."""
        return (*self.alone, *(run for run in (self.asked, self.late) if run))


def try_out(way: Way, home: Path, ollama: StandIn, rounds: int, limit_s: float) -> Trial:
    """All runs of a way, each over its own copy of `home`."""
    alone: list[Run] = []
    try:
        while len(alone) < rounds and (not alone or alone[-1].calls):
            alone.append(_run(way, home, ollama, limit_s, _nothing))
    except Broken as exc:
        lines = [line.strip() for line in str(exc).splitlines() if LOOP_ERROR.search(line)]
        return Trial(way=way, unstarted=lines[-1] if lines else str(exc))
    asked = _run(way, home, ollama, limit_s, _two_questions)
    if not alone[0].calls:  # it was refused: there is nothing to disturb or to kill
        return Trial(way=way, alone=tuple(alone), asked=asked)
    return Trial(
        way=way,
        alone=tuple(alone),
        asked=asked,
        late=_run(way, home, ollama, limit_s, _question_first),
        killed=_killed(way, home, ollama, limit_s),
    )


def _killed(way: Way, home: Path, ollama: StandIn, limit_s: float) -> Killed | None:
    """A run that is killed when half is answered, and the same again; None if that never was."""
    mine = _copy(home)
    ollama.set(forget_calls=True)
    with served(way, mine, ollama) as server:
        sending = Sending(server, limit_s)
        reached = _until_answered(ollama, HALF, sending, limit_s)
        server.kill()
        sending.join()
    if not reached:
        return None
    time.sleep(SETTLE_S)  # the stand-in sees that nobody listens any more
    paid = {call["digest"] for call in _chats(ollama) if call["outcome"] == "done"}
    ollama.set(forget_calls=True)
    with served(way, mine, ollama) as server:
        sending = Sending(server, limit_s)
        sending.join()
        server.kill()
    time.sleep(SETTLE_S)
    again = {call["digest"] for call in _chats(ollama)} & paid
    ended = sending.error or f"finished, {_status(mine)[0]}"
    return Killed(paid=len(paid), again=len(again), ended=ended)


def prepare(way: Way, home: Path, ollama: StandIn, limit_s: float) -> None:
    """A library with a short text in it, by a way that works.

    The book is indexed once beside it: then the stand-in knows its answers and needs no time of
    the processor for them while the ways are tried.
    """
    with served(way, home, ollama) as server:
        server.insert(texts.seed(), texts.SEED, limit_s)
    with served(way, _copy(home), ollama) as server:
        server.insert(texts.book(), texts.BOOK, limit_s)


Meanwhile = Callable[[Server, StandIn, float], tuple["Sending", tuple[Asked, ...]]]


def _run(way: Way, base: Path, ollama: StandIn, limit_s: float, meanwhile: Meanwhile) -> Run:
    home = _copy(base)
    ollama.set(forget_calls=True)
    with served(way, home, ollama) as server:
        with _pinging(server.port) as client:
            time.sleep(IDLE_S)
            sending, asked = meanwhile(server, ollama, limit_s)
            time.sleep(max(0.0, sending.begun_s + LEAST_S - time.monotonic()))
            seen, end_s = client()
        chats = _chats(ollama)
        server.kill()
        errors = server.loop_errors()
    status, reason = _status(home)
    return Run(
        finished=not sending.error and status == "processed",
        error=sending.error or reason,
        status=status,
        wall_s=sending.ended_s - sending.begun_s,
        calls=len(chats),
        entities=_entities(home),
        idle=_pings([each for each in seen if each[0] < sending.begun_s], end_s),
        pings=_pings([each for each in seen if each[0] >= sending.begun_s], end_s),
        asked=asked,
        loop_errors=len(errors),
        loop_error=errors[0] if errors else "",
    )


def _nothing(server: Server, ollama: StandIn, limit_s: float) -> tuple[Sending, tuple[Asked, ...]]:
    sending = Sending(server, limit_s)
    sending.join()
    return sending, ()


def _two_questions(
    server: Server, ollama: StandIn, limit_s: float
) -> tuple[Sending, tuple[Asked, ...]]:
    """Two at the same time, when a third of the chunks is answered."""
    sending = Sending(server, limit_s)
    _until_answered(ollama, ASK_AFTER, sending, ASK_LATEST_S)
    questions = [Question(server, each) for each in texts.QUESTIONS]
    asked = tuple(question.answer(sending) for question in questions)
    sending.join()
    return sending, asked


def _question_first(
    server: Server, ollama: StandIn, limit_s: float
) -> tuple[Sending, tuple[Asked, ...]]:
    """One, and the text while the model thinks about it."""
    question = Question(server, texts.QUESTIONS[0])
    time.sleep(AHEAD_S)
    sending = Sending(server, limit_s)
    asked = question.answer(sending)
    sending.join()
    return sending, (asked,)


@contextmanager
def _pinging(port: int) -> Iterator[Callable[[], tuple[list[Any], float]]]:
    """The client outside; what it gives ends it and says what it saw, and when it ended."""
    client = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.event_loops.pings", str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )

    def end() -> tuple[list[Any], float]:
        said, _ = client.communicate(timeout=30)
        seen = json.loads(said)
        return seen["asked"], float(seen["ended_s"])

    try:
        yield end
    finally:
        client.kill()
        client.wait()


def _pings(seen: list[Any], end_s: float) -> Pings | None:
    if not seen:
        return None
    late = [end_s - begun_s for begun_s, took_s in seen if took_s is None]
    took = [took_s for _, took_s in seen if took_s is not None] + late
    return Pings(
        asked=len(seen),
        unanswered=len(late),
        p95_ms=1e3 * percentile(took, 0.95),
        max_ms=1e3 * max(took),
    )


def _until_answered(ollama: StandIn, wanted: int, sending: Sending, limit_s: float) -> bool:
    """Whether so many chunks were answered before the sending or the time was over."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        done = Counter(call["outcome"] for call in _chats(ollama) if call["role"] == "extract")
        if done["done"] >= wanted:
            return True
        if sending.over:
            return False
        time.sleep(POLL_S)
    return False


def _chats(ollama: StandIn) -> list[dict[str, Any]]:
    """The calls of the indexing to the chat model that have ended."""
    return [call for call in ollama.calls() if call["role"] in ("extract", "summary")]


def _status(home: Path) -> tuple[str, str]:
    """The book's status on the disk, and its error."""
    for path in home.rglob(STATUSES):
        for row in json.loads(path.read_bytes()).values():
            if row["file_path"] == texts.BOOK:
                return row["status"], (row.get("error_msg") or "").partition("\n")[0]
    return "not there", ""


def _entities(home: Path) -> int:
    return sum(path.read_text(encoding="utf-8").count("<node ") for path in home.rglob(GRAPH))


def _copy(base: Path) -> Path:
    """A copy of a home in a folder of its own."""
    home = Path(mkdtemp(dir=base.parent.parent)) / base.name
    shutil.copytree(base, home)
    return home
