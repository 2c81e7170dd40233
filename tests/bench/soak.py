"""`python -m tests.bench.soak --minutes N`: lives of a process over one library, most of them
ended by `kill -9`, and then a look at whether everything still agrees."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

from librarian.app import Librarian
from librarian.borders import CUTS
from librarian.conversion import convert
from librarian.documents import Status, check_text, document_id, is_plain, read_text
from librarian.library import Library
from librarian.verify import GRAPH_FILE, VECTORS_FILE
from tests.bench import graphs
from tests.bench.agreement import disagreements
from tests.bench.processes import END_S, START_S, Broken, Json, kill, own_folder, running, tail
from tests.bench.report import Row, table
from tests.bench.soak_life import QUESTIONS, data_of, name_of, settings_of
from tests.ollama_server import Call, OllamaServer

SEED = 8003
LATENCY_S = 0.05
SLOTS = 4
LIFE_S = (0.2, 5.0)  # from what a life begins with to its end
SETTLE_S = 180.0
PAID = ("extract", "summary")  # roles of calls; a question may be asked twice
SIZES = (GRAPH_FILE, VECTORS_FILE)  # rows of the success table for books, not for these texts


@dataclass(slots=True)
class Soak:
    """What was done to a library, and what became of it."""

    wanted: dict[str, set[str | None]] = field(default_factory=dict)
    lives: int = 0
    kills: int = 0
    doings: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  #: what must never be
    again: int = 0  #: whole answers that were asked for again
    calls: int = 0

    def rows(self) -> list[Row]:
        """As a table."""
        said = (Row(what=f"soak: {what}", value=n) for what, n in sorted(self.doings.items()))
        return [
            Row(what="soak: lives", value=self.lives),
            Row(what="soak: of them killed", value=self.kills),
            *said,
            Row(what="soak: answers of the model", value=self.calls),
            Row(what="soak: paid for twice", value=self.again, most=self.in_flight),
            Row(what="soak: disagreements", value=len(self.wrong), most=0),
        ]

    @property
    def in_flight(self) -> int:
        """How many answers the kills may have cost."""
        return self.kills * (SLOTS + 1)


def soak(folder: Path, *, seed: int, seconds: float, mends: bool, kills: int = 1) -> Soak:
    """Lives over a home in a folder, for so long and until so many were killed; then the look."""
    dice, result, home = Random(seed), Soak(), folder / "home"
    with OllamaServer(parallel=SLOTS, num_ctx=8192, latency_s=LATENCY_S) as server:
        until = time.monotonic() + seconds
        while result.kills < kills or time.monotonic() < until:
            _live(home, server.url, dice, result, mends=mends)
            if result.wrong:
                return result
        _settle(home, server.url, result)
        result.wrong += disagreements(home, result.wanted)
        paid = [call for call in server.calls if call.role in PAID]
        result.calls, result.again = len(paid), _asked_again(paid)
        if not mends and not result.wrong:
            result.wrong += _unlike_undisturbed(home, folder / "calm", server.url)
    if result.again > result.in_flight:
        result.wrong.append(f"{result.again} answers were paid for twice")
    return result


def _live(home: Path, host: str, dice: Random, result: Soak, *, mends: bool) -> None:
    """One process; three of four are killed, some of them while they open the library."""
    said, log = home.with_suffix(".said"), home.with_suffix(".log")
    said.write_bytes(b"")
    seconds, killed = dice.uniform(*LIFE_S), dice.random() < 0.75
    begin = "opened" if dice.random() < 0.25 else "ready"
    command = [sys.executable, "-m", "tests.bench.soak_life", str(home), host]
    command += [str(dice.getrandbits(32)), str(3600 if killed else seconds)]
    with running([*command, *["--mends"] * mends], {}, log, said) as process:
        if killed:
            _until_said(begin, said, process, log)
            time.sleep(seconds)
            kill(process)
        elif process.wait(START_S + LIFE_S[1] + END_S):
            result.wrong.append(f"life {result.lives} ended with {process.returncode}: {tail(log)}")
    result.lives, result.kills = result.lives + 1, result.kills + killed
    _take_down(said, result)


def _until_said(word: str, said: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while f'"{word}"'.encode() not in said.read_bytes():
        if process.poll() is not None or time.monotonic() > until:
            raise Broken(f"A life did not come to be {word}.\n{tail(log)}{tail(said)}")
        time.sleep(0.01)


def _take_down(said: Path, result: Soak) -> None:
    """Learns what was done, and what may have been done when the life ended."""
    doing: Json = {}
    for line in _lines(said):
        name = name_of(line["book"]) if "book" in line else ""
        if "do" in line:
            doing = line
            added = line["do"] == "add"
            id_ = _id_of(line["book"], line["version"]) if added else None
            result.wanted.setdefault(name, {None}).add(id_)
        elif "done" in line:
            result.doings[f"{doing['do']} {line['done']}"] += 1
            if line["done"] not in ("accepted", "duplicate", "deleted"):
                result.wrong.append(f"{doing} came to {line}")
            result.wanted[name_of(doing["book"])] = {line["id"]}
        elif "broken" in line:
            result.wrong.append(line["broken"])
        else:
            key = next(iter(line))
            result.doings[f"refused {line['refused']}" if key == "refused" else key] += 1


def _lines(said: Path) -> Iterator[Json]:
    """What a life said; the last line of a killed one may be half."""
    for line in said.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n") and line.startswith(b"{"):
            yield json.loads(line)


@cache
def _id_of(book: int, version: int) -> str:
    name, data = name_of(book), data_of(book, version)
    text = read_text(data) if is_plain(name) else check_text(convert(name, data).text)
    return document_id(text)


def _settle(home: Path, host: str, result: Soak) -> None:
    """Opens the library a last time, has everything read, and asks it something."""
    librarian = Librarian.open(settings_of(home, host))
    try:
        librarian.wait_ready()
        _until_read(librarian)
        rows = [row for row in librarian.verify() if row.name not in SIZES]
        empty = not librarian.snapshot().documents
        if not empty:
            result.wrong += [f"verify: {row}" for row in rows if not row.passed]
            stream = librarian.ask(QUESTIONS[0])
            if not stream.answer.sources:
                result.wrong.append("a question found nothing")
        result.doings["documents in the end"] = len(librarian.snapshot().documents)
        result.doings["entities in the end"] = len(librarian.graph().entities)
    finally:
        librarian.close()


def _until_read(librarian: Librarian, documents: int = 0) -> None:
    """Waits until all are read, and at least so many are there."""
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until:
        snapshot = librarian.snapshot()
        left = [view.document for view in snapshot.documents]
        left = [each for each in left if each.status is not Status.PROCESSED]
        for each in left:
            if each.status in (Status.PAUSED, Status.FAILED):
                librarian.retry(each.id)
        all_there = len(snapshot.documents) >= documents
        if all_there and not left and not snapshot.deleting and not snapshot.busy:
            return
        time.sleep(0.1)
    raise Broken(f"Documents that did not come to an end: {left}")


def _unlike_undisturbed(home: Path, calm: Path, host: str) -> Iterator[str]:
    """How the graph differs from one of the same documents, cut alike, that nothing happened to."""
    library = Library.open(home)
    kept = [(each.name, library.read_original(each.file)) for each in library.catalogue.all()]
    library.close()
    librarian = Librarian.open(settings_of(calm, host))
    try:
        librarian.wait_ready()
        for cuts in (home / "files").glob(f"*{CUTS}"):
            shutil.copy(cuts, calm / "files")
        for name, data in kept:
            librarian.add_file(name, data)
        _until_read(librarian, len(kept))
    finally:
        librarian.close()
    if kept:
        for row in graphs.differences("undisturbed", graphs.read(home), graphs.read(calm)):
            if row.holds is False:
                yield f"{row.what}: {row.value}"


def _asked_again(calls: list[Call]) -> int:
    times = Counter(call.digest for call in calls if call.outcome == "done")
    return times.total() - len(times)


def measure(corpus: Path | None) -> list[Row]:
    """A minute without a person's edits of the graph, and one with them; texts are made up."""
    rows: list[Row] = []
    with own_folder() as own:
        for mends in (False, True):
            folder = own / ("mended" if mends else "plain")
            folder.mkdir()
            found = soak(folder, seed=SEED, seconds=60.0, mends=mends)
            sys.stderr.write("".join(f"{wrong}\n" for wrong in found.wrong))
            rows += found.rows()
    return rows


def main() -> int:
    """Soaks for some minutes, with a person's edits and without: 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keeps the libraries there")
    given = parser.parse_args()
    wrong = 0
    with own_folder() as own:
        for mends in (False, True):
            folder = (given.keep or own) / ("mended" if mends else "plain")
            folder.mkdir(parents=True)
            found = soak(folder, seed=given.seed, seconds=given.minutes * 30, mends=mends)
            print(table(found.rows()))
            print("\n".join(found.wrong))
            wrong += len(found.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
