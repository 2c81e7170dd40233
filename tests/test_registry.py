"""One library is closed and another one opened in the same process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.documents import Status
from librarian.errors import Closed, LibrarianError, LibraryBusy
from librarian.library import Library, owner_of
from librarian.registry import Registry
from librarian.settings import Settings
from tests.conftest import until, until_processed
from tests.ollama_server import OllamaServer
from tests.test_app import long_text

ENGINE = "Charles Babbage designed the Analytical Engine in London with Ada Lovelace."


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    held = Registry()
    held.settings = Settings.from_env({}, home=tmp_path / "a", backend="offline")
    held.hold(Librarian.open(held.settings))
    yield held
    held.close()


def ready(registry: Registry) -> Librarian:
    librarian = registry.get()
    librarian.wait_ready()
    return librarian


def test_there_and_back_nothing_is_mixed(registry: Registry, tmp_path: Path) -> None:
    first = ready(registry)
    first.add_text("a.txt", ENGINE)
    until_processed(first, "a.txt")
    graph, number = first.graph(), registry.number

    registry.switch(tmp_path / "b")
    second = ready(registry)
    assert registry.number == number + 1
    assert (second.snapshot().documents, second.graph().entities) == ((), ())
    assert second.journal().answers == 0
    second.add_text("b.txt", "Lars Holm sailed to Beloe More.")
    until_processed(second, "b.txt")

    registry.switch(tmp_path / "a")
    third = ready(registry)
    until(lambda: third.snapshot().documents, "the documents")
    assert {each.document.name for each in third.snapshot().documents} == {"a.txt"}
    assert {e.name for e in third.graph().entities} == {e.name for e in graph.entities}


def test_the_closed_library_is_given_back_and_says_that_it_is_closed(
    registry: Registry, tmp_path: Path
) -> None:
    first = ready(registry)
    registry.switch(tmp_path / "b")
    assert owner_of(tmp_path / "a") is None
    for act in (first.graph, lambda: first.pause("a.txt"), lambda: first.ask("Who?")):
        with pytest.raises(Closed):
            act()
    with pytest.raises(LibrarianError):
        first.add_text("late.txt", ENGINE)
    first.snapshot()
    Library.open(tmp_path / "a").close()


def test_who_cannot_have_the_other_one_keeps_what_is_open(
    registry: Registry, tmp_path: Path
) -> None:
    first = ready(registry)
    other = Library.open(tmp_path / "b")
    try:
        with pytest.raises(LibraryBusy):
            registry.switch(tmp_path / "b")
    finally:
        other.close()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(LibrarianError):
        registry.switch(tmp_path / "file")
    assert registry.get() is first
    first.graph()
    registry.switch(tmp_path / "a" / ".." / "a")
    assert registry.get() is first


def test_a_library_that_cannot_be_opened_at_the_start_leaves_the_others(tmp_path: Path) -> None:
    held = Registry()
    held.settings = Settings.from_env({}, home=tmp_path / "a", backend="offline")
    held.hold(LibraryBusy("It is open elsewhere."))
    held.switch(tmp_path / "b")
    ready(held)
    held.close()


def test_interrupted_work_goes_on_when_its_library_is_opened_again(
    server: OllamaServer, tmp_path: Path
) -> None:
    held = Registry()
    held.settings = Settings.from_env(
        {"OLLAMA_HOST": server.url}, home=tmp_path / "a", backend="ollama", chunk_tokens=200
    )
    held.hold(Librarian.open(held.settings))
    try:
        first = ready(held)
        server.latency_s = 60.0
        first.add_text("book.txt", long_text(8))
        until(lambda: first.snapshot().calls, "the first call")
        held.switch(tmp_path / "b")
        assert ready(held).snapshot().count(Status.PROCESSING) == 0
        until(lambda: not server.in_flight, "the calls of the closed library to end")
        server.latency_s = 0.0
        held.switch(tmp_path / "a")
        until_processed(ready(held), "book.txt")
    finally:
        held.close()
