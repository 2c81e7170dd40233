"""Buckets of tokens, over a clock of the test's own."""

from __future__ import annotations

import pytest

from librarian.limits import KEPT, Buckets, party
from librarian.sessions import IDLE_S, MOST, Sessions


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_let_through_and_then_as_many_as_flow_in() -> None:
    clock = Clock()
    buckets = Buckets(per_s=2.0, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.now += 0.5
    assert [buckets.take("a") for _ in range(2)] == [0.0, 0.5]
    clock.now += 3600
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_one_who_is_too_fast_holds_up_no_other() -> None:
    buckets = Buckets(per_s=1.0, burst=1, clock=Clock())
    assert (buckets.take("a"), buckets.take("a"), buckets.take("b")) == (0.0, 1.0, 0.0)


def test_asking_how_long_costs_nothing() -> None:
    buckets = Buckets(per_s=1.0, burst=1, clock=Clock())
    assert [buckets.wait_s("a") for _ in range(3)] == [0.0] * 3
    buckets.take("a")
    assert buckets.wait_s("a") == 1.0


def test_many_addresses_do_not_fill_the_memory() -> None:
    buckets = Buckets(per_s=1.0, burst=1, clock=Clock())
    for number in range(KEPT + 10):
        buckets.take(str(number))
    assert buckets.take(str(KEPT + 9)) > 0
    assert buckets.take("0") == 0.0  # forgotten
    assert len(buckets._held) == KEPT


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::1", "::1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_a_household_is_one_party(address: str, who: str) -> None:
    assert party(address) == who


def test_a_session_is_known_while_it_is_used() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    key = sessions.begin()
    for _ in range(5):
        clock.now += IDLE_S - 1
        assert sessions.knows(key)
    clock.now += IDLE_S + 1
    assert not sessions.knows(key)
    assert not sessions.knows(key)


@pytest.mark.parametrize("key", ["", "guess", "\ud800", "ключ"])
def test_no_other_key_is_of_a_session(key: str) -> None:
    sessions = Sessions(Clock())
    sessions.begin()
    assert not sessions.knows(key)


def test_the_session_unused_for_longest_makes_room() -> None:
    sessions = Sessions(Clock())
    first, second = sessions.begin(), sessions.begin()
    assert sessions.knows(first)
    for _ in range(MOST - 1):
        sessions.begin()
    assert sessions.knows(first)
    assert not sessions.knows(second)
