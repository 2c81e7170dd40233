"""The backups of an open library: made while it works, and listed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from librarian.backup import ENDING, Backup, Heard, gathering, pack
from librarian.durable import settle
from librarian.library import FileSize, Library
from librarian.portal import Portal
from librarian.rooms import Rooms

FOLDER = "backups"


class Backups:
    """Methods block; any thread but the loop's may call."""

    def __init__(self, library: Library, portal: Portal, rooms: Rooms) -> None:
        self._library = library
        self._portal = portal
        self._rooms = rooms
        self.folder = library.home / FOLDER  #: where they go when no other place is named

    def make(
        self,
        target: Path | None = None,
        heard: Heard = lambda done, whole: None,
        clock: Callable[[], time.struct_time] = time.localtime,
    ) -> Backup:
        """Writes all of the library into one file, by default one named after the moment.

        Waits while a document is being merged into the graph.

        Raises:
            LibrarianError: it was not written; the reason.
        """
        named = time.strftime("%Y-%m-%d %H-%M-%S", clock()) + ENDING
        with gathering(self._library) as parts:
            self._portal.call(self._rooms.gather, parts)
            return pack(parts, target or self.folder / named, heard)

    def all(self) -> tuple[FileSize, ...]:
        """Those in the library's own folder, newest first."""
        found = []
        for path in self.folder.glob(f"*{ENDING}"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found.append(FileSize(name=path.name, bytes=stat.st_size, modified_at=stat.st_mtime))
        return tuple(sorted(found, key=lambda each: -each.modified_at))

    def delete(self, name: str) -> None:
        """Removes a backup of the library's own folder; one that is not there is passed over."""
        if any(each.name == name for each in self.all()):
            (self.folder / name).unlink(missing_ok=True)
            settle((self.folder,))
