"""The journal of answers: kept when they arrive, found again, never half."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from librarian.account import Ticket
from librarian.calls import Calls
from librarian.documents import Status
from librarian.errors import JournalError
from librarian.journal import Journal, Spent, key_of
from librarian.models.protocol import Completion, Message, ModelCard, Prompt, Remark, Role
from librarian.settings import Settings
from tests.conftest import Opened, until_status
from tests.ollama_server import OllamaServer
from tests.test_calls import ScriptedModel

CARD = ModelCard(backend="ollama", llm="m", embed="e", host="h", dimension=2, options="{}")
PROMPT = Prompt(messages=(Message(role="user", content="Что это?"),), role=Role.SUMMARY)
ANSWER = Completion(text="Маяк.", prompt_tokens=3, output_tokens=2, total_s=1.5)
BOOK = "\n\n".join(
    f"Смотритель номер {number} записал в журнал маяка погоду над мысом и имя парохода, который "
    f"прошёл мимо мели в день {number}. Капитан поблагодарил его и пошёл дальше на север."
    for number in range(90)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


def put(journal: Journal, key: bytes, answer: Completion = ANSWER, *, subject: str = "") -> None:
    journal.put(key, answer, role="summary", model="m", document="doc-1", chunk=4, subject=subject)


def test_an_answer_is_found_by_another_process_at_once(path: Path) -> None:
    journal = Journal(path)
    put(journal, b"key")
    other = Journal(path)  # as after a kill: nothing was closed
    assert other.get(b"key") == replace(ANSWER, saved=True)
    assert other.get(b"another") is None
    journal.close()
    other.close()


def test_everything_that_shapes_an_answer_is_in_its_key() -> None:
    shaped = [
        key_of(CARD, PROMPT),
        key_of(replace(CARD, llm="other"), PROMPT),
        key_of(replace(CARD, options='{"num_ctx": 1}'), PROMPT),
        key_of(CARD, replace(PROMPT, messages=(Message(role="user", content="Что то?"),))),
        key_of(CARD, replace(PROMPT, messages=(Message(role="system", content="Что это?"),))),
        key_of(CARD, replace(PROMPT, schema={"type": "object"})),
    ]
    assert len(set(shaped)) == len(shaped)
    assert key_of(replace(CARD, host="elsewhere"), PROMPT) == key_of(CARD, PROMPT)


def test_answers_are_found_by_what_they_are_about_the_last_ones_oldest_first(path: Path) -> None:
    journal = Journal(path)
    marked = replace(ANSWER, remarks=(Remark.THOUGHT, Remark.REPAIRED))
    for key, answer in ((b"1", ANSWER), (b"2", replace(ANSWER, text="Два.")), (b"3", marked)):
        put(journal, key, answer, subject="page")
    put(journal, b"4", ANSWER)
    found = journal.about("page", 2)
    assert [each.answer.text for each in found] == ["Два.", "Маяк."]
    assert set(found[-1].answer.remarks) == set(marked.remarks)
    assert journal.about("") == journal.about("another") == ()
    journal.close()


def test_an_answer_that_is_set_aside_is_asked_for_again_and_kept(path: Path) -> None:
    journal = Journal(path)
    put(journal, b"key", subject="page")
    journal.set_aside("page")
    assert journal.get(b"key") is None
    assert [each.answer.text for each in journal.about("page", 5)] == ["Маяк."]
    put(journal, b"key", replace(ANSWER, text="Два."), subject="page")
    journal.set_aside("page")  # a second time, under the same key
    assert [each.answer.text for each in journal.about("page", 5)] == ["Маяк.", "Два."]
    journal.close()


def test_what_a_document_has_cost_is_known_at_once_and_after_a_restart(path: Path) -> None:
    journal = Journal(path)
    put(journal, b"1")
    put(journal, b"2")
    spent = Spent(calls=2, prompt_tokens=6, output_tokens=4, model_s=3.0)
    assert journal.spent == {"doc-1": spent}
    journal.close()
    other = Journal(path)
    assert other.spent == {"doc-1": spent}
    other.clear()
    assert other.spent == {}
    other.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_journal_of_an_earlier_version_is_read_on(path: Path, damaged: bool) -> None:
    old = sqlite3.connect(path)
    old.execute(
        "CREATE TABLE answers (key BLOB PRIMARY KEY, role TEXT, model TEXT, document TEXT, chunk "
        "INTEGER, at REAL, text TEXT, prompt_tokens INTEGER, output_tokens INTEGER, load_s REAL, "
        "prompt_s REAL, output_s REAL, total_s REAL)"
    )
    old.executemany(
        "INSERT INTO answers VALUES (?, 'extract', 'm', 'doc-1', 1, 0, ?, 3, 2, 0, 0, 0, 1.5)",
        [(b"%d" % number, f"Маяк {number}. " * 50) for number in range(200)],
    )
    old.commit()
    old.close()
    if damaged:
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 4096] = b"\xff" * 4096
        path.write_bytes(bytes(data))
    journal = Journal(path)
    with suppress(JournalError):  # the damage is found when it is met
        journal.holdings()
    answer = journal.get(b"3")
    assert answer is not None
    assert answer.text.startswith("Маяк 3.")
    put(journal, b"key", subject="page")
    assert journal.about("page")[0].answer.text == "Маяк."
    assert journal.count() > 150
    journal.close()


def test_a_damaged_file_is_set_aside_by_name(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"this is no database " * 200)
    with caplog.at_level(logging.ERROR):
        journal = Journal(path)
    aside = next(path.parent.glob("journal.damaged-*.sqlite3"))
    assert aside.name in caplog.text
    put(journal, b"key")
    assert journal.count() == 1
    journal.close()


def test_clearing_forgets_every_answer(path: Path) -> None:
    journal = Journal(path)
    put(journal, b"key")
    journal.clear()
    assert journal.count() == 0
    journal.close()


def test_what_cannot_be_kept_is_said(path: Path) -> None:
    journal = Journal(path)
    journal.close()
    with pytest.raises(JournalError, match="disk space"):
        put(journal, b"key")


@pytest.mark.anyio
async def test_a_question_is_paid_for_once(path: Path) -> None:
    journal = Journal(path)
    model = ScriptedModel("first", "second")
    calls = Calls(model, limit=2, journal=journal)
    assert not (await calls.complete(PROMPT, Ticket())).saved
    again = await calls.complete(PROMPT, Ticket())
    assert (again.text, again.saved) == ("first", True)
    assert len(model.asked) == 1
    journal.close()


@pytest.mark.anyio
async def test_the_same_question_at_the_same_time_is_asked_once(path: Path) -> None:
    journal = Journal(path)
    model = ScriptedModel("first", "second")
    calls = Calls(model, limit=4, journal=journal)
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await calls.complete(PROMPT, Ticket())).text)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(ask)
    assert answers == ["first"] * 4
    assert len(model.asked) == 1
    journal.close()


@pytest.mark.anyio
async def test_an_empty_answer_is_never_kept(path: Path) -> None:
    journal = Journal(path)

    async def at_once(_: float) -> None:
        await anyio.lowlevel.checkpoint()

    calls = Calls(ScriptedModel(" ", "whole"), limit=1, journal=journal, sleep=at_once)
    assert (await calls.complete(PROMPT, Ticket())).text == "whole"
    assert journal.count() == 1
    journal.close()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_process_costs_the_calls_in_flight_and_no_more(
    opened: Opened, tmp_path: Path
) -> None:
    book = tmp_path / "book.txt"
    book.write_text(BOOK, encoding="utf-8")
    home = tmp_path / "library"
    with OllamaServer(parallel=4, num_ctx=8192, latency_s=0.25) as server:
        environ = os.environ | {"OLLAMA_HOST": server.url, "LIBRARIAN_BACKEND": "ollama"}
        script = (
            "import sys, time; from pathlib import Path; from librarian.app import Librarian; "
            "from librarian.settings import Settings; "
            f"l = Librarian.open(Settings.from_env(home=Path({str(home)!r}), chunk_tokens=150)); "
            f"l.wait_ready(); list(l.add_path(Path({str(book)!r}))); time.sleep(60)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script], env=environ, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 40
            while _extracted(server) < 12 and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        server.wait_until(lambda s: not s.in_flight, timeout_s=10)
        paid = {call.digest for call in server.calls if call.outcome == "done"}

        settings = Settings.from_env(
            {"OLLAMA_HOST": server.url}, home=home, backend="ollama", chunk_tokens=150
        )
        server.latency_s = 0.0
        librarian = opened(settings)
        view = until_status(librarian, "book.txt", Status.PROCESSED)
        asked = [call.digest for call in server.calls if call.endpoint == "/api/chat"]
        twice = [digest for digest in paid if asked.count(digest) > 1]
        assert len(paid) >= 12
        assert len(twice) <= settings.llm_max_async + 1
        assert view.document.chunks_saved >= 12 - (settings.llm_max_async + 1)


def _extracted(server: OllamaServer) -> int:
    return sum(call.role == "extract" and call.outcome == "done" for call in server.calls)
