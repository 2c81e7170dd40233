"""What each failure of a server of OpenAI's protocol means, by its text and status.

The words are those of vLLM, llama.cpp, LiteLLM, OpenAI itself and nginx; what is done about each
is in the one table of decisions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import httpx
import orjson

from librarian.errors import (
    BadEmbedding,
    MalformedAnswer,
    ModelBusy,
    ModelCrashed,
    ModelError,
    ModelMissing,
    ModelUnavailable,
    ModelUnsuitable,
    OutOfMemory,
    PromptTooLong,
    TruncatedAnswer,
)


class ServerAway(ModelUnavailable):
    """The model's server is not answering. Start it, or set OPENAI_BASE_URL to where it runs; the
    work goes on from where it was."""


class ServerBusy(ModelBusy):
    """The model's server has too much to do. The call will be repeated."""


class WrongKey(ModelUnsuitable):
    """The server does not let this program in. Set OPENAI_API_KEY to a key that it takes."""


class QuotaSpent(ModelUnsuitable):
    """What was paid for at the server is used up. Raise its budget or set OPENAI_BASE_URL to
    another one; the work goes on from where it was."""


class NotServed(ModelMissing):
    """The server does not have it. Set LIBRARIAN_LLM_MODEL and LIBRARIAN_EMBED_MODEL to names that
    it lists at /models."""


class NoRoom(PromptTooLong):
    """Prompt and answer do not fit into the server's context. Start it with a longer one (vLLM:
    --max-model-len), or lower LIBRARIAN_NUM_CTX to what it has."""


# By the text of the error, or by its status where the text is none of these.
RULES: tuple[tuple[type[ModelError], str, tuple[int, ...]], ...] = (
    (NoRoom, r"maximum context length|context_length_exceeded|exceeds? the (available )?context"
     r"|context size has been exceeded|max_tokens must be at least 1|larger than the (max )?context"
     r"|exceed context window", ()),
    (NotServed, r"model .* (does not exist|not found)|model_not_found|invalid model name", ()),
    (QuotaSpent, r"insufficient_quota|exceeded your current quota|budget has been exceeded", ()),
    (WrongKey, r"invalid.api.key|incorrect api key|unauthorized|no api key|no connected db"
     r"|invalid proxy server token", (401, 403)),
    (OutOfMemory, r"out[- ]of[- ]memory", ()),
    (BadEmbedding, r"\bnan\b", ()),
    (ServerBusy, r"rate.?limit|overloaded|too many requests", (408, 429, 503)),
    (ServerAway, r"", (301, 302, 303, 307, 308, 404, 405, 502, 504)),
    (ModelCrashed, r"", (500,)),
)  # fmt: skip
_KEYS = re.compile(
    r"\b(sk|pk|hf)[-_][\w*.\-]{3,}|(?<=Bearer )\S+"
)  # as far as a server repeats one
_REFUSES = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|invalid"
    r"|extra",
    re.I,
)


def error_for(text: str, status: int, model: str) -> ModelError:
    """The error of a server's answer."""
    shown = _KEYS.sub("(a key)", " ".join(text.split())[:300]).rstrip(".")
    for error, pattern, statuses in RULES:
        if (pattern and re.search(pattern, text, re.I)) or status in statuses:
            return error(f"{model}: {shown}." if shown else f"{model}: status {status}.")
    return ModelError(f"{model}: {shown or f'status {status}'}.")


def refused_word(text: str, words: Iterable[str]) -> str:
    """Which of these words of a request the server does not know; empty where it is none."""
    if not _REFUSES.search(text):
        return ""
    return next((word for word in words if word in text), "")


@contextmanager
def translated(model: str) -> Iterator[None]:
    """Turns what the client raises into the errors of this program.

    Raises:
        ModelError: for every failure of the server, the connection or the answer's form.
    """
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
        raise ServerAway from exc
    except httpx.ReadTimeout as exc:
        raise ModelCrashed(f"{model}: silent for too long.") from exc
    except httpx.TransportError as exc:
        raise TruncatedAnswer(f"{model}: {exc or 'the connection broke'}.") from exc
    except (ValueError, AttributeError, KeyError, TypeError) as exc:
        kind = type(exc).__name__
        raise MalformedAnswer(f"{model}: not an answer of OpenAI's protocol ({kind}).") from exc


def text_of(body: bytes) -> str:
    """What an error says: OpenAI puts it into `error`, older vLLM beside its kind."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""  # a proxy's page says less than its status
    inner = said.get("error", said) if isinstance(said, dict) else said
    if not isinstance(inner, dict):
        return str(inner)
    code = inner.get("code", "")
    return f"{inner.get('message', '')} {code if isinstance(code, str) else ''}".strip()
