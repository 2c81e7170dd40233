"""The number of calls at once is found by measuring, over servers with known slots and speeds."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

import pytest

from librarian.tuning import FIRST, Tuning

CALL_S = 40.0


class Server:
    """Works on calls in the order in which they come; `speed(n)` is of each of n at once."""

    def __init__(self, slots: int, speed: Callable[[int], float] = lambda _: 1.0) -> None:
        self.slots = slots
        self.speed = speed

    def run(self, tuning: Tuning, calls: int, random: Random) -> tuple[list[int], list[float]]:
        """The level after each call, and when each ended."""
        now, levels, ends = 0.0, [], []
        waiting = 0
        running: list[tuple[float, int]] = []  # tokens left to write, tokens of the whole
        while len(ends) < calls:
            while waiting + len(running) < tuning.level:
                waiting += 1
            while waiting and len(running) < self.slots:
                waiting -= 1
                tokens = random.randint(300, 900)
                heapq.heappush(running, (float(tokens), tokens))
            rate = self.speed(len(running)) * 600 / CALL_S
            left, tokens = heapq.heappop(running)
            now += left / rate
            running = [(each - left, whole) for each, whole in running]
            heapq.heapify(running)
            tuning.ended(now, 3000, tokens, len(running) + 1 + waiting)
            levels.append(tuning.level)
            ends.append(now)
        return levels, ends


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("slots", [1, 2, 4, 8])
def test_within_sixty_calls_the_slots_are_full(slots: int, seed: int) -> None:
    tuning = Tuning(17)
    levels, _ = Server(slots).run(tuning, 60, Random(seed))
    assert levels[0] == FIRST
    assert slots <= levels[-1]


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
def test_it_settles_far_below_what_is_allowed_and_says_why(slots: int) -> None:
    tuning = Tuning(65)
    Server(slots).run(tuning, 400, Random(2))
    assert tuning.level <= 4 * slots + 1
    assert "at once were" in tuning.said


@pytest.mark.parametrize("seed", range(10))
def test_a_server_that_many_calls_make_slower_gets_fewer(seed: int) -> None:
    crowded = Server(64, lambda n: 1 / n if n <= 5 else 1 / n**1.5)
    tuning = Tuning(33)
    crowded.run(tuning, 300, Random(seed))
    assert tuning.level <= 5
    assert "no faster" in tuning.said or "hardly slower" in tuning.said


def test_no_more_are_tried_than_a_person_allows() -> None:
    tuning = Tuning(5)
    levels, _ = Server(16).run(tuning, 200, Random(1))
    assert max(levels) == 5
    assert tuning.said == "as many as LLM_MAX_ASYNC allows"


def test_one_call_at_once_is_all_there_is_to_find_out() -> None:
    tuning = Tuning(1)
    assert (tuning.level, tuning.said) == (1, "as many as LLM_MAX_ASYNC allows")


def test_calls_that_do_not_fill_the_level_tell_nothing() -> None:
    tuning = Tuning(9)
    assert not any(tuning.ended(float(n), 3000, 600, FIRST - 1) for n in range(100))
    assert tuning.level == FIRST
    assert not tuning.said


def test_another_server_is_measured_anew() -> None:
    tuning = Tuning(17)
    Server(1).run(tuning, 100, Random(1))
    tuning.anew()
    Server(8).run(tuning, 60, Random(1))
    assert tuning.level >= 8
