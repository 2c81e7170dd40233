"""Arbitrary requests: each has an answer, none is a failure of ours, each refusal says why.

No schema describes these few routes: the requests are Hypothesis's own, around their shapes.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from librarian.app import Librarian
from librarian.secret import HEADER
from librarian.settings import Settings
from librarian.web import VERBS
from tests.conftest import until
from tests.test_doors import server
from tests.test_limits import Clock

with warnings.catch_warnings():  # Starlette would rather have httpx2
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

pytestmark = [pytest.mark.timeout(150), pytest.mark.slow]

OURS = ("/insert", "/api/status", "/graph-view", "/login", "/upload/0123456789abcdef", "/health")
KEYS = ("text", "name", "doc", "question", "mode", "what", "bytes", "replace")
#: One that measures for a minute, and one that would read whatever folder it is told.
UNTRIED = {"probe", "add"}

words = st.text(st.characters(codec="utf-8"), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
shaped = st.dictionaries(st.sampled_from(KEYS), st.text(max_size=30) | values, max_size=5)
bodies = st.binary(max_size=300) | (shaped | values).map(lambda body: json.dumps(body).encode())
methods = st.sampled_from(
    ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE"]
) | st.from_regex(r"[A-Z]{1,12}", fullmatch=True)
verbs = st.sampled_from(sorted(set(VERBS) - UNTRIED)) | words
queries = st.dictionaries(
    st.sampled_from(
        ["centre", "name", "depth", "limit", "type", "from", "to", "offset", "next", "open"]
    ),
    words,
    max_size=4,
)
paths = st.sampled_from(OURS) | verbs.map(lambda verb: f"/api/do/{verb}") | words.map("/{}".format)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.just("application/json") | header_values,
        "Origin": st.sampled_from(["http://127.0.0.1", "null", "http://["]) | header_values,
        "Host": st.sampled_from(["127.0.0.1", "localhost:8003", "[::1]:1", "[::1", "a b"])
        | header_values,
        "Authorization": header_values,
        "Cookie": header_values,
        "X-Upload-Ticket": header_values,
        "Accept": st.sampled_from(["text/html", "*/*"]) | header_values,
        "Sec-Fetch-Site": st.sampled_from(["cross-site", "same-origin", "none"]) | header_values,
        "X-Forwarded-For": header_values,
    },
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Librarian]:
    """One for all requests, in a folder where no file is."""
    folder, before = tmp_path_factory.mktemp("arbitrary"), Path.cwd()
    os.chdir(folder)
    chosen = Settings.from_env(
        {}, home=folder / "library", backend="offline", max_body_bytes=20_000
    )
    librarian = Librarian.open(chosen)
    librarian.wait_ready()
    yield librarian
    librarian.close()
    os.chdir(before)


class Caller:
    """Sends requests, a second apart by the server's clock, and looks at the answers."""

    def __init__(self, librarian: Librarian, token: str = "") -> None:
        self.librarian = librarian
        self._clock = Clock()
        self._client = TestClient(
            server(librarian, token, self._clock),
            base_url="http://127.0.0.1",
            follow_redirects=False,
        )

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        self._clock.now += 60.0
        sent = {name: value.encode("latin-1") for name, value in more.pop("headers", {}).items()}
        response = self._client.request(method, quote(path), headers=sent, **more)
        check(response, path)
        return response

    def owner(self, verb: str, body: object) -> httpx.Response:
        return self.send(
            "POST",
            f"/api/do/{verb}",
            content=json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                HEADER: self.librarian.owner_secret,
            },
        )


def check(response: httpx.Response, path: str) -> None:
    """No failure of ours; a refusal is JSON with a sentence."""
    well = response.status_code < 500 or (path == "/health" and response.status_code == 503)
    assert well, (response.status_code, response.text)
    if response.status_code >= 400 and response.request.method != "HEAD" and path != "/login":
        if response.headers["content-type"] == "text/plain; charset=utf-8":
            assert response.status_code in (404, 405)  # no route of ours
            assert not path.startswith(("/api/status", "/insert", "/health", "/graph-view"))
        elif path != "/health":
            said = response.json()["error"]
            assert len(said.split()) >= 4
            assert said[-1] in ".`"


@given(methods, paths, queries, headers, bodies)
@settings(max_examples=400, suppress_health_check=list(HealthCheck))
def test_an_arbitrary_request_has_an_answer(
    library: Librarian, method: str, path: str, query: Any, headers: Any, body: bytes
) -> None:
    Caller(library).send(method, path, params=query, headers=headers, content=body)


@given(methods, paths, queries, headers, bodies)
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
def test_an_arbitrary_request_does_not_come_past_the_token(
    library: Librarian, method: str, path: str, query: Any, headers: Any, body: bytes
) -> None:
    caller = Caller(library, "a token that nobody guesses")
    response = caller.send(method, path, params=query, headers=headers, content=body)
    assert response.status_code in (303, 400, 401, 403, 413, 429) or path == "/login"
    assert response.text != "the library"
    assert "set-cookie" not in response.headers


@given(verbs, shaped)
@settings(max_examples=250, suppress_health_check=list(HealthCheck))
def test_an_arbitrary_command_of_the_owner_has_an_answer(
    library: Librarian, verb: str, body: dict[str, Any]
) -> None:
    Caller(library).owner(verb, body)


class Visits(RuleBasedStateMachine):
    """What somebody does over the routes, beside what should have come of it."""

    librarian: Librarian

    @initialize()
    def begin(self) -> None:
        self.caller = Caller(self.librarian)
        self.parts: dict[str, int] = {}
        self.names: set[str] = set()
        for name in self.listed():
            self.caller.owner("delete", {"doc": name})

    def listed(self) -> set[str]:
        report = self.caller.send("GET", "/api/status").json()
        return {row["name"] for row in report["documents"]}

    def json(self, method: str, path: str, body: object, **headers: str) -> httpx.Response:
        sent = {"Content-Type": "application/json", **headers}
        return self.caller.send(method, path, content=json.dumps(body).encode(), headers=sent)

    def ticket(self) -> dict[str, str]:
        return {"X-Upload-Ticket": self.librarian.uploads.ticket}

    @rule(text=words, name=words)
    def insert(self, text: str, name: str) -> None:
        response = self.json("POST", "/insert", {"text": text, "name": name})
        assert response.status_code in (202, 409, 422)
        if response.status_code == 202 and response.json()["status"] == "pending":
            self.names.add(response.json()["name"])

    @rule(number=st.integers(0, 3), offset=st.integers(0, 40), data=st.binary(max_size=20))
    def send_piece(self, number: int, offset: int, data: bytes) -> None:
        key = f"{id(self):x}{number:016x}"
        here = self.parts.get(key, 0)
        path = f"/upload/{key}"
        response = self.caller.send(
            "PUT", path, params={"offset": offset}, content=data, headers=self.ticket()
        )
        if offset == here:
            assert response.status_code == 200
            self.parts[key] = here + len(data)
        else:
            assert response.status_code == 409
        assert response.json()["bytes"] == self.parts.get(key, 0)

    @rule(number=st.integers(0, 3), size=st.integers(0, 40), name=words)
    def finish(self, number: int, size: int, name: str) -> None:
        key = f"{id(self):x}{number:016x}"
        here = self.parts.get(key, 0)
        response = self.json(
            "POST", f"/upload/{key}", {"name": f"{name}.txt", "bytes": size}, **self.ticket()
        )
        if size != here:
            assert response.status_code == 409
            return
        assert response.status_code == 200
        (taken,) = response.json()["admissions"]
        if taken["outcome"] == "accepted":
            self.names.add(taken["name"])
        if not taken["upload"]:  # else it waits for a decision
            self.parts.pop(key, None)

    @rule(number=st.integers(0, 9))
    def delete(self, number: int) -> None:
        if self.names:
            name = sorted(self.names)[number % len(self.names)]
            assert self.caller.owner("delete", {"doc": name}).status_code == 200
            self.names.discard(name)

    @rule(question=words)
    def ask(self, question: str) -> None:
        assert self.caller.owner("ask", {"question": question}).status_code in (200, 400, 422)

    @invariant()
    def the_status_lists_what_was_taken(self) -> None:
        if hasattr(self, "names"):
            until(lambda: self.listed() == self.names, f"the status to list {self.names}")


def test_whatever_is_sent_in_whatever_order_the_library_is_as_it_was_told(
    library: Librarian,
) -> None:
    kept = settings(
        max_examples=40, stateful_step_count=15, suppress_health_check=list(HealthCheck)
    )
    machine = type("Visits", (Visits,), {"librarian": library})
    run_state_machine_as_test(machine, settings=kept)
