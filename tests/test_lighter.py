"""What is lighter than LightRAG's own comes to the same."""

from __future__ import annotations

import asyncio
import html
import inspect
import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

import anyio
import anyio.lowlevel
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lightrag import operate, utils
from lightrag.kg import json_doc_status_impl, json_kv_impl, nano_vector_db_impl, shared_storage
from lightrag.kg.shared_storage import (
    NamespaceLock,
    _KeyedLockContext,
    get_namespace_lock,
    get_storage_keyed_lock,
)
from lightrag.utils import TruncatedResponse

from librarian import lighter
from librarian.lighter import (
    LONG,
    lighten,
    merging,
    plain_copy,
    stored,
    untimed,
    where_needed,
    where_odd,
    where_thought,
    where_unclean,
)

IDS = st.lists(st.one_of(st.text(max_size=4), st.sampled_from(["a", "b<SEP>a", " a ", "<SEP>"])))


@given(st.none() | IDS, st.none() | IDS)
@example(["a", "b"], ["b", "c", ""])
@example(["a<SEP>b", " "], ["b"])
@example(["a", 7, None], ["b"])  # type: ignore[list-item]
@example(["<SE", "P>"], None)
def test_lists_of_chunks_are_merged_as_lightrag_merges_them(
    existing: list[str] | None, new: list[str] | None
) -> None:
    light = merging(utils.merge_source_ids, utils.GRAPH_FIELD_SEP)
    assert light(existing, new) == utils.merge_source_ids(existing, new)


def test_a_list_comes_as_a_list_of_its_own() -> None:
    lighten()
    given_ = ["a", "b"]
    merged = operate.merge_source_ids(given_, None)
    assert merged == given_
    assert merged is not given_


def test_it_is_what_lightrag_uses() -> None:
    lighten()
    assert operate.merge_source_ids is not utils.merge_source_ids
    assert inspect.unwrap(operate.merge_source_ids) is utils.merge_source_ids
    assert "merge_source_ids(existing_full_source_ids, new" in inspect.getsource(
        operate._merge_edges_then_upsert
    )
    source = inspect.getsource(utils.sanitize_and_normalize_extracted_text)
    for name in ("normalize_extracted_info", "sanitize_text_for_encoding"):
        assert f"{name}(" in source
        assert hasattr(getattr(utils, name), "__wrapped__")
    assert utils.normalize_entity_name("“Анна” <br>Керн") == "Анна Керн"
    assert utils.sanitize_and_normalize_extracted_text("“Анна” и Керн") == "“Анна” и Керн"


def test_a_second_time_changes_nothing() -> None:
    lighten()
    before = NamespaceLock.__aenter__, _KeyedLockContext.__aenter__, utils.logger.info
    lighten()
    assert before == (NamespaceLock.__aenter__, _KeyedLockContext.__aenter__, utils.logger.info)


# --- what is cleaned ---------------------------------------------------------------------------

ODD = (
    "\"'<>/pPbBrR &;#6amp\n\t\r\x00\x7f\x85\u00a0\u2014\u2018\u2019\u201c\u201d\u202f\u2028\u3000"
    "\u300a\u300b\u4e00\u9fa5\uff08\uff0d\uff0f\uff11\uff21\uff5a\ud800\udfff\ufffe\uffff1.5aЯж,()"
)
CLEANED = st.one_of(
    st.text(ODD, max_size=12),
    st.text(max_size=9),
    st.tuples(st.text(ODD, max_size=3), st.text("Анна Керн 12.", max_size=12)).map("".join),
)
HARD = (
    *("12345", "1.2.3", "123.45", ".12345", "  12  ", "  1.2.3  ", '"Анна Керн"', "'Анна' Керн'"),
    *(' "Анна Керн"', "<br >Анна Керн", "Анна</P>Керн", "Анна &amp; Керн", "&#55296;&#0;Анна Керн"),
    *(
        "Анна\nКерн ",
        "Анна\u00a0Керн",
        "《Анна Керн》",
        "中 文 английский",
        "Анна — Керн",
        "\u2028",
    ),
)


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_are_cleaned_as_lightrag_cleans_them(text: str) -> None:
    cleaned_alike(text)


@settings(max_examples=2000)
@given(CLEANED)
def test_texts_are_cleaned_as_lightrag_cleans_them(text: str) -> None:
    cleaned_alike(text)


def cleaned_alike(text: str) -> None:
    """Both ways to clean it come to what LightRAG's own come to."""
    clean = inspect.unwrap(utils.sanitize_text_for_encoding)
    normalize = inspect.unwrap(utils.normalize_extracted_info)
    assert where_unclean(clean)(text) == clean(text)
    assert where_unclean(clean)(text, "?") == clean(text, "?")
    for inner in (False, True):
        assert where_odd(normalize)(text, inner) == normalize(text, inner)


def test_no_text_stays_none() -> None:
    clean = inspect.unwrap(utils.sanitize_text_for_encoding)
    assert clean(None) is where_unclean(clean)(None) is None  # type: ignore[arg-type]


def test_instructions_are_cleaned_once() -> None:
    seen: list[str] = []

    def look(text: str, _: object = None) -> str:
        seen.append(text)
        return html.unescape(text)

    way = where_unclean(look)
    assert [way("a &amp; b") for _ in range(3)] == ["a & b"] * 3
    assert len(seen) == 1
    book = "a &amp; b" * LONG
    assert way(book) == way(book)
    assert len(seen) == 3  # a whole book is not kept for it


THOUGHTS = st.lists(
    st.sampled_from(["<think>", "</think>", "a", "\n", " ", "</", "{}"]), max_size=9
)


@given(THOUGHTS.map("".join))
@example("no </think> {}")
@example(" {} ")
def test_thoughts_are_removed_as_lightrag_removes_them(text: str) -> None:
    remove = inspect.unwrap(utils.remove_think_tags)
    assert where_thought(remove)(text) == remove(text)


def test_an_answer_that_was_cut_off_stays_one() -> None:
    lighten()
    assert "res = remove_think_tags(res)" in inspect.getsource(utils.use_llm_func_with_cache)
    for text in ("{} ", "<think>a</think> {}"):
        removed = utils.remove_think_tags(TruncatedResponse(text))
        assert (type(removed), removed) == (TruncatedResponse, "{}")


def test_plain_texts_are_not_looked_through() -> None:
    seen: list[str] = []

    def look(text: str, _: object = None) -> str:
        seen.append(text)
        return text

    for way in (where_unclean(look), where_odd(look), where_thought(look)):
        assert way(" Анна Керн, 1829 ") == "Анна Керн, 1829"
        assert way(" Анна") == "Анна"
    assert not seen


# --- lines of the log ------------------------------------------------------------------------


def test_lines_for_each_relation_are_not_even_made(caplog: pytest.LogCaptureFixture) -> None:
    lighten()
    with caplog.at_level(logging.INFO, "lightrag"):
        utils.logger.info("Merged: `Anna`~`Lisbon` | 1+2")
        utils.logger.info("Phase 1: Processing %d entities", 3)
    (record,) = caplog.records
    assert record.getMessage() == "Phase 1: Processing 3 entities"
    assert record.filename == "test_lighter.py"
    source = inspect.getsource(operate._merge_edges_then_upsert)
    assert 'f"Merged: `{src_id}`' in source
    assert 'f"LLMmrg: `{src_id}`' in source


# --- writing ---------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_row_is_noted_without_a_task_of_its_own_and_tried_again() -> None:
    lighten()
    write = operate.safe_vdb_operation_with_exception
    assert inspect.unwrap(write) is utils.safe_vdb_operation_with_exception
    tasks, here = [], asyncio.current_task()

    async def note() -> None:
        tasks.append(asyncio.current_task())
        if len(tasks) == 1:
            raise OSError("not yet")

    await untimed(utils.safe_vdb_operation_with_exception)(
        note, "upsert", retry_delay=0, timeout_seconds=60.0
    )
    assert tasks == [here, here]


# --- what is copied and packed ---------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=3), some),
    max_leaves=12,
)


@given(JSON)
def test_a_copy_is_equal_and_shares_nothing_that_can_change(value: object) -> None:
    copied = plain_copy(value)
    assert copied == value
    assert mutable(copied).isdisjoint(mutable(value))


def mutable(value: object) -> set[int]:
    """The identities of all lists and mappings in it."""
    if isinstance(value, dict):
        return {id(value)}.union(*(mutable(each) for each in value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*(mutable(each) for each in value))
    return set()


LATEX = st.recursive(
    st.integers() | st.text('\b\f\t\n\r\\"abeforu \ud800', max_size=9) | st.just("\theta \frac"),
    lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=3), some),
    max_leaves=12,
)


@given(LATEX)
@example({"entities": [{"name": "\frac", "description": "\beta"}]})
def test_an_answer_is_mended_as_lightrag_mends_it(value: object) -> None:
    mend = utils.repair_vlm_json_escape_damage_nested
    assert where_needed(mend)(value, context="chunk") == mend(value, context="chunk")


def test_answers_are_mended_and_descriptions_cleaned_by_these() -> None:
    lighten()
    mend = operate.repair_vlm_json_escape_damage_nested
    assert inspect.unwrap(mend) is utils.repair_vlm_json_escape_damage_nested
    assert "parsed = repair_vlm_json_escape_damage_nested(parsed" in inspect.getsource(operate)
    clean = operate.sanitize_text_for_encoding
    assert clean is utils.sanitize_text_for_encoding
    assert clean("a&amp;b\x00") == "a&b"
    assert "sanitized = sanitize_text_for_encoding(desc)" in inspect.getsource(operate)


def test_rows_are_copied_and_vectors_are_packed_by_these() -> None:
    lighten()
    assert json_kv_impl.copy.deepcopy is plain_copy
    assert inspect.getsource(json_kv_impl).count("copy.") == 2
    assert inspect.getsource(json_kv_impl).count("copy.deepcopy(") == 2
    assert json_doc_status_impl.copy.deepcopy is plain_copy
    source = inspect.getsource(json_doc_status_impl)
    assert source.count(" copy.") == source.count(" copy.deepcopy(") == 6
    source = inspect.getsource(nano_vector_db_impl)
    used = set(re.findall(r"zlib\.(\w+)", source))
    assert used == {"compress", "decompress"}
    assert used <= set(vars(nano_vector_db_impl.zlib))


@given(st.binary(max_size=200))
def test_what_is_packed_is_unpacked_by_anybody(data: bytes) -> None:
    assert zlib.decompress(stored(data)) == data


# --- locks -----------------------------------------------------------------------------------


@pytest.fixture
def shared() -> Iterator[None]:
    """What LightRAG's locks lean on."""
    lighten()
    shared_storage.initialize_share_data(workers=1)
    yield
    shared_storage.finalize_share_data()


def test_lightrag_only_enters_and_leaves_its_locks() -> None:
    assert {"_namespace", "_workspace"} <= set(vars(NamespaceLock("a", "b")))
    assert isinstance(get_namespace_lock("a", "b"), NamespaceLock)
    assert methods(NamespaceLock) == {"__init__", "__aenter__", "__aexit__"}
    assert methods(_KeyedLockContext) == {
        "__init__", "__aenter__", "__aexit__", "_rollback_acquired_locks",
    }  # fmt: skip


def methods(kind: type) -> set[str]:
    return {name for name, each in vars(kind).items() if callable(each)}


@pytest.mark.parametrize("_", range(2))  # another loop each time
@pytest.mark.parametrize("kind", ["namespace", "keyed"])
@pytest.mark.anyio
async def test_one_at_a_time_is_inside_whichever_of_the_locks_it_has(
    shared: None, kind: str, _: int
) -> None:
    inside, most, order = 0, 0, list[int]()

    def lock(number: int) -> AbstractAsyncContextManager[object]:
        if kind == "namespace":
            return NamespaceLock("status", "library")
        names = ["Anna", f"{number}"]
        return get_storage_keyed_lock(names if number % 2 else names[::-1], namespace="graph")

    async def enter(number: int) -> None:
        nonlocal inside, most
        async with lock(number):
            inside += 1
            most = max(most, inside)
            await anyio.wait_all_tasks_blocked()
            order.append(number)
            inside -= 1

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(enter, number)
    assert (most, order) == (1, [0, 1, 2, 3, 4])


@pytest.mark.anyio
async def test_two_that_want_the_same_two_do_not_wait_for_each_other(shared: None) -> None:
    async def enter(names: list[str]) -> None:
        for _ in range(20):
            async with get_storage_keyed_lock(names, namespace="graph"):
                await anyio.lowlevel.checkpoint()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for names in (["a", "b"], ["b", "a"], ["b", "c"], ["c", "a"], ["a", "a"]):
                tasks.start_soon(enter, names)


@pytest.mark.parametrize("kind", ["namespace", "keyed"])
@pytest.mark.anyio
async def test_a_lock_is_free_after_an_error_and_after_a_cancellation(
    shared: None, kind: str
) -> None:
    def lock(name: str = "status") -> AbstractAsyncContextManager[object]:
        if kind == "namespace":
            return NamespaceLock(name, "library")
        return get_storage_keyed_lock([name, "b"], namespace="graph")

    with anyio.fail_after(20):
        with pytest.raises(ZeroDivisionError):
            async with lock():
                _ = 1 / 0
        with anyio.move_on_after(0):
            async with lock():
                await anyio.sleep_forever()
        async with lock():
            with anyio.move_on_after(0.01) as given_up:
                async with lock():
                    raise AssertionError
            assert given_up.cancelled_caught
            async with NamespaceLock("status", "another"):
                pass
        async with lock():
            pass
    assert not lighter._locks()  # nothing is left of any
