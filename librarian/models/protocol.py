"""What every model is asked and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from librarian.errors import ModelError

Vectors = NDArray[np.float32]
Heard = Callable[[str], None]


class Role(StrEnum):
    """What a call is for; LightRAG's own names."""

    EXTRACT = "extract"  #: entities and relations of one chunk, as JSON
    SUMMARY = "summary"  #: one description out of many
    KEYWORD = "keyword"  #: the search words of a question, as JSON
    QUERY = "query"  #: the answer to a person


class Remark(StrEnum):
    """What was odd about an answer that could be used all the same."""

    THOUGHT = "thought"  #: the model thought before it, in tokens that nobody uses
    REPAIRED = "repaired"  #: something around the form that was asked for had to be taken off


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question to a model, with all that shapes its answer."""

    messages: tuple[Message, ...]
    role: Role
    schema: Mapping[str, Any] | None = None  #: JSON schema that the answer must satisfy
    max_tokens: int | None = None  #: bound on the answer, in the model's tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer. Durations are seconds as the model's server measured them; 0 is unknown."""

    text: str
    prompt_tokens: int = 0
    output_tokens: int = 0
    load_s: float = 0.0
    prompt_s: float = 0.0
    output_s: float = 0.0
    total_s: float = 0.0
    saved: bool = False  #: it was paid for before, and came from the journal
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Which models answer, and where."""

    backend: str  #: `ollama`, `openai` or `offline`
    llm: str
    embed: str
    host: str  #: empty for the offline model
    hosts: tuple[str, ...] = ()  #: all of them, where there are several
    dimension: int  #: of an embedding; 0 while unknown
    options: str = ""  #: what else shapes answers, as text
    fingerprint: tuple[float, ...] = ()  #: of the embedder's weights; empty while unknown


class Model(Protocol):
    """A language model with its embedder.

    Made, used and closed on one event loop.
    """

    @property
    def card(self) -> ModelCard:
        """Names, host and embedding dimension."""
        ...

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        """The whole answer; `heard` gets each piece of text as it comes.

        Raises:
            ModelError: with the reason and whether it may pass; never an incomplete answer.
        """
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit-length row per text, shape `(len(texts), dimension)`.

        Raises:
            ModelError: also for a wrong count or dimension, NaN or an all-zero row.
        """
        ...

    async def aclose(self) -> None:
        """Ends running requests and gives back connections."""
        ...


class NoModel:
    """Stands where a model has to be and none is to be asked."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        """Refuses."""
        raise ModelError("No model is asked for this.")

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Refuses."""
        raise ModelError("No model is asked for this.")

    async def aclose(self) -> None:
        """There is nothing to close."""
