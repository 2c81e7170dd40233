"""What is lighter than LightRAG's own comes to the same."""

from __future__ import annotations

import inspect

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lightrag import operate, utils
from lightrag.kg import shared_storage
from lightrag.kg.shared_storage import NamespaceLock, get_namespace_lock

from librarian.lighter import lighten, merging

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
    assert "normalize_extracted_info(" in inspect.getsource(
        utils.sanitize_and_normalize_extracted_text
    )
    before = utils.normalize_extracted_info.cache_info().hits
    for _ in range(2):
        assert utils.normalize_entity_name("“Анна” <br>Керн") == "Анна Керн"
        assert utils.sanitize_and_normalize_extracted_text("“Анна” и Керн") == "“Анна” и Керн"
    assert utils.normalize_extracted_info.cache_info().hits >= before + 2


def test_a_second_time_changes_nothing() -> None:
    lighten()
    before = NamespaceLock.__aenter__, operate.merge_source_ids, utils.normalize_extracted_info
    lighten()
    assert before == (
        NamespaceLock.__aenter__, operate.merge_source_ids, utils.normalize_extracted_info
    )  # fmt: skip


def test_lightrag_makes_its_locks_of_two_names_and_only_enters_and_leaves_them() -> None:
    assert {"_namespace", "_workspace"} <= set(vars(NamespaceLock("a", "b")))
    assert isinstance(get_namespace_lock("a", "b"), NamespaceLock)
    methods = {name for name, each in vars(NamespaceLock).items() if callable(each)}
    assert methods == {"__init__", "__aenter__", "__aexit__"}
    assert "ctx_var" in inspect.getsource(shared_storage.NamespaceLock.__init__)


@pytest.mark.parametrize("_", range(2))  # another loop each time
@pytest.mark.anyio
async def test_one_at_a_time_is_inside_whichever_of_the_locks_it_has(_: int) -> None:
    lighten()
    inside, most, order = 0, 0, list[int]()

    async def enter(number: int) -> None:
        nonlocal inside, most
        async with NamespaceLock("status", "library"):
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
async def test_locks_of_other_names_are_free_and_one_is_free_after_an_error() -> None:
    lighten()
    lock = NamespaceLock("status", "library")
    with anyio.fail_after(20):
        async with lock, NamespaceLock("status", "other"), NamespaceLock("names", "library"):
            pass
        with pytest.raises(ZeroDivisionError):
            async with lock:
                _ = 1 / 0
        with anyio.move_on_after(0):
            async with lock:
                await anyio.sleep_forever()
        async with lock:
            pass
        with pytest.raises(RuntimeError):
            async with lock, NamespaceLock("status", "library"):
                pass  # as with LightRAG's own, which would wait for itself for ever
