"""What is leaned on inside the pinned LightRAG beside its log lines; fails on an upgrade."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
from lightrag import LightRAG, base, constants, operate, pipeline, prompt
from lightrag.kg import nano_vector_db_impl
from lightrag.kg.json_kv_impl import JsonKVStorage
from lightrag.kg.shared_storage import NamespaceLock, get_namespace_lock

from tests.test_engine import engine_at

pytestmark = pytest.mark.anyio


async def test_every_storage_has_a_lock_of_its_own_that_can_be_replaced(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        storages = [each for each in vars(engine._rag).values() if hasattr(each, "_storage_lock")]
        assert len(storages) == 12
        assert all(type(each._storage_lock) is asyncio.Lock for each in storages)


async def test_a_storage_takes_its_lock_from_its_field_each_time() -> None:
    assert isinstance(get_namespace_lock("any"), NamespaceLock)
    assert "async with self._storage_lock" in inspect.getsource(JsonKVStorage.get_by_id)


def test_what_is_called_when_it_is_closed_is_there() -> None:
    assert inspect.iscoroutinefunction(LightRAG._discard_pending_index_ops)
    assert inspect.iscoroutinefunction(LightRAG.finalize_storages)


def test_the_marks_of_a_broken_removal_have_the_names_that_are_looked_for() -> None:
    source = inspect.getsource(pipeline) + inspect.getsource(constants) + inspect.getsource(base)
    for name in ("kg_write_state", "kg_purge", "graph_mutation_started", "pre_graph"):
        assert f'"{name}"' in source


def test_descriptions_to_merge_come_as_a_line_of_json_each() -> None:
    source = inspect.getsource(operate)
    assert '{"Description": desc}' in source
    assert "Description List:" in prompt.PROMPTS["summarize_entity_descriptions"]


def test_a_vector_storage_says_whether_it_embeds_a_question() -> None:
    assert 'context="query"' in inspect.getsource(nano_vector_db_impl)
