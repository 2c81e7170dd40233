"""What was seen, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.event_loops.trial import Asked, Trial

HEAD = (
    "way",
    "opened on",
    "finished",
    "wall s",
    "calls",
    "ping p95 / max ms",
    "two questions meanwhile",
    "loop errors",
    "kill -9: asked again",
)


def text(trials: Sequence[Trial], machine: Mapping[str, Any]) -> str:
    """The table, then the errors word for word."""
    lines = [HEAD, *(_cells(trial) for trial in trials)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    shown = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join([about, "", *(f"| {line} |" for line in shown), "", *_errors(trials)])


def _cells(trial: Trial) -> tuple[str, ...]:
    pings, killed = trial.pings, trial.killed
    return (
        trial.way.title,
        trial.way.opened,
        "yes" if trial.finished else "NO" if trial.started else "NO, did not start",
        f"{trial.wall_s:.1f}" if trial.calls else "-",
        f"{trial.calls}",
        f"{pings.p95_ms:.0f} / {pings.max_ms:.0f}" if pings else "-",
        _questions(trial.asked),
        f"{trial.loop_errors}",
        f"{killed.again} of {killed.paid}" if killed else "-",
    )


def _questions(asked: Sequence[Asked]) -> str:
    if not asked:
        return "-"
    return ", ".join(
        f"{_word(each)} {each.seconds:.1f} s{'' if each.before_end else ' (after)'}"
        for each in asked
    )


def _word(asked: Asked) -> str:
    if asked.answered:
        return "answered"
    return "silent" if asked.text.startswith("no answer within") else "error"


def _errors(trials: Sequence[Trial]) -> list[str]:
    lines = []
    for trial in trials:
        said = [("", trial.error), ("log: ", trial.loop_error)]
        said += [("question: ", each.text) for each in trial.asked if not each.answered]
        if trial.killed:
            said.append(("after the kill: ", trial.killed.ended))
        found = dict.fromkeys(f"{what}{words}" for what, words in said if words)
        lines += [f"{trial.way.title}: {each}" for each in found]
    return lines
