"""What may come into the library, and under which name."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace as changed
from pathlib import Path

from librarian.borders import CUTS, chunks_in, keep_borders
from librarian.chunking import Chunk
from librarian.conversion import Converted, convert
from librarian.documents import (
    MAX_BYTES,
    Admission,
    Document,
    Outcome,
    Status,
    check_size,
    check_supported,
    check_text,
    clean_name,
    document_id,
    file_name,
    is_plain,
    read_text,
    suffix_of,
)
from librarian.errors import (
    DocumentError,
    DocumentTooLarge,
    EmptyDocument,
    LibrarianError,
    LibraryError,
)
from librarian.formats import SUFFIXES, is_text
from librarian.language import language_of
from librarian.library import Library
from librarian.removed import RemovedDocuments

Convert = Callable[[str, bytes], Converted]  #: name and bytes of a file, to text with its pages
Holds = Callable[[Document], bool]  #: whether a new document waits for a person's word


def never(_: Document) -> bool:
    """Nothing waits."""
    return False


TEXT, PAGES = ".text.md", ".pages.json"  # what is kept beside the original of a converted file
RECOGNISED = "It is a scan; its text was recognised from pictures (OCR), so words may be wrong."
ENDINGS = ("", TEXT, PAGES, CUTS)


def admit_file(
    library: Library,
    name: str,
    data: bytes,
    *,
    replace: bool = False,
    converter: Convert = convert,
    instead: Document | None = None,
    holds: Holds = never,
) -> Admission:
    """Takes a file into the library, or says in words why not. Blocks; call it on a thread.

    It takes the place of `instead`, whatever the two are called, where that is given.

    `holds` says whether a new document waits until a person starts it.
    `converter` is asked for all but plain text; without one that happens in this process, which
    is for files that nobody need fear.
    """
    shown = clean_name(name)
    try:
        check_supported(shown)
        check_size(len(data))
        converted = None
        if not data or (is_plain(shown) and is_text(data)):
            text = read_text(data)
        else:
            converted = converter(shown, data)
            text = check_text(converted.text)
        with library.admission:
            return _admit(library, shown, text, data, replace, converted, instead, holds)
    except DocumentError as exc:
        return Admission(name=shown, outcome=Outcome.REFUSED, message=str(exc))


def admit_path(
    library: Library,
    name: str,
    path: Path,
    *,
    replace: bool = False,
    converter: Convert = convert,
    holds: Holds = never,
) -> Admission:
    """Takes a file that is on a disk of this machine; one that is too large is not read.

    Raises:
        OSError: it cannot be read.
    """
    try:
        check_size(path.stat().st_size)
    except DocumentTooLarge as exc:
        return Admission(name=clean_name(name), outcome=Outcome.REFUSED, message=str(exc))
    data = path.read_bytes()
    return admit_file(library, name, data, replace=replace, converter=converter, holds=holds)


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


def files_at(path: Path) -> list[tuple[str, Path]]:
    """Name and path of all that is read at a path.

    Raises:
        LibrarianError: there is nothing.
        OSError: it cannot be looked at.
    """
    found = list(files_in(path.expanduser()))
    if not found:
        raise LibrarianError(f"{path} is neither a file that is read nor a folder with some.")
    return found


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
        if hidden or suffix_of(each.name) not in SUFFIXES or not each.is_file():
            continue
        if each.resolve().is_relative_to(root):
            yield relative.as_posix(), each


def title_of(text: str) -> str:
    """A name for a text without one: its first words."""
    words = re.sub(r"[#*_>`]+", " ", text.strip()[:200]).split()
    return clean_name(" ".join(words[:8]).rstrip(".,:;")[:60] or "text")


def _admit(
    library: Library,
    name: str,
    text: str,
    data: bytes,
    replace: bool,
    converted: Converted | None = None,
    instead: Document | None = None,
    holds: Holds = never,
) -> Admission:
    doc_id = document_id(text)
    same_text, same_name = library.catalogue.find(doc_id=doc_id, name=name)
    old: tuple[Chunk, ...] = ()  # that were given to the model
    if instead is not None:
        same_name, replace = library.catalogue.get(instead.id), True  # it may have been renamed
    if same_text is not None:
        return _duplicate(library, name, same_text)
    if same_name is not None:
        if not replace:
            return Admission(
                name=name,
                outcome=Outcome.CONFLICT,
                doc_id=same_name.id,
                message=f"{name} is in the library already{_now_called(same_name, name)}, with "
                "another text.",
            )
        old = _chunks_begun(library, same_name)
    file = file_name(name, doc_id)
    library.keep_original(file, data)
    keep_borders(library, file, text, old)
    if converted is not None:
        library.keep_original(f"{file}{TEXT}", text.encode())
        kept = {"pages": converted.pages, "recognised": converted.recognised}
        library.keep_original(f"{file}{PAGES}", json.dumps(kept).encode())
    document = _new(library, doc_id, name, text, len(data))
    if same_name is not None:  # what a person has called it, and its tags, are of the new one too
        document = changed(
            document, name=same_name.name, filed=same_name.filed, tags=same_name.tags
        )
        library.catalogue.remove(same_name, by=document)
        _drop_files(library, same_name)
    else:
        if holds(document):
            document = changed(document, status=Status.PAUSED)
        library.catalogue.put(document)
    message = RECOGNISED if converted is not None and converted.recognised else ""
    return Admission(name=name, outcome=Outcome.ACCEPTED, doc_id=doc_id, message=message)


def _chunks_begun(library: Library, document: Document) -> tuple[Chunk, ...]:
    if not document.chunks_total:
        return ()
    try:
        return chunks_in(library, document, read_document(library, document))
    except LibrarianError:  # its original is gone; the new version is cut afresh
        return ()


def discard(library: Library, document: Document, *, for_good: bool = False) -> None:
    """Takes a document off the list; the graph forgets it as soon as nothing is indexed.

    Its files are kept for a while, unless it goes `for_good`.
    """
    kept = None if for_good else removed_of(library)
    if kept is not None:
        kept.note(document)
    library.catalogue.remove(document)
    if kept is not None:
        kept.take(document)
    _drop_files(library, document)


def _drop_files(library: Library, document: Document) -> None:
    for ending in ENDINGS:
        library.drop_original(f"{document.file}{ending}")


def removed_of(library: Library) -> RemovedDocuments:
    """The deleted documents of a library."""
    return RemovedDocuments(library.home, ENDINGS)


def read_document(library: Library, document: Document) -> str:
    """The text of a document of the library.

    Raises:
        LibrarianError: its original is gone, or is no longer what it was.
    """
    file = document.file
    if _was_converted(library, document):
        file += TEXT
    text = read_text(library.read_original(file))
    if document_id(text) != document.id:
        raise LibrarianError(f"{file} was changed in the library's folder; add it anew.")
    return text


def pages_of(library: Library, document: Document) -> tuple[int, ...]:
    """Where each page of a document begins in its text, in characters; empty without pages.

    Raises:
        LibraryError: its list of pages is damaged.
    """
    return _kept_beside(library, document)[0]


def was_recognised(library: Library, document: Document) -> bool:
    """Whether a document's text was read from pictures of its pages.

    Raises:
        LibraryError: its list of pages is damaged.
    """
    return _kept_beside(library, document)[1]


def _kept_beside(library: Library, document: Document) -> tuple[tuple[int, ...], bool]:
    if not _was_converted(library, document):
        return (), False
    file = f"{document.file}{PAGES}"
    try:
        kept = json.loads(library.read_original(file))
        if isinstance(kept, list):  # as it was written before scans were read
            kept = {"pages": kept}
        return tuple(map(int, kept["pages"])), bool(kept.get("recognised"))
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise LibraryError(f"{file} is damaged; delete the document and add it anew.") from exc


def _was_converted(library: Library, document: Document) -> bool:
    return (library.files / f"{document.file}{TEXT}").exists()


def _now_called(document: Document, name: str) -> str:
    return "" if document.name == name else f" as {document.name}"


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
