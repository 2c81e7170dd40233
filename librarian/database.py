"""Where the PostgreSQL server is: the parts of a URL, of which one is never shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from librarian.errors import SettingsError

PORT = 5432
FORM = "postgresql://user:password@host:5432/database"
SSL_MODES = ("disable", "require", "verify-ca", "verify-full")
SSL_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database of a PostgreSQL server, and who asks for it."""

    host: str  #: or the folder of its socket
    port: int
    user: str
    password: str = field(repr=False)
    name: str
    ssl: str = ""  #: one of `SSL_MODES`; empty for plain
    files: Mapping[str, str] = field(default_factory=dict)  #: of `SSL_FILES`

    def __str__(self) -> str:
        """How it may be shown: without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.name} (user {self.user})"


def parse(url: str) -> Database:
    """The database of a `LIBRARIAN_DATABASE_URL`; user, password and name may be percent-encoded.

    Raises:
        SettingsError: it is none; its password is not in the text of the error.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        port = parts.port or PORT
    except ValueError:  # its text may hold the password
        raise SettingsError(f"LIBRARIAN_DATABASE_URL is not a URL such as {FORM}.") from None
    host = options.pop("host", "") or parts.hostname or ""
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in ("postgresql", "postgres") or not host or not parts.username or not name:
        raise SettingsError(f"LIBRARIAN_DATABASE_URL is not a URL such as {FORM}.")
    ssl = options.pop("sslmode", "")
    files = {key: options.pop(key) for key in SSL_FILES if key in options}
    if options or (ssl and ssl not in SSL_MODES):
        raise SettingsError(
            "LIBRARIAN_DATABASE_URL may have the options host (a socket's folder), sslmode "
            f"({', '.join(SSL_MODES)}), {', '.join(SSL_FILES)}, and no others."
        )
    return Database(
        host=host,
        port=port,
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        name=name,
        ssl=ssl,
        files=files,
    )
