"""Zip archives of documents: what is in them, within limits, whatever they claim."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from librarian.documents import MAX_BYTES, check_supported
from librarian.errors import DocumentError

MOST_MEMBERS = 20_000
MOST_BYTES = 4 * 1024**3  # of all members together
READ_BYTES = 1024 * 1024
_UTF8_NAME = 0x800  # flag: the name is UTF-8; else it is in the code page of whoever packed it
_ENCRYPTED = 0x1


class BadArchive(DocumentError):
    """Unpack it yourself and upload the files or their folder."""


def is_archive(name: str) -> bool:
    """Whether a file is to be taken as an archive of documents, by its name."""
    lower = name.lower()
    return lower.endswith(".zip") and not lower.endswith(".fb2.zip")


def members_of(path: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Name and pieces of each document in an archive; others, hidden ones too, are passed over.

    Names are only shown, never used as paths. Read the pieces before the next member.

    Raises:
        BadArchive: it is none, or breaks off, or holds more than it may; the reason.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as exc:
        raise BadArchive(f"It is no zip archive that can be read: {exc}.") from exc
    with archive:
        members = [each for each in archive.infolist() if not each.is_dir()]
        if len(members) > MOST_MEMBERS:
            raise BadArchive(f"It has {len(members):,} files; at most {MOST_MEMBERS:,} are read.")
        left = [MOST_BYTES]
        for member in members:
            name = _name_of(member)
            if _wanted(name):
                yield name, _read(archive, member, left)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: list[int]) -> Iterator[bytes]:
    name = f"{_name_of(member)!r:.80}"
    if member.flag_bits & _ENCRYPTED:
        raise BadArchive(f"{name} needs a password.")
    taken = 0
    try:
        with archive.open(member) as stream:
            while piece := stream.read(READ_BYTES):  # what comes counts, not what it claims
                taken += len(piece)
                left[0] -= len(piece)
                if taken > MAX_BYTES or left[0] < 0:
                    raise BadArchive(f"{name} unpacks to more than may be read.")
                yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as exc:
        raise BadArchive(f"{name} cannot be unpacked: {exc}.") from exc
    except NotImplementedError as exc:
        raise BadArchive(f"{name} is packed in a way that is not known here: {exc}.") from exc


def _wanted(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    if any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in parts):
        return False
    try:
        check_supported(name)
    except DocumentError:
        return False
    return True


def _name_of(member: zipfile.ZipInfo) -> str:
    """A member's name; old Russian archives have theirs in code page 866."""
    if member.flag_bits & _UTF8_NAME or member.filename.isascii():
        return member.filename
    try:
        return member.filename.encode("cp437").decode("cp866")
    except UnicodeError:
        return member.filename
