"""Whether the server of a model answers now, and what it has in its memory."""

from __future__ import annotations

from librarian.models.hosts import hosts_of
from librarian.models.ollama import loaded_models, server_version
from librarian.models.openai import answers
from librarian.models.protocol import Model

Present = tuple[bool, tuple[str, ...] | None]


async def presence(model: Model | None, key: str) -> Present:
    """Whether it answers, and its loaded models; None where it does not say. `key` is OpenAI's.

    It takes up to two seconds, at one of several hosts. A model of this process is always there.
    """
    if model is None or not model.card.host:
        return model is not None, None
    if model.card.backend == "openai":
        return await answers(model.card.host, key), None
    host = next((each.address for each in hosts_of(model) if not each.trouble), model.card.host)
    return await server_version(host) is not None, await loaded_models(host)
