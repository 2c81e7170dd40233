"""What the pipeline itself costs: a book with a model that answers at once, ours and LightRAG's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from librarian.assembly import ENTITIES, RECORDS
from tests.bench import texts
from tests.bench.pipeline_run import Figures
from tests.bench.processes import Broken, own_folder, running, tail
from tests.bench.report import Row

CHUNKS = 500  # of the document that is spoken of
TURNS = 3
RUN_S = 900.0
MOST_S = 5.0
MOST_SHARE = 5 / 8
LIMITS = {"MAX_EXTRACTION_RECORDS": str(RECORDS), "MAX_EXTRACTION_ENTITIES": str(ENTITIES)}
NAMES = {"ours": "ours", "lightrag": "LightRAG alone"}


def pipeline(corpus: Path | None) -> list[Row]:
    """A book by both, by turns, after one run of each in which the model has thought."""
    found: dict[str, list[Figures]] = {who: [] for who in NAMES}
    with own_folder() as folder:
        text = texts.book(corpus, folder)
        for turn in range(TURNS + 1):
            for who, figures in found.items():
                figures.append(_run(who, text, folder, turn))
    best = {who: min(figures[1:], key=_cpu_s) for who, figures in found.items()}
    ours_s, theirs_s = _cpu_s(best["ours"]), _cpu_s(best["lightrag"])
    return [
        Row(what=_what("ours"), value=ours_s, unit="s", most=MOST_S),
        Row(what=_what("lightrag"), value=theirs_s, unit="s"),
        Row(
            what="pipeline: ours / LightRAG alone",
            value=ours_s / theirs_s,
            unit="times",
            most=MOST_SHARE,
        ),
        *(row for who, figures in best.items() for row in _aside_rows(NAMES[who], figures)),
        *_turn_rows(found),
    ]


def _what(who: str) -> str:
    return f"pipeline: {NAMES[who]}, processor time a {CHUNKS} chunks"


def _cpu_s(figures: Figures) -> float:
    """What disturbs a run only ever adds to this."""
    return figures.cpu_s * CHUNKS / figures.chunks


def _aside_rows(name: str, figures: Figures) -> list[Row]:
    a_document = CHUNKS / figures.chunks
    times = {f"wall time a {CHUNKS} chunks": figures.wall_s * a_document}
    if figures.later_s:
        later = f"files written afterwards, processor time a {CHUNKS} chunks"
        times[later] = figures.later_s * a_document
    counts = {
        "chunks": figures.chunks,
        "chat calls": figures.calls,
        "vectors": figures.vectors,
        "of these thought of anew": figures.thought,
    }
    return [
        *(Row(what=f"pipeline: {name}, {what}", value=s, unit="s") for what, s in times.items()),
        *(Row(what=f"pipeline: {name}, {what}", value=n) for what, n in counts.items()),
    ]


def _turn_rows(found: dict[str, list[Figures]]) -> list[Row]:
    return [
        Row(what=f"pipeline: {NAMES[who]}, turn {turn}", value=_cpu_s(each), unit="s")
        for who, figures in found.items()
        for turn, each in enumerate(figures[1:], 1)
    ]


def _run(who: str, text: Path, folder: Path, turn: int) -> Figures:
    """One run in a process and a folder of its own; what its model knows, the next one knows."""
    home = folder / f"{who} {turn}"
    log, output = home.with_suffix(".log"), home.with_suffix(".out")
    command = [sys.executable, "-m", "tests.bench.pipeline_run", who]
    command += map(str, (text, home, folder / f"{who}.memory"))
    with running(command, LIMITS, log, output) as process:
        try:
            code = process.wait(RUN_S)
        except subprocess.TimeoutExpired as exc:
            raise Broken(f"The run of {NAMES[who]} did not end.\n{tail(log)}") from exc
    if code != 0:
        raise Broken(f"The run of {NAMES[who]} ended with {code}.\n{tail(log)}")
    return Figures(**json.loads(output.read_text(encoding="utf-8").splitlines()[-1]))
