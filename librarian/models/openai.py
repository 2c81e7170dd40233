"""Servers that speak OpenAI's protocol: vLLM, LiteLLM, llama.cpp, or nginx before several of them.

The protocol: https://platform.openai.com/docs/api-reference/chat and its `embeddings`; what vLLM
adds: https://docs.vllm.ai/en/stable/serving/openai_compatible_server/.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

import httpx
import orjson

from librarian.errors import (
    BadEmbedding,
    EndlessAnswer,
    MalformedAnswer,
    ModelBusy,
    ModelCrashed,
    ModelError,
    ModelMissing,
    ModelUnavailable,
    ModelUnsuitable,
    PromptTooLong,
    TruncatedAnswer,
)
from librarian.models.embedding import PROBE, checked, recognised
from librarian.models.ollama import (
    CONNECT_TIMEOUT_S,
    PROBE_TIMEOUT_S,
    SILENCE_TIMEOUT_S,
    is_loopback,
    options_of,
)
from librarian.models.protocol import Completion, Heard, ModelCard, Prompt, Remark, Vectors

MOST_ERROR = 64_000  # bytes of an error's body that are read
_WITHOUT_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


class ServerAway(ModelUnavailable):
    """The model's server is not answering. Start it, or set OPENAI_BASE_URL to where it runs; the
    work goes on from where it was."""


class ServerBusy(ModelBusy):
    """The model's server has too much to do. The call will be repeated."""


class WrongKey(ModelUnsuitable):
    """The server does not let this program in. Set OPENAI_API_KEY to a key that it takes."""


class NotServed(ModelMissing):
    """The server does not have it. Set LIBRARIAN_LLM_MODEL and LIBRARIAN_EMBED_MODEL to names that
    it lists at /models."""


class NoRoom(PromptTooLong):
    """Prompt and answer do not fit into the server's context. Start it with a longer one (vLLM:
    --max-model-len), or lower LIBRARIAN_NUM_CTX to what it has."""


# By the text of the error, or by its status where the text is none of these.
_RULES: tuple[tuple[type[ModelError], str, tuple[int, ...]], ...] = (
    (NoRoom, r"maximum context length|context_length_exceeded|exceeds? the (available )?context"
     r"|max_tokens must be at least 1|larger than the (max )?context", ()),
    (NotServed, r"model .* (does not exist|not found)|model_not_found|invalid model name", ()),
    (WrongKey, r"invalid.api.key|incorrect api key|unauthorized|no api key", (401, 403)),
    (BadEmbedding, r"\bnan\b", ()),
    (ServerBusy, r"rate.?limit|overloaded|too many requests", (408, 429, 503)),
    (ServerAway, r"", (404, 405, 502, 504)),
    (ModelCrashed, r"", (500,)),
)  # fmt: skip


class OpenAIModel:
    """A language model and an embedder behind OpenAI's protocol, at one address or at two."""

    def __init__(
        self,
        *,
        url: str,
        embed_url: str,
        key: str,
        llm: str,
        embed: str,
        num_ctx: int,
        dimension: int = 0,
        fingerprint: tuple[float, ...] = (),
    ) -> None:
        """Makes the clients; call it on the loop that will use them.

        `dimension` and `fingerprint` are what vectors made before had, where there are some.
        """
        self._most = int(options_of(num_ctx)["num_predict"])
        self._num_ctx = num_ctx
        self._card = ModelCard(
            backend="openai",
            llm=llm,
            embed=embed,
            host=url,
            dimension=dimension,
            options=json.dumps({"num_ctx": num_ctx, "temperature": 0.0}),
            fingerprint=fingerprint,
        )
        self._writer, self._embedder = client_at(url, key), client_at(embed_url, key)
        self._extra: dict[str, Any] = dict(_WITHOUT_THINKING)
        self._recognised = False

    @property
    def card(self) -> ModelCard:
        """Names, address and embedding dimension (0 until `prepare`)."""
        return self._card

    async def prepare(self) -> None:
        """Learns the embedding dimension where it is not known yet, by embedding a sentence.

        Raises:
            ModelError: the server or the model is not there.
        """
        if not self._card.dimension:
            await self._recognise()

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        """See `Model.complete`. Cancelling it closes the connection, which ends the request."""
        begun_s, bounded = monotonic(), True
        while True:
            try:
                answer = await self._streamed(self._request(prompt, bounded), heard)
                return replace(answer, total_s=monotonic() - begun_s)
            except _Refused as exc:
                error = error_for(exc.text, exc.status, self._card.llm)
                if self._extra and exc.status in (400, 422) and _is_about_extra(exc.text):
                    self._extra = {}  # this server knows no such word
                elif bounded and isinstance(error, NoRoom):
                    bounded = False  # the prompt may fit, with less room for the answer
                else:
                    raise error from exc

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Model.embed`.

        Raises:
            ModelUnsuitable: another model has taken the embedder's name.
        """
        if not self._recognised:
            await self._recognise()
        return await self._embedded(texts)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._writer.aclose()
        await self._embedder.aclose()

    async def _recognise(self) -> None:
        vectors = await self._embedded([PROBE])
        seen = recognised(vectors, self._card.fingerprint, self._card.embed)
        self._card = replace(self._card, dimension=vectors.shape[1], fingerprint=seen)
        self._recognised = True

    async def _embedded(self, texts: Sequence[str]) -> Vectors:
        card = self._card
        request = {"model": card.embed, "input": list(texts), "encoding_format": "float"}
        with translated(card.embed):
            answer = await self._embedder.post("embeddings", json=request)
            if answer.is_error:
                raise error_for(_text_of(answer.content), answer.status_code, card.embed)
            rows = sorted(orjson.loads(answer.content)["data"], key=lambda row: int(row["index"]))
            vectors = [row["embedding"] for row in rows]
        return checked(vectors, texts, name=card.embed, dimension=card.dimension)

    async def _streamed(self, body: dict[str, Any], heard: Heard | None) -> Completion:
        pieces: list[str] = []
        usage: dict[str, Any] = {}
        thought, reason = False, None
        with translated(self._card.llm):
            request = self._writer.stream("POST", "chat/completions", json=body)
            async with request as answer:
                if answer.is_error:
                    raise _Refused(_text_of(await _beginning(answer)), answer.status_code)
                async for part in _events(answer):
                    usage = part.get("usage") or usage
                    for choice in part.get("choices", ())[:1]:
                        delta = choice.get("delta") or {}
                        if piece := delta.get("content") or "":
                            pieces.append(piece)
                        thought = thought or bool(delta.get("reasoning_content"))
                        reason = choice.get("finish_reason") or reason
                        if heard is not None:
                            heard(piece)
        return self._checked("".join(pieces), reason, usage, thought)

    def _request(self, prompt: Prompt, bounded: bool) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._card.llm,
            "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.0,
            **self._extra,
        }
        if bounded:  # else a model that repeats itself goes on to the end of the context
            request["max_tokens"] = self._most
        if prompt.schema:
            form = {"name": "answer", "schema": dict(prompt.schema)}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        return request

    def _checked(
        self, text: str, reason: str | None, usage: dict[str, Any], thought: bool
    ) -> Completion:
        if reason is None:
            raise TruncatedAnswer("The stream ended without a reason.")
        if reason == "length":
            raise EndlessAnswer(f"The answer reached {self._most} tokens, or the context's end.")
        return Completion(
            text=text,
            prompt_tokens=max(0, int(usage.get("prompt_tokens") or 0)),
            output_tokens=max(0, int(usage.get("completion_tokens") or 0)),
            remarks=(Remark.THOUGHT,) if thought else (),
        )


class _Refused(Exception):
    """An answer with an error's status, before what it means is decided."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def client_at(url: str, key: str) -> httpx.AsyncClient:
    """A client of an address such as `http://127.0.0.1:8000/v1`; the key goes nowhere else."""
    return httpx.AsyncClient(
        base_url=url,
        timeout=httpx.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        trust_env=not is_loopback(url),
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )


async def served_models(url: str, key: str) -> tuple[str, ...]:
    """The models that a server lists, within two seconds.

    Raises:
        ModelError: it does not answer, or lets nobody in.
    """
    with translated("models"):
        async with client_at(url, key) as client:
            answer = await client.get("models", timeout=PROBE_TIMEOUT_S)
            if answer.is_error:
                raise error_for(_text_of(answer.content), answer.status_code, url)
            return tuple(str(each["id"]) for each in orjson.loads(answer.content)["data"])


def error_for(text: str, status: int, model: str) -> ModelError:
    """The error of a server's answer."""
    shown = " ".join(text.split())[:300]
    for error, pattern, statuses in _RULES:
        if (pattern and re.search(pattern, text, re.I)) or status in statuses:
            return error(f"{model}: {shown}." if shown else f"{model}: status {status}.")
    return ModelError(f"{model}: {shown or f'status {status}'}.")


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


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The parts of a streamed answer, as server-sent events carry them.

    Raises:
        ModelError: the server says within the stream that it has failed.
    """
    async for line in answer.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        part = orjson.loads(data)
        if "error" in part:
            raise error_for(_text_of(data.encode()), 500, "The answer")
        yield part


async def _beginning(answer: httpx.Response) -> bytes:
    body = b""
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) >= MOST_ERROR:
            break
    return body[:MOST_ERROR]


def _text_of(body: bytes) -> str:
    """What an error says: OpenAI puts it into `error`, older vLLM beside its kind."""
    try:
        said = orjson.loads(body)
        inner = said.get("error", said) if isinstance(said, dict) else said
        words = inner.get("message", "") if isinstance(inner, dict) else inner
        code = inner.get("code", "") if isinstance(inner, dict) else ""
        return f"{words} {code if isinstance(code, str) else ''}".strip()
    except orjson.JSONDecodeError:
        return ""  # a proxy's page says less than its status


def _is_about_extra(text: str) -> bool:
    return bool(re.search(r"chat_template_kwargs|unrecognized|unknown|extra", text, re.I))
