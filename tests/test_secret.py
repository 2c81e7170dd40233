"""The owner's secret: made anew at each opening, for the owner's eyes, and wanted by commands."""

from __future__ import annotations

import itertools
import os
import stat
import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from librarian.app import Librarian
from librarian.errors import LibraryError
from librarian.library import Library, Owner
from librarian.remote import DashboardError, Remote
from librarian.secret import HEADER, NAME, make_secret, read_secret
from librarian.web import VERBS, routes

with warnings.catch_warnings():  # Starlette would rather have httpx2
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient


def test_each_opening_has_its_own_secret_and_takes_it_away(tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        library = Library.open(tmp_path)
        assert read_secret(tmp_path) == library.secret
        seen.add(library.secret)
        library.close()
        assert read_secret(tmp_path) == ""
    assert len(seen) == 2
    assert all(len(secret) >= 40 for secret in seen)


@pytest.mark.skipif(os.name == "nt", reason="there the folder's own rights say who may read")
def test_only_the_owner_may_read_it_even_where_a_file_of_that_name_was_open_to_all(
    tmp_path: Path,
) -> None:
    (tmp_path / NAME).write_text("planted")
    (tmp_path / NAME).chmod(0o666)
    secret = make_secret(tmp_path)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert read_secret(tmp_path) == secret != "planted"


@pytest.mark.skipif(os.name == "nt", reason="links need rights of their own there")
def test_a_link_in_its_place_is_not_written_through(tmp_path: Path) -> None:
    elsewhere, home = tmp_path / "elsewhere", tmp_path / "home"
    elsewhere.write_text("another's")
    home.mkdir()
    (home / NAME).symlink_to(elsewhere)
    make_secret(home)
    assert elsewhere.read_text() == "another's"


def test_a_secret_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(LibraryError, match="could not be written"):
        make_secret(tmp_path)


def test_no_command_is_done_without_it(librarian: Librarian, tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("Ada Lovelace met Charles Babbage.")
    client = TestClient(Starlette(routes=routes(lambda: librarian)))
    body = {"path": str(tmp_path / "private.txt"), "text": "a", "question": "b", "doc": "c"}
    wrong: list[Any] = [{}, {HEADER: ""}, {HEADER: "guess"}, {HEADER: "дом".encode()}]
    for verb, given in itertools.product([*VERBS, "nonsense"], wrong):
        response = client.post(f"/api/do/{verb}", json=body, headers=given)
        assert response.status_code == 403
        assert "Run `python -m librarian` as the user who started" in response.json()["error"]
    assert client.get("/api/status").json()["documents"] == []


def test_the_other_routes_do_without_it(librarian: Librarian) -> None:
    client = TestClient(Starlette(routes=routes(lambda: librarian)))
    assert client.post("/insert", json={"text": "Ada met Charles."}).status_code == 202
    for path in ("/api/status", "/health", "/graph-view"):
        assert client.get(path).status_code == 200


def test_a_command_sends_it_and_without_it_is_told_what_to_do(librarian: Librarian) -> None:
    app = TestClient(Starlette(routes=routes(lambda: librarian)))

    def answer(request: httpx.Request) -> httpx.Response:
        response = app.post(request.url.path, content=request.content, headers=request.headers)
        return httpx.Response(response.status_code, content=response.content)

    owner = Owner(pid=1, since="now", address="http://127.0.0.1")
    secret = read_secret(librarian.settings.home)
    with Remote(owner, transport=httpx.MockTransport(answer), secret=secret) as remote:
        assert remote.do("verify")["rows"][0]["name"] == "Documents processed"
    with Remote(owner, transport=httpx.MockTransport(answer)) as remote:
        with pytest.raises(DashboardError, match="the owner of the library only"):
            remote.do("verify")
