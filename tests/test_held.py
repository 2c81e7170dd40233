"""What takes long waits for a person, with its cost counted; what is short begins at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.documents import Outcome, Status
from librarian.held import When, never_begun
from librarian.settings import Settings
from tests.conftest import Opened, until, until_processed
from tests.ollama_server import OllamaServer
from tests.test_app import ENGINE_EN, long_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    books = tmp_path / "books"
    books.mkdir()
    (books / "long.txt").write_text(long_text(60), encoding="utf-8")
    (books / "short.txt").write_text(ENGINE_EN, encoding="utf-8")
    return books


def settings(tmp_path: Path, server: OllamaServer) -> Settings:
    return Settings.from_env(
        {"LIBRARIAN_BACKEND": "ollama", "OLLAMA_HOST": server.url, "LLM_MAX_ASYNC": "1"},
        home=tmp_path / "library",
        chunk_tokens=200,
    )


def taken(librarian: Librarian, folder: Path) -> dict[str, Status]:
    admissions = list(librarian.add_path(folder, holds=librarian.held.holds))
    assert all(each.outcome is Outcome.ACCEPTED for each in admissions)
    until(lambda: len(librarian.snapshot().documents) == len(admissions), "the documents")
    return {view.document.name: view.document.status for view in librarian.snapshot().documents}


def test_an_upload_of_many_minutes_waits_and_nothing_of_it_is_asked(
    opened: Opened, tmp_path: Path, folder: Path, server: OllamaServer
) -> None:
    librarian = opened(settings(tmp_path, server))
    assert taken(librarian, folder)["long.txt"] is Status.PAUSED
    until_processed(librarian, "short.txt")
    (waiting,) = librarian.held.waiting()
    assert waiting.name == "long.txt"
    asked = {call.digest for call in server.calls if call.role == "extract"}
    weighed = librarian.held.weighed(waiting)
    assert weighed.chunks >= 20
    assert weighed.calls >= weighed.chunks
    assert weighed.seconds is not None  # a call was measured meanwhile
    assert weighed.seconds[1] <= weighed.seconds[0] <= weighed.seconds[2]

    librarian.retry(waiting.id)
    until_processed(librarian, "long.txt")
    document = librarian._library.catalogue.get(waiting.id)
    assert document.chunks_total == weighed.chunks  # counted, not guessed
    assert len({call.digest for call in server.calls if call.role == "extract"}) > len(asked)


def test_what_waits_still_waits_after_a_restart(
    opened: Opened, tmp_path: Path, folder: Path, server: OllamaServer
) -> None:
    librarian = opened(settings(tmp_path, server))
    librarian.held.choose(When.ALWAYS)
    assert set(taken(librarian, folder).values()) == {Status.PAUSED}
    librarian.close()
    again = opened(settings(tmp_path, server))
    until(lambda: len(again.snapshot().documents) == 2, "the documents")
    assert len(again.held.waiting()) == 2
    assert again.held.when is When.ALWAYS
    assert not [call for call in server.calls if call.role == "extract"]


def test_nothing_waits_where_a_person_wants_that_and_a_post_never_does(
    opened: Opened, tmp_path: Path, folder: Path, server: OllamaServer
) -> None:
    librarian = opened(settings(tmp_path, server))
    librarian.held.choose(When.NEVER)
    assert Status.PAUSED not in taken(librarian, folder).values()
    librarian.held.choose(When.ALWAYS)
    librarian.add_text("posted.txt", "The keeper of the lighthouse wrote down every ship.")
    until_processed(librarian, "posted.txt", "long.txt", "short.txt")


def test_a_damaged_choice_is_the_careful_one(opened: Opened, tmp_path: Path) -> None:
    librarian = opened(Settings.from_env({}, home=tmp_path / "library", backend="offline"))
    (tmp_path / "library" / "choices.json").write_text("[", encoding="utf-8")
    assert librarian.held.when is When.LONG


def test_a_document_that_was_paused_in_its_middle_is_not_one_that_waits(
    opened: Opened, tmp_path: Path, folder: Path
) -> None:
    with OllamaServer(parallel=1, num_ctx=8192, latency_s=0.3) as server:
        librarian = opened(settings(tmp_path, server))
        librarian.held.choose(When.NEVER)
        taken(librarian, folder)
        until(lambda: librarian.journal().answers > 1, "some answers")
        named = {view.document.name: view.document for view in librarian.snapshot().documents}
        librarian.pause(named["long.txt"].id)

        def paused() -> bool:
            found = librarian._library.catalogue.get(named["long.txt"].id)
            return found.status is Status.PAUSED and not never_begun(found)

        until(paused, "the pause")
