"""Servers that speak OpenAI's protocol: vLLM, LiteLLM, llama.cpp, or nginx before several of them.

The protocol: https://platform.openai.com/docs/api-reference/chat and its `embeddings`; what vLLM
adds: https://docs.vllm.ai/en/stable/serving/openai_compatible_server/.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

import httpx
import orjson

from librarian.errors import EndlessAnswer, ModelCrashed, ModelError, TruncatedAnswer
from librarian.models.embedding import PROBE, checked, recognised
from librarian.models.endpoint_faults import (
    NoRoom,
    ServerAway,
    error_for,
    refused_word,
    text_of,
    translated,
)
from librarian.models.ollama import (
    CONNECT_TIMEOUT_S,
    PROBE_TIMEOUT_S,
    SILENCE_TIMEOUT_S,
    is_loopback,
    options_of,
)
from librarian.models.protocol import Completion, Heard, ModelCard, Prompt, Remark, Vectors

MOST_ERROR = 64_000  # bytes of an error's body that are read
# What is asked beyond the question. A server that does not know one of these words says so, and is
# asked without it from then on; one that does not know the first thinks as it was made to.
_WORDS: dict[str, Any] = {
    "chat_template_kwargs": {"enable_thinking": False},
    "stream_options": {"include_usage": True},
    "temperature": 0.0,
}
_BOUNDS = ("max_tokens", "max_completion_tokens")  # OpenAI's newer models know only the second


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
        self._words = dict(_WORDS)
        self._bound, self._forms = _BOUNDS[0], ["json_schema", "json_object"]
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
                if bounded and isinstance(error, NoRoom):
                    bounded = False  # the prompt may fit, with less room for the answer
                elif exc.status not in (400, 422) or not self._simplified(exc.text):
                    raise error from exc

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Model.embed`.

        Raises:
            ModelUnsuitable: another model has taken the embedder's name.
        """
        if not self._recognised:
            await self._recognise()
        try:
            return await self._embedded(texts)
        except ModelError:
            self._recognised = False  # it may come back as another one
            raise

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
            if not answer.is_success:
                raise error_for(_said(answer, answer.content), answer.status_code, card.embed)
            rows = sorted(orjson.loads(answer.content)["data"], key=lambda row: int(row["index"]))
            vectors = [row["embedding"] for row in rows]
        return checked(vectors, texts, name=card.embed, dimension=card.dimension)

    async def _streamed(self, request: dict[str, Any], heard: Heard | None) -> Completion:
        pieces: list[str] = []
        usage: dict[str, Any] = {}
        thought, reason = False, None
        with translated(self._card.llm):
            asked = self._writer.stream("POST", "chat/completions", json=request)
            async with asked as answer:
                if not answer.is_success:
                    raise _Refused(_said(answer, await _beginning(answer)), answer.status_code)
                async for part in _events(answer, self._card.llm):
                    usage = part.get("usage") or usage
                    piece = ""
                    for choice in part.get("choices", ())[:1]:
                        delta = choice.get("delta") or {}
                        if piece := delta.get("content") or "":
                            pieces.append(piece)
                        thought = thought or bool(_thoughts(delta))
                        reason = choice.get("finish_reason") or reason
                    if heard is not None:
                        heard(piece)
        # A piece is about a token, where a server does not count.
        counted = {"completion_tokens": len(pieces), **usage}
        return self._checked("".join(pieces), reason, counted, thought)

    def _request(self, prompt: Prompt, bounded: bool) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._card.llm,
            "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "stream": True,
            **self._words,
        }
        if bounded:  # else a model that repeats itself goes on to the end of the context
            request[self._bound] = self._most
        if prompt.schema and self._forms:
            form: dict[str, Any] = {"type": self._forms[0]}
            if self._forms[0] == "json_schema":
                form["json_schema"] = {"name": "answer", "schema": dict(prompt.schema)}
            request["response_format"] = form
        return request

    def _simplified(self, text: str) -> bool:
        """Takes out of further requests what the server does not know; False: it names nothing."""
        word = refused_word(text, (*self._words, self._bound, "response_format", *self._forms[:1]))
        if word in self._words:
            del self._words[word]
        elif word == _BOUNDS[0]:
            self._bound = _BOUNDS[1]
        elif word and self._forms and word != self._bound:
            del self._forms[0]  # the prompt asks for JSON in words, too
        elif re.search(r"unrecogni[sz]ed|unknown|extra inputs", text, re.I):
            return self._words.pop("chat_template_kwargs", None) is not None
        else:
            return False
        return True

    def _checked(
        self, text: str, reason: str | None, usage: dict[str, Any], thought: bool
    ) -> Completion:
        if reason is None:
            raise TruncatedAnswer("The stream ended without a reason.")
        if reason == "length":
            raise EndlessAnswer(f"The answer reached {self._most} tokens, or the context's end.")
        if reason == "content_filter":
            raise ModelError(f"{self._card.llm}: a filter of the server ended the answer.")
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
            if not answer.is_success:
                raise error_for(_said(answer, answer.content), answer.status_code, url)
            return tuple(str(each["id"]) for each in orjson.loads(answer.content)["data"])


async def answers(url: str, key: str) -> bool:
    """Whether a server is there, whatever it says."""
    try:
        await served_models(url, key)
    except ModelError as exc:
        return not isinstance(exc, ServerAway | TruncatedAnswer | ModelCrashed)
    return True


async def _events(answer: httpx.Response, model: str) -> AsyncIterator[dict[str, Any]]:
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
        if part.get("error") or part.get("object") == "error":
            raise error_for(text_of(data.encode()), 500, model)
        yield part


async def _beginning(answer: httpx.Response) -> bytes:
    body = b""
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) >= MOST_ERROR:
            break
    return body[:MOST_ERROR]


def _said(answer: httpx.Response, body: bytes) -> str:
    """What an error says; where a redirect leads is not asked, for it would be told the key."""
    if answer.is_redirect:
        return f"it sends to another address, {answer.headers.get('location', '')}"
    return text_of(body)


def _thoughts(delta: dict[str, Any]) -> Any:
    return delta.get("reasoning_content") or delta.get("reasoning")
