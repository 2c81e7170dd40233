"""A PostgreSQL that goes away: work waits and says so, nothing is paid twice, people are told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.documents import Status
from librarian.errors import DatabaseUnavailable
from librarian.settings import Settings
from tests.conftest import Opened, until, until_processed, until_status, view_of
from tests.ollama_server import OllamaServer
from tests.postgres_server import PostgresServer
from tests.test_app import ENGINE_EN, extractions, long_text
from tests.test_postgres import answered, settings_of

BOOK = long_text(14)


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server of its own, also where another one is named: it is stopped and started."""
    with PostgresServer() as server:
        yield server


def with_both(home: Path, postgres: PostgresServer, server: OllamaServer) -> Settings:
    environ = {"LIBRARIAN_DATABASE_URL": postgres.url, "OLLAMA_HOST": server.url}
    return Settings.from_env(environ, home=home, backend="ollama", chunk_tokens=200)


def waits(librarian: Librarian) -> bool:
    health = librarian.snapshot().health
    return health.verdict == "waiting" and health.cause == "The database is awaited."


@pytest.mark.parametrize("moment", ["extracting", "merging"])
def test_work_waits_for_a_server_that_goes_away_and_pays_for_nothing_twice(
    moment: str, tmp_path: Path, postgres: PostgresServer, opened: Opened
) -> None:
    def reached() -> bool:
        view = view_of(librarian, "book.txt")
        read = moment != "extracting" or len(extractions(server)) >= 4
        return view is not None and view.phase == moment and read

    with OllamaServer(parallel=2, num_ctx=8192, latency_s=0.05, embed_latency_s=0.3) as server:
        librarian = opened(with_both(tmp_path / "home", postgres, server))
        librarian.add_text("book.txt", BOOK)
        until(reached, moment)
        postgres.stop()
        until(lambda: waits(librarian), "the verdict")
        assert "PostgreSQL" in librarian.snapshot().health.remedy
        assert postgres.password not in librarian.snapshot().health.remedy
        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="is not there"):
            librarian.graph()
        assert time.monotonic() - begun < 20  # a person is told, and does not wait for hours
        assert librarian.snapshot().count(Status.PROCESSING) == 1
        postgres.start()
        view = until_status(librarian, "book.txt", Status.PROCESSED)
        assert view.document.chunks_done == view.document.chunks_total > 5
        assert len(librarian.graph().entities) > 30
        done = Counter((c.endpoint, c.digest) for c in server.calls if c.outcome == "done")
        assert max(done.values()) == 1
    assert postgres.password not in (tmp_path / "home" / "librarian.log").read_text()


def test_a_server_that_is_away_at_the_start_is_waited_for(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    settings = settings_of(tmp_path / "home", postgres.url)
    postgres.stop()
    librarian = Librarian.open(settings)
    try:
        until(lambda: "is not there" in librarian.snapshot().trouble, "the reason")
        assert postgres.password not in librarian.snapshot().trouble
        librarian.add_text("book.txt", BOOK)
        until(lambda: waits(librarian), "the verdict")
        postgres.start()
        until_processed(librarian, "book.txt")
        assert librarian.graph().entities
    finally:
        librarian.close()


def test_a_library_is_closed_while_its_server_is_away_and_goes_on_at_the_next_start(
    tmp_path: Path, postgres: PostgresServer, opened: Opened
) -> None:
    with OllamaServer(parallel=2, num_ctx=8192, latency_s=0.05) as server:
        settings = with_both(tmp_path / "home", postgres, server)
        librarian = Librarian.open(settings)
        try:
            librarian.wait_ready()
            librarian.add_text("book.txt", BOOK)
            until(lambda: len(extractions(server)) >= 4, "some chunks")
            postgres.stop()
            until(lambda: waits(librarian), "the verdict")
        finally:
            begun = time.monotonic()
            librarian.close()
        assert time.monotonic() - begun < 30
        postgres.start()
        again = opened(settings)
        until_processed(again, "book.txt")
        twice = sum(count - 1 for count in Counter(extractions(server)).values())
        assert twice <= 3  # those that were under way when it was closed


def test_a_question_is_told_while_the_server_is_away_and_answered_when_it_is_back(
    tmp_path: Path, postgres: PostgresServer, opened: Opened
) -> None:
    librarian = opened(settings_of(tmp_path / "home", postgres.url))
    librarian.add_text("book.txt", BOOK)
    until_processed(librarian, "book.txt")
    postgres.stop()
    with pytest.raises(DatabaseUnavailable, match="Start PostgreSQL"):
        answered(librarian, "Who sailed to the island of Thorn3?")
    postgres.start()
    assert "Thorn3" in answered(librarian, "Who sailed to the island of Thorn3?")
    assert librarian.snapshot().health.verdict == "idle"


def test_a_graph_that_could_not_be_read_is_read_when_the_server_is_back(
    tmp_path: Path, postgres: PostgresServer, opened: Opened
) -> None:
    librarian = opened(settings_of(tmp_path / "home", postgres.url))
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    before = librarian.graph()
    librarian.add_text("book.txt", BOOK)
    until_processed(librarian, "book.txt")
    postgres.stop()
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            librarian.graph()
    postgres.start()
    assert len(librarian.graph().entities) > len(before.entities)
