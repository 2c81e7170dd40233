"""A book that is edited: what a changed paragraph costs in calls of the model."""

from __future__ import annotations

import shutil
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace as changed
from pathlib import Path

from librarian.borders import CUTS
from tests.bench import graphs, texts
from tests.bench.processes import Json, StandIn, app, own_folder, reads_with, stand_in
from tests.bench.report import Row

RUN_S = 600.0
PLACES = {"start": 0.03, "middle": 0.5, "end": 0.97}  # of a book, as shares of its paragraphs
LEAST = 120  # characters of a paragraph that is worth an edit
NEW = (
    "Смотритель маяка Ефим Лапин каждый вечер записывал в журнал, какая погода стоит над мысом, "
    "сколько пароходов прошло мимо мели и кто из капитанов ответил на его сигнал."
)


def edits(corpus: Path | None) -> list[Row]:
    """A book is indexed, then nine versions of it in turn, each with one edit more."""
    with own_folder() as folder, stand_in(folder) as ollama:
        ollama.set(latency_s=0.0)
        path = texts.book(corpus, folder)
        before = path.read_text(encoding="utf-8")
        asked: dict[str, Counter[str]] = {}
        with app(folder / "home", **reads_with(ollama)) as measured:
            measured.until_ready()
            measured.until_processed(measured.add(path), RUN_S)
            version = folder / "edited" / path.name
            version.parent.mkdir()
            for what, text in _versions(before):
                ollama.set(forget_calls=True)
                version.write_text(text, encoding="utf-8")
                measured.until_processed(measured.add(version, replace=True), RUN_S)
                asked[what] = _roles(ollama.calls())
        found = graphs.read(folder / "home")
        borders = next((folder / "home" / "files").glob(f"*{CUTS}"), None)
        _index(folder / "fresh", version, ollama, None)
        _index(folder / "same", version, ollama, borders)
        alike = graphs.differences("edits", found, graphs.read(folder / "same"))
        afresh = graphs.differences("edits, cut afresh", found, graphs.read(folder / "fresh"))
    # Where old borders stay, relations of what stands on two sides of one are others.
    kept = Row(what="edits: the last one keeps old borders", value=borders is not None)
    return [*_cost_rows(asked), kept, *alike, *(changed(row, most=None) for row in afresh[:2])]


def _index(home: Path, version: Path, ollama: StandIn, borders: Path | None) -> None:
    """A library that never had another version; it is cut at these borders, if there are any."""
    with app(home, **reads_with(ollama)) as fresh:
        fresh.until_ready()
        if borders is not None:
            shutil.copy(borders, home / "files")
        fresh.until_processed(fresh.add(version), RUN_S)


def _versions(text: str) -> Iterator[tuple[str, str]]:
    """What was done, and the whole text after it; each edit is added to those before."""
    paragraphs = text.split("\n\n")
    for place, share in PLACES.items():
        for kind in ("inserted", "deleted", "reworded"):
            at = _worth_an_edit(paragraphs, round(share * len(paragraphs)))
            if kind == "inserted":
                paragraphs.insert(at, f"{NEW} ({place})")
            elif kind == "deleted":
                del paragraphs[at + 1 + _worth_an_edit(paragraphs[at + 1 :], 0)]
            else:
                paragraphs[at] = _reworded(paragraphs[at])
            yield f"{kind} near the {place}", "\n\n".join(paragraphs)


def _worth_an_edit(paragraphs: Sequence[str], first: int) -> int:
    """The next paragraph that is more than a heading or a line."""
    return next(n for n in range(first, len(paragraphs)) if len(paragraphs[n]) >= LEAST)


def _reworded(paragraph: str) -> str:
    """The same number of words, the middle ones in another order."""
    words = paragraph.split(" ")
    third = len(words) // 3
    return " ".join([*words[:third], *reversed(words[third : 2 * third]), *words[2 * third :]])


def _roles(calls: list[Json]) -> Counter[str]:
    return Counter(call["role"] for call in calls if call["endpoint"] == "/api/chat")


def _cost_rows(asked: dict[str, Counter[str]]) -> list[Row]:
    costs = {what: roles["extract"] for what, roles in asked.items()}
    summaries = [roles["summary"] for roles in asked.values()]
    return [
        Row(what="edits: extractions of one edit, most", value=max(costs.values()), most=3),
        *(Row(what=f"edits: extractions, {what}", value=cost) for what, cost in costs.items()),
        Row(what="edits: summaries of one edit, most", value=max(summaries)),
        Row(what="edits: summaries of one edit, median", value=statistics.median(summaries)),
    ]
