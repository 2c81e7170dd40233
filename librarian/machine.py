"""What the doctor looks at on this machine: folder, disk, memory, SQLite, address."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from librarian.checks import Check, failure, fine, warning
from librarian.health import LEAST_FREE_BYTES, PACKAGES
from librarian.library import Library
from librarian.settings import Settings, is_local

GB = 1024**3
MEMINFO = Path("/proc/meminfo")
TOKEN_LENGTH = 16  # of letters and digits it is far beyond what five tries and two a minute find


def of_machine(library: Library, settings: Settings) -> tuple[Check, ...]:
    """Looks at the folder, the disk, the memory and the address; it blocks."""
    return (
        _versions(),
        _home(library),
        _disk(library),
        memory(),
        _sqlite(library.home),
        _door(settings),
    )


def _versions() -> Check:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    python = f"Python {platform.python_version()} on {platform.system()}"
    return fine("Versions", f"{python}; {packages}.")


def _home(library: Library) -> Check:
    remedy = "Change its permissions or owner, or set LIBRARIAN_HOME to another folder."
    folders = [library.home, library.files, library.cache]
    if library.storage.exists():  # LightRAG makes it when it opens, which may be just now
        folders.append(library.storage)
    for folder in folders:
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return failure("Library folder", f"{folder} cannot be read and written.", remedy)
    for path in (*library.home.iterdir(), *folders[-1].iterdir()):
        if path.is_file() and not os.access(path, os.R_OK | os.W_OK):
            return failure("Library folder", f"{path} cannot be read and written.", remedy)
    return fine("Library folder", f"{library.home} and its files can be read and written.")


def _disk(library: Library) -> Check:
    try:
        free = shutil.disk_usage(library.home).free
    except OSError as exc:
        return failure("Disk", f"{library.home}: {exc.strerror}.", "Bring the folder back.")
    if free < LEAST_FREE_BYTES:
        remedy = "Free at least 1 GB: a book of 2 MB takes up to 0.15 GB."
        return failure("Disk", f"{free / GB:.1f} GB free.", remedy)
    return fine("Disk", f"{free / GB:.1f} GB free.")


def memory(source: Path = MEMINFO) -> Check:
    """Only Linux says it without a further package."""
    try:
        rows = dict(re.findall(r"^(\w+):\s+(\d+) kB", source.read_text(), re.M))
        total, free = (int(rows[name]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError):
        return fine("Memory", f"Not looked at on {platform.system()}.")
    message = f"{free / GB:.1f} of {total / GB:.1f} GB are free."
    if free < GB:
        return warning(
            "Memory", message, "Close other programs: LightRAG keeps graph and vectors in memory."
        )
    return fine("Memory", message)


def _sqlite(folder: Path) -> Check:
    message = f"Version {sqlite3.sqlite_version}"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as room:
            with closing(sqlite3.connect(Path(room) / "try", isolation_level=None)) as db:
                mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                db.execute("CREATE TABLE tried (value)")
                db.execute("INSERT INTO tried VALUES (1)")
    except (OSError, sqlite3.Error) as exc:
        remedy = "Free disk space, or set LIBRARIAN_HOME to a folder on a local disk."
        return failure("SQLite", f"{message}; it could not write: {exc}.", remedy)
    if mode != "wal":
        remedy = "Set LIBRARIAN_HOME to a folder on a local disk: network drives lose writes."
        return warning("SQLite", f"{message}; the disk does not carry its write-ahead log.", remedy)
    return fine("SQLite", f"{message}; it writes.")


def _door(settings: Settings) -> Check:
    where = f"The dashboard listens on {settings.host}, port {settings.port}"
    token = "a token is set" if settings.api_token else "no token is set"
    if is_local(settings.host):
        return fine("Address", f"{where}, for this machine only; {token}.")
    if len(settings.api_token) >= TOKEN_LENGTH:
        return fine("Address", f"{where}, for others too; pages and requests want the token.")
    if settings.api_token:
        remedy = 'Set a longer one: python -c "import secrets; print(secrets.token_urlsafe())"'
        short = f"the token has fewer than {TOKEN_LENGTH} characters and may be guessed"
        return warning("Address", f"{where}, for others too; {short}.", remedy)
    remedy = "Set LIBRARIAN_HOST=127.0.0.1, or a LIBRARIAN_API_TOKEN."
    alone = "Anyone who reaches this address can read and change the library."
    return warning("Address", f"{where}, for others too; {token}. {alone}", remedy)
