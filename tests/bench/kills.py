"""Twenty `kill -9` in one run: what is lost, what is paid for twice, what becomes of the graph."""

from __future__ import annotations

import math
import sys
import time
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx

from tests.bench import graphs, texts
from tests.bench.processes import (
    ENDED,
    POLL_S,
    SLOTS,
    App,
    Broken,
    Json,
    StandIn,
    app,
    kill,
    own_folder,
    reads_with,
    stand_in,
    tail,
)
from tests.bench.report import Row

SEED = 8003
CALL_S = 0.05
KILLS = 20
LATE = 8  # of them, while files are written: at the end, or when a start clears up
FILES = 5  # how often the changes are written in a run, at least
PAUSE_S = 0.2  # the longest from what a kill waits for to the kill
LIFE_S = 300.0
GLANCE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When to kill: so many different calls were asked for, so many files written, and a pause."""

    calls: int
    files: int
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A kill that was made."""

    doc_id: str
    at_s: float
    inside: bool  #: of the run, which had not ended


class Disk:
    """Counts the moments at which LightRAG's storages of a home were written."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "lightrag_cache"
        self._known = self._times()
        self.replaced = 0

    def look(self) -> int:
        """How many until now."""
        times = self._times()
        self.replaced += len(times.items() - self._known.items())
        self._known = times
        return self.replaced

    def _times(self) -> dict[str, int]:
        found = {}
        for path in self._folder.glob("*/*.*"):
            if path.suffix in (".json", ".graphml") or path.name.endswith("-wal"):
                found[path.name] = path.stat().st_mtime_ns
        return found


def kills(corpus: Path | None) -> list[Row]:
    """A text through the app, which is killed again and again, and once through without."""
    with own_folder() as folder, stand_in(folder) as ollama:
        ollama.set(latency_s=CALL_S)
        path = texts.story(corpus, folder)
        calm_s = _undisturbed(folder / "calm", path, ollama)
        expected = Counter(_digests(ollama.calls()))
        ollama.set(forget_calls=True)
        plan = _moments(Random(SEED), calls=len(expected))
        begun_s = time.monotonic()
        struck = _lives(folder / "home", path, plan, ollama)
        missed = KILLS - sum(strike.inside for strike in struck)
        with app(folder / "home", **reads_with(ollama)) as last:
            processed = _processed(last, struck[0].doc_id)
        wall_s = time.monotonic() - begun_s
        calls = ollama.calls()
        found, wanted = graphs.read(folder / "home"), graphs.read(folder / "calm")
    return [
        Row(what=f"kills: seed of the {KILLS} moments", value=SEED),
        Row(what="kills: not processed in the end", value=not processed, most=0),
        Row(what=f"kills: of {KILLS}, after the end of the run", value=missed, most=0),
        *_call_rows(calls, expected, [strike.at_s for strike in struck]),
        *graphs.differences("kills", found, wanted),
        Row(what="kills: wall time, starts included", value=wall_s, unit="s"),
        Row(what="kills: wall time undisturbed", value=calm_s, unit="s"),
    ]


def asked_again(calls: Iterable[Json], expected: Mapping[str, int] | None = None) -> list[Json]:
    """The chat calls that had been received before, but for what an undisturbed run asks twice."""
    seen: Counter[str] = Counter()
    again = []
    for call in sorted(_chats(calls), key=lambda each: float(each["received_s"])):
        seen[call["digest"]] += 1
        if seen[call["digest"]] > (expected or {}).get(call["digest"], 1):
            again.append(call)
    return again


def _chats(calls: Iterable[Json]) -> list[Json]:
    return [call for call in calls if call["endpoint"] == "/api/chat"]


def _digests(calls: Iterable[Json]) -> list[str]:
    return [call["digest"] for call in _chats(calls)]


def _undisturbed(home: Path, path: Path, ollama: StandIn) -> float:
    """Seconds of a run without kills."""
    with app(home, **reads_with(ollama)) as calm:
        calm.until_ready()
        begun_s = time.monotonic()
        calm.until_processed(calm.add(path), LIFE_S)
        return time.monotonic() - begun_s


def _lives(home: Path, path: Path, plan: Sequence[Moment], ollama: StandIn) -> list[Strike]:
    """Starts the app and kills it, once for each moment; only the first start is given the text."""
    struck: list[Strike] = []
    doc_id = ""
    for moment in plan:
        with app(home, **reads_with(ollama)) as life:
            if not doc_id:
                life.until_ready()
                doc_id = life.add(path)
            inside = _lived_until(moment, life, doc_id, home, ollama)
            kill(life.process)
            struck.append(Strike(doc_id=doc_id, at_s=time.monotonic(), inside=inside))
    return struck


def _moments(dice: Random, *, calls: int) -> list[Moment]:
    """Those between calls, earliest first, then those between the writing of two files."""
    between = sorted(dice.sample(range(1, calls), KILLS - LATE))
    written = [dice.randint(1, FILES) for _ in range(LATE)]
    plan = [Moment(calls=n, files=0, pause_s=dice.uniform(0, PAUSE_S)) for n in between]
    return plan + [Moment(calls=0, files=n, pause_s=dice.uniform(0, POLL_S)) for n in written]


def _lived_until(moment: Moment, life: App, doc_id: str, home: Path, ollama: StandIn) -> bool:
    """Waits for a moment; False if the run came to its end before."""
    disk = Disk(home)
    deadline = time.monotonic() + LIFE_S
    while time.monotonic() < deadline and life.process.poll() is None:
        if disk.look() >= moment.files and len(set(_digests(ollama.calls()))) >= moment.calls:
            time.sleep(moment.pause_s)
            return not _has_ended(life, doc_id)
        if _has_ended(life, doc_id):
            return False
        time.sleep(GLANCE_S)
    raise Broken(f"The app did not go on with its work.\n{tail(life.log)}")


def _has_ended(life: App, doc_id: str) -> bool:
    try:
        return life.document(doc_id).get("status") in ENDED
    except httpx.TransportError:  # not there yet
        return False


def _processed(life: App, doc_id: str) -> bool:
    try:
        life.until_processed(doc_id, LIFE_S)
    except Broken as exc:
        print(exc, file=sys.stderr)
        return False
    return True


def _call_rows(calls: list[Json], expected: Counter[str], struck: list[float]) -> list[Row]:
    chats, again = _chats(calls), asked_again(calls, expected)
    after = Counter(bisect(struck, call["received_s"]) for call in again)
    ends = sorted((call["ended_s"], call["digest"]) for call in chats if call["outcome"] == "done")
    first = {digest: ended_s for ended_s, digest in reversed(ends)}
    lost = sum(call["received_s"] > first.get(call["digest"], math.inf) for call in again)
    others = {call["digest"] for call in chats} - expected.keys()
    more = len(chats) - expected.total()
    return [
        Row(what="kills: calls more than undisturbed", value=more, most=SLOTS * KILLS),
        Row(what="kills: asked again, in all", value=len(again), most=SLOTS * KILLS),
        Row(
            what="kills: asked again after one kill",
            value=max(after.values(), default=0),
            most=SLOTS + 1,
        ),
        Row(what="kills: asked again, answered in full before", value=lost),
        Row(what="kills: asked, and never undisturbed", value=len(others)),
    ]
