"""The process's one open Librarian, where the server's lifespan and the pages both find it."""

from __future__ import annotations

from librarian.app import Librarian
from librarian.errors import LibrarianError, NotReady


class Registry:
    """Holds the Librarian of this process, or why there is none."""

    def __init__(self) -> None:
        self._held: Librarian | LibrarianError = NotReady()
        self._token = ""

    def hold(self, held: Librarian | LibrarianError) -> None:
        """Puts it in place."""
        self._held = held

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


# Streamlit runs page scripts anew all the time, in modules of its own; this one stays.
PROCESS = Registry()
