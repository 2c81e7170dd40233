"""The library on disk: its folder, its owner, its manifest and its originals."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock

from librarian import changes
from librarian.catalogue import Catalogue
from librarian.durable import settle, write_json, write_whole
from librarian.edits import Edits
from librarian.errors import EmbeddingMismatch, LibraryBusy, LibraryError
from librarian.journal import Journal
from librarian.manifest import FORMAT, Manifest, keep_copies, read_manifest
from librarian.models.protocol import ModelCard
from librarian.secret import drop_secret, make_secret

log = logging.getLogger(__name__)

ATTEMPT = "re-embed.json"  # two workspaces, of which the one that library.json names is in use
VECTORS = "vdb_"  # how the names of LightRAG's vector files begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that has a library open."""

    pid: int
    since: str
    address: str  #: of its dashboard; empty for a command
    opening: str = ""  #: says which library a dashboard had open at the time; it may change


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSize:
    """A file of the library that grows with it."""

    name: str
    bytes: int
    modified_at: float
    table: bool = False  #: it is a table of PostgreSQL, in which others may have a part
    indexed_now: bool = False  #: the index over its vectors is being made


class Library:
    """An open home. One process has it at a time; `close` gives it back."""

    def __init__(self, home: Path, lock: filelock.BaseFileLock, owner: Owner) -> None:
        self.home = home
        self.opening = owner.opening
        self.files = home / "files"
        self.cache = home / "lightrag_cache"
        self.log = home / "librarian.log"
        self.admission = threading.Lock()  # two uploads of one text must not both be new
        self._lock = lock
        self.secret = make_secret(home)  #: commands show that they may read this folder
        self.manifest = read_manifest(home)
        self._upgrade()
        self.catalogue = Catalogue(home / "catalogue.sqlite3")
        self.journal = Journal(home / "journal.sqlite3")
        self.edits = Edits(home / "edits.sqlite3")
        self.drop_unused()

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
            # Of the process, not of this thread: another one may close the library.
            lock = filelock.FileLock(home / "lock", thread_local=False)
            lock.acquire(timeout=0)
        except filelock.Timeout as exc:
            raise LibraryBusy(_busy_text(home)) from exc
        except OSError as exc:
            raise LibraryError(f"{home}: {exc.strerror or exc}.") from exc
        try:
            owner = Owner(pid=os.getpid(), since=_now(), address=address, opening=uuid.uuid4().hex)
            write_json(home / "owner.json", asdict(owner))
            return cls(home, lock, owner)
        except BaseException:
            lock.release()
            raise

    def _upgrade(self) -> None:
        known = self.manifest
        self.manifest = replace(known, format=FORMAT)
        if known.format < FORMAT and keep_copies(self.home, known.format):
            self._write_manifest(self.manifest)

    def close(self) -> None:
        """Gives the home back."""
        self.journal.close()
        self.edits.close()
        self.catalogue.close()
        (self.home / "owner.json").unlink(missing_ok=True)
        drop_secret(self.home)
        self._lock.release()

    def pin(
        self,
        card: ModelCard,
        *,
        chunk_tokens: int,
        versions: Mapping[str, str],
        storage: str = "files",
    ) -> None:
        """Writes down which models this library is made with, or checks that they are the same.

        `storage` is where a library is kept that is begun now; another one stays where it is.

        While there is no document in it, the choice is free.

        Raises:
            EmbeddingMismatch: the vectors on disk were made by another model.
        """
        known = self.manifest
        if known.embed and self.catalogue.any_indexed():
            same = known.embed == card.embed and known.dimension in (0, card.dimension)
            if not same:
                raise self.mismatch(
                    f"This library was made with {known.embed} ({known.dimension} numbers a "
                    f"vector); now it would get {card.embed} ({card.dimension})."
                )
        elif known.storage != storage:
            known = replace(known, storage=storage, workspace="")
        elif known.dimension != card.dimension or known.embed != card.embed:
            # LightRAG refuses to open vectors of another dimension, even empty ones.
            known = replace(known, workspace="")
        self._write_manifest(
            replace(
                known,
                workspace=known.workspace or _new_workspace(),
                backend=card.backend,
                llm=card.llm,
                embed=card.embed,
                dimension=card.dimension,
                fingerprint=card.fingerprint,
                chunk_tokens=known.chunk_tokens or chunk_tokens,
                created_at=known.created_at or _now(),
                versions=dict(versions),
            )
        )

    def move_to(self, storage: str) -> None:
        """Says where LightRAG's data are from now on."""
        self._write_manifest(replace(self.manifest, storage=storage))

    def keep_fingerprint(self, fingerprint: tuple[float, ...]) -> None:
        """Writes down what the weights of the embedder are known by."""
        self._write_manifest(replace(self.manifest, fingerprint=fingerprint))

    def mismatch(self, detail: str) -> EmbeddingMismatch:
        """The error for another embedding model, with the two ways out."""
        known = self.manifest
        keep = (
            f"LIBRARIAN_EMBED_MODEL={known.embed}"
            if known.backend in ("ollama", "openai")
            else f"LIBRARIAN_BACKEND={known.backend}"
        )
        return EmbeddingMismatch(
            f"{detail} Keep the old model: set {keep}. Or change to the new one: "
            f"`python -m librarian re-embed --home {self.home}` makes all vectors anew from what "
            "is stored and asks no language model."
        )

    def copy_storage(self) -> str:
        """A new workspace with all that LightRAG's files have of this library but its vectors.

        It is only an attempt until `take_storage`; the next start removes what is left of it.

        Raises:
            LibraryError: there is no room for it.
        """
        name = _new_workspace()
        write_json(self.home / ATTEMPT, {"workspaces": [self.manifest.workspace, name]})
        if self.manifest.storage != "files":
            return name  # the database copies its rows by itself
        try:
            shutil.copytree(
                self.storage, self.cache / name, ignore=shutil.ignore_patterns(f"{VECTORS}*")
            )
        except OSError as exc:  # of several files, where copytree collects them
            raise LibraryError(f"{self.storage} could not be copied: {exc}.") from exc
        changes.forget(self.cache / name, VECTORS)
        return name

    def take_storage(self, workspace: str, card: ModelCard) -> None:
        """Goes over to a workspace whose vectors are complete: one write of library.json.

        Raises:
            LibraryError: it could not be written; the library is as it was.
        """
        folder = self.cache / workspace
        try:  # LightRAG does not wait until its files are on the disk
            settle((*folder.glob("*"), *filter(Path.exists, (folder, self.cache))))
        except OSError as exc:
            raise LibraryError(f"{folder}: {exc.strerror or exc}.") from exc
        self._write_manifest(
            replace(
                self.manifest,
                workspace=workspace,
                backend=card.backend,
                llm=card.llm,
                embed=card.embed,
                dimension=card.dimension,
                fingerprint=card.fingerprint,
            )
        )
        self.drop_unused()

    def drop_unused(self) -> None:
        """Removes the workspace that an attempt has left, or that has been replaced.

        One in a database is left to `sweep`, which has it open.
        """
        unused = [self.cache / name for name in self.unused()]
        for folder in unused:
            shutil.rmtree(folder, ignore_errors=True)
        # Where a folder is left, the next start tries again.
        if self.manifest.storage == "files" and not any(folder.exists() for folder in unused):
            self.end_attempt()

    def unused(self) -> list[str]:
        """The workspaces that `drop_unused` or `sweep` is to remove."""
        path = self.home / ATTEMPT
        try:
            names = json.loads(path.read_text(encoding="utf-8"))["workspaces"]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as exc:
            log.warning("%s cannot be read (%s): what it names is left as it is.", path, exc)
            return []
        return [str(name) for name in names if name and name != self.manifest.workspace]

    def end_attempt(self) -> None:
        """Says that nothing is left of an attempt."""
        (self.home / ATTEMPT).unlink(missing_ok=True)

    def _write_manifest(self, manifest: Manifest) -> None:
        write_json(self.home / "library.json", asdict(manifest))
        self.manifest = manifest

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
            write_whole(self.files / file, data)
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
        """The files that indexing writes, largest first; a database is one with its log."""
        found: dict[str, FileSize] = {}
        for path in (*self.storage.glob("*.*"), *self.home.glob("*.sqlite3*"), self.log):
            try:
                stat = path.stat()
            except FileNotFoundError:  # LightRAG replaces its files while they are listed
                continue
            if not path.is_file():
                continue
            name = path.name.removesuffix("-wal").removesuffix("-shm")
            known = found.get(name, FileSize(name=name, bytes=0, modified_at=0.0))
            found[name] = replace(
                known,
                bytes=known.bytes + stat.st_size,
                modified_at=max(known.modified_at, stat.st_mtime),
            )
        return tuple(sorted(found.values(), key=lambda each: -each.bytes))


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


def _new_workspace() -> str:
    return f"library_{uuid.uuid4().hex[:12]}"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
