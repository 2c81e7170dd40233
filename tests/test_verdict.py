"""The verdict of a glance and the rates: each cause has its word, and normal work has none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from heapq import heapify, heapreplace
from pathlib import Path
from random import Random

import pytest

from librarian.account import CallRecord, CallView
from librarian.documents import Status
from librarian.errors import JournalError, ModelUnavailable
from librarian.health import (
    FIRST_SLOW_S,
    LEAST_STALL_S,
    LOOP_STALL_S,
    QUIET_S,
    RECENT_S,
    Evidence,
    stale,
    throughput,
    verdict,
)
from librarian.portal import Portal
from librarian.snapshot import Health, Snapshot, Throughput
from tests.conftest import Opened, until, until_status
from tests.ollama_server import Fault, OllamaServer
from tests.test_app import with_ollama
from tests.test_indexing import book

MODEL = "qwen3:8b"


def call(silent_s: float = 1.0, age_s: float | None = None, number: int = 7) -> CallView:
    return CallView(
        number=number,
        role="extract",
        document="doc",
        chunk=0,
        age_s=silent_s if age_s is None else age_s,
        silent_s=silent_s,
    )


AT_WORK = Evidence(busy=True, calls=(call(),), median_s=10.0, model=MODEL, loaded=(MODEL, "bge-m3"))


def look(**changes: object) -> Health:
    return verdict(replace(AT_WORK, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "word", "said"),
    [
        ({}, "working", ""),
        ({"busy": False, "waiting_for": ModelUnavailable()}, "idle", ""),
        ({"waiting_for": ModelUnavailable()}, "waiting", "model is awaited"),
        ({"waiting_for": JournalError("full.")}, "waiting", "disk is awaited"),
        ({"beat_age_s": LOOP_STALL_S + 1, "blocked_at": "x.py:3 f"}, "stalled", "at x.py:3 f"),
        ({"calls": (call(9),), "reachable": False}, "waiting", "does not answer"),
        ({"calls": (call(9),), "loaded": ("llava:7b",)}, "slow", "memory is llava:7b"),
        ({"calls": (call(9),), "loaded": ()}, "slow", "being loaded"),
        ({"calls": (call(41),)}, "slow", "half of them end within 10 s"),
        ({"calls": (call(LEAST_STALL_S + 1),)}, "stalled", "silent for 10 min"),
        ({"calls": (call(1, age_s=90),)}, "slow", "being written"),
        ({"calls": (call(1, age_s=9000),)}, "slow", "being written"),  # it moves: never stalled
        ({"calls": (), "quiet_s": QUIET_S + 1}, "stalled", "Nothing has moved"),
        ({"free_bytes": 10**8}, "working", "0.1 GB of disk space"),
        ({"calls": (call(FIRST_SLOW_S - 1),), "median_s": 0.0}, "working", ""),
        ({"calls": (call(FIRST_SLOW_S + 1),), "median_s": 0.0}, "slow", "silent"),
    ],
)
def test_each_cause_has_its_verdict(changes: dict[str, object], word: str, said: str) -> None:
    health = look(**changes)
    assert health.verdict == word
    assert said in health.cause
    assert bool(health.cause) == bool(health.remedy)


def test_a_loop_that_stands_still_outweighs_all_else() -> None:
    for busy in (True, False):
        health = look(busy=busy, waiting_for=ModelUnavailable(), beat_age_s=60, calls=(call(500),))
        assert health.verdict == "stalled"


def test_a_call_is_slow_by_the_measure_of_the_others() -> None:
    assert look(calls=(call(200),), median_s=60).verdict == "working"
    assert look(calls=(call(250),), median_s=60).verdict == "slow"
    assert look(calls=(call(20),), median_s=0.5).verdict == "working"  # 30 s are never slow
    assert look(calls=(call(31),), median_s=0.5).verdict == "slow"


def test_the_call_that_the_remedy_is_about_is_named() -> None:
    assert look(calls=(call(1, number=1), call(700, number=2))).restart == 2


@pytest.mark.parametrize("seed", range(20))
def test_an_hour_of_normal_work_raises_no_alarm(seed: int) -> None:
    """43 s a call, four at once, now and then 2.5 times as long; the prompt takes a third of it."""
    random, now, finished = Random(seed), 0.0, []
    begun = [(now + 43 * min(2.5, random.lognormvariate(0, 0.35)), now) for _ in range(4)]
    heapify(begun)
    words = set()
    while now < 3600:
        now += 0.25
        while begun[0][0] <= now:
            end, start = begun[0]
            finished.append(record(end, seconds=end - start))
            length = 43 * min(2.5, random.lognormvariate(0, 0.35))
            heapreplace(begun, (end + length, end))
        running = []
        for end, start in begun:
            age, reading = now - start, (end - start) / 3
            running.append(call(age if age < reading else 0.1, age_s=age))
        rates = throughput(finished, running, now)
        words.add(
            verdict(
                Evidence(
                    busy=True,
                    calls=running,
                    median_s=rates.median_call_s,
                    quiet_s=now - (finished[-1].ended_s if finished else 0),
                    model=MODEL,
                    loaded=(MODEL,),
                )
            ).verdict
        )
    assert words == {"working"}


def record(ended_s: float, role: str = "extract", seconds: float = 10.0) -> CallRecord:
    return CallRecord(
        role=role,
        document="doc",
        started_s=ended_s - seconds,
        ended_s=ended_s,
        prompt_tokens=600,
        output_tokens=60,
    )


def test_rates_are_those_of_the_last_minutes() -> None:
    calls = [record(100.0), record(1010.0), record(1020.0), record(1030.0, "query", 20)]
    rates = throughput(calls, [call(5), call(7)], 1060.0)
    assert rates.chunks_per_min == pytest.approx(2)  # two chunks in the minute since 1000
    assert rates.prompt_tokens_per_s == pytest.approx(30)
    assert rates.output_tokens_per_s == pytest.approx(3)
    assert (rates.calls_in_flight, rates.oldest_call_s) == (2, 7.0)
    assert (rates.median_call_s, rates.p95_call_s) == (10.0, 20.0)


def test_calls_of_long_ago_make_no_rate() -> None:
    rates = throughput([record(100.0)], [call(5)], 100.0 + RECENT_S + 1)
    assert rates == Throughput(calls_in_flight=1, oldest_call_s=5.0)


def test_no_calls_are_no_rate_and_no_division_by_nothing() -> None:
    assert throughput([], [], 0.0) == Throughput()
    assert throughput([record(50.0, seconds=0)], [], 50.0).median_call_s == 0


# --- injected into a running library --------------------------------------------------------


def test_a_blocked_loop_names_what_blocks_it() -> None:
    portal = Portal()
    gate = threading.Event()

    async def blocking_work() -> None:
        gate.wait(10)

    future = portal.start(blocking_work)
    until(lambda: "blocking_work" in portal.where(), "the loop to be blocked")
    snapshot = stale(Snapshot(beat_s=100.0), 100.0 + LOOP_STALL_S + 1, portal.where)
    gate.set()
    future.result(5)
    portal.close()
    assert snapshot.health.verdict == "stalled"
    assert "blocking_work" in snapshot.health.cause


@pytest.mark.parametrize(
    ("strike", "word", "said"),
    [
        (lambda s: s.inject(Fault.REFUSE, None), "waiting", "model is awaited"),
        (lambda s: s.inject(Fault.SLOW_LOAD, 1, seconds=14.0), "slow", "being loaded"),
    ],
)
def test_a_cause_is_named_within_ten_seconds_of_when_it_could_be_known(
    server: OllamaServer,
    opened: Opened,
    tmp_path: Path,
    strike: Callable[[OllamaServer], None],
    word: str,
    said: str,
) -> None:
    server.latency_s = 0.3
    librarian = opened(with_ollama(server, tmp_path, llm_max_async=2))
    librarian.add_text("book.txt", book(14))
    server.wait_until(lambda s: any(c.role == "extract" for c in s.calls), 30)
    assert librarian.snapshot().health.verdict in ("working", "idle")
    strike(server)
    began = time.monotonic()
    until(lambda: librarian.snapshot().health.verdict == word, f"the verdict {word}")
    assert time.monotonic() - began < 8 + 10  # a model is silent for 8 s before it can be known
    assert said in librarian.snapshot().health.cause
    assert librarian.snapshot().health.remedy
    server.heal()
    server.latency_s = 0.0
    until_status(librarian, "book.txt", Status.PROCESSED)
