"""The whole library from end to end, over real LightRAG."""

import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from librarian.answers import NOTHING
from librarian.app import Librarian
from librarian.documents import Outcome, Phase, Status
from librarian.errors import (
    EmbeddingMismatch,
    LibrarianError,
    LibraryBusy,
    ModelMissing,
    QuestionError,
    UnknownDocument,
)
from librarian.logbook import loop_errors
from librarian.models.offline import OfflineBrain, OfflineModel
from librarian.settings import Settings
from tests.conftest import Opened, until, until_processed, until_status, view_of
from tests.ollama_server import Fault, OllamaServer

ENGINE_EN = """Charles Babbage designed the Analytical Engine in London. The Royal Society gave \
Charles Babbage money for the Difference Engine.

Ada Lovelace met Charles Babbage at a party of Mary Somerville. She wrote notes on the \
Analytical Engine that were longer than the article itself.

The Difference Engine stands today in the Science Museum in London.
"""
SOMERVILLE_EN = """Mary Somerville taught Ada Lovelace mathematics in Burntisland. Mary Somerville \
wrote books on astronomy.

William Herschel showed Mary Somerville the telescope in Slough.
"""
MUSIC_RU = """Пётр Ильич Чайковский родился в Воткинске. Пётр Ильич Чайковский дружил с Николаем \
Рубинштейном в Москве.

Николай Рубинштейн основал консерваторию в Москве. Надежда фон Мекк платила Чайковскому пенсию.

Балет «Лебединое озеро» Пётр Ильич Чайковский написал для Большого театра.
"""


def names(librarian: Librarian) -> set[str]:
    return {entity.name for entity in librarian.graph().entities}


def long_text(paragraphs: int) -> str:
    """Many paragraphs of names that come nowhere else, so that every chunk is another prompt."""
    return "\n\n".join(
        f"Captain Alder{n} sailed from Port Ember{n} to the island of Thorn{n} with Mate "
        f"Willow{n}. " + f"In the year {1700 + n} the crew of the Falcon{n} found salt there. " * 6
        for n in range(paragraphs)
    )


def with_ollama(server: OllamaServer, home: Path, **more: object) -> Settings:
    environ = {"OLLAMA_HOST": server.url}
    return Settings.from_env(environ, home=home, backend="ollama", chunk_tokens=200, **more)


STALL_S = 60.0  #: longer than any wait of these tests


def stall(server: OllamaServer, *, after: int) -> None:
    """Lets every answer after that many stop in its middle, until the server is healed."""
    server.inject(Fault.STALLED_STREAM, None, after, "/api/chat", seconds=STALL_S)


def extractions(server: OllamaServer) -> list[str]:
    """The digests of the extraction prompts that were answered to their end."""
    return [c.digest for c in server.calls if c.role == "extract" and c.outcome == "done"]


def test_two_texts_in_two_languages_become_one_graph(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    librarian.add_text("music.txt", MUSIC_RU)
    until_processed(librarian, "engine.txt", "music.txt")
    graph = librarian.graph()
    by_name = {entity.name: entity for entity in graph.entities}
    assert by_name["Charles Babbage"].documents == ("engine.txt",)
    assert by_name["Пётр Ильич Чайковский"].documents == ("music.txt",)
    ends = {frozenset((each.source, each.target)) for each in graph.relations}
    assert frozenset(("Charles Babbage", "London")) in ends
    snapshot = librarian.snapshot()
    assert [view.document.language for view in snapshot.documents] == ["English", "Russian"]
    assert all(view.document.entities for view in snapshot.documents)
    assert snapshot.count(Status.PROCESSED) == 2


def test_an_answer_names_the_document_and_the_passage_it_was_made_from(
    librarian: Librarian,
) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    librarian.add_text("music.txt", MUSIC_RU)
    until_processed(librarian, "engine.txt", "music.txt")
    stream = librarian.ask("Who gave Charles Babbage money for the Difference Engine?")
    heard = "".join(stream)
    answer = stream.answer
    assert "The Royal Society gave Charles Babbage money" in answer.text
    assert answer.text in heard
    first = answer.sources[0]
    assert first.document == "engine.txt"
    assert first.number in answer.cited
    assert "The Royal Society gave Charles Babbage money" in first.text
    assert f"[{first.number}]" in answer.text


def test_a_question_in_russian_is_answered_from_the_russian_text(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    librarian.add_text("music.txt", MUSIC_RU)
    until_processed(librarian, "engine.txt", "music.txt")
    answer = librarian.ask("Кто основал консерваторию в Москве?").answer
    assert "Николай Рубинштейн основал консерваторию" in answer.text
    assert answer.sources[0].document == "music.txt"


def test_an_empty_library_says_that_it_holds_nothing(librarian: Librarian) -> None:
    assert librarian.ask("Who was Ada Lovelace?").answer.text == NOTHING


@pytest.mark.parametrize(
    ("question", "mode", "reason"),
    [(" \n", "mix", "empty"), ("Who?" * 2000, "mix", "characters"), ("Who?", "bypass", "bypass")],
)
def test_a_question_that_cannot_be_asked_is_refused_by_name(
    librarian: Librarian, question: str, mode: str, reason: str
) -> None:
    with pytest.raises(QuestionError, match=reason):
        _ = librarian.ask(question, mode).answer


@pytest.mark.parametrize("mode", ["mix", "hybrid", "local", "global", "naive"])
def test_every_mode_answers(librarian: Librarian, mode: str) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    answer = librarian.ask("Who designed the Analytical Engine?", mode).answer
    assert answer.mode == mode
    assert {source.document for source in answer.sources} == {"engine.txt"}


def test_deleting_takes_what_only_that_document_said(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    librarian.add_text("somerville.txt", SOMERVILLE_EN)
    until_processed(librarian, "engine.txt", "somerville.txt")
    before = names(librarian)
    assert {"Charles Babbage", "Herschel", "Mary Somerville"} <= before
    librarian.delete("somerville.txt")
    until(lambda: "Herschel" not in names(librarian), "the graph to forget")
    kept = {entity.name: entity for entity in librarian.graph().entities}
    assert {"Charles Babbage", "Mary Somerville"} <= set(kept)
    assert kept["Mary Somerville"].documents == ("engine.txt",)
    until(lambda: view_of(librarian, "somerville.txt") is None, "the list to forget")
    answer = librarian.ask("Who showed Mary Somerville the telescope?").answer
    assert {source.document for source in answer.sources} <= {"engine.txt"}
    assert not list((librarian.settings.home / "files").glob("somerville*"))


def test_a_deleted_text_can_be_added_again(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    librarian.delete("engine.txt")
    assert librarian.add_text("engine.txt", ENGINE_EN).outcome is Outcome.ACCEPTED
    until(lambda: "Charles Babbage" in names(librarian), "the entities to be there again")
    until_processed(librarian, "engine.txt")


def test_the_same_text_again_is_a_duplicate_that_names_the_first(librarian: Librarian) -> None:
    first = librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    again = librarian.add_text("copy.txt", ENGINE_EN.replace("\n", "\r\n"))
    assert (again.outcome, again.doc_id) == (Outcome.DUPLICATE, first.doc_id)
    assert "engine.txt" in again.message
    until(lambda: librarian.snapshot().duplicates == 1, "the duplicate to be counted")
    assert len(librarian.snapshot().documents) == 1


def test_a_new_text_under_an_old_name_is_a_conflict_until_it_replaces(
    librarian: Librarian,
) -> None:
    librarian.add_text("notes.txt", ENGINE_EN)
    until_processed(librarian, "notes.txt")
    offered = librarian.add_text("notes.txt", SOMERVILLE_EN)
    assert offered.outcome is Outcome.CONFLICT
    assert "Herschel" not in names(librarian)
    assert librarian.add_text("notes.txt", SOMERVILLE_EN, replace=True).outcome is Outcome.ACCEPTED
    until(lambda: "Herschel" in names(librarian), "the new version's entities")
    until_processed(librarian, "notes.txt")
    until(lambda: "Charles Babbage" not in names(librarian), "the old version to be gone")
    assert len(librarian.snapshot().documents) == 1
    answer = librarian.ask("Who designed the Analytical Engine in London?").answer
    assert all("Charles Babbage" not in source.text for source in answer.sources)


def test_a_folder_is_taken_with_its_sub_folders(librarian: Librarian, tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "music").mkdir(parents=True)
    (folder / "engine.md").write_text(ENGINE_EN, encoding="utf-8")
    (folder / "music" / "ru.txt").write_text(MUSIC_RU, encoding="cp1251")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    taken = list(librarian.add_path(folder))
    assert [each.outcome for each in taken] == [Outcome.ACCEPTED, Outcome.ACCEPTED]
    until_processed(librarian, "engine.md", "music∕ru.txt")
    assert {"Charles Babbage", "Пётр Ильич Чайковский"} <= names(librarian)


def test_a_path_without_texts_is_named(librarian: Librarian, tmp_path: Path) -> None:
    with pytest.raises(LibrarianError, match="nowhere"):
        list(librarian.add_path(tmp_path / "nowhere"))


def test_an_unknown_document_is_named(librarian: Librarian) -> None:
    with pytest.raises(UnknownDocument, match="no-such"):
        librarian.delete("no-such.txt")


def test_the_graph_is_the_same_object_until_it_changes(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    first = librarian.graph()
    assert librarian.graph() is first
    librarian.add_text("music.txt", MUSIC_RU)
    until_processed(librarian, "music.txt")
    with ThreadPoolExecutor(4) as tabs:
        seen = list(tabs.map(lambda _: librarian.graph(), range(4)))
    assert all(each is seen[0] for each in seen)
    assert seen[0] is librarian.graph() is not first
    assert librarian.graph().version != first.version


def test_entities_are_found_by_a_part_of_their_name(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    assert "Charles Babbage" in librarian.find_entities("babb")


def test_two_browsers_read_the_same_snapshot(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    with ThreadPoolExecutor(2) as browsers:
        pairs = [
            [seen.result() for seen in (browsers.submit(librarian.snapshot) for _ in range(2))]
            for _ in range(20)
        ]
    assert any(first is second for first, second in pairs)


def test_a_second_process_is_told_who_has_the_library(librarian: Librarian) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from librarian.app import Librarian\n"
        "from librarian.errors import LibraryBusy\n"
        "from librarian.settings import Settings\n"
        "try:\n    Librarian.open(Settings.from_env({}, home=Path(sys.argv[1])))\n"
        "except LibraryBusy as exc:\n    sys.exit(f'busy: {exc}')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(librarian.settings.home)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.stderr.startswith("busy: "), ran.stderr
    assert f"process {os.getpid()}" in ran.stderr


def test_a_second_open_in_this_process_is_told_as_well(librarian: Librarian) -> None:
    with pytest.raises(LibraryBusy, match=str(os.getpid())):
        Librarian.open(librarian.settings)
    until(lambda: librarian.snapshot().ready, "the first one to be open still")


def test_a_closed_library_opens_with_all_it_had(opened: Opened, tmp_path: Path) -> None:
    settings = Settings.from_env({}, home=tmp_path, backend="offline")
    first = Librarian.open(settings)
    first.wait_ready()
    first.add_text("engine.txt", ENGINE_EN)
    until_processed(first, "engine.txt")
    graph = first.graph()
    first.close()
    second = opened(settings)
    assert {entity.name for entity in graph.entities} == names(second)
    answer = second.ask("Who designed the Analytical Engine?").answer
    assert answer.sources[0].document == "engine.txt"


def test_three_threads_add_ask_and_look_at_once(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    together = threading.Barrier(3)

    def add() -> list[Outcome]:
        together.wait(10)
        return [librarian.add_text(f"{n}.txt", long_text(2 + n)).outcome for n in range(4)]

    def ask() -> list[str]:
        together.wait(10)
        asked = [librarian.ask("Who designed the Analytical Engine?") for _ in range(6)]
        return [stream.answer.text for stream in asked]

    def look() -> list[int]:
        together.wait(10)
        seen = []
        for _ in range(40):
            seen.append(len(librarian.snapshot().documents) + len(librarian.graph().entities))
        return seen

    with ThreadPoolExecutor(3) as threads:
        added, asked, seen = (threads.submit(do) for do in (add, ask, look))
        assert added.result(40) == [Outcome.ACCEPTED] * 4
        assert all("Charles Babbage" in text for text in asked.result(40))
        assert min(seen.result(40)) > 0
    until_processed(librarian, *(f"{n}.txt" for n in range(4)))
    assert loop_errors(librarian.settings.home / "librarian.log") == 0
    assert "Captain Alder0" in names(librarian) or "Alder0" in names(librarian)


def test_the_doctor_and_the_table_look_at_a_working_library(librarian: Librarian) -> None:
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    checks = {check.name: check.severity for check in librarian.doctor().checks}
    assert checks["Library folder"] == "ok"
    rows = {row.name: row for row in librarian.verify()}
    assert rows["Documents processed"].passed
    assert rows["Event-loop errors"].value == "0"
    assert rows["Slowest document"].passed
    assert not rows["vdb_entities.json"].passed  # one page of text is no megabyte of vectors


# --- with the stand-in for Ollama -----------------------------------------------------------


def test_closing_in_the_middle_of_a_book_is_quick_and_the_next_start_goes_on(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    stall(server, after=4)
    settings = with_ollama(server, tmp_path, llm_max_async=2)
    first = Librarian.open(settings)
    first.wait_ready()
    first.add_text("voyages.txt", long_text(15))
    server.wait_until(lambda _: len(extractions(server)) >= 4 and server.generating >= 2, 30)
    began = time.monotonic()
    first.close()
    assert time.monotonic() - began < STALL_S / 2
    until(lambda: server.in_flight == 0, "the server's requests to end")
    server.heal()
    paid = set(extractions(server))
    second = opened(settings)
    view = until_status(second, "voyages.txt", Status.PROCESSED)
    assert view.document.chunks_total >= 10
    assert view.document.chunks_done == view.document.chunks_total
    in_flight = settings.llm_max_async  # each may have ended at the server unheard
    assert view.document.chunks_saved >= len(paid) - in_flight
    again = [digest for digest in extractions(server) if digest in paid]
    assert len(again) <= len(paid) + in_flight
    assert any("Alder14" in name for name in names(second))
    assert loop_errors(tmp_path / "librarian.log") == 0


def test_a_paused_document_keeps_what_was_paid_for_and_goes_on_when_retried(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    stall(server, after=4)
    librarian = opened(with_ollama(server, tmp_path, llm_max_async=2))
    librarian.add_text("voyages.txt", long_text(12))
    server.wait_until(lambda _: len(extractions(server)) >= 4 and server.generating >= 2, 30)
    librarian.pause("voyages.txt")
    until_status(librarian, "voyages.txt", Status.PAUSED)
    until(lambda: server.in_flight == 0, "the server to be free")
    assert any(call.outcome == "disconnected" for call in server.calls)
    server.heal()
    paid = extractions(server)
    librarian.retry("voyages.txt")
    view = until_status(librarian, "voyages.txt", Status.PROCESSED)
    in_flight = 3  # two, and one that waits; each may have ended at the server unheard
    assert view.document.chunks_saved >= len(paid) - in_flight
    assert len(extractions(server)) <= view.document.chunks_total + in_flight
    assert view.document.error is None


def test_a_waiting_document_can_be_paused_and_retried(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    server.latency_s = 0.2
    librarian = opened(with_ollama(server, tmp_path, llm_max_async=1))
    for n in range(3):
        librarian.add_text(f"{n}.txt", long_text(2 + n))
    until(lambda: view_of(librarian, "2.txt") is not None, "the list")
    librarian.pause("2.txt")
    until_status(librarian, "2.txt", Status.PAUSED)
    until_processed(librarian, "0.txt", "1.txt")
    view = view_of(librarian, "2.txt")
    assert view is not None
    assert view.document.status is Status.PAUSED
    librarian.retry("2.txt")
    until_processed(librarian, "2.txt")


def test_a_document_deleted_while_it_is_read_leaves_nothing(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    server.latency_s = 0.2
    librarian = opened(with_ollama(server, tmp_path, llm_max_async=2))
    librarian.add_text("voyages.txt", long_text(12))
    server.wait_until(lambda _: len(extractions(server)) >= 2, 30)
    librarian.delete("voyages.txt")
    until(lambda: not librarian.snapshot().documents, "the list to be empty")
    until(lambda: not librarian.snapshot().busy, "the work to end")
    librarian.add_text("music.txt", SOMERVILLE_EN)
    until_processed(librarian, "music.txt")
    assert not any("Alder" in name for name in names(librarian))


def test_progress_of_a_book_is_told_while_it_is_read(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    server.latency_s = 0.3
    librarian = opened(with_ollama(server, tmp_path, llm_max_async=1))
    librarian.add_text("voyages.txt", long_text(15))
    seen = []

    def ended() -> bool:
        view = view_of(librarian, "voyages.txt")
        if view is not None and (not seen or seen[-1] != view):
            seen.append(view)
        return view is not None and view.document.status is Status.PROCESSED

    until(ended, "the book")
    read = [view for view in seen if view.phase is Phase.EXTRACTING]
    done = [view.document.chunks_done for view in read]
    assert done == sorted(done)
    assert len(set(done)) >= 3
    assert all(view.phase_total == seen[-1].document.chunks_total for view in read)
    with_eta = [view for view in read if view.eta_s is not None]
    assert with_eta
    assert all(
        view.eta_low_s < view.eta_s < view.eta_high_s  # type: ignore[operator]
        for view in with_eta
    )


def test_a_server_that_goes_away_is_waited_for(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    server.latency_s = 0.1
    librarian = opened(with_ollama(server, tmp_path, llm_max_async=2))
    librarian.add_text("voyages.txt", long_text(12))
    server.wait_until(lambda _: len(extractions(server)) >= 2, 30)
    server.stop()
    until(lambda: librarian.snapshot().health.verdict == "waiting", "the verdict")
    assert "ollama serve" in librarian.snapshot().health.remedy
    server.start()
    until_processed(librarian, "voyages.txt")
    assert librarian.snapshot().health.verdict in ("idle", "working")


def test_a_deleted_model_is_waited_for_by_name_and_the_document_goes_on(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    librarian = opened(with_ollama(server, tmp_path))
    server.inject(Fault.MODEL_MISSING, count=None, match="/api/chat")
    librarian.add_text("voyages.txt", long_text(3))
    until(lambda: librarian.snapshot().health.verdict == "waiting", "the wait for the model")
    assert "ollama pull" in librarian.snapshot().health.remedy
    view = view_of(librarian, "voyages.txt")
    assert view is not None
    assert view.document.status is Status.PROCESSING
    server.heal()
    until_status(librarian, "voyages.txt", Status.PROCESSED)


def test_faults_that_pass_do_not_cost_the_document(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    for fault in (Fault.NO_DONE, Fault.CUT_STREAM, Fault.EMPTY_STOP, Fault.INVALID_JSON):
        server.inject(fault, count=1)
    librarian = opened(with_ollama(server, tmp_path))
    librarian.add_text("voyages.txt", long_text(8))
    until_processed(librarian, "voyages.txt")
    assert sum(any(f"Alder{n}" in name for name in names(librarian)) for n in range(8)) == 8


def test_a_question_can_be_stopped_and_the_server_is_free_again(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    librarian = opened(with_ollama(server, tmp_path))
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    server.latency_s = 20.0
    server.inject(Fault.STALLED_STREAM, match="/api/chat", containing="---Context---", seconds=20)
    stream = librarian.ask("Who designed the Analytical Engine?", "naive")
    asked = librarian.snapshot
    until(lambda: any(call.role == "query" for call in asked().calls), "the model to be asked")
    until(lambda: server.generating, "the question to be at the server")
    stream.stop()
    with pytest.raises(LibrarianError, match="stopped"):
        _ = stream.answer
    until(lambda: server.in_flight == 0, "the server to be free")
    assert server.calls[-1].outcome == "disconnected"


def test_what_was_heard_of_a_stopped_answer_is_kept_with_its_evidence(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    librarian = opened(with_ollama(server, tmp_path))
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    server.latency_s = 60.0
    stream = librarian.ask("Who designed the Analytical Engine?", "naive")
    heard = ""
    for piece in stream.beats(0.05):
        heard += piece
        if heard.strip():
            break
    stream.stop()
    until(lambda: server.in_flight == 0, "the server to be free")
    partial = stream.partial()
    assert partial is not None
    assert partial.stopped
    assert partial.text.startswith(heard.strip()[:4])
    assert partial.sources[0].document == "engine.txt"


@pytest.mark.parametrize("role", ["keyword", "query"])
def test_closing_ends_a_question_that_is_being_answered(
    server: OllamaServer, tmp_path: Path, role: str
) -> None:
    librarian = Librarian.open(with_ollama(server, tmp_path))
    librarian.wait_ready()
    librarian.add_text("engine.txt", ENGINE_EN)
    until_processed(librarian, "engine.txt")
    server.latency_s = 30.0
    mode = "mix" if role == "keyword" else "naive"
    stream = librarian.ask("Who designed the Analytical Engine?", mode)
    server.wait_until(lambda each: each.generating == 1, 20)
    librarian.close()
    with pytest.raises(LibrarianError):
        _ = stream.answer
    assert list(stream) == []
    until(lambda: server.in_flight == 0, "the server to be free")


def test_closing_leaves_no_tracebacks_behind(
    server: OllamaServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.latency_s = 0.3
    librarian = Librarian.open(with_ollama(server, tmp_path, llm_max_async=2))
    librarian.wait_ready()
    librarian.add_text("voyages.txt", long_text(400))  # more than LightRAG has in hand at a time
    server.wait_until(lambda _: len(extractions(server)) >= 2, 30)
    librarian.close()
    gc.collect()  # asyncio tells of exceptions that nobody took when their tasks are collected
    told = [record for record in caplog.records if record.name == "asyncio"]
    assert not told, told[0].getMessage()


def test_a_missing_embedding_model_is_named_at_the_start(tmp_path: Path) -> None:
    with OllamaServer(models=()) as server:
        librarian = Librarian.open(with_ollama(server, tmp_path))
        try:
            with pytest.raises(ModelMissing, match="ollama pull"):
                librarian.wait_ready(20)
            until(lambda: librarian.snapshot().trouble, "the snapshot to say it")
            assert "bge-m3" in librarian.snapshot().trouble
        finally:
            librarian.close()


def test_vectors_of_two_models_never_mix(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    settings = Settings.from_env({}, home=tmp_path, backend="offline")
    first = Librarian.open(settings)
    first.wait_ready()
    first.add_text("engine.txt", ENGINE_EN)
    until_processed(first, "engine.txt")
    first.close()
    second = Librarian.open(with_ollama(server, tmp_path))
    try:
        with pytest.raises(EmbeddingMismatch, match="offline"):
            second.wait_ready(20)
    finally:
        second.close()
    third = Librarian.open(settings, model=OfflineModel(dimension=128))
    try:
        with pytest.raises(EmbeddingMismatch, match="hashed-512"):
            third.wait_ready(20)
    finally:
        third.close()
    assert "Charles Babbage" in names(opened(settings))


def test_a_library_whose_model_is_gone_at_the_start_says_that_it_waits(tmp_path: Path) -> None:
    settings = Settings.from_env({"OLLAMA_HOST": "127.0.0.1:9"}, home=tmp_path, backend="ollama")
    librarian = Librarian.open(settings)
    try:
        until(lambda: librarian.snapshot().trouble, "the trouble to be known")
        assert librarian.snapshot().health.verdict == "idle"
        librarian.add_text("engine.txt", ENGINE_EN)
        until(lambda: librarian.snapshot().health.verdict == "waiting", "the verdict")
        assert "ollama serve" in librarian.snapshot().health.remedy
    finally:
        librarian.close()


def test_a_question_has_room_for_passages_and_fits_into_the_context(
    opened: Opened, tmp_path: Path
) -> None:
    """LightRAG's own bounds for a question leave no room for passages in a library of names."""
    deeds = "чинил мачту|писал письма домой|спорил о погоде|продавал соль|искал лоцмана".split("|")
    text = "\n\n".join(
        f"Капитан Ларс Хольм{n} {deed} в порту Беломорск{n} и говорил с Игнатом Корчагиным о том, "
        f"что осенью {1900 + n} года лёд встал раньше, чем в прежние годы на севере."
        for n in range(60)
        for deed in deeds
    )
    with OllamaServer(parallel=4, num_ctx=8192, brain=OfflineBrain()) as server:
        settings = Settings.from_env(
            {"OLLAMA_HOST": server.url}, home=tmp_path / "library", backend="ollama"
        )
        librarian = opened(settings)
        librarian.add_text("names.txt", text)
        until_processed(librarian, "names.txt")
        for mode in ("mix", "hybrid"):
            stream = librarian.ask("Что делал капитан Ларс Хольм в порту?", mode)
            assert "".join(stream)
            assert stream.answer.sources, mode
            assert server.calls[-1].prompt_tokens < 6000  # the rest is for the answer
