"""What is leaned on inside the pinned LightRAG beside its log lines; fails on an upgrade."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
from lightrag import LightRAG, base, constants, operate, pipeline, prompt
from lightrag.base import DocStatus
from lightrag.kg import nano_vector_db_impl
from lightrag.kg.json_kv_impl import JsonKVStorage
from lightrag.kg.shared_storage import NamespaceLock, get_namespace_lock
from lightrag.utils import make_relation_chunk_key

from librarian.wording import MOST_NAME, SEPARATOR
from tests.test_engine import MUSIC_RU, document, engine_at

pytestmark = pytest.mark.anyio


async def test_every_storage_has_a_lock_of_its_own_that_can_be_replaced(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        storages = [each for each in vars(engine._rag).values() if hasattr(each, "_storage_lock")]
        assert len(storages) == 12
        assert all(type(each._storage_lock) is asyncio.Lock for each in storages)


async def test_an_edit_can_stand_before_all_that_lightrag_writes_into_the_graph() -> None:
    """The lists of a document come first, its status last; what goes, goes through one method."""
    merge = inspect.getsource(operate.merge_nodes_and_edges)
    assert merge.index("full_entities_storage.upsert") < merge.index("_merge_nodes_then_upsert")
    assert inspect.iscoroutinefunction(LightRAG._purge_kg_contributions)
    assert "self.doc_status.upsert" in inspect.getsource(pipeline)
    assert {DocStatus.PROCESSED, DocStatus.FAILED} == {"processed", "failed"}


def test_an_entity_is_made_anew_from_the_cached_answers_of_its_chunks() -> None:
    source = inspect.getsource(operate._get_cached_extraction_results)
    chunks = source.index("await text_chunks_storage.get_by_ids")
    assert chunks < source.index("await llm_response_cache.get_by_ids")  # in one task
    assert 'cache_entry.get("chunk_id") in chunk_ids' in source
    assert 'cache_entry["return"]' in source
    assert 'cache_entry.get("cache_type") == "extract"' in source


async def test_what_an_edit_reads_and_writes_has_these_fields(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        await engine.index(document(MUSIC_RU), MUSIC_RU)
        rag, doc_id = engine._rag, document(MUSIC_RU).id
        assert set(rag.full_entities._data) == set(rag.full_relations._data) == {doc_id}
        names = (await rag.full_entities.get_by_id(doc_id))["entity_names"]
        pair = (await rag.full_relations.get_by_id(doc_id))["relation_pairs"][0]
        assert set(pair) <= set(names)
        assert (await rag.entity_chunks.get_by_id(names[0]))["chunk_ids"]
        row = await rag.relation_chunks.get_by_id(make_relation_chunk_key(*pair))
        assert row["chunk_ids"]
        assert rag.max_source_ids_per_entity == 200
        assert rag.source_ids_limit_method == "KEEP"
        assert constants.DEFAULT_ENTITY_NAME_MAX_LENGTH == MOST_NAME
        assert constants.GRAPH_FIELD_SEP == SEPARATOR


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
