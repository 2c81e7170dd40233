"""Where a library's graph and vectors are: in files of its own, or in PostgreSQL."""

from __future__ import annotations

from librarian.database import Database
from librarian.errors import WrongStorage
from librarian.library import Library
from librarian.settings import Settings


def storage_of(settings: Settings) -> str:
    """Where a library is kept that is begun now."""
    return "postgres" if settings.database else "files"


def database_of(library: Library, settings: Settings) -> Database | None:
    """The database that LightRAG's data of a library are in; None where they are in files.

    Raises:
        WrongStorage: they are in one, and the settings name none.
    """
    if library.manifest.storage == "files":
        return None
    if settings.database is None:
        raise WrongStorage(
            f"The graph and the vectors of {library.home} are in PostgreSQL. Set "
            "LIBRARIAN_DATABASE_URL to that database; then, `python -m librarian migrate --to "
            "files` brings them back into files if you like."
        )
    return settings.database


def stays(library: Library, settings: Settings) -> str:
    """That a library is not where a new one would be; empty where it is."""
    if library.manifest.storage == "postgres" or settings.database is None:
        return ""
    if not library.catalogue.any_indexed():
        return ""  # the next opening begins it there
    return (
        "LIBRARIAN_DATABASE_URL is set, but the graph and the vectors of this library are in "
        "files and stay there until `python -m librarian migrate --to postgres` moves them."
    )
