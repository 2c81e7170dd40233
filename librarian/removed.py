"""Deleted documents, kept for a while: the original is the one thing that nothing can make anew."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from librarian.catalogue import Catalogue
from librarian.documents import Document, Status
from librarian.durable import write_json
from librarian.errors import LibraryError, NameTaken

log = logging.getLogger(__name__)

KEPT_S = 30 * 24 * 3600.0  # long enough to miss a book; a disk is not filled for ever
_UNDONE = {
    "status": Status.PENDING, "chunks_total": 0, "chunks_done": 0, "chunks_saved": 0,
    "entities": 0, "relations": 0, "share": 0.0, "warnings": (), "error": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A document that was deleted and can be put back."""

    document: Document
    removed_at: float  #: seconds since 1970


class RemovedDocuments:
    """The originals of deleted documents, each beside a note of what it was. Methods block."""

    def __init__(self, home: Path, endings: tuple[str, ...]) -> None:
        """`endings` are those of the files that belong to an original, "" for itself."""
        self._folder = home / "removed"
        self._files = home / "files"
        self._endings = endings

    def note(self, document: Document) -> None:
        """Writes down what is about to be deleted.

        Raises:
            LibraryError: it could not be written; delete it for good instead.
        """
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as exc:
            raise LibraryError(f"{self._folder}: {exc.strerror or exc}.") from exc
        write_json(self._note(document.id), {"at": time.time(), "document": asdict(document)})

    def take(self, document: Document) -> None:
        """Moves the files of a document here that is off the list."""
        self._moved(document, self._files, self._folder)

    def all(self) -> tuple[Removed, ...]:
        """What can be put back, last deleted first; what cannot be read is named in the log."""
        found = []
        for path in self._folder.glob("doc-*.json"):
            try:
                found.append(_read(path))
            except (OSError, ValueError, TypeError, KeyError) as exc:
                log.warning("%s is no note of a deleted document: %s", path.name, exc)
        return tuple(sorted(found, key=lambda each: -each.removed_at))

    def put_back(self, doc_id: str, catalogue: Catalogue) -> Document:
        """Puts a document back into the queue, with its name and tags.

        What the model said about it is in the journal, so that nobody is asked anew.

        Raises:
            NameTaken: another document has its name now.
            LibraryError: it is not here any more, or is in the library already.
        """
        document = self._get(doc_id).document
        known, namesake = catalogue.find(doc_id=document.id, name=document.name)
        if known is not None:
            raise LibraryError(f"{known.name} is in the library, with this very text.")
        if namesake is not None and namesake.name == document.name:
            raise NameTaken(f"Another document is called {document.name} now.")
        if catalogue.find(doc_id="", name=document.filed or document.name)[1] is not None:
            # LightRAG takes two documents of one name for one; this name has the id in it.
            document = replace(document, filed=document.file)
        self._moved(document, self._folder, self._files)
        now, place = time.time(), catalogue.last_place() + 1
        back: dict[str, Any] = {**_UNDONE, "updated_at": now, "place": place}
        document = replace(document, **back)
        catalogue.put(document)
        self._note(doc_id).unlink(missing_ok=True)
        return document

    def drop(self, doc_id: str) -> None:
        """Removes a deleted document for good."""
        document = self._get(doc_id).document
        for ending in self._endings:
            (self._folder / f"{document.file}{ending}").unlink(missing_ok=True)
        self._note(doc_id).unlink(missing_ok=True)

    def sweep(self, now: float) -> None:
        """Removes for good what was deleted longer ago than is kept; `now` is Unix time."""
        notes = self.all()
        for each in notes:
            if now - each.removed_at > KEPT_S:
                self.drop(each.document.id)
        files = {each.document.file for each in notes}
        for path, file in self._owned(self._folder):
            if file not in files and now - path.stat().st_mtime > KEPT_S:
                path.unlink(missing_ok=True)

    def settle(self, files: Set[str], now: float) -> None:
        """Ends what a crash left half, before anything is taken in: files of no document go here.

        They are of one that was being deleted, replaced or taken in; `files` are the originals of
        documents on the list. What has no name of ours is left alone.
        """
        for path in self._files.glob("*.part"):
            path.unlink(missing_ok=True)
        for path, file in self._owned(self._files):
            if file not in files:
                log.warning("%s is of no document; it goes to %s", path.name, self._folder.name)
                self._folder.mkdir(exist_ok=True)
                path.replace(self._folder / path.name)
                os.utime(self._folder / path.name, (now, now))

    def _get(self, doc_id: str) -> Removed:
        found = next((each for each in self.all() if each.document.id == doc_id), None)
        if found is None:
            raise LibraryError("That document was removed for good.")
        return found

    def _owned(self, folder: Path) -> list[tuple[Path, str]]:
        """The files of documents in a folder, each with the name of its original."""
        endings = "|".join(re.escape(each) for each in self._endings)
        ours = re.compile(rf"(.+\.[0-9a-f]{{8}}(?:\.\w+)+?)(?:{endings})", re.DOTALL)
        found = [(path, ours.fullmatch(path.name)) for path in folder.glob("*")]
        return [(path, match[1]) for path, match in found if match]

    def _note(self, doc_id: str) -> Path:
        return self._folder / f"{doc_id}.json"

    def _moved(self, document: Document, source: Path, target: Path) -> None:
        for ending in self._endings:
            path = source / f"{document.file}{ending}"
            try:
                if path.exists():
                    path.replace(target / path.name)
            except OSError as exc:
                raise LibraryError(f"{path.name} could not be moved: {exc}.") from exc


def _read(path: Path) -> Removed:
    """The note of a file; raises OSError, ValueError, TypeError and KeyError."""
    data = json.loads(path.read_bytes())
    values = data["document"]
    lists = {name: tuple(map(str, values[name])) for name in ("warnings", "tags")}
    status = {"status": Status(values["status"])}
    document = Document(**{**values, **lists, **status})
    if document.id != path.stem or Path(document.file).name != document.file:
        raise ValueError("it names another file")
    return Removed(document=document, removed_at=float(data["at"]))
