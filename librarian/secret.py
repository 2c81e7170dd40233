"""The owner's secret: who may read the library's own folder may command its dashboard."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from librarian.errors import LibraryError

NAME = "owner.secret"
HEADER = "X-Owner-Secret"


def make_secret(home: Path) -> str:
    """A new secret in the home, in a file that its owner alone can read.

    On Windows that is what the folder's own rights say: a user's profile is closed to others.

    Raises:
        LibraryError: it could not be written.
    """
    path, secret = home / NAME, secrets.token_urlsafe(32)
    try:
        path.unlink(missing_ok=True)  # else it would keep the rights that it had
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(number, "w", encoding="ascii") as stream:
            stream.write(secret)
    except OSError as exc:
        raise LibraryError(f"{path} could not be written: {exc.strerror or exc}.") from exc
    return secret


def read_secret(home: Path) -> str:
    """The secret of the process that has a home; empty for whoever may not read it."""
    try:
        return (home / NAME).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def drop_secret(home: Path) -> None:
    """Removes it."""
    (home / NAME).unlink(missing_ok=True)
