"""A model's server that is away for a minute: what fails, what is repeated, how soon it goes on."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from tests.bench import texts
from tests.bench.kills import asked_again
from tests.bench.processes import (
    LATENCY_S,
    SLOTS,
    App,
    Broken,
    StandIn,
    app,
    own_folder,
    reads_with,
    stand_in,
    until,
)
from tests.bench.report import Row
from tests.bench.watchers import Watcher

AWAY_S = 60.0
BEFORE = 30  # chat calls that are answered before, of about 85
SETTLED_S = 2.0  # from here on, the health must say that it waits
GLANCE_S = 0.02
RUN_S = 300.0


class VerdictWatcher(Watcher):
    """What the health says, again and again."""

    def __init__(self, measured: App) -> None:
        super().__init__(0.5)
        self._app = measured
        self.verdicts: list[str] = []

    def look(self) -> None:
        """Asks the app."""
        try:
            self.verdicts.append(self._app.status()["health"]["verdict"])
        except httpx.TransportError as exc:
            self.verdicts.append(repr(exc))


def outage(corpus: Path | None) -> list[Row]:
    """A text through the app, with the stand-in's port closed in the middle of it."""
    with own_folder() as folder, stand_in(folder) as ollama:
        ollama.set(latency_s=LATENCY_S)
        path = texts.story(corpus, folder)
        with app(folder / "home", **reads_with(ollama)) as measured:
            measured.until_ready()
            doc_id = measured.add(path)
            _until_calls(BEFORE, measured, ollama)
            ollama.inject("refuse", seconds=AWAY_S)
            verdicts = _verdicts_while_away(measured)
            back_s = _came_back_s(ollama)
            _until_calls(BEFORE + 1, measured, ollama, after_s=back_s)
            measured.until_processed(doc_id, RUN_S)
            report = measured.status()
        calls = ollama.calls()
    answered = [
        call["ended_s"]
        for call in calls
        if call["endpoint"] == "/api/chat" and call["outcome"] == "done"
    ]
    next_s = min(each for each in answered if each > back_s) - back_s
    others = sum(each != "waiting" for each in verdicts)
    warnings = sum(len(each["warnings"]) for each in report["documents"])
    return [
        Row(what="outage: failed documents", value=report["counts"]["failed"], most=0),
        Row(what="outage: warnings", value=warnings, most=0),
        Row(
            what="outage: from the return to the next answer, chat", value=next_s, unit="s", most=5
        ),
        Row(what="outage: calls asked twice", value=len(asked_again(calls)), most=SLOTS + 1),
        Row(
            what=f"outage: looks that did not say `waiting`, of {len(verdicts)}",
            value=others,
            most=0,
        ),
    ]


def _until_calls(number: int, measured: App, ollama: StandIn, after_s: float = 0.0) -> None:
    """Waits for so many answered chat calls; after a moment, for one of them to be later."""

    def answered() -> bool:
        ends = [
            call["ended_s"]
            for call in ollama.calls()
            if call["endpoint"] == "/api/chat" and call["outcome"] == "done"
        ]
        return len(ends) >= number and max(ends) > after_s

    until(answered, "the next answer of the stand-in", measured.process, measured.log, RUN_S)


def _verdicts_while_away(measured: App) -> list[str]:
    time.sleep(SETTLED_S)
    with VerdictWatcher(measured) as watcher:
        time.sleep(AWAY_S - SETTLED_S - 2.0)
    verdicts: list[str] = watcher.verdicts
    return verdicts


def _came_back_s(ollama: StandIn) -> float:
    """When the port is open again; it has to be closed before."""
    if ollama.listens():
        raise Broken("The stand-in was not away.")
    while not ollama.listens():
        time.sleep(GLANCE_S)
    return time.monotonic()
