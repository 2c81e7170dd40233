"""What a document costs in a library that grows: seconds, processor time, the loop, the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import psutil

from tests.bench import texts
from tests.bench.processes import App, Broken, app, own_folder, reads_with, stand_in, tail
from tests.bench.report import Row
from tests.postgres_server import PostgresServer

SIZES = (20, 40, 80, 160)  # documents
BYTES = 30_000  # of each, about ten chunks
HAUL = (50, 100, 250, 500, 750, 1000)
HAUL_BYTES = 60_000
ENOUGH_S = 3600.0
LOOK_S = 0.5  # a status of a thousand documents costs as much as a page of one
SLOW_S = 3.0  # a call takes, until all documents are there
MB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How it stood when so many documents were processed."""

    documents: int
    now_s: float
    cpu_s: float
    lag_s: float  #: the longest that the loop was blocked since the moment before
    memory: int  #: bytes


def growth(corpus: Path | None) -> list[Row]:
    """Small documents, one after the other, with a model that answers at once, in both storages."""
    del corpus  # so many small ones are made up
    with PostgresServer(fast=False) as server:
        return [
            *_growth("growth, files", SIZES, BYTES),
            *_growth("growth, PostgreSQL", SIZES, BYTES, LIBRARIAN_DATABASE_URL=server.url),
        ]


def haul(corpus: Path | None) -> list[Row]:
    """A thousand documents of 60 KB in PostgreSQL, with a model that answers at once."""
    del corpus
    with PostgresServer(fast=False) as server:
        url = {"LIBRARIAN_DATABASE_URL": server.url}
        return _growth("haul, PostgreSQL", HAUL, HAUL_BYTES, **url)


def _growth(what: str, sizes: tuple[int, ...], bytes_: int, **settings: str) -> list[Row]:
    with own_folder() as folder, stand_in(folder) as ollama:
        ollama.set(latency_s=SLOW_S)
        with app(folder / "home", **reads_with(ollama), **settings) as measured:
            measured.until_ready()
            for path in small_texts(folder, max(sizes), bytes_):
                measured.add(path)
            ollama.set(latency_s=0.0)
            moments = list(grown(measured, sizes))
        disk = sum(path.stat().st_size for path in (folder / "home").rglob("*") if path.is_file())
    first, last = (_each_s(*pair) for pair in (moments[:2], moments[-2:]))
    rows = [Row(what=f"{what}: last documents / first documents", value=last / first, unit="times",
                most=1.3)]  # fmt: skip
    for before, after in pairwise(moments):
        number = after.documents - before.documents
        those = f"{what}: documents {before.documents + 1} to {after.documents}"
        cpu_s = (after.cpu_s - before.cpu_s) / number
        rows += [
            Row(what=f"{those}, each", value=_each_s(before, after), unit="s"),
            Row(what=f"{those}, processor time of each", value=cpu_s, unit="s"),
            Row(what=f"{those}, longest block of the loop", value=1000 * after.lag_s, unit="ms"),
            Row(what=f"{those}, memory", value=after.memory / MB, unit="MB"),
        ]
    return [*rows, Row(what=f"{what}: in the home", value=disk / MB, unit="MB")]


def grown(measured: App, sizes: tuple[int, ...]) -> Iterator[Moment]:
    """How it stands at the beginning, and when so many documents are processed."""
    process = psutil.Process(measured.process.pid)
    lag_s, begun_s = 0.0, time.monotonic()
    wanted = iter((4, *sizes))  # the first ones load what all of them need
    number = next(wanted)
    while True:
        report = measured.status()
        now_s, counts = time.monotonic(), report["counts"]
        lag_s = max(lag_s, report["loop"]["max_lag_s"])
        if counts["failed"] or now_s > begun_s + ENOUGH_S:
            raise Broken(f"Not all documents were processed: {counts}.\n{tail(measured.log)}")
        if counts["processed"] >= number:
            times = process.cpu_times()
            yield Moment(
                documents=counts["processed"],
                now_s=now_s,
                cpu_s=times.user + times.system,
                lag_s=lag_s,
                memory=process.memory_info().rss,
            )
            if counts["processed"] >= max(sizes):
                return
            number, lag_s = next(wanted), 0.0
        time.sleep(LOOK_S)


def small_texts(folder: Path, number: int, size: int) -> Iterator[Path]:
    """Made-up texts; each has names of its own, and some of all others' words."""
    for each in range(number):
        path, parts, bytes_ = folder / f"small {each:05}.txt", list[str](), 0
        for paragraph in texts.paragraphs(Random(each)):
            if bytes_ >= size:
                break
            parts.append(paragraph)
            bytes_ += len(paragraph.encode()) + 2
        path.write_text("\n\n".join(parts), encoding="utf-8")
        yield path


def _each_s(before: Moment, after: Moment) -> float:
    return (after.now_s - before.now_s) / (after.documents - before.documents)
