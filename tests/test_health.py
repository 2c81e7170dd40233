"""The verdict of a glance, the rates, and the doctor's report."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from librarian.calls import CallRecord
from librarian.errors import ModelUnavailable
from librarian.health import LOOP_STALL_S, RECENT_S, Severity, doctor, throughput, verdict
from librarian.library import Library
from librarian.settings import Settings
from librarian.snapshot import Throughput
from tests.ollama_server import OllamaServer

RATES = Throughput(calls_in_flight=2, oldest_call_s=12.0, median_call_s=10.0)


def look(
    *,
    busy: bool = True,
    waiting: bool = False,
    beat_age_s: float = 0.1,
    silent_s: float = 1.0,
    rates: Throughput = RATES,
) -> str:
    return verdict(
        busy=busy,
        waiting_for=ModelUnavailable() if waiting else None,
        beat_age_s=beat_age_s,
        rates=rates,
        silent_s=silent_s,
    ).verdict


def test_each_state_has_its_verdict() -> None:
    assert look() == "working"
    assert look(busy=False) == "idle"
    assert look(waiting=True) == "waiting"
    assert look(silent_s=41) == "slow"
    assert look(beat_age_s=LOOP_STALL_S + 1) == "stalled"


def test_a_loop_that_stands_still_outweighs_all_else() -> None:
    for busy in (True, False):
        assert look(busy=busy, waiting=True, beat_age_s=60, silent_s=500) == "stalled"


def test_nobody_waits_for_a_server_without_work() -> None:
    assert look(busy=False, waiting=True) == "idle"


def test_a_call_is_slow_by_the_measure_of_the_others() -> None:
    usual_minute = Throughput(median_call_s=60.0)
    assert look(silent_s=200, rates=usual_minute) == "working"
    assert look(silent_s=250, rates=usual_minute) == "slow"
    quick = Throughput(median_call_s=0.5)
    assert look(silent_s=20, rates=quick) == "working"  # half a minute is never slow
    assert look(silent_s=31, rates=quick) == "slow"


def test_the_first_call_is_never_slow() -> None:
    assert look(silent_s=600, rates=Throughput(calls_in_flight=1, oldest_call_s=600)) == "working"


@pytest.mark.parametrize("state", [{"waiting_for": ModelUnavailable()}, {"silent_s": 100.0}])
def test_trouble_comes_with_a_cause_and_a_remedy(state: dict[str, object]) -> None:
    plain = {"busy": True, "waiting_for": None, "beat_age_s": 0.0, "rates": RATES, "silent_s": 0.0}
    health = verdict(**(plain | state))  # type: ignore[arg-type]
    assert health.cause
    assert health.remedy


def record(ended_s: float, role: str = "extract", seconds: float = 10.0) -> CallRecord:
    return CallRecord(
        role=role,
        document="doc",
        started_s=ended_s - seconds,
        ended_s=ended_s,
        prompt_tokens=600,
        output_tokens=60,
    )


def test_rates_are_those_of_the_last_minutes() -> None:
    calls = [record(100.0), record(1010.0), record(1020.0), record(1030.0, "query")]
    rates = throughput(calls, [("doc", 5.0, 1.0), ("doc", 7.0, 0.0)], 1060.0)
    assert rates.chunks_per_min == pytest.approx(2)  # two chunks in the minute since 1000
    assert rates.prompt_tokens_per_s == pytest.approx(30)
    assert rates.output_tokens_per_s == pytest.approx(3)
    assert (rates.calls_in_flight, rates.oldest_call_s, rates.median_call_s) == (2, 7.0, 10.0)


def test_calls_of_long_ago_make_no_rate() -> None:
    rates = throughput([record(100.0)], [("doc", 5.0, 1.0)], 100.0 + RECENT_S + 1)
    assert rates == Throughput(calls_in_flight=1, oldest_call_s=5.0)


def test_no_calls_are_no_rate_and_no_division_by_nothing() -> None:
    assert throughput([], [], 0.0) == Throughput()
    assert throughput([record(50.0, seconds=0)], [], 50.0).median_call_s == 0


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library.open(tmp_path)
    yield library
    library.close()


def examined(library: Library, settings: Settings, backend: str) -> dict[str, Severity]:
    checks = anyio.run(doctor, library, settings, backend)
    assert all(check.message for check in checks)
    assert all(check.remedy for check in checks if check.severity is not Severity.OK)
    return {check.name: check.severity for check in checks}


def test_the_doctor_finds_a_server_and_its_models(server: OllamaServer, library: Library) -> None:
    found = examined(library, Settings.from_env({"OLLAMA_HOST": server.url}), "ollama")
    assert found["Ollama"] is found["Model qwen3:8b"] is found["Model bge-m3"] is Severity.OK
    assert found["Library folder"] is found["Address"] is Severity.OK


def test_a_missing_model_fails_only_a_library_that_needs_it(
    server: OllamaServer, library: Library
) -> None:
    server.remove_model("bge-m3")
    settings = Settings.from_env({"OLLAMA_HOST": server.url})
    assert examined(library, settings, "ollama")["Model bge-m3"] is Severity.FAIL
    assert examined(library, settings, "offline")["Model bge-m3"] is Severity.WARN


def test_a_missing_server_fails_only_a_library_that_needs_it(
    server: OllamaServer, library: Library
) -> None:
    settings = Settings.from_env({"OLLAMA_HOST": server.url})
    server.stop()
    assert examined(library, settings, "ollama")["Ollama"] is Severity.FAIL
    assert examined(library, settings, "offline")["Ollama"] is Severity.WARN


def test_an_open_door_is_a_warning(server: OllamaServer, library: Library) -> None:
    environ = {"OLLAMA_HOST": server.url, "LIBRARIAN_HOST": "0.0.0.0"}
    assert examined(library, Settings.from_env(environ), "offline")["Address"] is Severity.WARN
