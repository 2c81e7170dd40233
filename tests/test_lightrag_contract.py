"""What is leaned on inside the pinned LightRAG beside its log lines; fails on an upgrade."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
from lightrag import LightRAG
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
