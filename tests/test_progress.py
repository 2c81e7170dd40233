"""Progress and estimates: numbers in, numbers out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.documents import Phase
from librarian.progress import Progress, estimate

BEGUN = Progress(started_s=100.0)


def after(chunks: int, total: int = 100, *, saved: int = 0, each_s: float = 10.0) -> Progress:
    """Progress when chunks came one by one; the first `saved` were paid for before."""
    progress, now = BEGUN, BEGUN.started_s
    for done in range(1, chunks + 1):
        now += 0 if done <= saved else each_s
        progress = progress.chunk_done(done, total, saved=done <= saved, now_s=now)
    return progress


def test_a_phase_is_never_followed_by_an_earlier_one() -> None:
    merging = BEGUN.at(Phase.CHUNKING).at(Phase.MERGING)
    assert merging.phase is Phase.MERGING
    assert merging.at(Phase.EXTRACTING) is merging
    late = merging.chunk_done(1, 2, saved=False, now_s=0)
    assert (late.phase, late.chunks_done) == (Phase.MERGING, 1)


def test_chunks_that_end_out_of_order_never_count_down() -> None:
    progress = BEGUN.chunk_done(3, 9, saved=False, now_s=1).chunk_done(2, 9, saved=True, now_s=2)
    assert (progress.chunks_done, progress.chunks_total, progress.chunks_saved) == (3, 9, 1)


def test_steps_are_those_of_the_phase() -> None:
    progress = after(3, 10)
    assert progress.steps(0) == (3, 10)
    merging = replace(progress, entities=7, relations=5).at(Phase.MERGING)
    assert merging.steps(0) == (0, 12)
    embedding = replace(merging.at(Phase.EMBEDDING), texts_before=50)
    assert embedding.steps(50) == (0, 22)
    assert embedding.steps(60) == (10, 22)
    assert embedding.steps(500) == (22, 22)
    assert embedding.steps(20) == (0, 22)
    assert BEGUN.steps(5) == (0, 0)
    assert embedding.at(Phase.SAVING).steps(60) == (0, 0)


@pytest.mark.parametrize("progress", [BEGUN, after(1), after(5, saved=5), after(5, saved=4)])
def test_there_is_no_estimate_before_there_is_anything_to_go_by(progress: Progress) -> None:
    assert estimate(progress, 200.0) is None


def test_the_estimate_is_the_time_of_a_chunk_for_the_chunks_left_and_the_tail() -> None:
    found = estimate(after(50), 100.0 + 50 * 10.0)
    assert found is not None
    assert found.likely_s == pytest.approx(50 * 10.0 + 0.12 * 100 * 10.0)
    assert found.low_s < found.likely_s < found.high_s


def test_chunks_that_were_paid_for_do_not_make_the_others_look_quick() -> None:
    fresh = estimate(after(10), 200.0)
    resumed = estimate(after(60, saved=50), 200.0)
    assert fresh is not None
    assert resumed is not None
    assert resumed.likely_s == pytest.approx(40 * 10.0 + 0.12 * 1000.0)
    assert fresh.likely_s == pytest.approx(90 * 10.0 + 0.12 * 1000.0)


def test_the_range_narrows_as_chunks_come() -> None:
    def width(chunks: int) -> float:
        found = estimate(after(chunks, 1000), 100.0 + 10.0 * chunks)
        assert found is not None
        return found.high_s / found.low_s

    widths = [width(chunks) for chunks in (2, 5, 20, 100, 500)]
    assert widths == sorted(widths, reverse=True)


def test_there_is_no_estimate_after_extracting() -> None:
    assert estimate(after(50).at(Phase.MERGING), 900.0) is None


@given(st.integers(2, 300), st.integers(0, 300), st.floats(0, 1e6))
def test_an_estimate_is_a_positive_range(done: int, left: int, elapsed_s: float) -> None:
    progress = replace(after(2), chunks_done=done, chunks_total=done + left, chunks_saved=0)
    found = estimate(progress, BEGUN.started_s + elapsed_s)
    assert found is not None
    assert 0 <= found.low_s <= found.likely_s <= found.high_s
