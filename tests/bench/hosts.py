"""Two hosts against one: the same part of a book, by the real app, in one run."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import anyio

from librarian.account import Ticket
from librarian.calls import Calls
from librarian.models.choice import choose
from librarian.models.hosts import SeveralHosts
from librarian.models.protocol import Message, Prompt, Role
from librarian.settings import Settings
from librarian.tuning import Tuning
from tests.bench import texts
from tests.bench.processes import SLOTS, Json, StandIn, app, own_folder, reads_with, stand_in
from tests.bench.report import Row

CALL_S = 4.0  # less than half of what a fast GPU takes; what the program adds is seen the better
CALLS = 80  # of each host
CHARACTERS = 500_000
RUN_S = 600.0


def hosts(corpus: Path | None) -> list[Row]:
    """Seconds of the first half a million characters of a book with one host, and with two."""
    with own_folder() as folder, ExitStack() as stack:
        whole = texts.book(corpus, folder).read_text(encoding="utf-8")
        part = folder / "part of a book.txt"
        part.write_text(whole[:CHARACTERS], encoding="utf-8")
        servers = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            servers.append(stack.enter_context(stand_in(folder / name)))
        for server in servers:  # each has thought it all before it is measured
            server.set(latency_s=0.0)
            _read(folder / f"warm {server.url[-5:]}", part, [server])
            server.set(latency_s=CALL_S)
        urls = [server.url for server in servers]
        one, two = anyio.run(_calls, urls[:1]), anyio.run(_calls, urls)
        alone_s, alone = _read(folder / "alone", part, servers[:1])
        both_s, both = _read(folder / "both", part, servers)
    return [
        Row(
            what="hosts: time a call with two, of that with one, calls alone",
            value=one / two,
            unit="times",
            most=1 / 1.9,
        ),
        Row(
            what="hosts: time a call with two, of that with one, in the middle of the book",
            value=alone / both,
            unit="times",
            most=1 / 1.9,
        ),
        Row(
            what="hosts: the same of the whole, with its merging",
            value=both_s / alone_s,
            unit="times",
        ),
        Row(what="hosts: one", value=alone_s, unit="s"),
        Row(what="hosts: two", value=both_s, unit="s"),
    ]


async def _calls(urls: list[str]) -> float:
    """Calls a second through what reads books, without the books; their middle half."""
    environ = {"OLLAMA_HOST": ",".join(urls), "LLM_MAX_ASYNC": str(SLOTS)}
    settings = Settings.from_env(environ, backend="ollama")
    model = (await choose(settings)).model
    at_once = (SLOTS + 1) * len(urls)
    tuning = model.tuning if isinstance(model, SeveralHosts) else Tuning(at_once)
    calls, ends = Calls(model, limit=at_once, tuning=tuning), list[float]()

    async def ask(number: int) -> None:
        text = f"---Input Text---\nChunk {number} of {len(urls)}."
        prompt = Prompt(messages=(Message(role="user", content=text),), role=Role.EXTRACT)
        await calls.complete(prompt, Ticket(document="book", chunk=number, turn=number))
        ends.append(time.monotonic())

    async with anyio.create_task_group() as tasks:
        for number in range(CALLS * len(urls)):
            tasks.start_soon(ask, number)
    await model.aclose()
    return _middle(ends)


def _read(home: Path, part: Path, servers: list[StandIn]) -> tuple[float, float]:
    """Seconds of all, and calls a second in the middle."""
    environ = reads_with(servers[0])
    environ["OLLAMA_HOST"] = ",".join(server.url for server in servers)
    environ["LLM_MAX_ASYNC"] = str(SLOTS)
    for server in servers:
        server.set(forget_calls=True)
    with app(home, **environ) as measured:
        measured.until_ready()
        begun_s = time.monotonic()
        measured.until_processed(measured.add(part), RUN_S)
        whole_s = time.monotonic() - begun_s
    return whole_s, _pace([call for server in servers for call in server.calls()])


def _pace(calls: list[Json]) -> float:
    """Calls that ended in a second of their middle half: neither the search for how many at once
    nor the last ones, which find no others to run beside them."""
    ends = sorted(
        call["ended_s"]
        for call in calls
        if call["endpoint"] == "/api/chat" and call["outcome"] == "done"
    )
    return _middle(ends)


def _middle(ends: list[float]) -> float:
    first, last = len(ends) // 4, 3 * len(ends) // 4
    return (last - first) / (ends[last] - ends[first])
