"""What may come into the library, and under which name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from librarian.documents import (
    MAX_BYTES,
    SUFFIXES,
    Admission,
    Document,
    Outcome,
    Status,
    check_supported,
    check_text,
    clean_name,
    document_id,
    file_name,
    read_text,
)
from librarian.errors import DocumentError, DocumentTooLarge, EmptyDocument, LibrarianError
from librarian.language import language_of
from librarian.library import Library


def admit_file(library: Library, name: str, data: bytes, *, replace: bool = False) -> Admission:
    """Takes a file into the library, or says in words why not. Blocks; call it on a thread."""
    shown = clean_name(name)
    try:
        check_supported(shown)
        text = read_text(data)
        with library.admission:
            return _admit(library, shown, text, data, replace)
    except DocumentError as exc:
        return Admission(name=shown, outcome=Outcome.REFUSED, message=str(exc))


def admit_path(library: Library, name: str, path: Path, *, replace: bool = False) -> Admission:
    """Takes a file that is on a disk of this machine; one that is too large is not read.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        error = DocumentTooLarge(f"It has {size:,} bytes; at most {MAX_BYTES:,} are read.")
        return Admission(name=clean_name(name), outcome=Outcome.REFUSED, message=str(error))
    return admit_file(library, name, path.read_bytes(), replace=replace)


def admit_text(library: Library, name: str, text: str, *, replace: bool = False) -> Admission:
    """Takes a pasted or posted text into the library, like a file of that name."""
    shown = clean_name(name) if name.strip() else title_of(text)
    try:
        plain = check_text(text)
        if len(text) > MAX_BYTES:
            raise DocumentTooLarge(f"It has {len(text):,} characters.")
        with library.admission:
            return _admit(library, shown, plain, plain.encode(), replace)
    except DocumentError as exc:
        return Admission(name=shown, outcome=Outcome.REFUSED, message=str(exc))


def files_in(path: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of a file, or of every readable file in a folder, sub-folders included.

    Hidden files and folders are passed over; links are not followed out of the folder.
    """
    if path.is_file():
        yield path.name, path
        return
    root = path.resolve()
    for each in sorted(path.rglob("*")):
        relative = each.relative_to(path)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or each.suffix.lower() not in SUFFIXES or not each.is_file():
            continue
        if each.resolve().is_relative_to(root):
            yield relative.as_posix(), each


def title_of(text: str) -> str:
    """A name for a text without one: its first words."""
    words = re.sub(r"[#*_>`]+", " ", text.strip()[:200]).split()
    return clean_name(" ".join(words[:8]).rstrip(".,:;")[:60] or "text")


def _admit(library: Library, name: str, text: str, data: bytes, replace: bool) -> Admission:
    doc_id = document_id(text)
    same_text, same_name = library.catalogue.find(doc_id=doc_id, name=name)
    if same_text is not None:
        return _duplicate(library, name, same_text)
    if same_name is not None:
        if not replace:
            return Admission(
                name=name,
                outcome=Outcome.CONFLICT,
                doc_id=same_name.id,
                message=f"{name} is in the library already, with another text.",
            )
        discard(library, same_name, replaced_at=time.time())
    library.keep_original(file_name(name, doc_id), data)
    library.catalogue.put(_new(library, doc_id, name, text, len(data)))
    return Admission(name=name, outcome=Outcome.ACCEPTED, doc_id=doc_id)


def discard(library: Library, document: Document, replaced_at: float | None = None) -> None:
    """Takes a document off the list; the graph forgets it as soon as nothing is indexed."""
    library.catalogue.remove(document, replaced_at)
    library.drop_original(document.file)


def read_document(library: Library, document: Document) -> str:
    """The text of a document of the library.

    Raises:
        LibrarianError: its original is gone, or is no longer what it was.
    """
    text = read_text(library.read_original(document.file))
    if document_id(text) != document.id:
        raise LibrarianError(f"{document.file} was changed in the library's folder; add it anew.")
    return text


def _duplicate(library: Library, name: str, known: Document) -> Admission:
    if known.name == name:
        message = f"{name} is in the library already, with this very text."
    else:
        library.catalogue.note_duplicate(name, known.id)
        message = f"The same text is in the library already, as {known.name}."
    return Admission(name=name, outcome=Outcome.DUPLICATE, doc_id=known.id, message=message)


def _new(library: Library, doc_id: str, name: str, text: str, size: int) -> Document:
    if not text.strip():
        raise EmptyDocument
    now = time.time()
    return Document(
        id=doc_id,
        name=name,
        status=Status.PENDING,
        bytes=size,
        characters=len(text),
        language=language_of(text),
        file=file_name(name, doc_id),
        created_at=now,
        updated_at=now,
        place=library.catalogue.last_place() + 1,
    )
