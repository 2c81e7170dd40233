"""A stand-in for servers of OpenAI's protocol, as vLLM, LiteLLM and OpenAI itself answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from jsonschema import validate  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.ollama_server import SimpleBrain

DIMENSION = 256
Body = dict[str, Any]


@dataclass
class OpenAIServer:
    """The server on a thread of its own. `faults` are answers given instead, first to last."""

    key: str = ""
    llm: str = "qwen3:8b"
    embed: str = "bge-m3"
    context: int = 8192
    latency_s: float = 0.0
    refuses: dict[str, str] = field(default_factory=dict)  #: words of a request, and what it says
    counts: bool = True  #: it says how many tokens it used
    thinks: bool = False  #: it sends its thoughts beside the answer
    filtered: bool = False  #: a filter ends each answer
    faults: list[tuple[int, bytes]] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)  #: what comes in the middle of an answer
    cut: int = 0  #: so many answers break off in the middle
    headers: dict[str, str] = field(default_factory=dict)  #: of the answers given instead
    asked: list[Body] = field(default_factory=list)
    generating: int = 0

    def __post_init__(self) -> None:
        self._brain = SimpleBrain()
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        config = uvicorn.Config(Starlette(routes=routes), port=0, log_level="critical")
        self._server = uvicorn.Server(config)

    @property
    def url(self) -> str:
        """Where it listens."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1"

    def __enter__(self) -> OpenAIServer:
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    def _refusal(self, request: Request, body: Body, model: str) -> Response | None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            error = {"message": "Incorrect API key provided.", "code": "invalid_api_key"}
            return JSONResponse({"error": error}, 401)
        if self.faults:
            status, content = self.faults.pop(0)
            return Response(content, status, self.headers, media_type="application/json")
        if body["model"] != model:
            words = f"The model `{body['model']}` does not exist."
            return JSONResponse(
                {"object": "error", "message": words, "type": "NotFoundError", "code": 404}, 404
            )
        return None

    async def _models(self, request: Request) -> Response:
        if refusal := self._refusal(request, {"model": self.llm}, self.llm):
            return refusal
        names = (self.llm, self.embed)
        return JSONResponse({"object": "list", "data": [{"id": name} for name in names]})

    async def _embeddings(self, request: Request) -> Response:
        body = await request.json()
        if refusal := self._refusal(request, body, self.embed):
            return refusal
        rows = self._brain.embed(body["input"], DIMENSION)
        data = [{"index": n, "embedding": row} for n, row in enumerate(rows)]
        return JSONResponse({"data": data[::-1], "usage": {"prompt_tokens": 1}})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        if refusal := self._refusal(request, body, self.llm):
            return refusal
        for word, said in self.refuses.items():
            form = body.get("response_format", {}).get("type")
            if word in body or word == form:
                error = {"message": said, "type": "invalid_request_error", "param": word}
                return JSONResponse({"error": error | {"code": None}}, 400)
        used = sum(len(message["content"]) for message in body["messages"]) // 4
        wanted = used + body.get("max_tokens", 1)
        if wanted > self.context:
            words = (
                f"This model's maximum context length is {self.context} tokens. However, you "
                f"requested {wanted} tokens."
            )
            return JSONResponse({"object": "error", "message": words, "code": 400}, 400)
        form = body.get("response_format", {}).get("json_schema", {}).get("schema")
        text = self._brain.answer(body["messages"], form)
        if form:
            validate(json.loads(text), form)
        return StreamingResponse(self._events(text, used), media_type="text/event-stream")

    async def _events(self, text: str, used: int) -> AsyncIterator[str]:
        self.generating += 1
        try:
            await asyncio.sleep(self.latency_s)
            half = max(1, len(text) // 2)
            yield ": waiting for a slot\n\n"
            yield _event({"choices": [{"index": 0, "delta": {"role": "assistant"}}]})
            if self.thinks:
                thought = {"index": 0, "delta": {"reasoning_content": "Let me see."}}
                yield _event({"choices": [thought]})
            yield _event({"choices": [{"index": 0, "delta": {"content": text[:half]}}]})
            if self.breaks:
                yield f"data: {self.breaks.pop(0)}\n\n"
            if self.cut:
                self.cut -= 1
                return
            why = "content_filter" if self.filtered else "stop"
            last = {"index": 0, "delta": {"content": text[half:]}, "finish_reason": why}
            yield _event({"choices": [last]})
            usage = {"prompt_tokens": used, "completion_tokens": len(text) // 4}
            if self.counts:
                yield _event({"choices": [], "usage": usage})
            yield "data: [DONE]\n\n"
        finally:
            self.generating -= 1


def _event(part: Body) -> str:
    return f"data: {json.dumps({'id': 'chatcmpl-1', **part})}\n\n"


def digest(body: Body) -> str:
    """Tells two questions apart."""
    return hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()
