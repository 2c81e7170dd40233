"""A book read by two Ollama hosts, one of which goes in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.documents import Status
from librarian.settings import Settings
from librarian.snapshot import as_json
from tests.conftest import until
from tests.ollama_server import OllamaServer
from tests.test_indexing import book

SLOTS = 2


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
