"""What a library was begun with, and what becomes of one that an older version began."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from librarian.durable import settle
from librarian.errors import LibraryError

log = logging.getLogger(__name__)

FORMAT = 3  # of library.json and the databases
NAME = "library.json"
DATABASES = ("catalogue.sqlite3", "journal.sqlite3", "edits.sqlite3")
STORAGES = ("files", "postgres")
BEFORE = "before-upgrade"  # folder of what an older version wrote, as it was


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a library was begun with and must be continued with."""

    format: int = 1  #: what was written before there were others does not say it
    workspace: str = ""  #: LightRAG's name for this library's data, unique
    backend: str = ""
    llm: str = ""
    embed: str = ""
    dimension: int = 0  #: of an embedding; 0 until the first one was made
    fingerprint: tuple[float, ...] = ()  #: of the embedder's weights, as `ModelCard` has it
    storage: str = "files"  #: of LightRAG's data: one of `STORAGES`
    chunk_tokens: int = 0
    created_at: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def read_manifest(home: Path) -> Manifest:
    """The manifest of a home; an empty one where there is none yet.

    Raises:
        LibraryError: it is damaged, or a newer version of this program wrote it.
    """
    path = home / "library.json"
    if not path.exists():
        return Manifest()
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if int(data.get("format", 1)) > FORMAT:
            raise LibraryError(
                f"{path} was written by a newer version of this program; install that."
            )
        numbers = tuple(map(float, data.pop("fingerprint", ())))
        manifest = Manifest(**data, fingerprint=numbers)
        if manifest.storage not in STORAGES:
            raise ValueError(f"storage is {manifest.storage!r:.40}")
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        raise LibraryError(
            f"{path} is damaged ({exc}). Put back a copy of it, or move it away to begin anew; "
            "the originals in files/ are not touched."
        ) from exc
    return manifest


def keep_copies(home: Path, known: int) -> bool:
    """Copies what an older version wrote, before this one changes it; whether there was any.

    Raises:
        LibraryError: there is no room.
    """
    found = [path for path in (*home.glob("*.sqlite3*"), home / NAME) if path.exists()]
    if not found:
        return False
    copies = home / BEFORE / f"{known}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        copies.mkdir(parents=True, exist_ok=True)
        for path in found:
            shutil.copy2(path, copies / path.name)
        settle((*copies.iterdir(), copies))
    except OSError as exc:
        raise LibraryError(
            "This library is of an older version, and there is no room for a copy of what "
            f"changes: {exc.strerror or exc}. Free some space."
        ) from exc
    log.info("This library is of format %d now; what it was is in %s.", FORMAT, copies)
    return True
