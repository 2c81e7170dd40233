"""Texts from outside as Markdown."""

from __future__ import annotations

import pytest

from librarian.estimates import Queue
from librarian.snapshot import Health, Snapshot
from librarian.ui import advice, outlook, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Read *by* x", "Read \\*by\\* x"),
        ("at http://127.0.0.1:11434.", "at `http://127.0.0.1:11434`."),
        ("(HTTPS://a.b/c?d=[1])", "\\(`HTTPS://a.b/c?d=`\\[1\\]\\)"),
        ("www.a.b, me@a.b", "`www.a.b`, `me@a.b`"),
        ("http://a`b$c$", "`http://a`\\`b\\$c\\$"),
    ],
)
def test_an_address_is_code_and_all_else_is_escaped(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Start it with `ollama serve`; it goes on.", "Start it with `ollama serve`; it goes on."),
        ("Look at *it*: `a*b`", r"Look at \*it\*\: `a*b`"),
        ("one ` alone <b>", r"one \` alone \<b\>"),
        ("`a` and ` ![x](y)", r"`a` and \` \!\[x\]\(y\)"),
        ("``", r"\`\`"),
    ],
)
def test_what_is_between_backticks_is_code_and_all_else_is_escaped(text: str, shown: str) -> None:
    assert advice(text) == shown


def test_an_outlook_says_that_it_counts_from_when_the_work_goes_on() -> None:
    queue = Queue(
        calls=3,
        at_once=2,
        seconds_per_call=4.0,
        eta_s=6.0,
        eta_low_s=5.0,
        eta_high_s=7.0,
    )
    assert outlook(Snapshot(queue=queue)).replace("\\", "").startswith("About ")
    assert outlook(Snapshot(queue=queue)).replace("\\", "").endswith("2 at a time.")
    waiting = outlook(Snapshot(queue=queue, health=Health(verdict="waiting")))
    assert waiting == f"{outlook(Snapshot(queue=queue))} That counts from when the work goes on."
    assert outlook(Snapshot(health=Health(verdict="waiting"))) == ""
