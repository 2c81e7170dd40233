"""Uploaded files as documents: one by one, and archives as what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace as changed

from librarian.archives import is_archive, members_of
from librarian.conversion import convert
from librarian.documents import Admission, Outcome, clean_name
from librarian.errors import DocumentError
from librarian.intake import Convert, Holds, admit_path, never
from librarian.library import Library
from librarian.uploads import Upload, UploadError, Uploads


def taken_in(
    library: Library,
    uploads: Uploads,
    upload: Upload,
    converter: Convert = convert,
    *,
    replace: bool = False,
    holds: Holds = never,
) -> Iterator[Admission]:
    """Takes an uploaded file into the library, or each document of an archive.

    A file is dropped as soon as it is in the library or refused; one about which a person has to
    decide stays, under the key that its admission names.
    """
    if is_archive(upload.name):
        yield from _unpacked(library, uploads, upload, converter, holds)
    else:
        yield _admitted(library, uploads, upload, converter, replace, holds)


def _unpacked(
    library: Library, uploads: Uploads, archive: Upload, converter: Convert, holds: Holds
) -> Iterator[Admission]:
    found = False
    try:
        for name, pieces in members_of(uploads.path(archive.key)):
            found = True
            member = _kept(uploads, archive, name, pieces)
            yield _admitted(library, uploads, member, converter, False, holds)
    except DocumentError as exc:
        yield _refused(archive.name, exc)
    else:
        if not found:
            yield _refused(archive.name, DocumentError("It holds no document that can be read."))
    finally:
        uploads.drop(archive.key)


def _kept(uploads: Uploads, archive: Upload, name: str, pieces: Iterable[bytes]) -> Upload:
    """A member of an archive as a file of its own."""
    key = hashlib.sha256(f"{archive.key}/{name}".encode(errors="replace")).hexdigest()[:32]
    uploads.drop(key)
    at = 0
    for piece in pieces:
        at = uploads.append(key, at, piece)
    return uploads.finish(key, name, at)


def _admitted(
    library: Library,
    uploads: Uploads,
    upload: Upload,
    converter: Convert,
    replace: bool,
    holds: Holds,
) -> Admission:
    try:
        path = uploads.path(upload.key)
        admission = admit_path(
            library, upload.name, path, replace=replace, converter=converter, holds=holds
        )
    except OSError as exc:
        raise UploadError(f"It could not be read: {exc.strerror or exc}.") from exc
    if admission.outcome is Outcome.CONFLICT:
        return changed(admission, upload=upload.key)
    uploads.drop(upload.key)
    return admission


def _refused(name: str, error: DocumentError) -> Admission:
    return Admission(name=clean_name(name), outcome=Outcome.REFUSED, message=str(error))
