"""Conversations with the library: kept in the home where a person wants it, and as Markdown."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from librarian.answers import Answer
from librarian.durable import write_json
from librarian.errors import LibraryError
from librarian.evidence import Passage

log = logging.getLogger(__name__)

TITLE = 80  # characters
_LARGEST = 50_000_000  # bytes of a file that is read
_NAME = re.compile(r"[0-9a-f]{32}")
_MARKS = re.compile(r"(\\*)([\[\]<$&])")
_SHORTCODE = re.compile(r":(?=[\w+-]+[:\[{]|material/|//)")
_JOINER = "\u2060"  # no width; it ends what would become a link or a picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Questions and answers in their order."""

    id: str
    title: str
    changed_at: float  #: seconds since the epoch
    turns: tuple[Answer, ...]


class Conversations:
    """The kept ones, a file each. Methods block; every one may be called from any thread."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def keep(self, turns: Sequence[Answer], id_: str = "", title: str = "") -> Conversation:
        """Writes a conversation down, under its id where it has one.

        Raises:
            LibraryError: it could not be written; what was kept before is as it was.
        """
        kept = Conversation(
            id=id_ or uuid.uuid4().hex,
            title=_line(title or turns[0].question),
            changed_at=self._clock(),
            turns=tuple(turns),
        )
        self._write(kept)
        return kept

    def all(self) -> tuple[tuple[Conversation, ...], int]:
        """The kept ones, newest first, and how many files cannot be read as one."""
        found, damaged = [], 0
        for path in self._folder.glob("*.json"):
            try:
                found.append(_read(path))
            except (OSError, LibraryError) as exc:
                log.warning("%s is no conversation: %s", path.name, exc)
                damaged += 1
        return tuple(sorted(found, key=lambda each: -each.changed_at)), damaged

    def get(self, id_: str) -> Conversation:
        """A kept conversation.

        Raises:
            LibraryError: there is none, or its file is damaged.
        """
        try:
            return _read(self._path(id_))
        except OSError as exc:
            raise LibraryError(f"That conversation is gone: {exc.strerror or exc}.") from exc

    def rename(self, id_: str, title: str) -> None:
        """Gives a conversation another title.

        Raises:
            LibraryError: there is no title or no such conversation, or it cannot be written.
        """
        if not title.strip():
            raise LibraryError("A conversation needs a title.")
        self._write(replace(self.get(id_), title=_line(title)))

    def delete(self, id_: str) -> None:
        """Removes a conversation for good; does nothing if it is gone.

        Raises:
            LibraryError: the file cannot be removed.
        """
        try:
            self._path(id_).unlink(missing_ok=True)
        except OSError as exc:
            raise LibraryError(f"It could not be removed: {exc.strerror or exc}.") from exc

    def _write(self, kept: Conversation) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as exc:
            raise LibraryError(f"{self._folder}: {exc.strerror or exc}.") from exc
        write_json(self._path(kept.id), asdict(kept))

    def _path(self, id_: str) -> Path:
        if not _NAME.fullmatch(id_):
            raise LibraryError(f"{id_!r} is no conversation.")
        return self._folder / f"{id_}.json"


def to_markdown(turns: Sequence[Answer]) -> str:
    """A conversation as a Markdown file; nothing of the model becomes a link or HTML in it."""
    return "\n\n---\n\n".join(map(_turn, turns)) + "\n"


def safe_markdown(text: str) -> str:
    """A model's text as Markdown that keeps its lists and emphasis, but no link, image or HTML.

    A backslash that is there already is not doubled: quotes of the offline model have theirs. It
    does not stop a bare address, which Markdown looks for once more after the backslashes are gone.
    """

    def marked(match: re.Match[str]) -> str:
        return match[0] if len(match[1]) % 2 else f"{match[1]}\\{match[2]}"

    safe = _MARKS.sub(marked, _SHORTCODE.sub(f":{_JOINER}", text))
    safe = re.sub(r"\bwww(?=\.)", f"www{_JOINER}", safe, flags=re.I)
    return safe.replace("@", f"@{_JOINER}")


def _turn(turn: Answer) -> str:
    parts = [f"## {safe_markdown(_line(turn.question, 4000))}", safe_markdown(turn.text)]
    if turn.stopped:
        parts.append("*Stopped before its end.*")
    names = {each.number: each.document for each in turn.sources if each.number in turn.cited}
    if names:
        rows = [f"- \\[{number}\\] {safe_markdown(_line(name))}" for number, name in names.items()]
        parts.append("### Sources\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _line(text: str, longest: int = TITLE) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _read(path: Path) -> Conversation:
    """The conversation of a file; raises OSError and LibraryError."""
    if path.stat().st_size > _LARGEST:
        raise LibraryError(f"{path.name} is too large for a conversation.")
    try:
        data = json.loads(path.read_bytes())
        return Conversation(
            id=path.stem if _NAME.fullmatch(path.stem) else _wrong(path.stem),
            title=_line(_text(data["title"])),
            changed_at=float(data["changed_at"]),
            turns=tuple(map(_answer, data["turns"])) or _wrong("no turns"),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise LibraryError(f"{path.name} is damaged ({type(exc).__name__}: {exc}).") from exc


def _answer(row: Mapping[str, Any]) -> Answer:
    return Answer(
        question=_text(row["question"]),
        text=_text(row["text"]),
        mode=_text(row["mode"]),
        sources=tuple(
            Passage(
                number=int(each["number"]),
                document=_text(each["document"]),
                chunk=_text(each["chunk"]),
                text=_text(each["text"]),
                page=int(each["page"]) if each.get("page") else None,
            )
            for each in row["sources"]
        ),
        cited=tuple(map(int, row["cited"])),
        entities=tuple(map(_text, row["entities"])),
        seconds=float(row["seconds"]),
        stopped=bool(row["stopped"]),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else _wrong(value)


def _wrong(value: object) -> Any:
    raise ValueError(f"{str(value)[:40]!r} is not what belongs there")
