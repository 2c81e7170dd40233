"""The client over real HTTP, against the stand-in and its faults."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import numpy as np
import pytest

from librarian.decisions import row_for
from librarian.errors import (
    BadEmbedding,
    EmptyAnswer,
    EndlessAnswer,
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
from librarian.models.forms import EXTRACTION, tidied
from librarian.models.ollama import (
    OllamaModel,
    is_loopback,
    missing_models,
    server_version,
)
from librarian.models.protocol import Completion, Message, Prompt, Remark, Role
from tests.ollama_server import DEFAULT_MODELS, Fault, OllamaServer, StandInModel

THINKS, PLAIN, EMBEDDER = "qwen3:8b", "llama3.1:8b", "bge-m3"
NUM_CTX = 4096
DEAD = "http://127.0.0.1:9"  # the discard port, where nobody listens


@asynccontextmanager
async def model_of(
    host: str,
    *,
    llm: str = THINKS,
    embed: str = EMBEDDER,
    num_ctx: int = NUM_CTX,
    **known: Any,
) -> AsyncIterator[OllamaModel]:
    model = OllamaModel(host=host, llm=llm, embed=embed, num_ctx=num_ctx, **known)
    try:
        yield model
    finally:
        await model.aclose()


def run(server: OllamaServer | str, do: Callable[[OllamaModel], Awaitable[Any]], **how: Any) -> Any:
    """Does something with a model on a loop of its own."""
    host = server if isinstance(server, str) else server.url

    async def inside() -> Any:
        async with model_of(host, **how) as model:
            return await do(model)

    return anyio.run(inside)


def said(text: str = "Who are you?", *, schema: Any = None) -> Prompt:
    return Prompt(
        messages=(Message(role="user", content=text),),
        role=Role.EXTRACT if schema else Role.QUERY,
        schema=schema,
    )


def complete(
    server: OllamaServer | str, text: str = "Who are you?", *, schema: Any = None, **how: Any
) -> Completion:
    result: Completion = run(server, lambda model: model.complete(said(text, schema=schema)), **how)
    return result


def embed(server: OllamaServer, *texts: str, **how: Any) -> Any:
    return run(server, lambda model: model.embed(texts), **how)


@contextmanager
def recording() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that keeps what it is sent, for what the stand-in does not show; answers briefly."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, **body})
            answers: dict[str, dict[str, Any]] = {
                "/api/show": {
                    "model_info": {},
                    "capabilities": ["completion"] + ["thinking"] * (body["model"] == THINKS),
                },
                "/api/chat": {
                    "model": body["model"],
                    "message": {"role": "assistant", "content": "Yes."},
                    "done": True,
                    "done_reason": "stop",
                    "prompt_eval_count": 5,
                },
                "/api/embed": {"model": body["model"], "embeddings": [[0.6, 0.8]]},
            }
            content = json.dumps(answers[self.path]).encode() + b"\n"
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", seen
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


# --- whole answers --------------------------------------------------------------------------


def test_a_whole_answer_comes_with_its_tokens_and_durations(server: OllamaServer) -> None:
    server.latency_s = 0.05
    heard: list[str] = []
    answer = run(server, lambda model: model.complete(said(), heard.append))
    assert "Who are you?" in answer.text
    assert "".join(heard) == answer.text
    call = server.calls[-1]
    assert (answer.prompt_tokens, answer.output_tokens) == (call.prompt_tokens, call.output_tokens)
    assert answer.output_tokens > 0
    assert answer.prompt_s > 0
    assert answer.output_s > 0
    assert answer.total_s >= answer.prompt_s + answer.output_s


def test_an_answer_in_a_form_is_of_that_form(server: OllamaServer) -> None:
    answer = complete(server, "---Input Text---\nAlice met Bob.\n---Output---", schema=EXTRACTION)
    assert {"entities", "relationships"} <= set(json.loads(tidied(answer, EXTRACTION).text))


@pytest.mark.parametrize("fault", [Fault.ABSENT_DURATIONS, Fault.NEGATIVE_DURATIONS])
def test_durations_that_cannot_be_are_unknown(server: OllamaServer, fault: Fault) -> None:
    server.inject(fault)
    answer = complete(server)
    assert answer.text
    assert answer.total_s == answer.output_s == answer.prompt_s == answer.load_s == 0


def test_a_long_load_and_a_long_silence_are_waited_for(server: OllamaServer) -> None:
    server.inject(Fault.SLOW_LOAD, seconds=0.3)
    server.inject(Fault.STALLED_STREAM, seconds=0.2)
    answer = complete(server)
    assert answer.load_s >= 0.3
    assert answer.text.endswith("This is all there is to say about it.")


# --- what is not a whole answer -------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.NO_DONE, TruncatedAnswer),
        (Fault.DONE_FALSE, TruncatedAnswer),
        (Fault.CUT_STREAM, TruncatedAnswer),
        (Fault.RESET, TruncatedAnswer),
        (Fault.LENGTH_PARTIAL, EndlessAnswer),
        (Fault.EMPTY_LENGTH_THINKING, EndlessAnswer),
        (Fault.ERROR_LINE, ModelCrashed),
        (Fault.RUNNER_STOPPED, ModelCrashed),
        (Fault.LOAD_TIMEOUT, ModelCrashed),
        (Fault.OUT_OF_MEMORY, OutOfMemory),
        (Fault.OLD_OUT_OF_MEMORY, OutOfMemory),
        (Fault.QUEUE_FULL, ModelBusy),
        (Fault.CLOUD_BUSY, ModelBusy),
        (Fault.CONTEXT_OVERFLOW, PromptTooLong),
        (Fault.MODEL_MISSING, ModelMissing),
        (Fault.CLOUD_UNAUTHORIZED, ModelUnsuitable),
        (Fault.CLOUD_DISABLED, ModelUnsuitable),
        (Fault.CLOUD_UNREACHABLE, ModelUnavailable),
        (Fault.PROXY_HTML, ModelUnavailable),
        (Fault.PROXY_FORBIDDEN, ModelUnsuitable),
        (Fault.HTML_OK, MalformedAnswer),
        (Fault.BROKEN_BODY, MalformedAnswer),
    ],
)
def test_every_failure_of_an_answer_has_its_own_name(
    server: OllamaServer, fault: Fault, error: type[ModelError]
) -> None:
    server.inject(fault, match="/api/chat")
    with pytest.raises(error) as caught:
        complete(server)
    assert type(caught.value) is error
    server.heal()
    assert complete(server).text  # and the client's next call is as good as any


def test_an_answer_of_nothing_is_an_error_by_name(server: OllamaServer) -> None:
    server.inject(Fault.EMPTY_STOP)
    answer = complete(server)
    with pytest.raises(EmptyAnswer):
        tidied(answer, None)


def test_an_endless_answer_is_bounded(server: OllamaServer) -> None:
    server.inject(Fault.ENDLESS)
    with pytest.raises(EndlessAnswer, match="2048 tokens"):
        complete(server)
    assert server.calls[-1].output_tokens == NUM_CTX // 2


def test_a_prompt_that_the_server_really_cut_is_noticed(server: OllamaServer) -> None:
    with pytest.raises(PromptTooLong, match=f"{NUM_CTX}"):
        complete(server, "word " * 3 * NUM_CTX)


def test_a_prompt_longer_than_what_the_model_learnt_on_is_noticed_from_the_first_call() -> None:
    small = StandInModel(name="small:1b", context_length=1024)
    with OllamaServer(models=(small,)) as server, pytest.raises(PromptTooLong, match="1024 tokens"):
        complete(server, "word " * 2000, llm=small.name)


@pytest.mark.parametrize("fault", [Fault.THINKS_ANYWAY, Fault.THINK_IN_CONTENT])
def test_thinking_that_could_not_be_turned_off_is_remarked(
    server: OllamaServer, fault: Fault
) -> None:
    server.inject(fault)
    assert tidied(complete(server), None).remarks == (Remark.THOUGHT,)
    assert tidied(complete(server), None).remarks == ()


def test_a_missing_model_is_named_with_the_way_to_get_it(server: OllamaServer) -> None:
    with pytest.raises(ModelMissing, match=r"nobody:7b.*ollama pull"):
        complete(server, llm="nobody:7b")
    with pytest.raises(ModelMissing, match=r"nobody.*ollama pull"):
        embed(server, "a", embed="nobody")


def test_an_embedder_is_no_language_model_and_the_other_way_round(server: OllamaServer) -> None:
    with pytest.raises(ModelUnsuitable, match="does not support chat"):
        complete(server, llm=EMBEDDER)
    with pytest.raises(ModelUnsuitable, match="does not support embeddings"):
        embed(server, "a", embed=PLAIN)


def test_nobody_at_the_address_is_unavailable(server: OllamaServer) -> None:
    server.inject(Fault.REFUSE)
    with pytest.raises(ModelUnavailable, match="ollama serve"):
        complete(server)
    with pytest.raises(ModelUnavailable, match="ollama serve"):
        embed(server, "a")


def test_a_server_stopped_in_the_middle_of_an_answer_cuts_it(server: OllamaServer) -> None:
    server.latency_s = 20

    async def stop_it(model: OllamaModel) -> None:
        async def stop() -> None:
            await anyio.to_thread.run_sync(
                lambda: server.wait_until(lambda s: s.generating == 1, 10)
            )
            await anyio.to_thread.run_sync(server.stop)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            with pytest.raises(TruncatedAnswer):
                await model.complete(said())

    run(server, stop_it)


# --- how the server is treated --------------------------------------------------------------


@pytest.mark.parametrize(("llm", "think"), [(THINKS, False), (PLAIN, None)])
def test_thinking_is_turned_off_only_where_there_is_any(llm: str, think: bool | None) -> None:
    with recording() as (url, seen):
        assert complete(url, llm=llm).text == "Yes."
    chat = next(each for each in seen if each["path"] == "/api/chat")
    assert chat.get("think") is think


def test_every_call_carries_the_same_options(server: OllamaServer) -> None:
    async def several(model: OllamaModel) -> None:
        await model.complete(said("One"))
        await model.complete(said("Two", schema=EXTRACTION))
        await model.embed(["three"])

    with recording() as (url, seen):
        run(url, several)
    chats = [each for each in seen if each["path"] == "/api/chat"]
    assert len(chats) == 2
    assert chats[0]["options"] == chats[1]["options"]
    assert chats[0]["options"]["num_ctx"] == NUM_CTX
    assert {each["keep_alive"] for each in seen if "keep_alive" in each} == {"30m"}
    assert all("think" not in each for each in seen if each["path"] == "/api/embed")


def test_the_model_is_loaded_once_for_all_calls(server: OllamaServer) -> None:
    server.load_s = 0.05

    async def several(model: OllamaModel) -> list[Completion]:
        answers = []
        for prompt in (said("One"), said("Two", schema=EXTRACTION), said("Three")):
            answers.append(await model.complete(prompt))
            await model.embed([prompt.messages[0].content])
        return answers

    first, *others = run(server, several)
    assert first.load_s >= 0.05
    assert all(each.load_s < 0.05 for each in others)


def test_cancelling_ends_the_request_at_the_server(server: OllamaServer) -> None:
    server.latency_s = 20

    async def cancel(model: OllamaModel) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(model.complete, said())
            await anyio.to_thread.run_sync(
                lambda: server.wait_until(lambda s: s.generating == 1, 10)
            )
            tasks.cancel_scope.cancel()
        await anyio.to_thread.run_sync(lambda: server.wait_until(lambda s: len(s.calls) == 1, 10))

    run(server, cancel)
    assert server.calls[0].outcome == "disconnected"
    assert server.in_flight == 0


def test_cancelling_inside_an_answer_ends_it_too(server: OllamaServer) -> None:
    server.inject(Fault.STALLED_STREAM, seconds=20)

    async def cancel(model: OllamaModel) -> None:
        with anyio.CancelScope() as scope:
            await model.complete(said(), lambda _: scope.cancel())
        await anyio.to_thread.run_sync(lambda: server.wait_until(lambda s: len(s.calls) == 1, 10))

    run(server, cancel)
    assert server.calls[0].outcome == "disconnected"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_stands_before_this_machine(
    server: OllamaServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, DEAD)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert complete(server).text
    assert len(embed(server, "a")) == 1
    assert anyio.run(server_version, server.url) == server.version
    assert anyio.run(missing_models, server.url, (THINKS,)) == ()


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://127.8.8.8", True),
        ("http://localhost:11434", True),
        ("http://[::1]:11434", True),
        ("http://192.168.0.7:11434", False),
        ("http://localhost.example.org", False),
        ("https://127.example.org", False),
        ("https://ollama.example.org", False),
    ],
)
def test_this_machine_is_told_by_its_names(host: str, here: bool) -> None:
    assert is_loopback(host) is here


# --- vectors --------------------------------------------------------------------------------


def test_vectors_come_in_order_and_of_unit_length(server: OllamaServer) -> None:
    texts = [f"Text about {word}" for word in ("salt", "ships", "soap", "sand")]
    together = embed(server, *texts)
    assert together.shape == (4, 1024)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-4)
    assert np.allclose(together[2], embed(server, texts[2])[0])


def test_no_texts_are_no_vectors(server: OllamaServer) -> None:
    assert embed(server, dimension=1024).shape == (0, 1024)


def test_another_embedder_under_the_same_name_is_recognised(server: OllamaServer) -> None:
    async def learnt(model: OllamaModel) -> tuple[float, ...]:
        await model.prepare()
        return model.card.fingerprint

    async def later(model: OllamaModel) -> None:
        await model.embed(["a text"])

    known = run(server, learnt)
    assert len(known) == 64
    run(server, later, dimension=1024, fingerprint=known)
    server.inject(Fault.OTHER_WEIGHTS)
    with pytest.raises(ModelUnsuitable, match="taken its name.*re-embed"):
        run(server, later, dimension=1024, fingerprint=known)


def test_the_dimension_is_learned_before_the_first_document(server: OllamaServer) -> None:
    async def prepared(model: OllamaModel) -> int:
        assert model.card.dimension == 0
        await model.prepare()
        return model.card.dimension

    assert run(server, prepared) == 1024


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.NAN_EMBEDDING, BadEmbedding),
        (Fault.OLD_NAN_EMBEDDING, BadEmbedding),
        (Fault.ZERO_VECTORS, BadEmbedding),
        (Fault.WRONG_DIMENSION, ModelUnsuitable),
        (Fault.EMBED_CRASH, ModelCrashed),
        (Fault.QUEUE_FULL, ModelBusy),
        (Fault.RESET, TruncatedAnswer),
        (Fault.HTML_OK, MalformedAnswer),
        (Fault.PROXY_HTML, ModelUnavailable),
        (Fault.OUT_OF_MEMORY, OutOfMemory),
    ],
)
def test_every_failure_of_a_vector_has_its_own_name(
    server: OllamaServer, fault: Fault, error: type[ModelError]
) -> None:
    server.inject(fault, match="/api/embed")
    with pytest.raises(error) as caught:
        embed(server, "one", "two", dimension=1024)
    assert type(caught.value) is error
    assert row_for(caught.value).error is error


def test_another_model_under_the_same_name_is_noticed(server: OllamaServer) -> None:
    server.add_model(StandInModel(name=EMBEDDER, capabilities=("embedding",), dimension=384))
    with pytest.raises(ModelUnsuitable, match="384"):
        embed(server, "one", dimension=1024)


# --- looking at the server ------------------------------------------------------------------


def test_missing_models_are_listed_as_they_were_asked_for(server: OllamaServer) -> None:
    names = (THINKS, EMBEDDER, "bge-m3:latest", "nobody", "qwen3")
    assert anyio.run(missing_models, server.url, names) == ("nobody", "qwen3")


@pytest.mark.parametrize("look", [server_version, lambda host: missing_models(host, (THINKS,))])
def test_looking_at_nobody_gives_nothing(look: Callable[[str], Awaitable[Any]]) -> None:
    assert anyio.run(look, DEAD) is None


def test_a_server_without_models_lacks_them_all() -> None:
    with OllamaServer(models=()) as server:
        assert anyio.run(missing_models, server.url, (THINKS, EMBEDDER)) == (THINKS, EMBEDDER)
    assert len(DEFAULT_MODELS) == 3
