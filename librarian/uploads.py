"""Files on their way from a browser: on disk from the first byte, and gone on with after a break.

A file comes in slices. A slice says where in the file it begins; one that does not begin where the
file ends here is refused with the place that is wanted, so that a browser goes on after a lost
connection, a reload or a restart of this program.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from librarian.errors import LibrarianError

KEPT_S = 2 * 24 * 3600.0  # a file whose upload was broken off; then it is removed
LEAST_FREE_BYTES = 256 * 1024 * 1024  # that the journal and the graph still need
READ_BYTES = 1024 * 1024
_KEY = re.compile(r"[0-9a-f]{16,64}")


class UploadError(LibrarianError):
    """Choose the file again: what has arrived is kept for two days and is not sent again."""


class WrongPlace(UploadError):
    """The upload goes on from there by itself."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The next byte wanted is {size:,}.")
        self.size = size  #: how many bytes are here


class NoRoom(LibrarianError):
    """Free some space on the disk of the library, then choose the file again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that has arrived whole. The name is as the browser gave it, not yet a safe one."""

    key: str
    name: str
    bytes: int
    sha256: str


class Uploads:
    """The folder of files that are on their way. Methods block; any thread may call them."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        least_free_bytes: int = LEAST_FREE_BYTES,
    ) -> None:
        self.ticket = secrets.token_urlsafe(24)  #: pages hand it out; a route wants it back
        self._folder = folder
        self._clock = clock
        self._least_free = least_free_bytes
        self._guard = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}

    def size(self, key: str) -> int:
        """How many bytes of a file are here.

        Raises:
            UploadError: not a key.
        """
        path = self._part(key)
        return path.stat().st_size if path.exists() else 0

    def append(self, key: str, offset: int, data: bytes) -> int:
        """Adds bytes to a file and says how many it has now.

        Raises:
            WrongPlace: with the number of bytes that are here.
            NoRoom: the disk is nearly full.
            UploadError: it could not be written.
        """
        path = self._part(key)
        with self._lock(key):
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._check_room(len(data))
                with path.open("ab") as stream:
                    if stream.tell() != offset:
                        raise WrongPlace(stream.tell())
                    stream.write(data)
                    return stream.tell()
            except OSError as exc:
                raise UploadError(f"It could not be written: {exc.strerror or exc}.") from exc

    def finish(self, key: str, name: str, size: int) -> Upload:
        """Takes a file as whole, if it has as many bytes as the browser says.

        Raises:
            WrongPlace: it has more or fewer.
            UploadError: it could not be read.
        """
        path = self._part(key)
        with self._lock(key):
            if self.size(key) != size:
                raise WrongPlace(self.size(key))
            try:
                if not size:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    path.touch()
                return Upload(key=key, name=name, bytes=size, sha256=_settled_hash(path))
            except OSError as exc:
                raise UploadError(f"It could not be read: {exc.strerror or exc}.") from exc

    def path(self, key: str) -> Path:
        """Where a file is that has arrived.

        Raises:
            UploadError: there is none.
        """
        path = self._part(key)
        if not path.exists():
            raise UploadError("The uploaded file is not here any more.")
        return path

    def drop(self, key: str) -> None:
        """Removes a file, if it is there."""
        self._part(key).unlink(missing_ok=True)
        with self._guard:
            self._busy.pop(key, None)

    def sweep(self) -> None:
        """Removes files whose upload nobody went on with."""
        for path in self._folder.glob("*.part"):
            try:
                if self._clock() - path.stat().st_mtime > KEPT_S:
                    path.unlink()
            except FileNotFoundError:
                continue

    def _part(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise UploadError(f"{key!r:.80} names no upload.")
        return self._folder / f"{key}.part"

    def _lock(self, key: str) -> threading.Lock:
        with self._guard:
            return self._busy.setdefault(key, threading.Lock())

    def _check_room(self, more: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < self._least_free + more:
            raise NoRoom(f"The disk of the library has {free / 1e6:,.0f} MB left.")


def _settled_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, once they are on the disk."""
    digest = hashlib.sha256()
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())
        while piece := stream.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
