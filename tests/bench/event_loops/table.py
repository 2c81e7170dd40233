"""What was seen, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tests.bench.event_loops.servers import Asked
from tests.bench.event_loops.trial import Run, Trial

HEAD = (
    "way",
    "opened on",
    "book alone",
    "calls",
    "ping p95 / max, ms",
    "with two questions",
    "the questions",
    "a question first",
    "loop errors, most in a run",
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
    if not trial.alone:
        return trial.way.title, trial.way.opened, "did not start", *["-"] * (len(HEAD) - 3)
    pings = [run.pings for run in trial.alone if run.pings]
    p95_ms = median(each.p95_ms for each in pings)
    late, killed = trial.late, trial.killed
    return (
        trial.way.title,
        trial.way.opened,
        _end(trial.alone),
        f"{trial.alone[0].calls}",
        f"{p95_ms:.0f} / {max(each.max_ms for each in pings):.0f}",
        _end([trial.asked]) if trial.asked else "-",
        _questions(trial.asked.asked) if trial.asked else "-",
        f"{_questions(late.asked)}; book {_end([late])}" if late else "-",
        f"{max(run.loop_errors for run in trial.runs)}",
        f"{killed.again} of {killed.paid}" if killed else "-",
    )


def _end(runs: Sequence[Run]) -> str:
    """How runs ended, with the median of their times."""
    wall_s = median(run.wall_s for run in runs)
    if all(run.finished for run in runs):
        return f"{wall_s:.1f} s"
    if not any(run.calls for run in runs):
        return "refused"
    if any(run.finished for run in runs):
        return f"{sum(run.finished for run in runs)} of {len(runs)} times"
    return "NO END" if runs[0].error.startswith("no end") else "failed"


def _questions(asked: Sequence[Asked]) -> str:
    return ", ".join(
        f"{_word(each)}{' (after the book)' if each.meanwhile and not each.before_end else ''}"
        for each in asked
    )


def _word(asked: Asked) -> str:
    if asked.answered:
        return f"{asked.seconds:.1f} s"
    return "NO ANSWER" if asked.text.startswith("no answer within") else "error"


def _errors(trials: Sequence[Trial]) -> list[str]:
    lines = []
    for trial in trials:
        said = [("", trial.unstarted)]
        for run in trial.runs:
            said += [("", run.error), ("log: ", run.loop_error)]
            said += [("question: ", each.text) for each in run.asked if not each.answered]
        if trial.killed:
            said.append(("after the kill: ", trial.killed.ended))
        found = dict.fromkeys(f"{what}{words}" for what, words in said if words)
        lines += [f"{trial.way.title}: {each}" for each in found]
    return lines
