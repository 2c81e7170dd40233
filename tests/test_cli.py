"""The commands as people run them: each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import networkx as nx
import pytest

from librarian.errors import LibraryBusy
from librarian.library import Library, Owner, owner_of
from librarian.remote import DashboardError, DashboardSilent, Desk, Remote, watch
from tests.conftest import until

ROOT = Path(__file__).resolve().parents[1]
ADA = "Ada Lovelace worked with Charles Babbage on the Analytical Engine in London.\n"
CURIE = "Мария Кюри работала в Париже с Пьером Кюри. Они открыли радий и полоний.\n"
COMMAND_S = 50.0
Done = subprocess.CompletedProcess[str]


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LIBRARIAN_", "OLLAMA_", "LLM_"))
    }
    return {
        **kept,
        "LIBRARIAN_BACKEND": "offline",
        "LIBRARIAN_LIBRARIES": str(Path(tempfile.gettempdir()) / "librarian-tests.json"),
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
        **more,
    }


def run(home: Path, *arguments: str, given: str = "", **more: str) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "librarian", *arguments, "--home", str(home)],
        cwd=home.parent,
        env=environment(**more),
        input=given,
        encoding="utf-8",
        capture_output=True,
        timeout=COMMAND_S,
        check=False,
    )


def report(home: Path, *arguments: str) -> Any:
    return json.loads(run(home, *arguments, "--json").stdout)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given") / "texts"
    (folder / "russian").mkdir(parents=True)
    (folder / "ada.txt").write_text(ADA, encoding="utf-8")
    (folder / "russian" / "curie.md").write_text(CURIE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Path:
    """A library with the texts, for tests that leave it as it is."""
    home = tmp_path_factory.mktemp("filled") / "library"
    assert run(home, "ingest", str(texts)).returncode == 0
    return home


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def dashboard(home: Path, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    serving = subprocess.Popen(
        [sys.executable, "-m", "librarian", "serve", "--home", home.name, "--port", str(port)],
        cwd=home.parent,  # the relative home must survive the change to the app's folder
        env=environment(**more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(address) or serving.poll() is not None, "the dashboard")
        assert serving.poll() is None
        yield serving, address
    finally:
        if serving.poll() is None:
            serving.kill()
        serving.wait(timeout=10)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/api/status", trust_env=False).status_code in (200, 401)
    except httpx.TransportError:
        return False


def test_a_folder_is_ingested_and_everything_can_be_asked_of_it(home: Path, texts: Path) -> None:
    done = run(home, "ingest", str(texts), "--pause-s", "0.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ada.txt: processed" in done.stdout
    status = report(home, "status")
    assert {each["name"]: each["status"] for each in status["documents"]} == {
        "ada.txt": "processed",
        "russian∕curie.md": "processed",
    }
    again = run(home, "ingest", str(texts))
    assert again.returncode == 0
    assert again.stdout.count("duplicate") == 2

    asked = run(home, "ask", "Who worked with Charles Babbage?")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "[1] ada.txt: Ada Lovelace worked with" in asked.stdout
    answer = report(home, "ask", "Кто открыл радий?", "--mode", "naive")
    assert answer["sources"][0]["document"] == "russian∕curie.md"
    assert owner_of(home) is None


def test_verify_prints_each_row_and_fails_for_a_small_library(filled: Path) -> None:
    done = run(filled, "verify")
    *lines, why = done.stdout.splitlines()
    assert "call" in why  # the sum behind the last row
    assert done.returncode == 1
    assert [line[:4] for line in lines] == ["pass", "FAIL", "FAIL", "pass", "pass"]
    assert "2 of 2" in lines[0]
    assert [row["passed"] for row in report(filled, "verify")["rows"]] == [
        line.startswith("pass") for line in lines
    ]


def test_the_graph_is_exported_in_every_format(filled: Path, tmp_path: Path) -> None:
    out = tmp_path / "graph.graphml"
    assert run(filled, "export-graph", str(out)).returncode == 0
    labels = {data.get("label") for _, data in nx.read_graphml(out).nodes(data=True)}
    assert "Charles Babbage" in labels
    assert run(filled, "export-graph", str(tmp_path / "graph.csv")).returncode == 0
    assert "Babbage" in (tmp_path / "graph.entities.csv").read_text(encoding="utf-8-sig")
    assert (tmp_path / "graph.relations.csv").exists()
    assert run(filled, "export-graph", str(tmp_path / "page"), "--format", "html").returncode == 0
    assert "Babbage" in (tmp_path / "page").read_text(encoding="utf-8")
    nowhere = run(filled, "export-graph", str(tmp_path / "nowhere" / "graph.csv"))
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith("error: ")


def test_what_cannot_be_read_is_named_and_the_rest_is_taken(home: Path, tmp_path: Path) -> None:
    (tmp_path / "book.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "ada.txt").write_text(ADA, encoding="utf-8")
    names = ("book.pdf", "empty.txt", "missing.txt", "ada.txt")
    done = run(home, "ingest", *(str(tmp_path / name) for name in names))
    assert done.returncode == 1
    assert "book.pdf: refused. It is damaged, or is not what its beginning says." in done.stderr
    assert "empty.txt: refused. The file has no bytes." in done.stderr
    assert "missing.txt: refused. There is no file at this path that is read." in done.stderr
    assert "ada.txt: processed" in done.stdout

    (tmp_path / "ada.txt").write_text(CURIE, encoding="utf-8")
    conflict = run(home, "ingest", str(tmp_path / "ada.txt"))
    assert conflict.returncode == 1
    assert "ada.txt: conflict." in conflict.stderr
    assert run(home, "ingest", str(tmp_path / "ada.txt"), "--replace").returncode == 0
    assert [each["bytes"] for each in report(home, "status")["documents"]] == [len(CURIE.encode())]


def test_texts_come_from_the_standard_input_and_leave_by_name(home: Path) -> None:
    done = run(home, "insert", "-", "--name", "curie", given=CURIE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "curie: processed" in done.stdout
    assert run(home, "insert", " ").returncode == 1
    unknown = run(home, "delete", "nobody")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("error: 'nobody': No document of the library has that name")
    assert len(unknown.stderr.splitlines()) == 1
    assert "There is nothing to pause." in run(home, "pause").stdout
    assert run(home, "delete", given="n\n").returncode == 1
    assert len(report(home, "status")["documents"]) == 1
    assert run(home, "delete", "curie").stdout == "curie: deleted\n"
    assert report(home, "status")["documents"] == []


def test_the_cache_is_cleared_after_asking_and_the_journal_stays(home: Path, texts: Path) -> None:
    run(home, "ingest", str(texts))
    assert run(home, "clear-cache").returncode == 1
    cleared = run(home, "clear-cache", "--yes")
    assert (cleared.returncode, cleared.stderr) == (0, "")
    assert cleared.stdout == "Now empty: LightRAG's copy of the answers.\n"
    refused = run(home, "clear-cache", "--what", "journal", given="n\n")
    assert refused.returncode == 1
    assert re.search(
        r"has [1-9]\d* answers? of the model, which took .* in \d+\.\d MB", refused.stderr
    )
    assert "paid for again. Forget them?" in refused.stderr
    cleared = run(home, "clear-cache", "--what", "all", "--yes")
    assert re.search(r"has [1-9]\d* answers?", cleared.stdout)
    files = [file["name"] for file in report(home, "status")["files"]]
    assert [name for name in files if name.startswith("journal")] == ["journal.sqlite3"]
    emptied = json.loads(run(home, "clear-cache", "--what", "journal", "--yes", "--json").stdout)
    assert (emptied["what"], emptied["forgotten"]["answers"]) == ("journal", 0)


def test_the_doctor_speaks_also_where_the_library_cannot_be_opened(home: Path) -> None:
    done = run(home, "doctor")
    assert done.returncode == 0
    assert "OK    Library folder" in done.stdout
    home.joinpath("library.json").write_text("{", encoding="utf-8")
    damaged = run(home, "status")
    assert damaged.returncode == 1
    assert "library.json is damaged" in damaged.stderr
    assert "Traceback" not in damaged.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("ask",),
        ("ask", "Who?", "--mode", "psychic"),
        ("export-graph", "graph.xyz"),
        ("clear-cache", "--what", "everything"),
        ("serve", "--port", "99999"),
        ("ingest", "a.txt", "--pause-s", "-1"),
    ],
)
def test_wrong_usage_ends_with_two_and_opens_nothing(
    home: Path, arguments: tuple[str, ...]
) -> None:
    done = run(home, *arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert not home.exists()


def test_a_wrong_setting_is_named(home: Path) -> None:
    done = run(home, "status", LLM_MAX_ASYNC="many")
    assert done.returncode == 1
    assert done.stderr.startswith("error: LLM_MAX_ASYNC is 'many'")


def test_help_is_not_kept_waiting_by_heavy_imports() -> None:
    code = (
        "import sys\nfrom librarian.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'lightrag', 'streamlit', 'numpy', 'httpx', 'networkx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, timeout=COMMAND_S
    )
    assert done.returncode == 0, done.stderr
    assert b"export-graph" in done.stdout


def test_a_home_that_a_command_has_is_not_opened_again(home: Path) -> None:
    library = Library.open(home)
    try:
        for command in ("status", "serve"):
            done = run(home, command)
            assert done.returncode == 1
            assert f"is open in process {os.getpid()}" in done.stderr
            assert str(LibraryBusy()) in done.stderr
    finally:
        library.close()


def test_an_interrupted_ingest_says_that_its_work_is_kept(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "ada.txt"
    file.write_text(ADA, encoding="utf-8")
    other = tmp_path / "curie.txt"
    other.write_text(CURIE, encoding="utf-8")
    command = ("ingest", str(file), str(other), "--pause-s", "600", "--home", str(home))
    ingesting = subprocess.Popen(
        [sys.executable, "-m", "librarian", *command],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert ingesting.stdout is not None
        assert b"ada.txt: accepted" in ingesting.stdout.readline()
        ingesting.send_signal(signal.SIGINT)
        _, said = ingesting.communicate(timeout=45)  # a busy machine takes long to close
    finally:
        ingesting.kill()
        ingesting.wait(timeout=10)
    assert ingesting.returncode == 130
    assert b"The work done so far is kept" in said
    assert b"Traceback" not in said
    assert owner_of(home) is None
    assert [each["name"] for each in report(home, "status")["documents"]] == ["ada.txt"]


def test_commands_go_through_the_dashboard_that_has_the_home(home: Path, texts: Path) -> None:
    with dashboard(home, LIBRARIAN_API_TOKEN="a secret") as (serving, address):
        token = {"LIBRARIAN_API_TOKEN": "a secret"}
        owner = owner_of(home)
        assert owner is not None
        assert (owner.pid, owner.address) == (serving.pid, address)
        second = run(home, "serve", "--port", str(free_port()))
        assert second.returncode == 1
        assert address in second.stderr
        assert "has a token" in run(home, "status").stderr

        inserted = run(home, "insert", ADA, "--name", "ada", **token)
        assert (inserted.returncode, inserted.stderr) == (0, "")
        assert "ada: processed" in inserted.stdout
        assert run(home, "ingest", str(texts / "russian"), **token).returncode == 0
        asked = run(home, "ask", "Who worked with Charles Babbage?", **token)
        assert "[1] ada: Ada Lovelace" in asked.stdout
        out = home.parent / "graph.csv"
        assert run(home, "export-graph", str(out), **token).returncode == 0
        assert run(home, "verify", **token).returncode == 1
        assert run(home, "doctor", **token).returncode == 0
        assert run(home, "delete", "ada", **token).stdout == "ada: deleted\n"
        unknown = run(home, "delete", "ada", **token)
        assert unknown.returncode == 1
        assert "No document of the library has that name" in unknown.stderr
        assert "curie.md: processed" in run(home, "status", **token).stdout

        serving.terminate()
        serving.wait(timeout=30)
    assert owner_of(home) is None
    assert [each["name"] for each in report(home, "status")["documents"]] == ["curie.md"]


def remote(handler: Any) -> Remote:
    owner = Owner(pid=7, since="now", address="http://127.0.0.1:8003")
    return Remote(owner, transport=httpx.MockTransport(handler))


def test_a_dashboard_that_does_not_answer_is_named() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    for handler in (refuse, lambda _: httpx.Response(200, text="<html>")):
        with pytest.raises(DashboardSilent, match=r"127\.0\.0\.1:8003 \(process 7\)"):
            remote(handler).status()


def test_what_a_dashboard_refuses_is_said_in_its_own_words() -> None:
    desk = remote(lambda _: httpx.Response(404, json={"error": "'x': No such document."}))
    with pytest.raises(DashboardError) as caught:
        desk.do("delete", doc="x")
    assert str(caught.value) == "'x': No such document."


def test_waiting_ends_where_nothing_would_move() -> None:
    documents = [{"id": "doc-1", "name": "a", "status": "pending"}]
    status = {"ready": False, "trouble": "Ollama is not answering.", "documents": documents}
    status["loop"] = {"heartbeat_age_s": 0}
    desk = remote(lambda _: httpx.Response(200, json=status))
    with pytest.raises(DashboardError, match="Ollama is not answering"):
        list(watch(desk, ["doc-1"]))
    documents.clear()
    assert [each["status"] for _, found in watch(desk, ["doc-1"]) for each in found] == ["deleted"]


def test_a_report_from_before_does_not_take_a_new_document_for_deleted() -> None:
    def report(age_s: float, *documents: dict[str, str]) -> dict[str, object]:
        loop = {"heartbeat_age_s": age_s}
        return {"ready": True, "trouble": "", "documents": documents, "loop": loop}

    processed = {"id": "doc-1", "name": "a", "status": "processed"}
    reports = iter([report(60), report(60), report(0, processed)])

    class Still:
        """A dashboard whose loop stood still when the document was taken in."""

        def status(self) -> dict[str, object]:
            return next(reports)

    seen = [found[0]["status"] for _, found in watch(cast(Desk, Still()), ["doc-1"])]
    assert seen == ["pending", "pending", "processed"]
