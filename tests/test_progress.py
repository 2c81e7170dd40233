"""Progress: numbers in, numbers out; what is shown never goes back, whatever comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.documents import Document, Phase, Status
from librarian.outlook import shown
from librarian.progress import USUAL, Progress

BEGUN = Progress(started_s=100.0, phase_s=100.0)
Step = Callable[[Progress], Progress]


def after(chunks: int, total: int = 100, *, saved: int = 0) -> Progress:
    """Progress when chunks came one by one; the first `saved` were paid for before."""
    progress = BEGUN.chunked(total, 100.0)
    for done in range(1, chunks + 1):
        progress = progress.chunk_done(done, total, saved=done <= saved, now_s=100.0 + done)
    return progress


def book(**more: object) -> Document:
    plain = Document(
        id="doc-a", name="a.txt", status=Status.PROCESSING, bytes=9, characters=9,
        language="English", file="a.txt", created_at=0, updated_at=0,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def test_a_phase_is_never_followed_by_an_earlier_one() -> None:
    merging = BEGUN.at(Phase.CHUNKING, 1).at(Phase.MERGING, 2)
    assert merging.phase is Phase.MERGING
    assert merging.at(Phase.EXTRACTING, 3) is merging
    late = merging.chunk_done(1, 2, saved=False, now_s=3)
    assert (late.phase, late.chunks_done) == (Phase.MERGING, 1)


def test_chunks_that_end_out_of_order_never_count_down() -> None:
    progress = BEGUN.chunk_done(3, 9, saved=False, now_s=1).chunk_done(2, 9, saved=True, now_s=2)
    assert (progress.chunks_done, progress.chunks_total, progress.chunks_saved) == (3, 9, 1)


def test_steps_are_those_of_the_phase() -> None:
    assert BEGUN.steps == (0, 0)
    progress = after(3, 10)
    assert progress.steps == (3, 10)
    merging = progress.merging("entities", 7, 200.0)
    assert merging.steps == (0, 7)
    assert (
        merging.stored("entities", 1).stored("entities", 1).steps
        == merging.stored("entities", 2).steps
        == (2, 7)
    )
    relations = merging.merging("relations", 5, 210.0).stored("relations", 1)
    assert relations.steps == (1, 12)
    assert relations.stored("entities", 1).steps == (2, 12)  # both are merged at the same time
    embedding = relations.merged(220.0).embedding(20, 220.0).embedding(2, 220.0)
    assert embedding.steps == (0, 22)
    assert embedding.embedded(10, 221.0).steps == (10, 22)
    saving = embedding.embedded(10, 221.0).embedded(12, 222.0)
    assert (saving.phase, saving.steps) == (Phase.SAVING, (0, 0))


def test_a_document_without_anything_to_embed_is_saved_at_once() -> None:
    assert after(2, 2).merged(9.0).embedding(0, 9.0).embedded(0, 9.0).phase is Phase.SAVING


def test_what_each_phase_took_is_remembered() -> None:
    progress = after(2, 2).merging("entities", 1, 110.0).merged(130.0).embedding(1, 130.0)
    saving = progress.embedded(1, 137.0)
    lasted = dict(saving.lasted_s)
    assert lasted[Phase.EXTRACTING] == 10.0
    assert lasted[Phase.MERGING] == 20.0
    assert lasted[Phase.EMBEDDING] == 7.0
    assert saving.began_s(Phase.MERGING) == 110.0
    assert saving.began_s(Phase.SAVING) == saving.phase_s == 137.0


def test_what_an_earlier_run_had_done_shows_at_once() -> None:
    kept = book(chunks_total=100, chunks_done=60, share=0.5)
    resumed = Progress.of(kept, 0.0)
    assert (resumed.chunks_done, resumed.chunks_total, resumed.chunks_saved) == (60, 100, 60)
    assert resumed.share == pytest.approx(sum(USUAL[:2]) + USUAL[2] * 0.6)
    again = resumed.chunked(100, 1.0)
    for done in range(1, 61):
        again = again.chunk_done(done, 100, saved=True, now_s=2.0)
        assert (again.chunks_done, again.chunks_saved, again.share) == (60, 60, resumed.share)
    on = again.chunk_done(61, 100, saved=False, now_s=3.0)
    assert (on.chunks_done, on.chunks_saved) == (61, 60)
    assert on.share > resumed.share


def test_a_share_that_was_shown_before_a_restart_is_kept() -> None:
    merging = book(chunks_total=10, chunks_done=10, share=0.93)
    assert Progress.of(merging, 0.0).chunked(10, 1.0).share == 0.93


def test_answers_that_are_gone_are_no_longer_called_saved() -> None:
    progress = Progress.of(book(chunks_total=10, chunks_done=8), 0.0).chunked(10, 0.0)
    for done in range(1, 11):
        progress = progress.chunk_done(done, 10, saved=done <= 3, now_s=1.0)
    assert (progress.chunks_done, progress.chunks_saved) == (10, 3)


def test_phases_weigh_what_they_cost() -> None:
    quick = replace(BEGUN, weights=(0.01, 0.01, 0.48, 0.3, 0.1, 0.1))
    assert quick.chunked(4, 0.0).chunk_done(2, 4, saved=False, now_s=1).share == pytest.approx(0.26)


numbers = st.integers(0, 50)
whats = st.sampled_from(["entities", "relations"])
steps: st.SearchStrategy[Step] = st.one_of(
    st.sampled_from(Phase).map(lambda phase: lambda p: p.at(phase, 1.0)),
    numbers.map(lambda n: lambda p: p.chunked(n, 1.0)),
    st.tuples(numbers, numbers, st.booleans()).map(
        lambda t: lambda p: p.chunk_done(t[0], t[1], saved=t[2], now_s=1.0)
    ),
    st.tuples(whats, numbers).map(lambda t: lambda p: p.merging(t[0], t[1], 1.0)),
    st.tuples(whats, numbers).map(lambda given: lambda p: p.stored(*given)),
    st.just(lambda p: p.merged(1.0)),
    numbers.map(lambda n: lambda p: p.embedding(n, 1.0)),
    numbers.map(lambda n: lambda p: p.embedded(n, 1.0)),
)
starts = st.tuples(numbers, numbers, st.floats(0, 1)).map(
    lambda t: Progress.of(book(chunks_done=t[0], chunks_total=t[1], share=t[2]), 0.0)
)


@given(starts, st.lists(steps, max_size=60))
def test_nothing_that_is_shown_goes_back_whatever_is_heard(
    progress: Progress, heard: list[Step]
) -> None:
    for step in heard:
        before, progress = progress, step(progress)
        assert 0.0 <= before.share <= progress.share <= 1.0
        assert tuple(Phase).index(before.phase) <= tuple(Phase).index(progress.phase)
        assert before.chunks_done <= progress.chunks_done
        assert before.entities_done <= progress.entities_done
        assert before.relations_done <= progress.relations_done
        assert before.texts_done <= progress.texts_done
        if before.phase is progress.phase:
            assert before.steps[0] <= progress.steps[0]
        done, total = progress.steps
        assert 0 <= done <= total
        assert 0 <= progress.chunks_saved <= progress.chunks_total
        resumed = Progress.of(shown(book(), progress, 2.0), 3.0)
        assert resumed.share >= progress.share - 1e-9  # after a restart too
        assert resumed.chunks_done == progress.chunks_done
