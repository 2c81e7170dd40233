"""Files that are on the disk whole or not at all, whatever happens to the process or the power."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from librarian.errors import LibraryError


def write_json(path: Path, data: object) -> None:
    """Replaces a file of JSON.

    Raises:
        LibraryError: it could not be written; it is as it was.
    """
    text = json.dumps(data, ensure_ascii=False, indent=2)
    try:
        write_whole(path, text.encode())
    except OSError as exc:
        raise LibraryError(f"{path} could not be written: {exc.strerror or exc}.") from exc


def write_whole(path: Path, data: bytes) -> None:
    """Replaces a file; raises OSError."""
    write_pieces(path, (data,))


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Replaces a file by these pieces, one after the other; raises OSError."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as stream:
        stream.writelines(pieces)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    settle((path.parent,))


def settle(paths: Iterable[Path]) -> None:
    """Waits until files, and the names in folders, are on the disk; raises OSError."""
    windows = os.name == "nt"  # there, files must be open for writing, and folders cannot be
    for path in paths:
        if windows and path.is_dir():
            continue
        number = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
