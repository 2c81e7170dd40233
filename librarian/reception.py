"""How documents come into an open library, from wherever they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from librarian.arrivals import taken_in
from librarian.documents import Admission
from librarian.errors import LibrarianError
from librarian.intake import (
    Convert,
    Holds,
    admit_file,
    admit_path,
    admit_text,
    files_at,
    never,
)
from librarian.library import Library
from librarian.uploads import Uploads
from librarian.workers import Converter, Watch, WatchFile

TELL_S = 5.0  # after so long the reading begins, though not all files of a folder are taken in


class Reception:
    """Takes documents in and tells the queue. Methods block; any thread but the loop's."""

    def __init__(
        self,
        library: Library,
        uploads: Uploads,
        converter: Converter,
        nudge: Callable[[], object],
        holds: Holds,
    ) -> None:
        """`holds` says which uploads wait for a person's word."""
        self._library = library
        self._uploads = uploads
        self._converter = converter
        self._nudge = nudge
        self._holds = holds

    def add_file(
        self, name: str, data: bytes, *, replace: bool = False, watch: Watch | None = None
    ) -> Admission:
        """Takes a file into the library and queues it.

        While it is converted, `watch` is called with the seconds that takes; it ends it by raising.
        """
        how = self._converting(watch)
        return self._admitted(admit_file(self._library, name, data, converter=how, replace=replace))

    def add_upload(
        self, key: str, name: str, size: int, *, replace: bool = False
    ) -> tuple[Admission, ...]:
        """Takes a file that was uploaded, or all documents of an archive.

        The file is dropped afterwards, but where a person has to decide.

        Raises:
            WrongPlace: it is not whole yet.
            UploadError: it is gone, or cannot be read.
        """
        upload = self._uploads.finish(key, name, size)
        how, holds = self._converting(), self._holds
        found = taken_in(self._library, self._uploads, upload, how, replace=replace, holds=holds)
        taken = tuple(found)
        self._nudge()
        return taken

    def add_text(self, name: str, text: str, *, replace: bool = False) -> Admission:
        """Takes a text into the library and queues it."""
        return self._admitted(admit_text(self._library, name, text, replace=replace))

    def add_at(
        self, name: str, path: Path, *, replace: bool = False, watch: Watch | None = None
    ) -> Admission:
        """Takes a file of this machine under a name; raises OSError where it cannot be read."""
        return self._admitted(self._at(name, path, replace, watch))

    def add_watched(self, name: str, path: Path) -> Admission:
        """Takes a file that has come into the watched folder, or has changed there."""
        return self._admitted(self._at(name, path, True, None, self._holds))

    def add_path(
        self,
        path: Path,
        *,
        replace: bool = False,
        watch: WatchFile | None = None,
        holds: Holds = never,
    ) -> Iterator[Admission]:
        """Takes a file or every file of a folder on this machine; some may wait, as `held` has it.

        Raises:
            LibrarianError: there is nothing at this path, or it cannot be read.
        """
        told_s = time.monotonic()
        try:
            for name, file in files_at(path):
                watching = partial(watch, name) if watch else None
                yield self._at(name, file, replace, watching, holds)
                if time.monotonic() - told_s > TELL_S:  # reading them would slow taking them in
                    told_s = time.monotonic()
                    self._nudge()
        except OSError as exc:
            raise LibrarianError(f"{exc.filename or path}: {exc.strerror or exc}.") from exc
        finally:
            self._nudge()

    def _converting(self, watch: Watch | None = None) -> Convert:
        return partial(self._converter.convert, watch=watch)

    def _at(
        self, name: str, path: Path, replace: bool, watch: Watch | None, holds: Holds = never
    ) -> Admission:
        how = self._converting(watch)
        return admit_path(self._library, name, path, replace=replace, converter=how, holds=holds)

    def _admitted(self, admission: Admission) -> Admission:
        self._nudge()
        return admission
