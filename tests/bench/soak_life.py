"""One life of a process that works with a library by chance, until it ends or is killed."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

from librarian.app import Librarian
from librarian.errors import LibrarianError
from librarian.mending import Describe, DropEntity, DropRelation, Edit, Merge, Rename
from librarian.settings import Settings

BOOKS = 10
VERSIONS = 3
CHUNK_TOKENS = 200
PAUSE_S = 0.25  # the longest between two doings
QUESTIONS = ("Who sailed with Mate Willow1?", "Where is Port Ember2?", "What of Captain Alder3?")


def name_of(book: int) -> str:
    """Some come as HTML, and so through a converter."""
    return f"book{book}.{'html' if book % 4 == 0 else 'txt'}"


def data_of(book: int, version: int) -> bytes:
    """Books share their people, and a version has other ones in some of its paragraphs."""
    dice = Random(book)
    parts = []
    for place in range(2 + book % 5):
        who = dice.randrange(12) + (100 + version if (place + version) % 3 == 0 else 0)
        where = dice.randrange(12)
        parts.append(
            f"Captain Alder{who} sailed from Port Ember{where} to the island of Thorn{who} with "
            f"Mate Willow{where} in book {book}. "
            + f"In the year {1700 + where} the crew of the Falcon{who} found salt there. "
            * 6
        )
    if name_of(book).endswith(".html"):
        page = "".join(f"<p>{part}</p>" for part in parts)
        return f"<html><body>{page}</body></html>".encode()
    return "\n\n".join(parts).encode()


def settings_of(home: Path, host: str) -> Settings:
    """What all lives and the last look have in common."""
    environ = {"OLLAMA_HOST": host}
    return Settings.from_env(environ, home=home, backend="ollama", chunk_tokens=CHUNK_TOKENS)


class Life:
    """Does one thing after the other, and says each before and after."""

    def __init__(self, librarian: Librarian, dice: Random, *, mends: bool) -> None:
        self._librarian = librarian
        self._dice = dice
        doings: dict[Callable[[], None], int] = {
            self._add: 8, self._delete: 3, self._pause: 2, self._retry: 3, self._place: 1,
        }  # fmt: skip
        if mends:
            doings |= {self._mend: 5, self._undo: 2}
        self._doings = doings

    def step(self) -> None:
        """Does something; what the library refuses is no trouble."""
        (doing,) = self._dice.choices(list(self._doings), list(self._doings.values()))
        try:
            doing()
        except LibrarianError as exc:
            say({"refused": doing.__name__, "why": str(exc)})

    def _add(self) -> None:
        book, version = self._dice.randrange(BOOKS), self._dice.randrange(VERSIONS)
        say({"do": "add", "book": book, "version": version})
        done = self._librarian.add_file(name_of(book), data_of(book, version), replace=True)
        say({"done": done.outcome, "id": done.doc_id, "message": done.message})

    def _delete(self) -> None:
        book = self._dice.randrange(BOOKS)
        say({"do": "delete", "book": book})
        self._librarian.delete(name_of(book))
        say({"done": "deleted", "id": None})

    def _pause(self) -> None:
        self._librarian.pause(name_of(self._dice.randrange(BOOKS)))

    def _retry(self) -> None:
        self._librarian.retry(name_of(self._dice.randrange(BOOKS)))

    def _place(self) -> None:
        self._librarian.move_next(name_of(self._dice.randrange(BOOKS)))

    def _mend(self) -> None:
        graph = self._librarian.graph()
        names = [each.name for each in graph.entities]
        if len(names) < 2:
            return
        one, other = self._dice.sample(names, 2)
        edits: list[Edit] = [
            Rename(one, f"{one} the Elder"),
            Merge(one, other),
            Describe(one, "As a person says.", "person"),
            DropEntity(one),
        ]
        if graph.relations:
            relation = self._dice.choice(graph.relations)
            edits.append(DropRelation(relation.source, relation.target))
        say({"mend": repr(edit := self._dice.choice(edits))})
        self._librarian.mend(edit)

    def _undo(self) -> None:
        if entries := self._librarian.edits(5):
            self._librarian.undo_edit(self._dice.choice(entries).number)


def main() -> int:
    """Works for some seconds: 0 it has ended by itself, 1 something broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("host")
    parser.add_argument("seed", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--mends", action="store_true")
    given = parser.parse_args()
    dice = Random(given.seed)
    librarian = Librarian.open(settings_of(given.home, given.host))
    try:
        say({"opened": os.getpid()})
        librarian.wait_ready()
        say({"ready": True})
        until = time.monotonic() + given.seconds
        asking = threading.Thread(target=_ask, args=(librarian, until, Random(given.seed)))
        asking.start()
        life = Life(librarian, dice, mends=given.mends)
        while time.monotonic() < until:
            life.step()
            time.sleep(dice.uniform(0, PAUSE_S))
        asking.join()
    except Exception:
        say({"broken": traceback.format_exc()})
        return 1
    finally:
        librarian.close()
    say({"closed": True})
    return 0


def _ask(librarian: Librarian, until: float, dice: Random) -> None:
    """Asks one question after the other beside all that."""
    while time.monotonic() < until:
        try:
            said = librarian.ask(dice.choice(QUESTIONS)).answer.text
            say({"answer": len(said)})
        except LibrarianError as exc:
            say({"refused": "ask", "why": str(exc)})
        except Exception:
            say({"broken": traceback.format_exc()})
        time.sleep(dice.uniform(0, 4 * PAUSE_S))


def say(line: dict[str, object]) -> None:
    """One line of JSON, out of the process at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
