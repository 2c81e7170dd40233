"""Two hosts against one: the same part of a book, by the real app, in one run."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench import texts
from tests.bench.processes import SLOTS, StandIn, app, own_folder, reads_with, stand_in
from tests.bench.report import Row

CALL_S = 2.0  # a fifth of what a fast GPU takes; what the program adds is seen the better
CHARACTERS = 500_000
RUN_S = 300.0


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
        alone_s = _read(folder / "alone", part, servers[:1])
        both_s = _read(folder / "both", part, servers)
    return [
        Row(
            what="hosts: time with two, of that with one",
            value=both_s / alone_s,
            unit="times",
            most=1 / 1.9,
        ),
        Row(what="hosts: one", value=alone_s, unit="s"),
        Row(what="hosts: two", value=both_s, unit="s"),
        Row(what="hosts: times as fast", value=alone_s / both_s, unit="times"),
    ]


def _read(home: Path, part: Path, servers: list[StandIn]) -> float:
    environ = reads_with(servers[0])
    environ["OLLAMA_HOST"] = ",".join(server.url for server in servers)
    environ["LLM_MAX_ASYNC"] = str(SLOTS)
    with app(home, **environ) as measured:
        measured.until_ready()
        begun_s = time.monotonic()
        measured.until_processed(measured.add(part), RUN_S)
        return time.monotonic() - begun_s
