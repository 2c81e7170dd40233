"""A document's merge keeps the model at work, and comes to what LightRAG's own comes to."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightrag import operate, pipeline, utils

from librarian.documents import Status
from librarian.lighter import lighten
from librarian.merges import (
    UNLIMITED,
    Locks,
    PerLoop,
    Turns,
    asked_first,
    away,
    in_turn,
    many_first,
    relations_too,
)
from librarian.models.protocol import Completion, Heard, Prompt, Role
from librarian.signals import Stored
from tests.test_indexing import GatedModel, book, room_at

pytestmark = pytest.mark.anyio


def said(*descriptions: str) -> list[dict[str, str]]:
    return [{"description": each} for each in descriptions]


def summed_up(prompt: Prompt) -> str:
    """Which entity or relation a prompt is to sum up; nothing where it is to do something else."""
    text = prompt.messages[-1].content
    if prompt.role is not Role.SUMMARY:
        return ""
    return next(line for line in text.splitlines() if "Name:" in line).partition("Name:")[2].strip()


# --- the order -------------------------------------------------------------------------------


async def test_what_the_model_sums_up_is_merged_first() -> None:
    given_: list[object] = []

    async def merge(
        chunk_results: list[object], rest: str, *, global_config: Mapping[str, int], doc_id: str
    ) -> None:
        given_.extend(chunk_results)
        assert (rest, doc_id) == ("rest", "doc-a")
        assert global_config == {**config, "llm_model_max_async": UNLIMITED}

    first = {"Anna": said("a", "b"), "Port": said("c")}, {("Port", "Anna"): said("d")}
    second = (
        {"Lisbon": said("e"), "Port": said("f", "g")},
        {("Anna", "Port"): said("h"), ("Anna", "Lisbon"): said("i")},
    )
    config = {"force_llm_summary_on_merge": 3, "llm_model_max_async": 4}
    await asked_first(merge)(
        chunk_results=[first, second], rest="rest", global_config=config, doc_id="doc-a"
    )
    ((entities, relations),) = given_  # type: ignore[misc]
    assert list(entities.items()) == [
        ("Port", said("c", "f", "g")),
        ("Anna", said("a", "b")),
        ("Lisbon", said("e")),
    ]
    assert list(relations.items()) == [
        (("Anna", "Port"), said("d", "h")),
        (("Anna", "Lisbon"), said("i")),
    ]
    assert first[0] == {"Anna": said("a", "b"), "Port": said("c")}  # as it was


def test_descriptions_are_counted_once_each() -> None:
    few = {f"few {n}": said(*["same"] * 9) for n in range(3)}
    many = {"some": said(*map(str, range(3))), "most": said(*map(str, range(4)))}
    assert list(many_first({**few, **many}, least=3)) == ["most", "some", *few]
    assert many_first({}, least=3) == {}


def test_lightrag_merges_what_it_is_given_in_that_order() -> None:
    lighten()
    assert inspect.unwrap(pipeline.merge_nodes_and_edges) is operate.merge_nodes_and_edges
    source = inspect.getsource(operate.merge_nodes_and_edges)
    assert "in enumerate(all_nodes.items(), start=1)" in source
    assert "in enumerate(all_edges.items(), start=1)" in source
    assert "tuple(sorted(edge_key))" in source
    assert "global_config=self._build_global_config()" in inspect.getsource(pipeline)


def test_lightrag_waits_for_its_merges_where_this_is() -> None:
    lighten()
    source = inspect.getsource(operate.merge_nodes_and_edges)
    for merge in (operate._merge_nodes_then_upsert, operate._merge_edges_then_upsert):
        assert inspect.unwrap(merge) is not merge
        assert f"await {inspect.unwrap(merge).__name__}(" in source
    ask = operate._summarize_descriptions
    assert inspect.unwrap(ask) is not ask
    assert "await _summarize_descriptions(" in inspect.getsource(
        operate._handle_entity_relation_summary
    )
    rebuild = operate._rebuild_from_extraction_result
    assert inspect.unwrap(rebuild) is not rebuild
    assert f"await {inspect.unwrap(rebuild).__name__}(" in inspect.getsource(
        operate.rebuild_knowledge_from_chunks
    )
    assert inspect.unwrap(operate.wait_tasks_with_drain) is utils.wait_tasks_with_drain
    assert source.count("await wait_tasks_with_drain(") == 2
    assert 'context=f"entity merge {doc_id}"' in source
    assert 'context=f"relation merge {doc_id}"' in source
    assert source.count("processed_entities") == 3  # made, waited for, counted
    assert "len(processed_entities)} entities" in source
    assert source.count("llm_model_max_async") == 1
    # An entity has its lock before a relation asks for it: nothing comes between that waits.
    assert source.count("async with semaphore:") == source.count("get_storage_keyed_lock(") == 2


# --- turns and places ------------------------------------------------------------------------


async def test_so_many_are_merged_in_a_round_of_the_loop() -> None:
    begun: list[int] = []
    rounds: list[int] = []

    async def merge(number: int, *, more: str) -> str:
        begun.append(number)
        return f"{more} {number}"

    async def look() -> None:
        while len(begun) < 20:
            rounds.append(len(begun))
            await asyncio.sleep(0)

    light = in_turn(merge, PerLoop(lambda: Turns(most=3)))
    merges = [light(number, more="done") for number in range(20)]
    *done, _ = await asyncio.gather(*merges, look())
    assert done == [f"done {number}" for number in range(20)]
    assert begun == list(range(20))
    assert max(after - before for before, after in pairwise([0, *rounds])) == 3


async def test_so_many_are_under_way_and_those_that_ask_the_model_are_not_counted() -> None:
    turns = PerLoop(lambda: Turns(most=100, places=2))
    writing, most, answers = 0, 0, anyio.Event()

    async def write() -> None:
        nonlocal writing, most
        writing += 1
        most = max(most, writing)
        await anyio.lowlevel.checkpoint()
        writing -= 1

    async def ask() -> str:
        await answers.wait()
        return "summary"

    async def merge(number: int) -> str:
        await write()
        return await away(ask, turns)() if number < 5 else "joined"

    results: dict[int, str] = {}

    async def one(number: int) -> None:
        results[number] = await in_turn(merge, turns)(number)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(one, number)
            await anyio.wait_all_tasks_blocked()
            assert results == dict.fromkeys(range(5, 12), "joined")
            answers.set()
    assert most == 2
    assert len(results) == 12


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_turn_and_no_place_is_lost_whoever_gives_up(data: st.DataObject) -> None:
    most, places = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    given_up = data.draw(st.sets(st.integers(0, 9)))
    rounds = data.draw(st.integers(0, 4))

    async def life() -> None:
        turns = Turns(most=most, places=places)
        done: list[int] = []

        async def one(number: int) -> None:
            await turns.begin()
            try:
                await asyncio.sleep(0)
                done.append(number)
            finally:
                turns.leave()

        tasks = [asyncio.ensure_future(one(number)) for number in range(10)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        for number in given_up:
            tasks[number].cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)
            assert {*done} >= {*range(10)} - given_up
            await asyncio.gather(*map(one, range(10, 20)))
        assert turns._places == places

    anyio.run(life)


def test_each_loop_has_its_own() -> None:
    turns = PerLoop(Turns)

    async def mine() -> tuple[Turns, Turns]:
        return turns(), turns()

    first, second = anyio.run(mine), anyio.run(mine)
    assert first[0] is first[1]
    assert second[0] is second[1]
    assert first[0] is not second[0]


# --- locks -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_locks_are_held_by_one_and_all_are_free_in_the_end(data: st.DataObject) -> None:
    wanted = data.draw(
        st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=2, unique=True), max_size=9)
    )
    given_up = data.draw(st.sets(st.integers(0, 9)))
    rounds = data.draw(st.integers(0, 4))

    async def life() -> None:
        locks, held = Locks(), set[str]()

        async def one(names: list[str]) -> None:
            keys = tuple(("graph", name) for name in names)
            await locks.take(keys)
            try:
                assert held.isdisjoint(names)
                held.update(names)
                await asyncio.sleep(0)
                held.difference_update(names)
            finally:
                held.difference_update(names)
                locks.give(keys)

        tasks = [asyncio.ensure_future(one(names)) for names in wanted]
        for _ in range(rounds):
            await asyncio.sleep(0)
        for number in given_up.intersection(range(len(tasks))):
            tasks[number].cancel()
        async with asyncio.timeout(10):
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in ended} <= {type(None), asyncio.CancelledError}
        assert not locks

    anyio.run(life)


async def test_who_waits_for_one_lock_holds_up_nobody_at_the_other() -> None:
    locks, order = Locks(), list[str]()

    async def one(*names: str) -> None:
        keys = tuple(("graph", name) for name in names)
        await locks.take(keys)
        order.append("".join(names))
        locks.give(keys)

    await locks.take((("graph", "b"),))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, "a", "b")
        await anyio.wait_all_tasks_blocked()
        await one("a", "c")
        locks.give((("graph", "b"),))
    assert order == ["ac", "ab"]


# --- relations beside entities ---------------------------------------------------------------


async def test_a_failure_among_the_entities_ends_the_relations_too() -> None:
    ended: list[str] = []

    async def task(name: str) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(name)
        return name

    async def broken() -> str:
        await anyio.lowlevel.checkpoint()
        raise ValueError("broken")

    async def merge(chunk_results: object, *, global_config: object) -> None:
        wait = relations_too(utils.wait_tasks_with_drain)
        entities = [asyncio.ensure_future(each) for each in (task("entity"), broken())]
        assert len(await wait(entities, context="entity merge doc-a")) == 2
        relations = [asyncio.ensure_future(task("relation"))]
        await wait(relations, context="relation merge doc-a", task_labels={relations[0]: "a~b"})

    results = [({"a": said("x")}, {("a", "b"): said("y")})]
    with anyio.fail_after(20), pytest.raises(ValueError, match="broken"):
        await asked_first(merge)(results, global_config={"force_llm_summary_on_merge": 3})
    assert sorted(ended) == ["entity", "relation"]


async def test_entities_are_ended_when_the_merge_stops_before_its_relations() -> None:
    ended: list[str] = []

    async def task() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("entity")

    async def merge(chunk_results: object, *, global_config: object) -> None:
        wait = relations_too(utils.wait_tasks_with_drain)
        entities = [asyncio.ensure_future(task())]
        await asyncio.sleep(0)
        await wait(entities, context="entity merge doc-a")
        raise OSError("between the two")

    results = [({"a": said("x")}, {("a", "b"): said("y")})]
    with anyio.fail_after(20), pytest.raises(OSError, match="between"):
        await asked_first(merge)(results, global_config={"force_llm_summary_on_merge": 3})
    assert ended == ["entity"]


class TwoCaptains(GatedModel):
    """Finds two captains in each chunk that names Riga, and that they met in every chunk."""

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        done = await super().complete(prompt, heard)
        if prompt.role is not Role.EXTRACT:
            return done
        named = "Riga" in prompt.messages[-1].content
        entities = [
            {"name": name, "type": "person", "description": f"{name} sails."}
            for name in ("Anna", "Boris")
        ]
        met = {"source": "Anna", "target": "Boris", "keywords": "met", "description": "They met."}
        found = {"entities": entities if named else [], "relationships": [met]}
        return replace(done, text=json.dumps(found))


async def test_what_a_relation_stores_of_its_entities_counts_for_no_entity(tmp_path: Path) -> None:
    """They are stored again where their own merge did not know its chunk."""
    pages = [f"Captains met in {place}. " * 40 for place in ("Riga", "Oslo", "Kiel")]
    async with room_at(tmp_path, TwoCaptains()) as room:
        await room.add("captains.txt", "\n\n".join(pages))
        ended = await room.until("captains.txt", Status.PROCESSED)
        assert ended.chunks_total > 1
        stored = [each.what for each in room.signals if isinstance(each, Stored)]
        assert sorted(stored) == ["entities", "entities", "relations"]


class SlowSummaries(GatedModel):
    """Sums up nothing until it is let, and notes what it is asked to sum up."""

    def __init__(self) -> None:
        super().__init__()
        self.summed_up: list[str] = []
        self.all_asked = anyio.Event()
        self.go = anyio.Event()

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        if name := summed_up(prompt):
            self.summed_up.append(name)
            await self.go.wait()
        return await super().complete(prompt, heard)


async def test_relations_are_merged_while_the_model_sums_up_entities(tmp_path: Path) -> None:
    """And those of an entity that is being summed up only after it."""
    model = SlowSummaries()
    async with room_at(tmp_path, model, limit=64) as room:
        rag: Any = room.engine._rag
        await room.add("book.txt", book(14))
        graph = rag.chunk_entity_relation_graph

        async def merged() -> tuple[set[str], set[tuple[str, str]]]:
            nodes, edges = await graph.get_all_nodes(), await graph.get_all_edges()
            ends = {tuple(sorted((each["source"], each["target"]))) for each in edges}
            return {each["id"] for each in nodes}, ends

        with anyio.fail_after(30):
            while not model.summed_up or not (await merged())[1]:  # noqa: ASYNC110
                await anyio.sleep(0.05)
            await anyio.sleep(1)  # nothing more moves then
        nodes, ends = await merged()
        pending = {name for name in model.summed_up if "(" not in name}
        assert pending
        assert pending.isdisjoint(nodes)
        assert ends
        assert not any(pending.intersection(each) for each in ends)
        model.go.set()
        ended = await room.until("book.txt", Status.PROCESSED)
        nodes, ends = await merged()
        assert pending <= nodes
        assert any(pending.intersection(each) for each in ends)
        assert (ended.entities, ended.relations) == (len(nodes), len(ends))
