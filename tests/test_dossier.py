"""A document from all sides, over a real library."""

from __future__ import annotations

from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.documents import Status
from librarian.dossier import Dossier
from librarian.errors import LibrarianError, UnknownDocument
from librarian.mending import Rename
from librarian.models.forms import EXTRACTION
from librarian.quality import Alarm
from librarian.settings import Settings
from tests.conftest import Opened, until, until_processed, view_of
from tests.ollama_server import Fault, OllamaServer
from tests.test_indexing import book

NAME = "Маяк.txt"
BOOK = "\n\n".join(
    f"Глава {number}. Смотритель маяка Пётр Воронцов записал в журнал имя парохода «Аврора "
    f"{number}», который прошёл мимо мыса Дальнего. Капитан Ларс Хольм поблагодарил его. " * 8
    for number in range(8)
)


def read(librarian: Librarian, text: str = BOOK, *, replace: bool = False) -> Dossier:
    librarian.add_text(NAME, text, replace=replace)
    until_processed(librarian, NAME)
    return librarian.dossier(NAME)


def test_the_chunks_are_those_of_lightrag_with_what_the_graph_has_of_them(
    librarian: Librarian,
) -> None:
    dossier = read(librarian)
    document = dossier.document
    assert len(dossier.parts) == document.chunks_total > 1
    graph = librarian.graph()
    in_graph = {chunk for entity in graph.entities for chunk in entity.chunks}
    assert {part.id for part in dossier.parts} == in_graph
    for part in dossier.parts:
        assert BOOK[part.start :].startswith(part.text)
        assert part.answered
        assert set(part.entities) <= {entity.name for entity in graph.entities}
        assert part.entities
    assert dossier.with_alarm() == ()


def test_each_chunk_has_what_the_whole_graph_has_of_it(librarian: Librarian) -> None:
    read(librarian)
    librarian.add_text("other.txt", BOOK.replace("Глава", "Часть"))
    until_processed(librarian, "other.txt")
    named = librarian.dossier(NAME).parts[0].entities
    librarian.mend(Rename(named[0], "Somebody Else"))
    graph = librarian.graph()
    assert "Somebody Else" in librarian.dossier(NAME).parts[0].entities
    for name in (NAME, "other.txt"):
        for part in librarian.dossier(name).parts:
            assert set(part.entities) == {e.name for e in graph.entities if part.id in e.chunks}
            assert part.relations == sum(part.id in each.chunks for each in graph.relations)


def test_it_says_what_the_document_has_cost_and_what_the_model_answered(
    librarian: Librarian,
) -> None:
    dossier = read(librarian)
    assert dossier.spent.calls == len(dossier.parts)
    assert dossier.spent.output_tokens > 0
    (kept,) = librarian.answers_about(dossier.parts[0])
    assert kept.model == "offline"
    assert all(f'"{name}"' in kept.answer.text for name in EXTRACTION["required"])


def test_it_is_made_once_until_something_in_it_changes(librarian: Librarian) -> None:
    dossier = read(librarian)
    assert librarian.dossier(NAME) is dossier
    librarian.add_text("other.txt", "Captain Lars Holm sailed to Bergen.")
    until_processed(librarian, "other.txt")
    assert librarian.dossier(NAME) is not dossier


def test_a_replaced_document_lists_what_it_was_before(librarian: Librarian) -> None:
    before = read(librarian)
    after = read(librarian, BOOK + "\n\nМорис Ланге уехал в Берген.", replace=True)
    (version,) = after.versions
    assert version.id == before.document.id
    assert version.chunks == len(before.parts)
    assert after.spent.calls < before.spent.calls  # what had been paid for is not paid for again


def test_before_it_is_read_its_chunks_are_there_without_entities(
    opened: Opened, tmp_path: Path, server: OllamaServer
) -> None:
    server.latency_s = 60
    settings = Settings.from_env(
        {"OLLAMA_HOST": server.url}, home=tmp_path / "library", backend="ollama"
    )
    librarian = opened(settings)
    librarian.add_text(NAME, BOOK)
    until(lambda: server.generating, "the first call")
    dossier = librarian.dossier(NAME)
    assert len(dossier.parts) > 1
    assert not any(part.answered or part.entities for part in dossier.parts)
    with pytest.raises(LibrarianError, match="is being read"):
        librarian.ask_again(NAME, dossier.parts[0])


def test_what_is_not_there_is_named(librarian: Librarian) -> None:
    with pytest.raises(UnknownDocument):
        librarian.dossier("doc-none")
    dossier = read(librarian)
    (librarian.settings.home / "files" / dossier.document.file).unlink()
    librarian.add_text(
        "other.txt", "Captain Lars Holm sailed to Bergen."
    )  # so that it is made anew
    until_processed(librarian, "other.txt")
    with pytest.raises(LibrarianError, match="could not be read"):
        librarian.dossier(NAME)


def test_one_chunk_is_asked_about_again_and_its_warning_goes(
    opened: Opened, tmp_path: Path, server: OllamaServer
) -> None:
    settings = Settings.from_env(
        {"OLLAMA_HOST": server.url}, home=tmp_path / "library", backend="ollama"
    )
    librarian = opened(settings)
    server.inject(Fault.FENCED_JSON, 1, match="/api/chat")
    dossier = read(librarian, book(8))
    assert any("after a repair" in warning for warning in dossier.document.warnings)
    (odd,) = dossier.with_alarm(Alarm.REPAIRED)
    assert dossier.with_alarm() == (odd,)
    asked = extracted(server)

    librarian.ask_again(NAME, odd)
    until(lambda: clean(librarian), "the document to be processed without a warning")
    assert extracted(server) == asked + 1  # all its other answers were there
    again = librarian.dossier(NAME)
    assert again.with_alarm() == ()
    assert len(librarian.answers_about(odd)) == 2  # the one that was set aside is kept


def extracted(server: OllamaServer) -> int:
    return sum(call.role == "extract" and call.outcome == "done" for call in server.calls)


def clean(librarian: Librarian) -> bool:
    view = view_of(librarian, NAME)
    assert view is not None
    return view.document.status is Status.PROCESSED and not view.document.warnings
