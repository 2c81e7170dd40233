"""Lives of a library in a row, most of them ended by `kill -9`: afterwards all of it agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.soak import soak


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mends", [False, True], ids=["undisturbed", "mended"])
def test_after_uploads_deletes_questions_and_kills_all_parts_agree(
    tmp_path: Path, mends: bool
) -> None:
    found = soak(tmp_path, seed=24, seconds=10.0, mends=mends, kills=2)
    assert found.wrong == []
    assert found.kills >= 2
    assert found.doings["add accepted"] > 0
    assert found.again <= found.in_flight
