"""What a person can choose, read from the environment once, at the edge."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from platformdirs import user_config_path

from librarian.database import Database, parse
from librarian.errors import SettingsError

BACKENDS = ("auto", "ollama", "offline", "openai")
OPENAI_URL = "http://127.0.0.1:8000/v1"  # where vLLM listens
OLLAMA_PORT = 11434
# An extraction prompt of LightRAG is about 3,000 tokens around a chunk of 1,200 of ours; small
# models' tokenizers need up to twice as many for Russian, and the answer has to fit as well.
NUM_CTX = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, with the variable that sets each."""

    home: Path = Path("library")  #: LIBRARIAN_HOME
    backend: str = "auto"  #: LIBRARIAN_BACKEND
    ollama_host: str = f"http://127.0.0.1:{OLLAMA_PORT}"  #: OLLAMA_HOST
    more_hosts: tuple[str, ...] = ()  #: the others, where OLLAMA_HOST names several
    openai_url: str = OPENAI_URL  #: OPENAI_BASE_URL
    openai_embed_url: str = OPENAI_URL  #: OPENAI_EMBED_BASE_URL, where embeddings are elsewhere
    openai_key: str = field(default="", repr=False)  #: OPENAI_API_KEY
    llm_model: str = "qwen3:8b"  #: LIBRARIAN_LLM_MODEL
    embed_model: str = "bge-m3"  #: LIBRARIAN_EMBED_MODEL
    llm_max_async: int = 4  #: LLM_MAX_ASYNC, calls at once
    gleaning: int = 0  #: LIBRARIAN_GLEANING, extra extraction rounds a chunk
    num_ctx: int = NUM_CTX  #: LIBRARIAN_NUM_CTX, tokens
    embed_batch: int = 64  #: LIBRARIAN_EMBED_BATCH, texts a request
    language: str = ""  #: LIBRARIAN_LANGUAGE; empty is the document's own
    database: Database | None = None  #: LIBRARIAN_DATABASE_URL
    api_token: str = field(default="", repr=False)  #: LIBRARIAN_API_TOKEN
    homes_file: Path = Path("libraries.json")  #: LIBRARIAN_LIBRARIES, the list of known libraries
    port: int = 8003  #: LIBRARIAN_PORT
    host: str = "127.0.0.1"  #: LIBRARIAN_HOST
    chunk_tokens: int = 1200
    max_body_bytes: int = 20 * 1024 * 1024  # ten books of 2 MB in one POST is a mistake

    @property
    def ollama_hosts(self) -> tuple[str, ...]:
        """The URLs of all Ollama servers."""
        return (self.ollama_host, *self.more_hosts)

    @property
    def hosts_text(self) -> str:
        """The same for a sentence."""
        return ", ".join(self.ollama_hosts)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: object) -> Settings:
        """The settings of an environment (the process's own by default); `given` ones win.

        Raises:
            SettingsError: naming the variable and what it may be.
        """
        env = os.environ if environ is None else environ
        plain, ollama = cls(), ollama_urls(env.get("OLLAMA_HOST", ""))
        values: dict[str, object] = {
            "home": Path(env.get("LIBRARIAN_HOME") or "library").expanduser().absolute(),
            "backend": _choice(env, "LIBRARIAN_BACKEND", BACKENDS),
            "ollama_host": ollama[0],
            "more_hosts": ollama[1:],
            **_openai(env),
            "llm_model": env.get("LIBRARIAN_LLM_MODEL", "").strip() or plain.llm_model,
            "embed_model": env.get("LIBRARIAN_EMBED_MODEL", "").strip() or plain.embed_model,
            "llm_max_async": _whole(env, "LLM_MAX_ASYNC", 4, 1, 256),
            "gleaning": _whole(env, "LIBRARIAN_GLEANING", 0, 0, 5),
            "num_ctx": _whole(env, "LIBRARIAN_NUM_CTX", NUM_CTX, 2048, 1_048_576),
            "embed_batch": _whole(env, "LIBRARIAN_EMBED_BATCH", 64, 1, 1024),
            "language": env.get("LIBRARIAN_LANGUAGE", "").strip(),
            "database": _database(env),
            "api_token": env.get("LIBRARIAN_API_TOKEN", "").strip(),
            "homes_file": _homes_file(env),
            "port": _whole(env, "LIBRARIAN_PORT", 8003, 1, 65535),
            "host": env.get("LIBRARIAN_HOST", "").strip() or plain.host,
        }
        values.update({name: value for name, value in given.items() if value is not None})
        unknown = set(values) - {each.name for each in fields(cls)}
        if unknown:
            raise SettingsError(f"There is no setting {', '.join(sorted(unknown))}.")
        return cls(**values)  # type: ignore[arg-type]


def ollama_urls(hosts: str) -> tuple[str, ...]:
    """The URLs of an OLLAMA_HOST value with commas, each once.

    Raises:
        SettingsError: for one that is not a host.
    """
    named = [each for each in hosts.split(",") if each.strip()] or [""]
    return tuple(dict.fromkeys(map(ollama_url, named)))


def _openai(env: Mapping[str, str]) -> dict[str, str]:
    """The names are those that OpenAI's own client reads; a second address is ours."""
    url = base_url(env.get("OPENAI_BASE_URL", "") or OPENAI_URL, "OPENAI_BASE_URL")
    elsewhere = env.get("OPENAI_EMBED_BASE_URL", "")
    return {
        "openai_url": url,
        "openai_embed_url": base_url(elsewhere, "OPENAI_EMBED_BASE_URL") if elsewhere else url,
        "openai_key": _key(env.get("OPENAI_API_KEY", "").strip()),
    }


def _key(given: str) -> str:
    """What may stand in a header; what is wrong is said without it."""
    if not all("!" <= character <= "~" for character in given):
        raise SettingsError("OPENAI_API_KEY has a space in it, or a letter that no key has.")
    return given


def base_url(given: str, name: str) -> str:
    """An address such as `http://127.0.0.1:8000/v1`, without the last slash.

    Raises:
        SettingsError: it is none.
    """
    text = given.strip().rstrip("/")
    if any(mark in text for mark in "@?#"):  # it would be shown wherever the address is
        raise SettingsError(
            f"{name} holds more than an address such as {OPENAI_URL}. Put a key into "
            "OPENAI_API_KEY."
        )
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        known = False
    if not known:
        raise SettingsError(f"{name} is {given!r}, not an address such as {OPENAI_URL}.")
    return text


def _homes_file(env: Mapping[str, str]) -> Path:
    """Where the list of libraries is kept: among the settings of this user's programs."""
    given = env.get("LIBRARIAN_LIBRARIES", "").strip()
    if given:
        return Path(given).expanduser().absolute()
    return user_config_path("ai-librarian", appauthor=False) / "libraries.json"


def _database(env: Mapping[str, str]) -> Database | None:
    url = env.get("LIBRARIAN_DATABASE_URL", "").strip()
    return parse(url) if url else None


def ollama_url(host: str) -> str:
    """The URL of an OLLAMA_HOST value as Ollama itself reads it: port 11434 unless named.

    A server's "listen everywhere" address is reached on loopback.

    Raises:
        SettingsError: for a value that is not a host.
    """
    text = host.strip().strip("'\"") or f"127.0.0.1:{OLLAMA_PORT}"
    schemed = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(schemed)
        name, port = parts.hostname, parts.port
    except ValueError as exc:
        raise SettingsError(
            f"OLLAMA_HOST is {host!r}, not a host such as 127.0.0.1:11434."
        ) from exc
    if not name or parts.scheme not in ("http", "https"):
        raise SettingsError(f"OLLAMA_HOST is {host!r}, not a host such as 127.0.0.1:11434.")
    if port is None:
        default = {"http": 80, "https": 443}[parts.scheme]
        port = default if "://" in text else OLLAMA_PORT
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}"


def server_url(host: str, port: int) -> str:
    """Where a server that listens there is reached from this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def is_local(name: str) -> bool:
    """Whether a host name can only mean this machine."""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def check_door(settings: Settings) -> None:
    """Refuses to serve to the network where whoever reaches this machine would be let in.

    Raises:
        SettingsError: it would listen beyond this machine without a token.
    """
    if not is_local(settings.host) and not settings.api_token:
        raise SettingsError(
            f"LIBRARIAN_HOST is {settings.host!r}, which others on the network can reach, and "
            "there is no LIBRARIAN_API_TOKEN. Set one, or listen on 127.0.0.1."
        )


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = env.get(name, "").strip().lower() or choices[0]
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}; it may be {', '.join(choices)}.")
    return value


def _whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name, "").strip() or str(default)
    try:
        value = int(text)
    except ValueError:
        raise SettingsError(f"{name} is {text!r}, not a whole number.") from None
    if not low <= value <= high:
        raise SettingsError(f"{name} is {value}; it may be from {low} to {high}.")
    return value
