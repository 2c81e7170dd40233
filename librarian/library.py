"""The library on disk: its folder, its owner, its manifest and its originals."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import filelock

from librarian.catalogue import Catalogue
from librarian.errors import EmbeddingMismatch, LibraryBusy, LibraryError
from librarian.journal import Journal
from librarian.models.protocol import ModelCard

FORMAT = 1  # of library.json and the catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a library was begun with and must be continued with."""

    format: int = FORMAT
    workspace: str = ""  #: LightRAG's name for this library's data, unique
    backend: str = ""
    llm: str = ""
    embed: str = ""
    dimension: int = 0  #: of an embedding; 0 until the first one was made
    chunk_tokens: int = 0
    created_at: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that has a library open."""

    pid: int
    since: str
    address: str  #: of its dashboard; empty for a command


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSize:
    """A file of the library that grows with it."""

    name: str
    bytes: int
    modified_at: float


class Library:
    """An open home. One process has it at a time; `close` gives it back."""

    def __init__(self, home: Path, lock: filelock.BaseFileLock) -> None:
        self.home = home
        self.files = home / "files"
        self.cache = home / "lightrag_cache"
        self.log = home / "librarian.log"
        self.admission = threading.Lock()  # two uploads of one text must not both be new
        self._lock = lock
        self.manifest = _read_manifest(home)
        self.catalogue = Catalogue(home / "catalogue.sqlite3")
        self.journal = Journal(home / "journal.sqlite3")

    @classmethod
    def open(cls, home: Path, *, address: str = "") -> Library:
        """Makes the folders where needed and takes the home for this process.

        Raises:
            LibraryBusy: naming the owner.
            LibraryError: the folder cannot be made, read or written.
        """
        try:
            for folder in (home, home / "files", home / "lightrag_cache"):
                folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(home / "lock")
            lock.acquire(timeout=0)
        except filelock.Timeout as exc:
            raise LibraryBusy(_busy_text(home)) from exc
        except OSError as exc:
            raise LibraryError(f"{home}: {exc.strerror or exc}.") from exc
        try:
            owner = Owner(pid=os.getpid(), since=_now(), address=address)
            _write_json(home / "owner.json", asdict(owner))
            return cls(home, lock)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Gives the home back."""
        self.journal.close()
        self.catalogue.close()
        (self.home / "owner.json").unlink(missing_ok=True)
        self._lock.release()

    def pin(self, card: ModelCard, *, chunk_tokens: int, versions: Mapping[str, str]) -> None:
        """Writes down which models this library is made with, or checks that they are the same.

        While there is no document in it, the choice is free.

        Raises:
            EmbeddingMismatch: the vectors on disk were made by another model.
        """
        known = self.manifest
        if known.embed and self.catalogue.any_indexed():
            same = known.embed == card.embed and known.dimension in (0, card.dimension)
            if not same:
                raise EmbeddingMismatch(
                    f"This library was made with {known.embed} ({known.dimension} numbers a "
                    f"vector); now it would get {card.embed} ({card.dimension})."
                )
        elif known.dimension != card.dimension or known.embed != card.embed:
            # LightRAG refuses to open vectors of another dimension, even empty ones.
            known = replace(known, workspace="")
        self.manifest = replace(
            known,
            workspace=known.workspace or f"library_{uuid.uuid4().hex[:12]}",
            backend=card.backend,
            llm=card.llm,
            embed=card.embed,
            dimension=card.dimension,
            chunk_tokens=known.chunk_tokens or chunk_tokens,
            created_at=known.created_at or _now(),
            versions=dict(versions),
        )
        _write_json(self.home / "library.json", asdict(self.manifest))

    @property
    def storage(self) -> Path:
        """Where LightRAG keeps this library's own files."""
        return self.cache / self.manifest.workspace if self.manifest.workspace else self.cache

    def keep_original(self, file: str, data: bytes) -> None:
        """Stores an uploaded file as it came, whole or not at all.

        Raises:
            LibraryError: it could not be written.
        """
        try:
            _write_whole(self.files / file, data)
        except OSError as exc:
            raise LibraryError(f"{file} could not be stored: {exc.strerror or exc}.") from exc

    def read_original(self, file: str) -> bytes:
        """The bytes of a stored file.

        Raises:
            LibraryError: it is gone or cannot be read.
        """
        try:
            return (self.files / file).read_bytes()
        except OSError as exc:
            raise LibraryError(f"{file} could not be read: {exc.strerror or exc}.") from exc

    def drop_original(self, file: str) -> None:
        """Removes a stored file, if it is there."""
        (self.files / file).unlink(missing_ok=True)

    def sizes(self) -> tuple[FileSize, ...]:
        """The files that indexing writes, largest first."""
        found = []
        for path in (*self.storage.glob("*.*"), *self.home.glob("*.sqlite3*"), self.log):
            try:
                stat = path.stat()
            except FileNotFoundError:  # LightRAG replaces its files while they are listed
                continue
            if path.is_file():
                found.append(
                    FileSize(name=path.name, bytes=stat.st_size, modified_at=stat.st_mtime)
                )
        return tuple(sorted(found, key=lambda each: -each.bytes))


def owner_of(home: Path) -> Owner | None:
    """Who has a home open now; None when nobody has, whatever files were left behind."""
    if not (home / "lock").exists():
        return None
    lock = filelock.FileLock(home / "lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return _read_owner(home)
    except OSError as exc:
        raise LibraryError(f"{home}: {exc.strerror or exc}.") from exc
    lock.release()
    return None


def _read_owner(home: Path) -> Owner:
    try:
        return Owner(**json.loads((home / "owner.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Owner(pid=0, since="an unknown time", address="")


def _busy_text(home: Path) -> str:
    owner = _read_owner(home)
    where = f", at {owner.address}" if owner.address else ""
    return f"{home} is open in process {owner.pid or '?'} since {owner.since}{where}."


def _read_manifest(home: Path) -> Manifest:
    path = home / "library.json"
    if not path.exists():
        return Manifest()
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest(**data)
    except (OSError, ValueError, TypeError) as exc:
        raise LibraryError(
            f"{path} is damaged ({exc}). Put back a copy of it, or move it away to begin anew; "
            "the originals in files/ are not touched."
        ) from exc
    if manifest.format > FORMAT:
        raise LibraryError(f"{path} was written by a newer version of this program.")
    return manifest


def _write_json(path: Path, data: object) -> None:
    text = json.dumps(data, ensure_ascii=False, indent=2)
    try:
        _write_whole(path, text.encode())
    except OSError as exc:
        raise LibraryError(f"{path} could not be written: {exc.strerror or exc}.") from exc


def _write_whole(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
