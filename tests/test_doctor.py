"""The doctor, its probe, and pulls: each check well and unwell, over the stand-in for Ollama."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from streamlit.testing.v1 import AppTest

from librarian.account import CallRecord
from librarian.app import Librarian
from librarian.checks import Check, Report, Severity, Speed
from librarian.doctor import MANY_RELOADS, doctor, longest_prompt
from librarian.documents import Document, Status
from librarian.errors import LibrarianError, NotReady
from librarian.library import Library
from librarian.machine import memory
from librarian.models.protocol import ModelCard
from librarian.models.servers import Step, pull
from librarian.probes import probe
from librarian.pulls import Pull, Pulls, PullState, open_pulls
from librarian.registry import PROCESS
from librarian.settings import Settings
from tests.conftest import Opened, until
from tests.ollama_server import DEFAULT_MODELS, Fault, OllamaServer, StandInModel
from tests.test_cli import environment

LLM, EMBED = "qwen3:8b", "bge-m3"
PAGE = Path(__file__).resolve().parents[1] / "pages" / "system.py"
OK, WARN, FAIL = Severity.OK, Severity.WARN, Severity.FAIL


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library.open(tmp_path / "library")
    yield library
    library.close()


def settings_of(server: OllamaServer, **more: str) -> Settings:
    return Settings.from_env({"OLLAMA_HOST": server.url, **more})


PATIENCE_S = 20.0  # where 2 s are the limit, on a machine that is busy


def report_of(library: Library, settings: Settings, backend: str = "ollama", **more: int) -> Report:
    async def look() -> Report:
        return await doctor(library, settings, backend, **more)

    report = anyio.run(look)
    for check in report.checks:
        assert check.message.endswith(".")
        assert bool(check.remedy) is (check.severity is not OK), check
    return report


def found(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def post(server: OllamaServer, path: str, body: dict[str, Any]) -> None:
    httpx.post(f"{server.url}{path}", json=body, trust_env=False).raise_for_status()


def load(server: OllamaServer, llm: str = LLM, embed: str = EMBED, num_ctx: int = 8192) -> None:
    if llm:
        post(server, "/api/chat", {"model": llm, "messages": [], "options": {"num_ctx": num_ctx}})
    if embed:
        post(server, "/api/embed", {"model": embed, "input": "a"})


def indexed(library: Library, card: ModelCard) -> None:
    """A library with one document, whose vectors are of this model."""
    library.pin(card, chunk_tokens=1200, versions={})
    library.catalogue.put(
        Document(
            id="doc-1",
            name="a.txt",
            status=Status.PROCESSED,
            bytes=1,
            characters=1,
            language="English",
            file="a.txt",
            created_at=0.0,
            updated_at=0.0,
            chunks_total=1,
            chunks_done=1,
        )
    )


def card(embed: str = EMBED, dimension: int = 1024, backend: str = "ollama") -> ModelCard:
    return ModelCard(backend=backend, llm=LLM, embed=embed, host="", dimension=dimension)


# --- the server -----------------------------------------------------------------------------


def test_all_is_well_with_a_good_server(server: OllamaServer, library: Library) -> None:
    load(server)
    report = report_of(library, settings_of(server))
    assert report.ok
    assert report.missing == ()
    assert {check.severity for check in report.checks if check.name != "Memory"} == {OK}
    assert "Version 0.33.0" in found(report, "Ollama").message
    assert "llama3.1:8b" in found(report, "Models").message
    assert found(report, f"Model {LLM}").severity is OK
    assert "thinking" not in found(report, f"Abilities of {EMBED}").message
    assert "turned off" in found(report, f"Abilities of {LLM}").message
    assert "8,192 tokens" in found(report, f"Context of {LLM}").message
    assert "1,024 numbers" in found(report, "Vectors").message
    assert "All of it on the GPU" in found(report, f"In memory: {LLM}").message
    assert "at once" in found(report, "Both models").message


def test_a_dead_server_is_told_at_once(server: OllamaServer, library: Library) -> None:
    server.stop()
    began = time.monotonic()
    report = report_of(library, settings_of(server))
    assert time.monotonic() - began < PATIENCE_S
    assert found(report, "Ollama").severity is FAIL
    assert "ollama serve" in found(report, "Ollama").remedy
    assert not report.ok


def test_a_server_that_takes_connections_and_says_nothing_is_told_soon(
    library: Library,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        report = report_of(library, Settings.from_env({"OLLAMA_HOST": host}))
    assert time.monotonic() - began < PATIENCE_S
    assert "no answer within 2 s" in found(report, "Ollama").message


@pytest.mark.parametrize(
    ("fault", "message", "remedy"),
    [
        (Fault.HTML_OK, "is not Ollama", "Set OLLAMA_HOST"),
        (Fault.PROXY_HTML, "status 502", "proxy"),
        (Fault.PROXY_FORBIDDEN, "status 403", "OLLAMA_HOST=0.0.0.0"),
        (Fault.RESET, "Nothing answers", "ollama serve"),
    ],
)
def test_what_else_may_answer_is_told_apart(
    server: OllamaServer, library: Library, fault: Fault, message: str, remedy: str
) -> None:
    server.inject(fault, None, match="/api/version")
    check = found(report_of(library, settings_of(server)), "Ollama")
    assert message in check.message
    assert remedy in check.remedy


def test_a_list_of_models_that_does_not_come_is_no_missing_model(
    server: OllamaServer, library: Library
) -> None:
    server.inject(Fault.LONG_SILENCE, None, match="/api/tags", seconds=2 * PATIENCE_S)
    server.inject(Fault.PROXY_HTML, None, match="/api/ps")
    began = time.monotonic()
    report = report_of(library, settings_of(server))
    assert time.monotonic() - began < PATIENCE_S
    assert found(report, "Models").severity is FAIL
    assert found(report, "In memory").severity is WARN
    assert report.missing == ()


def test_an_old_server_is_told_to_be_updated(server: OllamaServer, library: Library) -> None:
    server.version = "0.6.8"
    report = report_of(library, settings_of(server))
    assert found(report, "Ollama").severity is WARN
    assert "turned off" not in found(report, f"Abilities of {LLM}").message
    for built in ("0.0.0", "0.33.0-rc2", "unknown"):
        server.version = "0.33.0" if built == "unknown" else built
        assert found(report_of(library, settings_of(server)), "Ollama").severity is OK


def test_a_missing_model_comes_with_the_way_to_get_it(
    server: OllamaServer, library: Library
) -> None:
    server.remove_model(EMBED)
    report = report_of(library, settings_of(server))
    assert report.missing == (EMBED,)
    assert found(report, f"Model {EMBED}").severity is FAIL
    assert f"`ollama pull {EMBED}`" in found(report, f"Model {EMBED}").remedy
    server.remove_model(LLM)
    server.remove_model("llama3.1:8b")
    bare = report_of(library, settings_of(server))
    assert bare.missing == (LLM, EMBED)
    assert found(bare, "Models").message == "None is on the server's disk."


def test_nothing_of_a_server_fails_a_library_that_the_offline_model_reads(
    server: OllamaServer, library: Library
) -> None:
    server.remove_model(EMBED)
    check = found(report_of(library, settings_of(server), "offline"), f"Model {EMBED}")
    assert check.severity is WARN
    assert "nothing waits for it" in check.message
    server.stop()
    report = report_of(library, settings_of(server), "offline")
    assert found(report, "Ollama").severity is WARN
    assert report.ok


def test_models_that_cannot_do_their_part_fail(server: OllamaServer, library: Library) -> None:
    swapped = settings_of(server, LIBRARIAN_LLM_MODEL=EMBED, LIBRARIAN_EMBED_MODEL=LLM)
    report = report_of(library, swapped)
    assert found(report, f"Abilities of {EMBED}").severity is FAIL
    assert "only: embedding" in found(report, f"Abilities of {EMBED}").message
    assert found(report, f"Abilities of {LLM}").severity is FAIL
    assert "bge-m3" in found(report, f"Abilities of {LLM}").remedy


def test_a_context_is_measured_by_the_longest_prompt(
    server: OllamaServer, library: Library
) -> None:
    def context(**more: str) -> Check:
        return found(report_of(library, settings_of(server, **more)), f"Context of {LLM}")

    assert context().severity is OK
    small = context(LIBRARIAN_NUM_CTX="4096")
    assert (small.severity, small.remedy) == (WARN, "Raise LIBRARIAN_NUM_CTX.")
    assert context(LIBRARIAN_NUM_CTX="3000").severity is FAIL
    plain = Settings.from_env({})
    assert f"{longest_prompt(plain, 1200):,}" in context().message
    assert longest_prompt(replace(plain, gleaning=1), 1200) > longest_prompt(plain, 1200) + 1000
    assert longest_prompt(plain, 600) == longest_prompt(plain, 1200) - 1200


def test_a_model_made_for_less_than_is_asked_for_is_told(
    server: OllamaServer, library: Library
) -> None:
    server.add_model(replace(DEFAULT_MODELS[0], context_length=4096))
    check = found(report_of(library, settings_of(server)), f"Context of {LLM}")
    assert check.severity is WARN
    assert "made for no more; LIBRARIAN_NUM_CTX is 8,192" in check.message
    assert check.remedy == "Choose a model with more."


def test_a_context_that_another_program_has_set_is_told(
    server: OllamaServer, library: Library
) -> None:
    load(server, num_ctx=16384)
    check = found(report_of(library, settings_of(server)), f"Context of {LLM}")
    assert check.severity is WARN
    assert "loaded with 16,384" in check.message
    assert "LIBRARIAN_NUM_CTX=16384" in check.remedy


def test_an_embedder_that_reads_half_a_chunk_is_told(
    server: OllamaServer, library: Library
) -> None:
    server.add_model(replace(DEFAULT_MODELS[2], context_length=512))
    check = found(report_of(library, settings_of(server)), f"Context of {EMBED}")
    assert check.severity is WARN
    assert "only the beginning" in check.message


def test_vectors_must_be_of_the_librarys_size(server: OllamaServer, library: Library) -> None:
    assert "has none yet" in found(report_of(library, settings_of(server)), "Vectors").message
    indexed(library, card())
    assert found(report_of(library, settings_of(server)), "Vectors").severity is OK
    server.add_model(replace(DEFAULT_MODELS[2], dimension=512))
    check = found(report_of(library, settings_of(server)), "Vectors")
    assert check.severity is FAIL
    assert "gives 512 numbers a vector, but the library's" in check.message
    assert "re-embed" in check.remedy


def test_vectors_of_another_model_are_told(server: OllamaServer, library: Library) -> None:
    indexed(library, card(embed="nomic-embed-text", dimension=768))
    check = found(report_of(library, settings_of(server)), "Vectors")
    assert check.severity is FAIL
    assert "Set it to nomic-embed-text" in check.remedy


def test_a_library_of_the_offline_model_needs_no_vectors_of_the_server(
    server: OllamaServer, library: Library
) -> None:
    indexed(library, card(embed="hashing", dimension=384, backend="offline"))
    assert found(report_of(library, settings_of(server), "offline"), "Vectors").severity is OK


@pytest.mark.parametrize(
    ("share", "severity", "message"),
    [(1.0, OK, "All of it on the GPU"), (0.62, WARN, "62%"), (0.0, WARN, "on the CPU")],
)
def test_where_a_model_runs_is_told(
    server: OllamaServer, library: Library, share: float, severity: Severity, message: str
) -> None:
    load(server)
    server.gpu_share = share
    report = report_of(library, settings_of(server))
    check = found(report, f"In memory: {LLM}")
    assert check.severity is severity
    assert message in check.message
    assert found(report, f"In memory: {EMBED}").severity is OK


def test_models_that_push_each_other_out_are_told(server: OllamaServer, library: Library) -> None:
    server.max_loaded = 1
    load(server)
    settings = settings_of(server)
    report = report_of(library, settings)
    assert "Not now" in found(report, f"In memory: {LLM}").message
    assert f"Only {EMBED} is in memory" in found(report, "Both models").message
    check = found(report_of(library, settings, reloads=MANY_RELOADS), "Both models")
    assert check.severity is WARN
    assert "OLLAMA_MAX_LOADED_MODELS=2" in check.remedy


# --- this machine ----------------------------------------------------------------------------


def test_a_folder_that_is_gone_fails_every_check_of_it(
    server: OllamaServer, library: Library
) -> None:
    shutil.rmtree(library.home)
    report = report_of(library, settings_of(server))
    for name in ("Library folder", "Disk", "SQLite"):
        assert found(report, name).severity is FAIL
    library.home.mkdir()  # closing the library looks for it


def test_a_write_test_leaves_nothing(server: OllamaServer, library: Library) -> None:
    before = sorted(library.home.iterdir())
    assert "it writes" in found(report_of(library, settings_of(server)), "SQLite").message
    assert sorted(library.home.iterdir()) == before


def test_memory_is_read_where_linux_tells_it(tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:  16777216 kB\nMemFree: 1 kB\nMemAvailable:  8388608 kB\n")
    assert memory(told).message == "8.0 of 16.0 GB are free."
    told.write_text("MemTotal:  16777216 kB\nMemAvailable:  524288 kB\n")
    assert memory(told).severity is WARN
    absent = memory(tmp_path / "nothing")
    assert absent.severity is OK
    assert absent.message.startswith("Not looked at")


def test_an_open_door_is_a_warning(server: OllamaServer, library: Library) -> None:
    closed = found(report_of(library, settings_of(server)), "Address")
    assert closed.severity is OK
    assert "this machine only; no token is set" in closed.message
    opened = found(report_of(library, settings_of(server, LIBRARIAN_HOST="0.0.0.0")), "Address")
    assert opened.severity is WARN
    assert "Anyone" in opened.message
    token = {"LIBRARIAN_HOST": "0.0.0.0", "LIBRARIAN_API_TOKEN": "a secret"}
    guarded = found(report_of(library, settings_of(server, **token)), "Address")
    assert guarded.severity is WARN
    assert "fewer than 16 characters" in guarded.message
    assert "a secret" not in guarded.message
    token["LIBRARIAN_API_TOKEN"] = "a secret that nobody guesses"
    safe = found(report_of(library, settings_of(server, **token)), "Address")
    assert safe.severity is OK
    assert "pages and requests want the token" in safe.message


# --- the probe -------------------------------------------------------------------------------


def probed(
    settings: Settings, finished: tuple[CallRecord, ...] = ()
) -> tuple[dict[str, Check], Speed | None]:
    async def run() -> tuple[tuple[Check, ...], Speed | None]:
        return await probe(settings, finished)

    checks, speed = anyio.run(run)
    return {check.name: check for check in checks}, speed


@pytest.mark.parametrize("parallel", [1, 2, 4])
def test_a_probe_tells_how_many_calls_run_at_once(server: OllamaServer, parallel: int) -> None:
    server.parallel, server.latency_s = parallel, 0.4
    checks, speed = probed(settings_of(server))
    assert speed is not None
    assert speed.at_once == parallel
    check = checks["Calls at once"]
    assert f"{parallel} of 4 ran at once" in check.message
    assert (check.severity is OK) is (parallel == 4)
    assert parallel == 4 or "OLLAMA_NUM_PARALLEL=4" in check.remedy
    assert speed.gain <= parallel


def test_a_probe_tells_the_seconds_of_a_chunk(server: OllamaServer) -> None:
    server.latency_s = 0.5
    checks, speed = probed(settings_of(server))
    assert speed is not None
    assert (speed.chunk_prompt_tokens, speed.chunk_output_tokens) == (3072, 700)
    expected = 3072 / speed.prompt_tokens_per_s + 700 / speed.output_tokens_per_s
    assert speed.seconds_per_chunk == pytest.approx(expected, rel=0.02)
    assert "as is assumed" in checks["Speed"].message
    server.wait_until(lambda each: len(each.calls) == 7)  # to load, one, four at once, to measure
    assert {(call.endpoint, call.model) for call in server.calls} == {("/api/chat", LLM)}
    assert server.loaded == (LLM,)  # and with the options of the work: it is not loaded anew


def test_a_probe_takes_what_is_typical_from_what_was_read(server: OllamaServer) -> None:
    record = CallRecord(
        role="extract", document="", started_s=0, ended_s=1, prompt_tokens=3500, output_tokens=1100
    )
    checks, speed = probed(settings_of(server), (record,) * 6)
    assert speed is not None
    assert (speed.chunk_prompt_tokens, speed.chunk_output_tokens) == (3500, 1100)
    assert "as 6 chunks had" in checks["Speed"].message


@pytest.mark.parametrize("fault", [Fault.ABSENT_DURATIONS, Fault.NEGATIVE_DURATIONS])
def test_a_probe_of_a_server_whose_clock_is_wrong_goes_by_its_own(
    server: OllamaServer, fault: Fault
) -> None:
    server.latency_s = 0.3
    server.inject(fault, None)
    _, speed = probed(settings_of(server))
    assert speed is not None
    assert 0 < speed.seconds_per_chunk < 60


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        (Fault.OUT_OF_MEMORY, "Choose a smaller one"),
        (Fault.MODEL_MISSING, "ollama pull"),
        (Fault.ERROR_LINE, "repeated"),
        (Fault.NO_DONE, "repeated"),
    ],
)
def test_a_probe_that_fails_says_why(server: OllamaServer, fault: Fault, remedy: str) -> None:
    server.inject(fault, None)
    checks, speed = probed(settings_of(server))
    assert speed is None
    assert checks["Probe"].severity is FAIL
    assert remedy in checks["Probe"].remedy


def test_a_probe_ends_in_time(server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("librarian.probes.LIMIT_S", 0.4)
    server.inject(Fault.LONG_SILENCE, None, after=6, seconds=30)
    checks, speed = probed(settings_of(server))
    assert speed is None
    assert "not a word came" in checks["Speed"].message
    server.wait_until(lambda each: each.in_flight == 0)  # and its place is free again


def test_a_slow_answer_is_measured_by_what_came_of_it(
    server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("librarian.probes.LIMIT_S", 1.5)
    server.latency_s = 0.2
    server.inject(Fault.STALLED_STREAM, None, after=6, seconds=30)
    checks, speed = probed(settings_of(server))
    assert speed is not None
    assert "this is rough" in checks["Speed"].message


# --- pulls -----------------------------------------------------------------------------------

NEW = StandInModel(name="new:1b", size=1_300_000_000)


@pytest.fixture
def registry() -> Iterator[OllamaServer]:
    """A server without models that can pull some."""
    with OllamaServer(models=(), pullable=(*DEFAULT_MODELS, NEW)) as running:
        yield running


async def ended(pulls: Pulls, model: str) -> Pull:
    with anyio.fail_after(20):
        while True:
            seen = next(each for each in pulls.seen if each.model == model)
            if seen.state is not PullState.RUNNING:
                return seen
            await anyio.sleep(0.01)


async def moving(pulls: Pulls) -> Pull:
    with anyio.fail_after(20):
        while True:
            if pulls.seen[0].done:
                return pulls.seen[0]
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_a_pull_tells_how_far_it_is(registry: OllamaServer) -> None:
    steps: list[Step] = []
    await pull(registry.url, "new:1b", steps.append)
    assert steps[0] == Step(status="pulling manifest")
    assert steps[-1].status == "success"
    assert steps[-1].done == steps[-1].total == 1_300_000_000 + 1_482 + 96
    assert [step.done for step in steps] == sorted(step.done for step in steps)


@pytest.mark.anyio
async def test_pulls_are_seen_from_outside_until_they_end(registry: OllamaServer) -> None:
    registry.pull_s = 1.0
    async with open_pulls([registry.url]) as pulls:
        await pulls.start(LLM)
        await pulls.start(LLM)  # twice is once
        await pulls.start(EMBED)
        assert [each.model for each in pulls.seen] == [LLM, EMBED]
        seen = await moving(pulls)
        assert seen.state is PullState.RUNNING
        assert "GB" in seen.text
        assert (await ended(pulls, LLM)).state is PullState.DONE
        assert (await ended(pulls, EMBED)).text == "on the server"


@pytest.mark.anyio
async def test_a_cancelled_pull_ends_at_once_and_can_begin_again(registry: OllamaServer) -> None:
    registry.pull_s = 30.0
    async with open_pulls([registry.url]) as pulls:
        await pulls.start(LLM)
        await moving(pulls)
        await pulls.cancel(LLM)
        assert (await ended(pulls, LLM)).state is PullState.CANCELLED
        await pulls.cancel(LLM)  # it has ended: nothing happens
        registry.pull_s = 0.1
        await pulls.start(LLM)
        assert (await ended(pulls, LLM)).state is PullState.DONE


@pytest.mark.anyio
async def test_an_error_that_comes_after_a_good_beginning_is_told_with_a_remedy(
    registry: OllamaServer,
) -> None:
    async with open_pulls([registry.url]) as pulls:
        registry.inject(Fault.PULL_ERROR)
        await pulls.start(LLM)
        broken = await ended(pulls, LLM)
        assert broken.state is PullState.FAILED
        assert broken.done > 0
        assert "max retries exceeded: unexpected EOF. Pull again" in broken.error
        await pulls.start("nothing")
        assert "Check the name" in (await ended(pulls, "nothing")).error
        registry.stop()
        await pulls.start(LLM)
        assert "ollama serve" in (await ended(pulls, LLM)).error


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [Fault.HTML_OK, Fault.RESET, Fault.PROXY_HTML, Fault.BROKEN_BODY])
async def test_a_pull_from_something_else_fails_in_a_sentence(
    registry: OllamaServer, fault: Fault
) -> None:
    async with open_pulls([registry.url]) as pulls:
        registry.inject(fault, match="/api/pull")
        await pulls.start(LLM)
        failed = await ended(pulls, LLM)
        assert failed.state is PullState.FAILED
        assert failed.error.endswith(".")


# --- over all of it --------------------------------------------------------------------------


def test_a_dashboards_library_pulls_probes_and_reports(
    opened: Opened, server: OllamaServer, tmp_path: Path
) -> None:
    server.latency_s = 0.2
    librarian: Librarian = opened(
        Settings.from_env({"OLLAMA_HOST": server.url}, home=tmp_path / "library")
    )
    assert librarian.doctor().speed is None
    report = librarian.probe()
    assert {"Calls at once", "Speed"} <= {check.name for check in report.checks}
    assert report.speed is not None
    again = librarian.doctor()
    assert again.speed == report.speed
    assert "Speed" not in {check.name for check in again.checks}
    librarian.pull(EMBED)
    until(lambda: librarian.pulls()[0].state is PullState.DONE, "the pull")
    librarian.cancel_pull(EMBED)
    librarian.add_text("long.txt", "Ada Lovelace met Charles Babbage in London.\n\n" * 2)
    server.latency_s = 5.0
    until(lambda: librarian.snapshot().busy, "work")
    with pytest.raises(LibrarianError, match="reading documents"):
        librarian.probe()


def command(home: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "librarian", *arguments, "--home", str(home)],
        env=environment(OLLAMA_HOST=url, LIBRARIAN_BACKEND="auto"),
        encoding="utf-8",
        capture_output=True,
        timeout=50,
        check=False,
    )


def test_the_command_pulls_what_is_missing_and_opens_no_library(
    registry: OllamaServer, tmp_path: Path
) -> None:
    home = tmp_path / "library"
    done = command(home, registry.url, "pull")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{LLM}: on the server\n{EMBED}: on the server\n"
    assert not home.exists()
    again = command(home, registry.url, "pull")
    assert again.stdout == f"{LLM} and {EMBED} are on the server.\n"
    unknown = command(home, registry.url, "pull", "nothing", "new:1b", "--json")
    assert unknown.returncode == 1
    report = json.loads(unknown.stdout)
    assert [each["state"] for each in report["models"]] == ["failed", "done"]
    assert "file does not exist" in report["models"][0]["error"]
    registry.stop()
    dead = command(home, registry.url, "pull")
    assert dead.returncode == 1
    assert "ollama serve" in dead.stderr


def test_the_command_of_the_doctor_measures_when_asked(
    server: OllamaServer, tmp_path: Path
) -> None:
    home = tmp_path / "library"
    plain = json.loads(command(home, server.url, "doctor", "--json").stdout)
    assert plain["speed"] is None
    assert plain["missing"] == []
    assert not server.calls or {call.endpoint for call in server.calls} == {"/api/embed"}
    done = command(home, server.url, "doctor", "--probe")
    assert done.returncode == 0, done.stdout
    assert "Calls at once:" in done.stdout
    assert "a chunk takes" in done.stdout
    server.remove_model(LLM)
    home = tmp_path / "another"
    failing = command(home, server.url, "doctor", "--probe", "--json")
    assert "Probe" in failing.stdout or "not measured" in failing.stderr
    assert failing.returncode == 1


# --- the page --------------------------------------------------------------------------------


@pytest.fixture
def page(opened: Opened, registry: OllamaServer, tmp_path: Path) -> Iterator[AppTest]:
    """The System page of a library whose server has no model yet."""
    registry.pull_s = 30.0
    settings = Settings.from_env(
        {"OLLAMA_HOST": registry.url, "LIBRARIAN_BACKEND": "offline"}, home=tmp_path / "library"
    )
    PROCESS.hold(opened(settings))
    yield AppTest.from_file(str(PAGE), default_timeout=30).run()
    PROCESS.hold(NotReady())


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def test_the_page_pulls_shows_how_far_it_is_and_survives_a_reload(
    page: AppTest, registry: OllamaServer
) -> None:
    librarian = PROCESS.get()
    assert {"Pull qwen3\\:8b", "Pull bge\\-m3", "Check again"} <= set(labels(page))
    next(button for button in page.button if button.label == "Pull bge\\-m3").click()
    page.run()
    until(lambda: librarian.pulls()[0].done, "the first bytes")
    reloaded = AppTest.from_file(str(PAGE), default_timeout=30).run()
    assert "Cancel" in labels(reloaded)
    next(button for button in reloaded.button if button.label == "Cancel").click()
    reloaded.run()
    until(lambda: librarian.pulls()[0].state is PullState.CANCELLED, "the end of it")
    registry.inject(Fault.PULL_ERROR)
    librarian.pull(EMBED)
    until(lambda: librarian.pulls()[0].state is PullState.FAILED, "its failure")
    failed = AppTest.from_file(str(PAGE), default_timeout=30).run()
    assert "Pull bge\\-m3 again" in labels(failed)
    assert any("max retries exceeded" in error.value for error in failed.error)
    assert not failed.exception
