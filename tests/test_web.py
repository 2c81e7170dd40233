"""The routes, over a real library with the offline model."""

from __future__ import annotations

import json
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from librarian.app import Librarian
from librarian.errors import LibrarianError, NotReady
from librarian.secret import HEADER
from librarian.settings import Settings
from librarian.web import routes
from tests.conftest import Opened, until
from tests.ollama_server import OllamaServer

with warnings.catch_warnings():  # Starlette would rather have httpx2
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

TEXT = "Ada Lovelace worked with Charles Babbage on the Analytical Engine in London."
HOSTILE = "<script>alert(1)</script></textarea>"
DOCUMENT_KEYS = {
    "id", "name", "status", "phase", "bytes", "chunks_total", "chunks_done", "chunks_saved",
    "entities", "relations", "elapsed_s", "eta_s", "eta_low_s", "eta_high_s", "warnings", "error",
    "created_at", "updated_at",
}  # fmt: skip
STATUS_KEYS = {
    "model": {"backend", "llm", "embed", "host", "reachable"},
    "counts": {"pending", "processing", "processed", "failed", "paused", "duplicate"},
    "throughput": {
        "chunks_per_min", "prompt_tokens_per_s", "output_tokens_per_s", "calls_in_flight",
        "oldest_call_s", "median_call_s",
    },
    "loop": {"heartbeat_age_s", "max_lag_s"},
    "health": {"verdict", "cause", "remedy"},
}  # fmt: skip


def client_of(librarian: Librarian) -> TestClient:
    """What a command has: the owner's secret."""
    app = Starlette(routes=routes(lambda: librarian))
    return TestClient(app, headers={HEADER: librarian.owner_secret})


@pytest.fixture
def client(opened: Opened, tmp_path: Path) -> TestClient:
    home = tmp_path / "library"
    return client_of(
        opened(Settings.from_env({}, home=home, backend="offline", max_body_bytes=20_000))
    )


def until_processed(client: TestClient, doc_id: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        documents = client.get("/api/status").json()["documents"]
        done = (each for each in documents if (each["id"], each["status"]) == (doc_id, "processed"))
        return next(done, None)

    until(found, f"{doc_id} to be processed")
    document = found()
    assert document is not None
    return document


def insert(client: TestClient, text: str, **more: str) -> str:
    response = client.post("/insert", json={"text": text, **more})
    assert response.status_code == 202, response.text
    return str(response.json()["doc_id"])


def test_a_posted_text_is_queued_at_once_and_processed_later(client: TestClient) -> None:
    response = client.post("/insert", json={"text": TEXT, "name": "ada.txt"})
    report = response.json()
    assert response.status_code == 202
    assert report["doc_id"] == report["track_id"]
    assert (report["status"], report["name"]) == ("pending", "ada.txt")
    document = until_processed(client, report["doc_id"])
    assert document["entities"] > 0
    assert document["error"] is None


def test_the_same_text_again_is_a_duplicate_of_the_same_document(client: TestClient) -> None:
    first = insert(client, TEXT)
    again = client.post("/insert", json={"text": TEXT}).json()
    assert (again["doc_id"], again["status"]) == (first, "duplicate")
    renamed = client.post("/insert", json={"text": TEXT, "name": "copy"}).json()
    assert renamed["doc_id"] == first
    assert "The same text is in the library already" in renamed["message"]
    until_processed(client, first)

    def counted() -> bool:  # the next snapshot's, where this one was begun before the second copy
        report = client.get("/api/status").json()
        return (len(report["documents"]), report["counts"]["duplicate"]) == (1, 1)

    until(counted, "one document and a duplicate of it")


def test_another_text_of_a_known_name_is_a_conflict(client: TestClient) -> None:
    insert(client, TEXT, name="ada.txt")
    response = client.post("/insert", json={"text": "Another one.", "name": "ada.txt"})
    assert response.status_code == 409
    assert "with another text" in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[1, 2]", "not an object"),
        ('"text"', "not an object"),
        ("null", "not an object"),
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 15_000, "not JSON"),
        (b"\xff\xfe\xfa", "not JSON"),
        ("{}", 'needs a string "text"'),
        ('{"text": 5}', 'needs a string "text"'),
        ('{"text": "a", "name": 5}', '"name" must be a string'),
    ],
)
def test_a_body_that_is_not_as_it_should_be_is_told_why(
    client: TestClient, body: str | bytes, reason: str
) -> None:
    response = client.post("/insert", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert reason in response.json()["error"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_taken_since_forms_of_other_sites_cannot_send_it(
    client: TestClient, kind: str
) -> None:
    response = client.post("/insert", content='{"text": "a"}', headers={"Content-Type": kind})
    assert response.status_code == 400
    assert "Content-Type: application/json" in response.json()["error"]
    assert client.post("/insert", json={"text": "a"}).json()["status"] == "pending"


def test_a_body_over_the_limit_is_refused_with_the_limit(client: TestClient) -> None:
    response = client.post("/insert", json={"text": "long " * 5_000})
    assert response.status_code == 413
    assert "20,000 bytes" in response.json()["error"]


@pytest.mark.parametrize("text", ["", " \n\t ", "\u0000", "\ufeff"])
def test_a_text_without_text_is_refused_in_a_sentence(client: TestClient, text: str) -> None:
    response = client.post("/insert", json={"text": text})
    assert response.status_code == 422
    assert response.json()["error"].endswith("Upload a file that has some.")


def test_a_page_of_another_site_is_turned_away(client: TestClient) -> None:
    foreign = {"Origin": "https://example.org"}
    for method, path in (("POST", "/insert"), ("POST", "/api/do/clear-cache"), ("GET", "/health")):
        response = client.request(
            method, path, json={"text": TEXT} if method == "POST" else None, headers=foreign
        )
        assert response.status_code == 403
        assert "example.org" in response.json()["error"]
    own = client.post("/insert", json={"text": TEXT}, headers={"Origin": "http://testserver"})
    assert own.status_code == 202


def test_a_library_with_a_token_answers_only_those_who_have_it(
    opened: Opened, tmp_path: Path
) -> None:
    settings = Settings.from_env({}, home=tmp_path, backend="offline", api_token="a secret")
    client = client_of(opened(settings))
    assert client.get("/api/status").status_code == 401
    assert client.post("/insert", json={"text": TEXT}).status_code == 401
    wrong = {"Authorization": "Bearer another"}
    assert client.get("/api/status", headers=wrong).status_code == 401
    right = {"Authorization": "Bearer a secret"}
    assert client.get("/api/status", headers=right).status_code == 200
    assert client.post("/insert", json={"text": TEXT}, headers=right).status_code == 202
    assert client.get("/graph-view").status_code == 401  # a login lets the frame in


def test_the_status_report_has_the_keys_that_stay_fixed(client: TestClient) -> None:
    until_processed(client, insert(client, TEXT))
    report = client.get("/api/status").json()
    fixed = {"busy", "model", "counts", "documents", "files", "throughput", "loop", "health"}
    assert set(report) == fixed | {"ready", "trouble", "queue"}
    for name, keys in STATUS_KEYS.items():
        assert set(report[name]) == keys
    assert set(report["documents"][0]) == DOCUMENT_KEYS
    assert all(set(file) == {"name", "bytes", "modified_at"} for file in report["files"])
    assert report["health"]["verdict"] in ("idle", "working", "slow", "waiting", "stalled")
    assert report["model"]["backend"] == "offline"


def test_the_doctor_reports_over_http(client: TestClient) -> None:
    response = client.get("/health")
    report = response.json()
    assert response.status_code == (200 if report["ok"] else 503)
    assert {"Versions", "Library folder", "Disk"} <= {check["name"] for check in report["checks"]}
    assert set(report["checks"][0]) == {"name", "severity", "message", "remedy"}


def test_the_graph_is_shown_in_a_sandbox_and_runs_no_script_of_a_name(client: TestClient) -> None:
    until_processed(client, insert(client, f"{TEXT} {HOSTILE}", name=f"{HOSTILE}.txt"))
    for query in ({}, {"centre": HOSTILE}, {"centre": "Ada Lovelace", "depth": "99", "limit": "x"}):
        response = client.get("/graph-view", params=query)
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert policy.endswith("; frame-ancestors 'self'; sandbox allow-scripts allow-downloads")
        assert "<script>alert(1)" not in response.text
        assert "</textarea>" not in response.text


def test_markup_goes_in_and_comes_out_as_text(client: TestClient) -> None:
    text = f"Ada Lovelace wrote {HOSTILE} for Charles Babbage."
    document = until_processed(client, insert(client, text, name=f"{HOSTILE}.txt"))
    response = client.get("/api/status")
    assert response.headers["content-type"] == "application/json"
    assert "<script>" in document["name"]
    answer = client.post("/api/do/ask", json={"question": "What did Ada Lovelace write?"})
    assert answer.headers["content-type"] == "application/json"
    assert text in [source["text"].strip() for source in answer.json()["sources"]]


def test_a_document_is_deleted_by_name_and_unknown_afterwards(client: TestClient) -> None:
    until_processed(client, insert(client, TEXT, name="ada.txt"))
    assert client.post("/api/do/delete", json={"doc": "ada.txt"}).json() == {"ok": True}
    again = client.post("/api/do/delete", json={"doc": "ada.txt"})
    assert again.status_code == 404
    assert "No document of the library has that name" in again.json()["error"]


def test_a_file_that_cannot_be_read_is_refused_and_holds_up_no_other(client: TestClient) -> None:
    response = client.post("/api/do/add", json={"path": "/nowhere/a.txt", "name": "a.txt"})
    assert response.status_code == 200
    (admission,) = response.json()["admissions"]
    assert (admission["name"], admission["outcome"]) == ("a.txt", "refused")
    assert "It could not be read: No such file" in admission["message"]


@pytest.mark.parametrize(
    ("verb", "body", "code", "reason"),
    [
        ("nonsense", {}, 400, "There is no 'nonsense'."),
        ("pause", {}, 400, 'needs a string "doc"'),
        ("ask", {"question": "   "}, 422, "The question is empty."),
        ("ask", {"question": "a?"}, 422, "too short to search for anything."),
        ("ask", {"question": "Who?", "mode": "psychic"}, 422, "There is no mode 'psychic'"),
        ("add", {"path": "/nowhere/to/be/found"}, 422, "neither a file that is read"),
    ],
)
def test_a_verb_that_cannot_be_done_says_why(
    client: TestClient, verb: str, body: dict[str, str], code: int, reason: str
) -> None:
    response = client.post(f"/api/do/{verb}", json=body)
    assert response.status_code == code
    assert reason in response.json()["error"]


def test_a_library_that_is_not_open_is_named_on_every_route() -> None:
    def closed() -> Librarian:
        raise NotReady

    client = TestClient(Starlette(routes=routes(closed)))
    for path in ("/api/status", "/health", "/graph-view"):
        response = client.get(path)
        assert response.status_code == 503
        assert response.json()["error"] == str(NotReady())
    assert issubclass(NotReady, LibrarianError)


@contextmanager
def served(librarian: Librarian) -> Iterator[str]:
    """The routes behind a real server, which can tell that a client has gone."""
    config = uvicorn.Config(Starlette(routes=routes(lambda: librarian)), log_level="error")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(20)


def test_an_answer_that_nobody_waits_for_any_more_ends_at_the_model(
    server: OllamaServer, opened: Opened, tmp_path: Path
) -> None:
    librarian = opened(
        Settings.from_env({}, home=tmp_path / "library", backend="ollama", ollama_host=server.url)
    )
    until_processed(client_of(librarian), insert(client_of(librarian), TEXT, name="ada.txt"))
    server.latency_s = 60.0
    with served(librarian) as address:
        body = {"question": "What did Ada Lovelace write?", "mode": "naive"}
        with pytest.raises(httpx.ReadTimeout):
            headers = {HEADER: librarian.owner_secret}
            httpx.post(
                f"{address}/api/do/ask", json=body, headers=headers, timeout=3, trust_env=False
            )
        until(lambda: server.in_flight == 0, "the server to be free")
        outcomes = [call.outcome for call in server.calls if call.role == "query"]
        assert outcomes == ["disconnected"]


# --- uploads --------------------------------------------------------------------------------

KEY = "0123456789abcdef"


def ticket(librarian: Librarian) -> dict[str, str]:
    return {"X-Upload-Ticket": librarian.uploads.ticket}


def test_a_file_comes_in_slices_and_is_a_document(librarian: Librarian) -> None:
    client, data = client_of(librarian), TEXT.encode() * 3
    headers = ticket(librarian)
    for offset in range(0, len(data), 100):
        url = f"/upload/{KEY}?offset={offset}"
        response = client.put(url, content=data[offset : offset + 100], headers=headers)
        assert response.json() == {"bytes": min(len(data), offset + 100)}
    assert client.get(f"/upload/{KEY}", headers=headers).json() == {"bytes": len(data)}
    end = {"name": "folder/ada.txt", "bytes": len(data)}
    response = client.post(f"/upload/{KEY}", json=end, headers=headers)
    (admission,) = response.json()["admissions"]
    assert (admission["outcome"], admission["name"]) == ("accepted", "folder∕ada.txt")
    until_processed(client, admission["doc_id"])


def test_a_slice_in_the_wrong_place_is_told_the_right_one(librarian: Librarian) -> None:
    client, headers = client_of(librarian), ticket(librarian)
    client.put(f"/upload/{KEY}?offset=0", content=b"12345", headers=headers)
    response = client.put(f"/upload/{KEY}?offset=3", content=b"x", headers=headers)
    assert (response.status_code, response.json()["bytes"]) == (409, 5)
    end = {"name": "a.txt", "bytes": 9}
    response = client.post(f"/upload/{KEY}", json=end, headers=headers)
    assert (response.status_code, response.json()["bytes"]) == (409, 5)


def test_only_pages_of_this_process_upload(librarian: Librarian) -> None:
    client = client_of(librarian)
    for headers in ({}, {"X-Upload-Ticket": "guess"}, {"X-Upload-Ticket": "дом".encode()}):
        for method in ("GET", "PUT", "POST"):
            response = client.request(method, f"/upload/{KEY}", headers=headers)  # type: ignore[arg-type]
            assert response.status_code == 403
    assert not (librarian.settings.home / "incoming").exists()


@pytest.mark.parametrize("key", ["..%2f..%2fetc", "x", "0" * 65, "ABCDEF0123456789"])
def test_an_upload_is_named_by_a_key_only(librarian: Librarian, key: str) -> None:
    response = client_of(librarian).put(
        f"/upload/{key}?offset=0", content=b"x", headers=ticket(librarian)
    )
    assert response.status_code in (400, 404)


@pytest.mark.parametrize("body", [{}, {"name": "a.txt"}, {"name": "a.txt", "bytes": "9"}])
def test_the_end_of_an_upload_wants_its_name_and_size(librarian: Librarian, body: Any) -> None:
    client = client_of(librarian)
    response = client.post(f"/upload/{KEY}", json=body, headers=ticket(librarian))
    assert response.status_code == 400


@pytest.mark.parametrize("header", [{"Host": "[::1"}, {"Origin": "http://["}])
def test_an_address_that_is_none_is_a_bad_request(
    librarian: Librarian, header: dict[str, str]
) -> None:
    app = Starlette(routes=routes(lambda: librarian))
    client = TestClient(app, base_url="http://127.0.0.1")
    assert client.get("/api/status").status_code == 200
    assert client.get("/api/status", headers=header).status_code == 400


@pytest.mark.parametrize("path", ["a\x00b", "\ud800"])
@pytest.mark.parametrize("name", [{}, {"name": "a.txt"}])
def test_a_path_that_is_none_is_a_bad_request(
    client: TestClient, path: str, name: dict[str, str]
) -> None:
    body = json.dumps({"path": path, **name}).encode()
    headers = {"Content-Type": "application/json"}
    assert client.post("/api/do/add", content=body, headers=headers).status_code == 400


def test_a_text_that_is_none_is_not_taken(client: TestClient) -> None:
    assert client.post("/api/do/insert", json={"text": [1]}).status_code == 400
    assert client.get("/api/status").json()["documents"] == []


def test_a_command_that_means_another_library_is_not_run_on_this_one(client: TestClient) -> None:
    sent = {"x-library-opening": "0" * 32}
    answer = client.post("/api/do/verify", json={}, headers=sent)
    assert answer.status_code == 409
    assert "another library" in answer.json()["error"]
    assert client.get("/api/status", headers=sent).status_code == 409
    assert client.get("/api/status", headers={"x-library-opening": ""}).status_code == 200
