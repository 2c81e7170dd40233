"""Turns, retries, pauses and the account of calls, over a scripted model and an injected sleep."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest

from librarian.calls import BACKOFF_S, POLL_S, RETRIES, Calls, Ticket
from librarian.errors import (
    BadEmbedding,
    DocumentPaused,
    EmptyAnswer,
    MalformedAnswer,
    ModelBusy,
    ModelCrashed,
    ModelError,
    ModelMissing,
    ModelUnavailable,
    OutOfMemory,
    PromptTooLong,
    TruncatedAnswer,
)
from librarian.models.forms import EXTRACTION
from librarian.models.protocol import Completion, Heard, Message, ModelCard, Prompt, Role, Vectors

pytestmark = pytest.mark.anyio
FORM = json.dumps({"entities": [], "relationships": []})


class ScriptedModel:
    """Answers with what it was given, in order; an exception is raised, an event waited for."""

    def __init__(self, *script: str | ModelError | anyio.Event) -> None:
        self.script = list(script)
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.batches: list[int] = []
        self.at_once = self.most_at_once = 0

    @property
    def card(self) -> ModelCard:
        return ModelCard(backend="offline", llm="scripted", embed="scripted", host="", dimension=2)

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        text = prompt.messages[-1].content
        self.asked.append(text)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await anyio.lowlevel.checkpoint()
            step = self._next(f"answer to {text}")
            if isinstance(step, anyio.Event):
                await step.wait()
                step = f"answer to {text}"
            if heard is not None:
                heard(step)
            return Completion(text=step, prompt_tokens=7, output_tokens=3)
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(text)
            raise
        finally:
            self.at_once -= 1

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(len(texts))
        self._next("")
        return np.asarray([[len(text), 1] for text in texts], dtype=np.float32)

    async def aclose(self) -> None:
        pass

    def _next(self, plain: str) -> Any:
        step = self.script.pop(0) if self.script else plain
        if isinstance(step, ModelError):
            raise step
        return step


class Pauses:
    """A sleep that notes how long it was asked for and returns at once."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.seconds: list[float] = []
        self.then = then

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if self.then is not None:
            self.then()
        await anyio.lowlevel.checkpoint()


def calls_of(model: ScriptedModel, pauses: Pauses | None = None, **more: Any) -> Calls:
    settings = {"limit": 2, "sleep": pauses or Pauses(), "random": Random(1)} | more
    return Calls(model, **settings)


def prompt(text: str = "chunk", *, role: Role = Role.EXTRACT, schema: Any = None) -> Prompt:
    return Prompt(messages=(Message(role="user", content=text),), role=role, schema=schema)


# --- retries --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ModelBusy, ModelCrashed, TruncatedAnswer, EmptyAnswer])
async def test_what_may_pass_is_tried_again_after_growing_pauses(kind: type[ModelError]) -> None:
    model, pauses = ScriptedModel(kind(), kind(), kind(), "whole"), Pauses()
    calls = calls_of(model, pauses)
    assert (await calls.complete(prompt(), Ticket())).text == "whole"
    assert len(pauses.seconds) == 3
    for failures, seconds in enumerate(pauses.seconds, 1):
        assert 0.5 <= seconds / (BACKOFF_S * 2**failures) <= 1.5
    assert calls.account.retries == 3


@pytest.mark.parametrize("kind", [ModelMissing, OutOfMemory, PromptTooLong])
async def test_what_will_not_pass_is_raised_at_once(kind: type[ModelError]) -> None:
    model, pauses = ScriptedModel(kind("named"), "never"), Pauses()
    with pytest.raises(kind, match="named"):
        await calls_of(model, pauses).complete(prompt(), Ticket())
    assert (len(model.asked), pauses.seconds) == (1, [])


async def test_a_call_that_fails_for_ever_ends_with_its_own_error() -> None:
    model, pauses = ScriptedModel(*[ModelCrashed("again")] * (RETRIES + 1), "too late"), Pauses()
    with pytest.raises(ModelCrashed, match="again"):
        await calls_of(model, pauses).complete(prompt(), Ticket())
    assert len(model.asked) == RETRIES + 1
    assert len(pauses.seconds) == RETRIES


@pytest.mark.parametrize("answer", ["not json", "[]", '{"entities": []}', FORM[:-1], "", " \n"])
async def test_an_answer_out_of_form_is_asked_for_again_and_never_returned(answer: str) -> None:
    model = ScriptedModel(answer, FORM)
    found = await calls_of(model).complete(prompt(schema=EXTRACTION), Ticket())
    assert found.text == FORM
    assert len(model.asked) == 2


async def test_an_answer_that_stays_out_of_form_is_an_error() -> None:
    model = ScriptedModel(*["not json"] * (RETRIES + 1), FORM)
    with pytest.raises(MalformedAnswer):
        await calls_of(model).complete(prompt(schema=EXTRACTION), Ticket())


async def test_fences_and_thoughts_are_taken_off() -> None:
    model = ScriptedModel(f"<think>\nHm.\n</think>\n```json\n{FORM}\n```")
    assert (await calls_of(model).complete(prompt(schema=EXTRACTION), Ticket())).text == FORM


# --- a server that is gone ------------------------------------------------------------------


async def test_a_server_that_is_gone_is_waited_for_however_long() -> None:
    model, pauses = ScriptedModel(*[ModelUnavailable()] * 50, "back"), Pauses()
    calls = calls_of(model, pauses)
    waiting: list[object] = []
    pauses.then = lambda: waiting.append(calls.waiting_for)
    assert (await calls.complete(prompt(), Ticket())).text == "back"
    assert pauses.seconds == [POLL_S] * 50
    assert all(isinstance(each, ModelUnavailable) for each in waiting)
    assert calls.waiting_for is None
    assert calls.account.retries == 0


async def test_waiting_for_the_server_does_not_use_up_the_retries() -> None:
    crash, gone = ModelCrashed(), ModelUnavailable()
    model = ScriptedModel(*[crash, gone] * RETRIES, "whole")
    assert (await calls_of(model).complete(prompt(), Ticket())).text == "whole"


async def test_closing_ends_the_wait_for_a_server() -> None:
    model, pauses = ScriptedModel(*[ModelUnavailable()] * 50), Pauses()
    calls = calls_of(model, pauses)
    pauses.then = calls.close
    with pytest.raises(DocumentPaused):
        await calls.complete(prompt(), Ticket())
    assert len(model.asked) == 1


async def test_pausing_ends_the_wait_of_that_document() -> None:
    model, pauses = ScriptedModel(*[ModelUnavailable()] * 50), Pauses()
    calls = calls_of(model, pauses)
    pauses.then = lambda: calls.pause("book")
    with pytest.raises(DocumentPaused):
        await calls.complete(prompt(), Ticket(document="book"))


# --- turns ----------------------------------------------------------------------------------


async def test_the_lowest_turn_goes_first_and_equals_in_the_order_they_came() -> None:
    gate = anyio.Event()
    model = ScriptedModel(gate)
    calls = calls_of(model, limit=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.complete, prompt("running"), Ticket(turn=9))
        await anyio.wait_all_tasks_blocked()
        for text, turn in (("late", 5.0), ("first", 1.0), ("second", 1.0), ("middle", 3.0)):
            tasks.start_soon(calls.complete, prompt(text), Ticket(turn=turn))
            await anyio.wait_all_tasks_blocked()
        gate.set()
    assert model.asked == ["running", "first", "second", "middle", "late"]


async def test_no_more_calls_run_at_once_than_the_limit() -> None:
    model = ScriptedModel()
    calls = calls_of(model, limit=3)
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(calls.complete, prompt(f"{number}"), Ticket(turn=number))
    assert model.most_at_once == 3
    assert len(model.asked) == 20


@pytest.mark.parametrize("role", [Role.QUERY, Role.KEYWORD])
async def test_a_question_does_not_wait_behind_a_book(role: Role) -> None:
    gate = anyio.Event()
    model = ScriptedModel(gate)
    calls = calls_of(model, limit=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.complete, prompt("chunk"), Ticket(document="book", turn=1))
        await anyio.wait_all_tasks_blocked()
        answer = await calls.complete(prompt("question", role=role), Ticket())
        assert answer.text == "answer to question"
        gate.set()


async def test_one_who_gives_up_waiting_gives_up_the_turn() -> None:
    gate = anyio.Event()
    model = ScriptedModel(gate)
    calls = calls_of(model, limit=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.complete, prompt("running"), Ticket())
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(calls.complete, prompt("gone"), Ticket(turn=1))
            await anyio.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        tasks.start_soon(calls.complete, prompt("next"), Ticket(turn=2))
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert model.asked == ["running", "next"]


async def test_one_who_gives_up_in_the_moment_of_the_turn_hands_it_on() -> None:
    gate = anyio.Event()
    model = ScriptedModel(gate)
    calls = calls_of(model, limit=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.complete, prompt("running"), Ticket())
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(calls.complete, prompt("gone"), Ticket(turn=1))
            await anyio.wait_all_tasks_blocked()
            gate.set()
            while model.at_once:  # until the slot has been handed over
                await anyio.lowlevel.checkpoint()
            impatient.cancel_scope.cancel()
        assert (await calls.complete(prompt("next"), Ticket(turn=2))).text == "answer to next"


# --- pause and close ------------------------------------------------------------------------


async def test_a_pause_ends_the_running_calls_of_that_document_only() -> None:
    gate, other = anyio.Event(), anyio.Event()
    model = ScriptedModel(gate, other)
    calls = calls_of(model)
    ended: list[str] = []

    async def ask(document: str) -> None:
        try:
            ended.append((await calls.complete(prompt(document), Ticket(document=document))).text)
        except DocumentPaused:
            ended.append(f"{document} paused")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "book")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask, "other")
        await anyio.wait_all_tasks_blocked()
        assert {document for document, _, _ in calls.in_flight()} == {"book", "other"}
        calls.pause("book")
        await anyio.wait_all_tasks_blocked()
        assert ended == ["book paused"]
        other.set()
    assert ended == ["book paused", "answer to other"]
    assert model.cancelled == ["book"]
    assert calls.in_flight() == ()


async def test_a_paused_document_is_refused_until_it_is_resumed() -> None:
    model = ScriptedModel()
    calls = calls_of(model)
    calls.pause("book")
    with pytest.raises(DocumentPaused):
        await calls.complete(prompt(), Ticket(document="book"))
    assert model.asked == []
    calls.resume("book")
    assert (await calls.complete(prompt(), Ticket(document="book"))).text == "answer to chunk"


async def test_those_who_wait_for_a_turn_of_a_paused_document_never_reach_the_model() -> None:
    gate = anyio.Event()
    model = ScriptedModel(gate)
    calls = calls_of(model, limit=1)
    refused = 0

    async def waits() -> None:
        nonlocal refused
        with pytest.raises(DocumentPaused):
            await calls.complete(prompt("waiting"), Ticket(document="book", turn=1))
        refused += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.complete, prompt("running"), Ticket())
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(waits)
        await anyio.wait_all_tasks_blocked()
        calls.pause("book")
        gate.set()
    assert refused == 1
    assert model.asked == ["running"]


async def test_closing_ends_every_call_and_refuses_further_ones() -> None:
    model = ScriptedModel(anyio.Event(), anyio.Event())
    calls = calls_of(model)
    refused = 0

    async def ask(role: Role) -> None:
        nonlocal refused
        with pytest.raises(DocumentPaused):
            await calls.complete(prompt(role.value, role=role), Ticket())
        refused += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, Role.EXTRACT)
        tasks.start_soon(ask, Role.QUERY)
        await anyio.wait_all_tasks_blocked()
        calls.close()
    assert refused == 2
    with pytest.raises(DocumentPaused):
        await calls.embed(["text"])
    assert model.batches == []


async def test_a_cancel_from_outside_is_not_taken_for_a_pause() -> None:
    model = ScriptedModel(anyio.Event())
    calls = calls_of(model)
    paused = False

    async def ask() -> None:
        nonlocal paused
        try:
            await calls.complete(prompt(), Ticket())
        except DocumentPaused:
            paused = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert model.cancelled == ["chunk"]
    assert not paused


# --- the account ----------------------------------------------------------------------------


async def test_a_finished_call_is_in_the_account_with_its_times_and_tokens() -> None:
    times = iter([10.0, 11.0, 13.0])
    model = ScriptedModel()
    calls = calls_of(model, clock=lambda: next(times))
    await calls.complete(prompt(), Ticket(document="book"))
    (record,) = calls.account.finished
    assert (record.role, record.document) == ("extract", "book")
    assert (record.started_s, record.ended_s) == (10.0, 13.0)
    assert (record.prompt_tokens, record.output_tokens) == (7, 3)


async def test_age_and_silence_of_a_running_call_are_told() -> None:
    now = 100.0
    model = ScriptedModel(anyio.Event())
    calls = calls_of(model, clock=lambda: now)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.complete, prompt(), Ticket(document="book"))
        await anyio.wait_all_tasks_blocked()
        now = 160.0
        assert calls.in_flight() == (("book", 60.0, 60.0),)
        tasks.cancel_scope.cancel()
    assert calls.in_flight() == ()


async def test_pieces_reach_the_one_who_listens() -> None:
    heard: list[str] = []
    await calls_of(ScriptedModel()).complete(prompt("q", role=Role.QUERY), Ticket(), heard.append)
    assert heard == ["answer to q"]


# --- vectors --------------------------------------------------------------------------------


async def test_texts_are_embedded_in_batches_and_in_order() -> None:
    model = ScriptedModel()
    calls = calls_of(model, batch=4)
    vectors = await calls.embed(["x" * n for n in range(10)])
    assert model.batches == [4, 4, 2]
    assert vectors[:, 0].tolist() == list(range(10))
    assert calls.account.texts_embedded == 10


async def test_no_texts_ask_nobody() -> None:
    model = ScriptedModel()
    assert (await calls_of(model).embed([])).shape == (0, 2)
    assert model.batches == []


async def test_a_batch_that_fails_is_tried_again_alone() -> None:
    model = ScriptedModel("", ModelCrashed(), "")
    vectors = await calls_of(model, batch=2).embed(["a", "bb", "ccc"])
    assert model.batches == [2, 1, 1]
    assert vectors[:, 0].tolist() == [1, 2, 3]


async def test_vectors_that_cannot_be_used_are_raised_at_once() -> None:
    model = ScriptedModel(BadEmbedding("named"))
    with pytest.raises(BadEmbedding, match="named"):
        await calls_of(model).embed(["a"])
    assert model.batches == [1]
