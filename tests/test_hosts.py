"""A book read by two Ollama hosts, one of which goes; and by a server of another protocol."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.checks import Severity
from librarian.documents import Status
from librarian.settings import Settings
from librarian.snapshot import as_json
from tests.bench.processes import StandIn, free_port, kill, running
from tests.conftest import until
from tests.ollama_server import OllamaServer
from tests.openai_server import OpenAIServer
from tests.test_indexing import book

SLOTS = 2


def stand_in_command(slots: int) -> tuple[str, list[str]]:
    """The address and the command of a stand-in that is a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "tests.ollama_server", "--port", str(port)]
    command += ["--latency", "0.1", "--parallel", str(slots), "--num-ctx", "8192"]
    return f"http://127.0.0.1:{port}", command


def answered(server: OllamaServer) -> list[str]:
    return [
        call.digest
        for call in server.calls
        if call.endpoint == "/api/chat" and call.outcome == "done"
    ]


def test_when_a_host_goes_the_other_reads_on_and_nothing_is_paid_for_twice(
    opened: Callable[[Settings], Librarian], tmp_path: Path
) -> None:
    with (
        OllamaServer(parallel=SLOTS, num_ctx=8192, latency_s=0.05) as stays,
        OllamaServer(parallel=SLOTS, num_ctx=8192, latency_s=0.05) as goes,
    ):
        environ = {"OLLAMA_HOST": f"{stays.url},{goes.url}", "LLM_MAX_ASYNC": str(SLOTS)}
        librarian = opened(
            Settings.from_env(environ, home=tmp_path / "home", backend="ollama", chunk_tokens=200)
        )
        ended = threading.Thread(
            target=lambda: (goes.wait_until(lambda s: len(answered(s)) >= 5, 30.0), goes.stop())
        )
        ended.start()
        librarian.add_text("book.md", book(60))
        until(lambda: librarian.snapshot().count(Status.PROCESSED) == 1, "the book to be read")
        ended.join()
        hosts = as_json(librarian.snapshot(), 0.0)["hosts"]
        assert [host["address"] for host in hosts] == [stays.url, goes.url]
        assert "ollama serve" in hosts[1]["trouble"]
        assert not hosts[0]["trouble"]
        (view,) = librarian.snapshot().documents
        assert view.document.warnings == ()
        counts = Counter(answered(stays) + answered(goes))
        assert len(answered(goes)) >= 5
        assert max(counts.values()) == 1
        assert librarian.snapshot().health.verdict == "idle"


def done_at(host: StandIn) -> list[str]:
    return [
        call["digest"]
        for call in host.calls()
        if call["endpoint"] == "/api/chat" and call["outcome"] == "done"
    ]


def test_documents_go_on_when_a_host_is_killed(
    opened: Callable[[Settings], Librarian], tmp_path: Path
) -> None:
    """`kill -9` in the middle of answers, as when a machine's power fails."""
    with ExitStack() as stack:
        hosts, victims = [], []
        for name in ("stays", "goes"):
            url, command = stand_in_command(SLOTS)
            victims.append(stack.enter_context(running(command, {}, tmp_path / f"{name}.log")))
            hosts.append(StandIn(url))
        stays, goes = hosts
        until(lambda: stays.listens() and goes.listens(), "both hosts to listen")
        environ = {"OLLAMA_HOST": f"{stays.url},{goes.url}", "LLM_MAX_ASYNC": str(SLOTS)}
        librarian = opened(
            Settings.from_env(environ, home=tmp_path / "home", backend="ollama", chunk_tokens=200)
        )
        names = [f"book {number}.md" for number in range(3)]
        for number, name in enumerate(names):
            librarian.add_text(name, f"Volume {number} begins.\n\n{book(24)}")
        until(lambda: len(done_at(goes)) >= 5, "some answers of the host that goes")
        before = done_at(goes)
        kill(victims[1])
        until(lambda: librarian.snapshot().count(Status.PROCESSED) == 3, "all to be read")
        assert all(view.document.warnings == () for view in librarian.snapshot().documents)
        after = Counter(done_at(stays))
        assert max(after.values()) == 1
        assert not set(before) & set(after)
        shown = {view.address: view for view in librarian.snapshot().hosts}
        assert shown[goes.url].rests_s > 0
        assert shown[stays.url].calls == sum(after.values())


@pytest.mark.parametrize("value", ["127.0.0.1:1,127.0.0.1:2", "http://here:many"])
def test_the_ollama_package_does_not_read_the_setting(value: str) -> None:
    code = "import os, librarian.models.ollama; print(os.environ['OLLAMA_HOST'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OLLAMA_HOST": value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == value


def test_a_book_is_read_through_openai_s_protocol(
    opened: Callable[[Settings], Librarian], tmp_path: Path
) -> None:
    with OpenAIServer(key="secret") as server:
        environ = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "secret"}
        librarian = opened(
            Settings.from_env(environ, home=tmp_path / "home", backend="openai", chunk_tokens=200)
        )
        librarian.add_text("book.md", book(12))
        until(lambda: librarian.snapshot().count(Status.PROCESSED) == 1, "the book to be read")
        answer = librarian.ask("Who sailed with Mate Willow3?")
        assert "You asked" in "".join(answer)
        report = librarian.doctor()
        assert [each for each in report.checks if each.severity is Severity.FAIL] == []
        assert "secret" not in (tmp_path / "home" / "librarian.log").read_text(encoding="utf-8")
        assert "secret" not in (tmp_path / "home" / "library.json").read_text(encoding="utf-8")
