"""How many calls at once: what is found out by measuring, against the best of fixed numbers."""

from __future__ import annotations

import time
from pathlib import Path

import anyio

from librarian.account import Ticket
from librarian.calls import Calls
from librarian.models.ollama import OllamaModel
from librarian.models.protocol import Message, Prompt, Role
from librarian.tuning import Tuning
from tests.bench.processes import own_folder, stand_in
from tests.bench.report import Row

SLOTS = (1, 2, 4, 8)
FOUND_OUT = 60  # calls after which it has to be found
MEASURED = 80  # calls after that
CALL_S = 0.2
MOST = 17  # at once, as a person allows


def slots(_: Path | None) -> list[Row]:
    """Servers with known slots, each asked as often with each number."""
    rows = []
    for number in SLOTS:
        with own_folder() as folder, stand_in(folder, slots=number) as ollama:
            ollama.set(latency_s=CALL_S)
            fixed = {
                at_once: anyio.run(_speed, ollama.url, at_once, False)
                for at_once in (number, number + 1, 2 * number + 1)
            }
            found = anyio.run(_speed, ollama.url, MOST, True)
        best = max(fixed, key=lambda each: fixed[each])
        what = f"slots: a server with {number}: best fixed number ({best}) / found out"
        rows.append(Row(what=what, value=fixed[best] / found, unit="times", most=1 / 0.95))
    return rows


async def _speed(url: str, at_once: int, tuned: bool) -> float:
    """Calls a second, once it is found out how many run at once."""
    model = OllamaModel(host=url, llm="qwen3:8b", embed="bge-m3", num_ctx=8192, dimension=1024)
    calls = Calls(model, limit=at_once, tuning=Tuning(at_once) if tuned else None)
    ends: list[float] = []

    async def ask(number: int) -> None:
        prompt = Prompt(
            messages=(Message(role="user", content=f"---Input Text---\nChunk {number}."),),
            role=Role.EXTRACT,
        )
        await calls.complete(prompt, Ticket(document="book", chunk=number, turn=number))
        ends.append(time.monotonic())

    async with anyio.create_task_group() as tasks:
        for number in range(FOUND_OUT + MEASURED):
            tasks.start_soon(ask, number)
    await model.aclose()
    # The last calls find no others to run beside them.
    last = len(ends) - 1 - MOST
    return (last - FOUND_OUT) / (ends[last] - ends[FOUND_OUT])
