"""The process's one open Librarian, where the server's lifespan and the pages both find it."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

from librarian.app import Librarian
from librarian.errors import LibrarianError, NotReady
from librarian.homes import same_folder
from librarian.library import Library
from librarian.settings import Settings, server_url

log = logging.getLogger(__name__)


class Switching(NotReady):
    """Another library is being opened. It takes some seconds."""


class Registry:
    """Holds the Librarian of this process, or why there is none.

    There is one at a time: two would share LightRAG's globals and compete for the model's server.
    """

    def __init__(self) -> None:
        self._held: Librarian | LibrarianError = NotReady()
        self._token = ""
        self._turn = threading.Lock()
        self.settings = Settings()  #: of this process, with the home that it began with
        self.number = 0  #: grows with each library that is opened; pages see by it that it changed

    def hold(self, held: Librarian | LibrarianError) -> None:
        """Puts it in place."""
        self._held = held
        if not isinstance(held, Switching):
            self.number += 1

    def lock(self, token: str) -> None:
        """From now on whoever comes has to have this token."""
        self._token = token

    def token(self) -> str:
        """What the pages and routes want; empty where they are open."""
        return self._token

    def get(self) -> Librarian:
        """The Librarian.

        Raises:
            LibrarianError: there is none; the reason.
        """
        if isinstance(self._held, LibrarianError):
            raise self._held
        return self._held

    def switch(self, home: Path) -> None:
        """Closes the open library and opens the one in `home`, with otherwise the same settings.

        What was being done goes on when its library is opened again. Who cannot have the other
        one keeps the one that is open.

        Raises:
            LibraryBusy: another process has the other one.
            LibraryError: it cannot be used.
        """
        with self._turn:
            held, after = self._held, replace(self.settings, home=home)
            if isinstance(held, Librarian) and same_folder(held.settings.home, home):
                return
            address = server_url(after.host, after.port)
            library = Library.open(home, address=address)  # who is refused keeps what is open
            try:
                self.hold(Switching())
                if isinstance(held, Librarian):
                    held.close()
                self.hold(Librarian(after, library))
            except BaseException as exc:
                library.close()
                reason = exc if isinstance(exc, LibrarianError) else LibrarianError(f"{exc}.")
                self.hold(reason)
                raise
            log.info("The library in %s is open now.", home)

    def close(self) -> None:
        """Closes what is open; a switch that is under way is waited for."""
        with self._turn:
            if isinstance(self._held, Librarian):
                self._held.close()


# Streamlit runs page scripts anew all the time, in modules of its own; this one stays.
PROCESS = Registry()
