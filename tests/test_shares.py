"""Where the time of a run went: all parts together are the wall time."""

from __future__ import annotations

import pytest

from tests.bench.plot import curves_of, drawn
from tests.bench.shares import shares


def call(endpoint: str, started_s: float, ended_s: float) -> dict[str, object]:
    return {
        "endpoint": endpoint, "started_s": started_s, "ended_s": ended_s, "outcome": "done",
    }  # fmt: skip


def test_a_run_is_divided_without_a_rest() -> None:
    calls = [
        call("/api/chat", 1.0, 2.1),
        call("/api/chat", 1.0, 3.0),
        call("/api/embed", 2.5, 4.0),
        call("/api/chat", 5.0, 6.0) | {"outcome": "dropped"},
    ]
    found = shares(calls, 0.5, 6.0, latency_s=1.0, slots=2)
    assert found.wall == pytest.approx(5.5)
    assert (found.before, found.model) == (0.5, 1.0)
    assert found.server == pytest.approx(0.55)  # 3.1 s of two slots, of which 2 s had to be
    assert found.idle == pytest.approx(0.45)
    assert (found.embedding, found.merge) == (1.0, 2.0)


def test_a_plot_has_a_curve_for_each_storage() -> None:
    what = "growth, files: documents 1 to 3, processor time of each"
    report: dict[str, list[dict[str, object]]] = {
        "rows": [{"what": what, "measured": 0.5}, {"what": "machine: load", "measured": 1.0}]
    }
    assert curves_of(report) == {"files": [(2.0, 0.5)]}
    assert drawn({"before & now": curves_of(report)["files"]}).count("<polyline") == 2
