"""The journal at the size of a library of years: how long it takes to open, find, keep, clear."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

from librarian.journal import Journal
from librarian.models.protocol import Completion
from tests.bench.processes import Broken, own_folder
from tests.bench.report import Row, percentile

ANSWERS = 100_000
DOCUMENTS = 200
LETTERS = 1500  # of an answer about a chunk; half as many bytes again in Russian
TRIES = 500
STARTS = 5
MB = 1024 * 1024


_COLUMNS = (
    "(key, role, model, document, chunk, at, text, prompt_tokens, output_tokens, load_s, prompt_s, "
    "output_s, total_s, subject)"
)


def journal(corpus: Path | None) -> list[Row]:
    """A journal of 100,000 answers."""
    with own_folder() as folder:
        path = folder / "journal.sqlite3"
        _fill(path)
        opened_s = [_opened(path) for _ in range(STARTS)]
        dice, kept = random.Random(1), Journal(path)
        found_s = [_found(kept, dice.randrange(ANSWERS)) for _ in range(TRIES)]
        put_s = [_put(kept, ANSWERS + number) for number in range(TRIES)]
        begun_s = time.perf_counter()
        held = kept.holdings()
        held_s = time.perf_counter() - begun_s
        begun_s = time.perf_counter()
        kept.clear()
        cleared_s = time.perf_counter() - begun_s
        left = kept.holdings().bytes
        kept.close()
    return [
        Row(what=f"journal: {ANSWERS:,} answers open", value=1e3 * max(opened_s), unit="ms",
            most=1000),
        Row(what="journal: its size", value=held.bytes / MB, unit="MB"),
        Row(what="journal: an answer is found, p95", value=1e6 * percentile(found_s, 0.95),
            unit="µs"),
        Row(what="journal: an answer is kept, p95", value=1e6 * percentile(put_s, 0.95),
            unit="µs"),
        Row(what="journal: its cost is counted", value=held_s, unit="s"),
        Row(what="journal: it is cleared", value=cleared_s, unit="s", most=1),
        Row(what="journal: its size then", value=left / MB, unit="MB", most=1),
    ]  # fmt: skip


def _fill(path: Path) -> None:
    """The rows in one go: 100,000 times waiting for the disk is not what is measured."""
    Journal(path).close()
    dice = random.Random(2)
    text = "".join(dice.choices("абвгдежзийклмнопрстуфхцчшщыьэюя ,.\n", k=LETTERS * 2))

    def row(number: int) -> tuple[object, ...]:
        at = dice.randrange(LETTERS)
        answer = text[at : at + LETTERS]
        document, subject = f"doc-{number % DOCUMENTS}", _key(number).hex()
        counts = (3000, 700, 0, 1, 40, 43)
        return (_key(number), "extract", "m", document, number, 0.0, answer, *counts, subject)

    db = sqlite3.connect(path)
    with db:
        db.executemany(
            f"INSERT INTO answers {_COLUMNS} VALUES ({'?, ' * 13}?)", map(row, range(ANSWERS))
        )
    db.close()


def _opened(path: Path) -> float:
    begun_s = time.perf_counter()
    found = Journal(path)
    elapsed_s = time.perf_counter() - begun_s
    found.close()
    return elapsed_s


def _found(found: Journal, number: int) -> float:
    begun_s = time.perf_counter()
    answer = found.get(_key(number))
    if answer is None:
        raise Broken(f"Answer {number} is not in the journal.")
    return time.perf_counter() - begun_s


def _put(kept: Journal, number: int) -> float:
    answer = Completion(text="а" * LETTERS, total_s=43)
    begun_s = time.perf_counter()
    kept.put(_key(number), answer, role="extract", model="m", document="doc", chunk=number)
    return time.perf_counter() - begun_s


def _key(number: int) -> bytes:
    return number.to_bytes(4, "big") * 8
