"""Estimates: the true end of noisy runs lies in the range that was shown early on."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.account import CallRecord
from librarian.documents import Phase
from librarian.estimates import (
    Estimate,
    Queue,
    Work,
    between,
    forecast,
    lasting,
    left_of,
    sentence,
    waiting,
)
from librarian.pace import Pace, as_stored, learned, measured, pace_from, weights_of
from librarian.progress import USUAL, Progress
from tests.runs import Level, Run, play

KNOWN = Pace(calls=500, call_s=43.0, spread=0.4, drift=0.2, documents=3)
SEEDS = range(40)


def drifting(seed: int) -> Level:
    """Slowly slower and quicker again."""
    height = Random(seed).uniform(-0.3, 0.3)
    return lambda now_s: 1 + height * math.sin(now_s / 3000 + seed)


def bursting(seed: int) -> Level:
    """Three times as slow for a while, again and again: another program has the GPU."""
    random = Random(seed)
    period_s, begun_s = random.uniform(600, 2400), random.uniform(0, 2400)
    return lambda now_s: 3.0 if (now_s + begun_s) % period_s < 0.15 * period_s else 1.0


KINDS = {
    "one at a time": lambda seed: Run(seed),
    "four at a time": lambda seed: Run(seed, slots=4),
    "very noisy": lambda seed: Run(seed, slots=4, sigma=0.7),
    "a slow drift": lambda seed: Run(seed, level=drifting(seed)),
    "bursts": lambda seed: Run(seed, level=bursting(seed)),
    "bursts, four at a time": lambda seed: Run(seed, chunks=500, slots=4, level=bursting(seed)),
    "a cold model": lambda seed: Run(seed, call_s=8.0, cold_s=90.0, slots=2),
    "saved chunks": lambda seed: Run(seed, chunks=501, saved=150, slots=4),
    "quick calls": lambda seed: Run(seed, chunks=300, call_s=0.3, slots=4),
    "a short text": lambda seed: Run(seed, chunks=40, slots=2),
    "all of it": lambda seed: Run(
        seed,
        chunks=100 + 10 * seed,
        slots=1 + seed % 5,
        sigma=0.2 + 0.01 * seed,
        level=drifting(seed) if seed % 2 else bursting(seed),
        cold_s=40.0 * (seed % 3),
        saved=20 * (seed % 4),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_tenth_of_the_work_the_end_lies_in_the_range(kind: str) -> None:
    said = [play(KINDS[kind](seed))[0].eta for seed in SEEDS]
    found = [eta for eta in said if eta is not None]
    assert len(found) == len(SEEDS)
    assert sum(eta.low_s <= 1 <= eta.high_s for eta in found) >= 32
    widths = sorted(eta.high_s / eta.low_s for eta in found)
    assert widths[len(widths) // 2] <= 2.5


@pytest.mark.parametrize("kind", ["one at a time", "four at a time", "saved chunks", "quick calls"])
def test_the_range_of_ordinary_noise_is_never_wider_than_it_has_to_be(kind: str) -> None:
    for seed in SEEDS:
        eta = play(KINDS[kind](seed))[0].eta
        assert eta is not None
        assert eta.high_s / eta.low_s <= 2.5


def test_a_known_pace_judges_a_run_from_its_first_call() -> None:
    hits = 0
    for seed in SEEDS:
        eta = play(Run(seed, known=KNOWN), at=(0.001,))[0].eta
        assert eta is not None
        hits += eta.low_s <= 1 <= eta.high_s
    assert hits >= 32


def test_the_estimate_follows_the_run_to_its_end() -> None:
    moments = play(Run(1, chunks=300, slots=2), at=(0.1, 0.3, 0.6, 0.9))
    for moment in moments:
        assert moment.eta is not None
        assert moment.eta.likely_s == pytest.approx(1.0, rel=0.3)


def call(start: float, end: float, role: str = "extract") -> CallRecord:
    return CallRecord(
        role=role, document="doc-a", started_s=start, ended_s=end, prompt_tokens=1, output_tokens=1
    )


def in_a_row(lengths: list[float]) -> list[CallRecord]:
    ends = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    return [call(end - each, end) for each, end in zip(lengths, ends, strict=True)]


def test_the_call_that_waited_for_the_model_to_be_loaded_does_not_count() -> None:
    pace = measured(Pace(), in_a_row([120.0, 10.0, 10.0, 10.0]), [], 150.0, 1)
    assert pace.call_s == pytest.approx(10.0)


def test_a_pace_is_known_before_the_first_call_and_gives_way_to_what_is_measured() -> None:
    assert measured(KNOWN, [], [], 0.0, 1).call_s == 43.0
    few = measured(KNOWN, in_a_row([10.0] * 4), [], 40.0, 1).call_s
    many = measured(KNOWN, in_a_row([10.0] * 100), [], 1000.0, 1).call_s
    assert 10.0 < few < 43.0
    assert many == pytest.approx(10.0, rel=0.15)


def test_questions_of_people_are_not_the_works_pace() -> None:
    assert measured(Pace(), [call(0, 5, "query"), call(5, 9, "keyword")], [], 9.0, 1) == Pace()


def test_time_in_which_nothing_ran_does_not_slow_the_pace() -> None:
    before = in_a_row([10.0] * 20)
    later = [call(each.started_s + 5000, each.ended_s + 5000) for each in in_a_row([10.0] * 20)]
    pace = measured(Pace(), before + later, [], 5200.0, 1)
    assert pace.call_s == pytest.approx(10.0)
    assert pace.filled == pytest.approx(1.0)


def test_a_pace_comes_back_as_it_was_kept() -> None:
    assert pace_from(as_stored(KNOWN)) == KNOWN
    assert pace_from({"call_s": 2.0, "of a later version": 1}) == Pace(call_s=2.0)


def ended(chunks: int = 100, *, asked: int = 100) -> Progress:
    progress = Progress(started_s=0.0, phase_s=0.0).chunked(chunks, 0.0)
    progress = replace(progress, chunks_done=chunks, asked=asked)
    progress = progress.merging("entities", 10, 1000.0).merged(1200.0).embedding(5, 1200.0)
    return progress.embedded(5, 1250.0)


def test_what_the_phases_cost_is_learned_from_a_document() -> None:
    pace = learned(replace(KNOWN, documents=0), ended(), 20, 1260.0)
    assert pace.documents == 1
    assert pace.merges_per_chunk == pytest.approx((20 + 50 * 0.05) / 150)  # and what is usual
    assert pace.embedding_s == pytest.approx(0.5)
    assert pace.saving_s == pytest.approx(10.0)
    weights = weights_of(pace, 100, 1)
    assert sum(weights) == pytest.approx(1.0)
    assert weights[3] == pytest.approx(0.98 * 15 * 21.5 / (4300 + 322 + 50 + 10), rel=0.05)
    assert weights_of(Pace(), 100, 1) == USUAL


def test_a_note_does_not_overrule_what_a_book_has_taught() -> None:
    pace = learned(replace(KNOWN, chunks=500, merges_per_chunk=0.1), ended(2, asked=2), 0, 1260.0)
    assert pace.merges_per_chunk == pytest.approx(0.1, rel=0.01)


def test_a_document_whose_answers_were_there_teaches_nothing() -> None:
    assert learned(KNOWN, ended(asked=3), 0, 1260.0) == KNOWN


def test_the_book_of_the_issue() -> None:
    work = waiting(501, 0, replace(KNOWN, merges_per_chunk=0.0), 1, guessed=False)
    (eta,), queue = forecast([work], KNOWN, [], limit=1, slots=1)
    assert eta is not None
    assert eta.likely_s == pytest.approx(501 * 43.0, rel=0.02)
    said = sentence(queue)
    assert said.startswith("About 6 h 00 min (")
    assert "): 501 calls × 43 s, 1 at a time. Under 3 minutes with 120 at a time, or " in said
    assert said.endswith("0.36 s a call.")


def test_more_at_a_time_is_sooner() -> None:
    work = [waiting(501, 0, KNOWN, 4, guessed=False)]
    _, four = forecast(work, KNOWN, [], limit=4, slots=4)
    _, one = forecast(work, KNOWN, [], limit=1, slots=1)
    assert four.eta_s is not None
    assert one.eta_s is not None
    assert four.eta_s == pytest.approx(one.eta_s / 4, rel=0.05)


def test_a_call_that_waits_for_the_servers_slot_is_not_called_slow() -> None:
    pace = replace(KNOWN, call_s=50.0)  # of which 10 s in the server's queue: 5 calls for 4 slots
    work = Work(calls=100)
    _, queue = forecast([work], pace, [], limit=5, slots=4)
    assert (queue.at_once, queue.seconds_per_call) == (4, pytest.approx(40.0))
    assert queue.eta_s == pytest.approx(1000.0)


def test_documents_of_a_queue_end_one_after_the_other() -> None:
    works = [Work(calls=10, rest_s=5), Work(calls=30, rest_s=5), Work(calls=5, rest_s=5)]
    etas, queue = forecast(works, KNOWN, [], limit=2, slots=2)
    likely = [eta.likely_s for eta in etas if eta is not None]
    assert likely == sorted(likely)
    assert len(likely) == 3
    assert queue.eta_s == likely[-1]
    assert queue.calls == 45


def test_an_unknown_pace_is_said() -> None:
    etas, queue = forecast([Work(calls=3), Work(calls=2)], Pace(), [], limit=4, slots=4)
    assert etas == (None, None)
    assert sentence(queue) == (
        "5 calls, 4 at a time. How long one takes is known when the first has ended."
    )


def test_an_estimate_runs_down_while_a_call_is_under_way() -> None:
    def likely(age: float) -> float:
        (eta,), _ = forecast([Work(calls=2)], KNOWN, [age], limit=1, slots=1)
        assert eta is not None
        return eta.likely_s

    assert likely(0) > likely(20) > likely(30) >= likely(500) > 0


def test_merging_embedding_and_saving_have_an_estimate_too() -> None:
    pace = replace(KNOWN, embedding_s=0.5, saving_s=4.0, merges_per_chunk=0.1)
    merging = Progress(started_s=0.0, phase_s=0.0).chunked(100, 0.0).merging("entities", 80, 0.0)
    assert left_of(merging, 0, pace, 1, 1.0).merges == pytest.approx(10.0)
    for _ in range(60):
        merging = merging.stored("entities", 1)
    assert left_of(merging, 0, pace, 1, 99.0).merges == 20  # those that are left wait for a call
    embedding = merging.merged(100.0).embedding(10, 100.0)
    assert left_of(embedding, 0, pace, 1, 100.0).rest_s == pytest.approx(54.0)
    half = embedding.embedded(5, 110.0)
    assert left_of(half, 0, pace, 1, 110.0).rest_s == pytest.approx(14.0)
    saving = half.embedded(5, 120.0)
    assert saving.phase is Phase.SAVING
    assert left_of(saving, 0, pace, 1, 121.0).rest_s == pytest.approx(3.0)
    assert left_of(saving, 0, pace, 1, 999.0).rest_s > 0


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 500), st.floats(0, 1e4)), min_size=1),
    st.floats(0.001, 1e4),
    st.lists(st.floats(0, 1e5), max_size=9),
    st.integers(1, 64),
)
def test_an_estimate_is_a_positive_range(
    works: list[tuple[float, float, float]], call_s: float, ages: list[float], limit: int
) -> None:
    pace = replace(KNOWN, call_s=call_s)
    queue = [Work(calls=c, merges=m, rest_s=r, guessed=c > 9) for c, m, r in works]
    etas, outlook = forecast(queue, pace, ages, limit=limit, slots=limit)
    for eta in etas:
        assert eta is not None
        assert 0 < eta.low_s <= eta.likely_s <= eta.high_s
    assert sentence(outlook)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"), (42.4, "42 s"), (303, "5 min 05 s"), (300, "5 min"), (1400, "23 min"),
        (4800, "1 h 20 min"), (3900, "1 h 05 min"), (21543, "6 h 00 min"), (40000, "11 h 05 min"),
        (300000, "3 days 11 h"),
    ],
)  # fmt: skip
def test_a_length_of_time_is_said_as_roughly_as_it_is_known(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


def test_what_is_left_is_said_with_its_range() -> None:
    eta = Estimate(4800, 3900, 6300)
    assert between(eta.likely_s, eta.low_s, eta.high_s) == "1 h 20 min (1 h 05 min to 1 h 45 min)"
    assert between(None, None, None) == ""
    assert sentence(Queue()) == ""
