"""Turns, retries, pauses and the account of calls, over a scripted model and an injected sleep."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest

from librarian.account import Ticket
from librarian.calls import BACKOFF_S, POLL_S, STOPPED_POLL_S, Calls
from librarian.decisions import row_for
from librarian.errors import (
    BadEmbedding,
    DocumentPaused,
    EmptyAnswer,
    EndlessAnswer,
    JournalError,
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
from librarian.journal import Journal
from librarian.models.forms import EXTRACTION
from librarian.models.protocol import Completion, Heard, Message, ModelCard, Prompt, Role, Vectors

pytestmark = pytest.mark.anyio
CRASHES = row_for(ModelCrashed()).tries
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


@pytest.mark.parametrize("kind", [ModelCrashed, TruncatedAnswer])
async def test_what_may_pass_is_tried_again_after_growing_pauses(kind: type[ModelError]) -> None:
    model, pauses = ScriptedModel(kind(), kind(), kind(), "whole"), Pauses()
    calls = calls_of(model, pauses)
    assert (await calls.complete(prompt(), Ticket())).text == "whole"
    assert len(pauses.seconds) == 3
    for failures, seconds in enumerate(pauses.seconds, 1):
        assert 0.5 <= seconds / (BACKOFF_S * 2**failures) <= 1.5
    assert calls.account.retries == 3


@pytest.mark.parametrize("kind", [EmptyAnswer, MalformedAnswer, EndlessAnswer])
async def test_what_seldom_passes_is_tried_less_often(kind: type[ModelError]) -> None:
    model = ScriptedModel(*[kind("again")] * 10)
    with pytest.raises(kind):
        await calls_of(model).complete(prompt(), Ticket())
    assert len(model.asked) == row_for(kind()).tries + 1 < CRASHES + 1


@pytest.mark.parametrize("kind", [PromptTooLong, ModelError])
async def test_what_will_not_pass_is_raised_at_once(kind: type[ModelError]) -> None:
    model, pauses = ScriptedModel(kind("named"), "never"), Pauses()
    with pytest.raises(kind, match="named"):
        await calls_of(model, pauses).complete(prompt(), Ticket())
    assert (len(model.asked), pauses.seconds) == (1, [])


async def test_a_call_that_fails_for_ever_ends_with_its_own_error() -> None:
    model, pauses = ScriptedModel(*[ModelCrashed("again")] * (CRASHES + 1), "too late"), Pauses()
    with pytest.raises(ModelCrashed, match="again"):
        await calls_of(model, pauses).complete(prompt(), Ticket())
    assert len(model.asked) == CRASHES + 1
    assert len(pauses.seconds) == CRASHES


@pytest.mark.parametrize("answer", ["not json", "[]", '{"entities": []}', FORM[:-1], "", " \n"])
async def test_an_answer_out_of_form_is_asked_for_again_and_never_returned(answer: str) -> None:
    model = ScriptedModel(answer, FORM)
    found = await calls_of(model).complete(prompt(schema=EXTRACTION), Ticket())
    assert found.text == FORM
    assert len(model.asked) == 2


async def test_an_answer_that_stays_out_of_form_is_an_error() -> None:
    model = ScriptedModel(*["not json"] * (CRASHES + 1), FORM)
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


@pytest.mark.parametrize("kind", [ModelMissing, ModelUnsuitable, OutOfMemory])
async def test_what_a_person_has_to_mend_is_waited_for_and_named(kind: type[ModelError]) -> None:
    model, pauses = ScriptedModel(*[kind("named")] * 3, "mended"), Pauses()
    calls = calls_of(model, pauses)
    named: list[str] = []
    pauses.then = lambda: named.append(str(calls.waiting_for))
    assert (await calls.complete(prompt(), Ticket())).text == "mended"
    assert pauses.seconds == [STOPPED_POLL_S] * 3
    assert all("named" in each for each in named)
    assert calls.waiting_for is None


async def test_only_one_call_tries_whether_the_model_is_back() -> None:
    away = [OutOfMemory()] * 6
    model = ScriptedModel(*away)
    calls = calls_of(model, limit=4)
    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(calls.complete, prompt(f"{number}"), Ticket())
    tried = model.asked[: len(away) + 1]
    assert len(set(tried[:4])) == 4  # each of those that ran at once hears of it once
    assert len(set(tried[4:])) == 1
    assert len(model.asked) == len(away) + 4


async def test_another_call_tries_when_the_one_that_did_is_paused() -> None:
    model, pauses = ScriptedModel(*[ModelUnavailable()] * 8), Pauses()
    calls = calls_of(model, pauses)
    pauses.then = lambda: calls.pause("book") if len(pauses.seconds) == 4 else None
    answered: list[str] = []

    async def ask(document: str) -> None:
        try:
            answered.append(
                (await calls.complete(prompt(document), Ticket(document=document))).text
            )
        except DocumentPaused:
            answered.append("paused")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "book")
        tasks.start_soon(ask, "other")
    assert sorted(answered) == ["answer to other", "paused"]
    assert calls.waiting_for is None


@pytest.mark.parametrize("kind", [ModelUnavailable, ModelBusy, ModelMissing, OutOfMemory])
async def test_a_person_who_asks_is_told_at_once(kind: type[ModelError]) -> None:
    model, pauses = ScriptedModel(kind("named"), kind("named")), Pauses()
    calls = calls_of(model, pauses)
    with pytest.raises(kind, match="named"):
        await calls.complete(prompt(role=Role.QUERY), Ticket())
    with pytest.raises(kind, match="named"):
        await calls.embed(["question"], person=True)
    assert pauses.seconds == []


async def test_an_answer_out_of_order_ends_the_wait_for_the_model() -> None:
    model = ScriptedModel(ModelUnavailable(), PromptTooLong())
    calls = calls_of(model)
    with pytest.raises(PromptTooLong):
        await calls.complete(prompt(), Ticket())
    assert calls.waiting_for is None


# --- a disk that is full --------------------------------------------------------------------


class FullJournal(Journal):
    """A journal on a disk that is full a few times."""

    def __init__(self, path: Path, times: int) -> None:
        super().__init__(path)
        self.times = times

    def put(self, *args: Any, **more: Any) -> None:
        if self.times:
            self.times -= 1
            raise JournalError("The disk is full.")
        super().put(*args, **more)


async def test_an_answer_waits_in_memory_until_it_can_be_kept(tmp_path: Path) -> None:
    journal, model, pauses = FullJournal(tmp_path / "j", times=3), ScriptedModel(), Pauses()
    calls = calls_of(model, pauses, journal=journal)
    said: list[str] = []
    pauses.then = lambda: said.append(str(calls.waiting_for))
    await calls.complete(prompt(), Ticket())
    assert len(model.asked) == 1
    assert all("disk is full" in each for each in said)
    assert len(said) == 2  # the third attempt is at once
    assert journal.count() == 1
    assert calls.waiting_for is None
    journal.close()


async def test_waiting_for_the_server_does_not_use_up_the_retries() -> None:
    crash, gone = ModelCrashed(), ModelUnavailable()
    model = ScriptedModel(*[crash, gone] * CRASHES, "whole")
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
        assert {call.document for call in calls.in_flight()} == {"book", "other"}
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
        (call,) = calls.in_flight()
        assert (call.document, call.age_s, call.silent_s) == ("book", 60.0, 60.0)
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


class PickyModel(ScriptedModel):
    """Cannot embed texts that hold a word, as some models give NaN for one text each time."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(len(texts))
        if any("poison" in text for text in texts):
            raise BadEmbedding("NaN.")
        return np.asarray([[len(text), 1] for text in texts], dtype=np.float32)


async def test_a_text_that_spoils_its_batch_is_found_and_embedded_by_its_beginning() -> None:
    model = PickyModel()
    calls = calls_of(model, batch=8)
    texts = ["x" * n for n in range(7)] + ["A long story without harm " * 10 + "and poison."]
    vectors = await calls.embed(texts)
    assert vectors[:7, 0].tolist() == list(range(7))
    assert len(model.batches) <= 2 * 3 + 2  # halved three times, then shortened once
    assert 0 < vectors[7, 0] < len(texts[7])
    (remark,) = calls.remarks
    assert "A long story without harm" in remark


async def test_a_text_that_cannot_be_embedded_at_all_is_named_by_its_first_words() -> None:
    with pytest.raises(BadEmbedding, match="poison and more of it"):
        await calls_of(PickyModel()).embed(["fine", "poison and more of it " * 5, "fine too"])


# --- what a person can do about a call ------------------------------------------------------


async def test_a_call_can_be_made_anew(tmp_path: Path) -> None:
    gate = anyio.Event()
    model = ScriptedModel(gate, "second answer")
    calls = calls_of(model)
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await calls.complete(prompt(), Ticket())).text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        (running,) = calls.in_flight()
        calls.restart(running.number)
        calls.restart(running.number + 100)  # has ended long ago
    assert answers == ["second answer"]
    assert model.cancelled == ["chunk"]
    assert calls.account.retries == 1


async def test_fewer_and_more_calls_at_once() -> None:
    gate = anyio.Event()
    model = ScriptedModel(*[gate] * 12)
    calls = calls_of(model, limit=4)
    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(calls.complete, prompt(f"{number}"), Ticket())
        await anyio.wait_all_tasks_blocked()
        assert model.at_once == 4
        calls.resize(2)
        assert model.at_once == 4  # those that run go on
        calls.resize(6)
        await anyio.wait_all_tasks_blocked()
        assert model.at_once == 6
        calls.resize(0)
        assert calls.limit == 1
        model.most_at_once = 0
        gate.set()
    assert len(model.asked) == 12
    assert model.most_at_once <= 1


async def test_the_account_of_a_minute() -> None:
    now = 100.0
    calls = calls_of(ScriptedModel(), clock=lambda: now)
    await calls.complete(prompt("one"), Ticket())
    await calls.complete(prompt("two", role=Role.SUMMARY), Ticket())
    now = 130.0
    await calls.complete(prompt("three"), Ticket())
    found = [(m.number, m.chunks, m.calls, m.output_tokens) for m in calls.account.minutes]
    assert found == [(1, 1, 2, 6), (2, 1, 1, 3)]


class SlowToEmbed(ScriptedModel):
    """Embeds nothing until it is let; a person's words at once."""

    def __init__(self, *script: str | ModelError | anyio.Event) -> None:
        super().__init__(*script)
        self.let = anyio.Event()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if "question" not in texts:
            await self.let.wait()
        return await super().embed(texts)


async def test_a_question_waits_for_nothing_of_a_book() -> None:
    held = anyio.Event()
    model = SlowToEmbed(held, held)
    calls = Calls(model, limit=2)
    async with anyio.create_task_group() as tasks:
        for text in ("chunk 1", "chunk 2", "chunk 3"):
            prompt = Prompt(messages=(Message(role="user", content=text),), role=Role.EXTRACT)
            tasks.start_soon(calls.complete, prompt, Ticket(document="book"))
            tasks.start_soon(calls.embed, [text])
        await anyio.wait_all_tasks_blocked()
        assert model.asked == ["chunk 1", "chunk 2"]
        for role in (Role.KEYWORD, Role.QUERY):
            asked = Prompt(messages=(Message(role="user", content=role.value),), role=role)
            assert (await calls.complete(asked, Ticket())).text == f"answer to {role.value}"
        assert len(await calls.embed(["question"], person=True)) == 1
        assert not held.is_set()
        held.set()
        model.let.set()
