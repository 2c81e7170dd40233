"""What each failure of an Ollama server means, by status and text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError

import httpx
import pydantic

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
from librarian.models.client import ollama


@dataclass(frozen=True, slots=True)
class Rule:
    """A failure that is recognised by its text, or by its status where the text is empty."""

    error: type[ModelError]
    text: str = ""
    status: tuple[int, ...] = ()
    why: str = ""


RULES = (
    Rule(ModelMissing, r"model .* not found", why="never pulled, or deleted while running"),
    Rule(PromptTooLong, r"exceeds? the (available )?context", why="native templates say so; 400"),
    Rule(OutOfMemory, r"out[- ]of[- ]memory|requires more system memory", why="stays so; 500"),
    Rule(BadEmbedding, r"NaN|unsupported value", why="the same text gives it every time"),
    Rule(ModelBusy, r"server busy|maximum pending requests", why="too many loads are waiting; 503"),
    Rule(ModelCrashed, r"unexpectedly stopped|has terminated|error was encountered|EOF",
         why="the next call loads the model anew; embed dresses it as 400"),
    Rule(ModelCrashed, r"timed out waiting", why="loading stalled; the next call loads anew"),
    Rule(ModelUnsuitable, r"not support", why="another model is needed"),
    Rule(ModelUnsuitable, r"unauthorized|cloud is disabled", (401, 403), "a cloud model's name"),
    Rule(ModelUnsuitable, "", (401, 403), "a door in front of the server; a person must open it"),
    Rule(ModelBusy, "", (429, 503), "asked to come back later"),
    Rule(ModelUnavailable, "", (502, 504), "a proxy whose server is gone"),
    Rule(ModelUnavailable, "", (404, 405), "something else answers at this address"),
    Rule(ModelCrashed, "", (500,), "an internal error of the server"),
)  # fmt: skip


def error_for(text: str, status: int, model: str) -> ModelError:
    """The error of a server's answer."""
    shown = " ".join(text.split())[:300]
    for rule in RULES:
        matches = re.search(rule.text, text, re.I) if rule.text else status in rule.status
        if matches:
            return rule.error(f"{model}: {shown}." if shown else f"{model}: status {status}.")
    if status == -1:  # the client's word for an error line in a stream that began well
        return ModelCrashed(f"{model}: {shown}.")
    return ModelError(f"{model}: {shown or f'status {status}'}.")


@contextmanager
def translated(model: str) -> Iterator[None]:
    """Turns what the client raises into the errors of this program.

    Raises:
        ModelError: for every failure of the server, the connection or the answer's form.
    """
    try:
        yield
    except ollama.ResponseError as exc:
        raise error_for(str(exc.error), exc.status_code, model) from exc
    except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as exc:
        raise ModelUnavailable from exc
    except httpx.ReadTimeout as exc:
        raise ModelCrashed(f"{model}: silent for too long.") from exc
    except httpx.TransportError as exc:
        # The connection broke inside an answer: the server was stopped or restarted.
        raise TruncatedAnswer(f"{model}: {exc or 'the connection broke'}.") from exc
    except (JSONDecodeError, pydantic.ValidationError, AttributeError, KeyError, TypeError) as exc:
        # The client fails in these ways on answers that are not Ollama's.
        raise MalformedAnswer(f"{model}: not an answer of Ollama ({type(exc).__name__}).") from exc
