"""The log: a file in the library's folder, and its last lines for the dashboard."""

from __future__ import annotations

import logging
import re
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

LINES = 300
FILE_BYTES = 5 * 1024 * 1024
# asyncio and anyio say these when something is used on two loops.
LOOP_ERRORS = (
    "different event loop",
    "different loop",
    "Event loop is closed",
    "loop is already running",
    "no running event loop",
    "never awaited",
)
_NAMES = ("lightrag", "librarian", "asyncio")
#: How the lines begin that LightRAG writes for each of thousands of entities, relations, calls.
CHATTER = ("Upserting relation", " == LLM cache == ", "Merged: `", "LLMmrg: `")
_QUOTED = re.compile(r"`[^`]*`|'[^']*'")  # names and passages, as LightRAG cites them
_TEXTS = re.compile(r"^(Query (?:nodes|edges):|Summarizing|.*origin query:).*", re.DOTALL)
_ROWS = re.compile(r"^(.*?)(?:\n|,)\s*(?:sql|params):.*?\n\s*error: ?([^\n]*).*", re.DOTALL)
_ITEM = re.compile(r"^(.*Error to prepare upsert,)\s*error: ([^\n]*).*", re.DOTALL)
_FORM = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")


class Logbook:
    """Writes what LightRAG and this program log, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._tail: deque[str] = deque(maxlen=LINES)
        self._file = RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=2, encoding="utf-8")
        self._memory = _Memory(self._tail)
        for handler in (self._file, self._memory):
            handler.setFormatter(_FORM)
            for name in _NAMES:
                logging.getLogger(name).addHandler(handler)
        logging.getLogger("lightrag").addFilter(_without_texts)
        logging.getLogger("librarian").setLevel(logging.INFO)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines, oldest first."""
        return tuple(self._tail)

    def close(self) -> None:
        """Stops writing."""
        logging.getLogger("lightrag").removeFilter(_without_texts)
        for handler in (self._file, self._memory):
            for name in _NAMES:
                logging.getLogger(name).removeHandler(handler)
            handler.close()


def loop_errors(path: Path) -> int:
    """How many lines of the log, and of its older parts, tell of a mix-up of event loops."""
    found = 0
    for part in path.parent.glob(f"{path.name}*"):
        with part.open(encoding="utf-8", errors="replace") as lines:
            found += sum(any(error in line for error in LOOP_ERRORS) for line in lines)
    return found


def _without_texts(record: logging.LogRecord) -> bool:
    """Logs are sent to others: they tell nothing of what documents and questions say.

    LightRAG also writes a line for each of a book's thousands of relations; those are left out.
    """
    said = record.getMessage()
    plain = _ITEM.sub(r"\1 \2", _ROWS.sub(r"\1 \2", said))  # what a database did not take
    record.msg, record.args = _TEXTS.sub(r"\1 …", _QUOTED.sub("‘…’", plain)), ()
    return not said.startswith(CHATTER)


class _Memory(logging.Handler):
    def __init__(self, lines: deque[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record)[:2000])
