"""A whole library in one file, and back: what is in it is listed with its SHA-256.

While a library works, its parts are gathered at a moment when nothing of the graph is being
written, within milliseconds (links and copies of databases); packing them takes its time later.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from librarian.catalogue import Catalogue
from librarian.durable import settle
from librarian.errors import LibrarianError, LibraryBusy, LibraryError
from librarian.library import Library, owner_of
from librarian.manifest import DATABASES, FORMAT, NAME

LIST = "backup.json"
ENDING = ".librarian.zip"
FOLDERS = ("files", "lightrag_cache", "conversations", "pictures", "removed")  # and the files below
PACKED = (".pdf", ".epub", ".zip", ".docx", ".pptx", ".xlsx", ".odt", ".ods", ".jpg", ".png")
PIECE = 1 << 20
MOST_LIST = 256 << 20  # bytes of the list; a library of a million files has that
TRIES = 3  # a document may be deleted while the parts are gathered
Heard = Callable[[int, int], None]  #: bytes that are done, and of how many


class BackupFailed(LibraryError):
    """Nothing was changed. Free space or choose another disk, then try again."""


class BadBackup(LibrarianError):
    """Nothing was changed. Use another backup, or get this file again from where it was kept."""


class HomeInUse(LibrarianError):
    """Give another folder by --home, or say --replace: the library there is kept beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made, or restored. `kept` is where the library before it is now."""

    path: str
    bytes: int  #: of the file
    files: int
    made_at: str
    kept: str = ""


@contextmanager
def gathering(library: Library) -> Iterator[Path]:
    """A folder for the parts of a backup, gone afterwards."""
    parts = library.home / f"gathered-{uuid.uuid4().hex[:8]}"
    try:
        parts.mkdir()
        yield parts
    except OSError as exc:
        raise BackupFailed(f"{exc.filename or library.home}: {exc.strerror or exc}.") from exc
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def gather(library: Library, parts: Path) -> None:
    """Puts all of a library into a folder of its disk, as it is at this moment.

    Call it while nothing of the graph is being written.

    Raises:
        LibraryError: an original is missing.
        OSError: there is no room.
    """
    for attempt in range(TRIES):
        with library.admission:  # nothing comes in between the list and what is on it
            for name in DATABASES:
                _copy_database(library.home / name, parts / name)
            for name in FOLDERS:
                if (library.home / name).is_dir():
                    _link_tree(library.home / name, parts / name)
            shutil.copy2(library.home / NAME, parts / NAME)
        missing = _missing_originals(parts)
        if not missing:
            return
        if attempt + 1 < TRIES:
            for name in FOLDERS:
                shutil.rmtree(parts / name, ignore_errors=True)
    raise LibraryError(f"The original {missing[0]} is missing; add that document anew first.")


def pack(parts: Path, target: Path, heard: Heard = lambda done, whole: None) -> Backup:
    """Writes gathered parts into one file, whole or not at all.

    Raises:
        BackupFailed: it could not be written.
    """
    part = target.with_name(f"{target.name}.part")
    found = sorted(path for path in parts.rglob("*") if path.is_file())
    whole, done = sum(path.stat().st_size for path in found), 0
    made_at = time.strftime("%Y-%m-%d %H:%M:%S")
    members: dict[str, dict[str, object]] = {}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(part, "w") as archive:
            for path in found:
                name, digest, size = path.relative_to(parts).as_posix(), hashlib.sha256(), 0
                with path.open("rb") as source, archive.open(_entry(name), "w") as packed:
                    while piece := source.read(PIECE):
                        digest.update(piece)
                        packed.write(piece)
                        size += len(piece)
                        done += len(piece)
                        heard(done, whole)
                members[name] = {"bytes": size, "sha256": digest.hexdigest()}
            listed = {"format": FORMAT, "made_at": made_at, "members": members}
            archive.writestr(_entry(LIST), json.dumps(listed, ensure_ascii=False))
        settle((part,))
        part.replace(target)
        settle((target.parent,))
    except OSError as exc:
        raise BackupFailed(f"{target}: {exc.strerror or exc}.") from exc
    finally:
        part.unlink(missing_ok=True)
    size = target.stat().st_size
    return Backup(path=str(target), bytes=size, files=len(members), made_at=made_at)


def restore(
    file: Path, home: Path, *, replace: bool = False, heard: Heard = lambda done, whole: None
) -> Backup:
    """Makes a library of a backup. All of it is checked before anything is touched.

    With `replace`, a library that is there is moved beside, under a name with the moment.

    Raises:
        BadBackup: it is none, is damaged, or was made by a newer version of this program.
        HomeInUse: there is a library already.
        LibraryBusy: a running program has the library that is there.
        BackupFailed: there is no room.
    """
    if owner_of(home) is not None:
        raise LibraryBusy(f"{home} is open in a running program; stop it first.")
    occupied = home.is_dir() and any((home / name).exists() for name in (NAME, *DATABASES))
    if occupied and not replace:
        raise HomeInUse(f"There is a library in {home} already.")
    fresh = home.with_name(f"{home.name}.restoring-{uuid.uuid4().hex[:8]}")
    try:
        with _opened(file) as archive:
            listed = _listed(archive)
            _extract(archive, listed["members"], fresh, heard)
        kept = ""
        if home.exists():
            beside = home.with_name(f"{home.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
            home.rename(beside)
            kept = str(beside)
        fresh.rename(home)
        settle((home.parent,))
    except OSError as exc:
        raise BackupFailed(f"{exc.filename or home}: {exc.strerror or exc}.") from exc
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Backup(
        path=str(file),
        bytes=file.stat().st_size,
        files=len(listed["members"]),
        made_at=str(listed["made_at"]),
        kept=kept,
    )


def as_json(backup: Backup) -> dict[str, Any]:
    """For a program."""
    return asdict(backup)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, time.localtime()[:6])
    entry.compress_type = (
        zipfile.ZIP_STORED if name.lower().endswith(PACKED) else zipfile.ZIP_DEFLATED
    )
    entry._compresslevel = 1  # type: ignore[attr-defined]  # `open` takes it from nowhere else
    return entry


def _copy_database(source: Path, target: Path) -> None:
    """A database as it is between two changes, also while others write."""
    target.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(source.absolute().as_uri() + "?mode=ro", uri=True)) as read,
            closing(sqlite3.connect(target)) as written,
        ):
            read.backup(written)
            written.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as exc:
        raise LibraryError(f"{source} could not be copied: {exc}.") from exc
    for rest in ("-wal", "-shm"):
        target.with_name(target.name + rest).unlink(missing_ok=True)


def _link_tree(source: Path, target: Path) -> None:
    """Files of this library are replaced, never changed, but for databases: a second name is a
    copy."""
    for path in source.rglob("*"):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.name.endswith((".part", ".tmp", "-wal", "-shm")):
                continue
            if path.suffix == ".sqlite3":  # changed, not replaced
                _copy_database(path, place)
                continue
            os.link(path, place)
        except FileNotFoundError:  # replaced or deleted while they are listed
            continue
        except OSError:  # a disk without second names
            shutil.copy2(path, place)


def _missing_originals(parts: Path) -> list[str]:
    with closing(Catalogue(parts / "catalogue.sqlite3")) as catalogue:
        files = [each.file for each in catalogue.all()]
    for rest in ("-wal", "-shm"):
        (parts / f"catalogue.sqlite3{rest}").unlink(missing_ok=True)
    return [file for file in files if not (parts / "files" / file).exists()]


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except FileNotFoundError as exc:
        raise BadBackup(f"There is no file {file}.") from exc
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as exc:
        raise BadBackup(f"{file} is damaged, or is no backup: {exc}.") from exc


def _listed(archive: zipfile.ZipFile) -> dict[str, Any]:
    """The list of what is in it, which has to be all that is in it."""
    try:
        with archive.open(LIST) as stream:
            listed = json.loads(_read(stream, MOST_LIST))
        known, members = int(listed["format"]), listed["members"]
        sizes = {name: int(each["bytes"]) for name, each in members.items()}
        str(listed["made_at"])
    except KeyError as exc:
        raise BadBackup("It has no list of what is in it, so it is no backup.") from exc
    except (ValueError, TypeError, AttributeError, RecursionError) as exc:
        raise BadBackup("Its list of what is in it is damaged.") from exc
    if known > FORMAT:
        raise BadBackup("It was made by a newer version of this program; install that.")
    held = [name for name in archive.namelist() if name != LIST]
    if sorted(held) != sorted(members) or any(size < 0 for size in sizes.values()):
        raise BadBackup("What is in it is not what its list says.")
    for name in members:
        _check_name(name)
    return dict(listed)


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    plain = name in (NAME, *DATABASES) or (len(path.parts) > 1 and path.parts[0] in FOLDERS)
    if not plain or path.is_absolute() or {"..", "."} & set(path.parts) or set(name) & set("\\:\0"):
        raise BadBackup(f"{name!r:.100} is no part of a library.")


def _extract(
    archive: zipfile.ZipFile, members: dict[str, dict[str, Any]], into: Path, heard: Heard
) -> None:
    whole, done = sum(int(each["bytes"]) for each in members.values()), 0
    free = shutil.disk_usage(into.parent if into.parent.exists() else into.anchor).free
    if whole > free:
        raise BackupFailed(f"It unpacks to {whole:,} bytes, and {free:,} are free.")
    into.mkdir(parents=True)
    for name, said in members.items():
        place, digest, size = into / name, hashlib.sha256(), 0
        place.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as packed, place.open("wb") as written:
            while piece := packed.read(PIECE):
                size += len(piece)
                if size > int(said["bytes"]):
                    break
                digest.update(piece)
                written.write(piece)
                done += len(piece)
                heard(done, whole)
            written.flush()
            os.fsync(written.fileno())
        if size != int(said["bytes"]) or digest.hexdigest() != said.get("sha256"):
            raise BadBackup(f"{name!r:.100} in it is damaged.")


def _read(stream: IO[bytes], most: int) -> bytes:
    data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError("too long")
    return data
