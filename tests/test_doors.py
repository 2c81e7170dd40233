"""The entrance before everything, and the doors of the routes, over a real library."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import warnings
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from librarian.app import Librarian
from librarian.entrance import (
    FORM_BYTES,
    LOGIN,
    LOGOUT,
    PAGES_POLICY,
    TRIES,
    TRIES_OF_ALL,
    TRY_OF_ALL_S,
    TRY_S,
    Entrance,
)
from librarian.secret import HEADER
from librarian.settings import Settings, SettingsError, check_door
from librarian.shell import WHERE, shell
from librarian.web import BURST, PER_S, routes
from tests.conftest import Opened
from tests.test_limits import Clock

with warnings.catch_warnings():  # Starlette would rather have httpx2
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

TOKEN = "sesame, открой"
PAGE = {"Accept": "text/html,application/xhtml+xml"}
BEHIND = ("/", "/document", "/media/a.png", "/_stcore/upload_file/a/b", "/static/js/index.js")
OURS = ("/api/status", "/health", "/graph-view", "/upload/0123456789abcdef")


async def page(_: object) -> PlainTextResponse:
    return PlainTextResponse("the library")


async def stream(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("the library")
    await socket.close()


def server(librarian: Librarian, token: str, clock: Clock) -> Starlette:
    """As `streamlit_app.py` puts it together, with a page in the place of Streamlit's."""
    return Starlette(
        routes=[
            *routes(lambda: librarian, clock=clock),
            WebSocketRoute("/_stcore/stream", stream),
            Route("/{rest:path}", page, methods=["GET", "PUT", "POST", "DELETE"]),
        ],
        middleware=[Middleware(Entrance, token=lambda: token, clock=clock)],
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def closed(opened: Opened, tmp_path: Path, clock: Clock) -> TestClient:
    """A browser before a library with a token."""
    settings = Settings.from_env(
        {}, home=tmp_path / "library", backend="offline", api_token=TOKEN, host="0.0.0.0"
    )
    app = server(opened(settings), TOKEN, clock)
    return TestClient(app, base_url="http://library.example", follow_redirects=False)


@pytest.fixture
def open_door(librarian: Librarian, clock: Clock) -> TestClient:
    """One without a token, on this machine."""
    return TestClient(server(librarian, "", clock), base_url="http://127.0.0.1")


def log_in(client: TestClient, token: str = TOKEN, address: str = "/") -> int:
    return client.post(LOGIN, data={"token": token, "next": address}).status_code


# --- the login -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*BEHIND, *OURS])
def test_nothing_is_shown_before_the_login(closed: TestClient, path: str) -> None:
    for method in ("GET", "PUT", "POST", "DELETE"):
        response = closed.request(method, path)
        assert response.status_code == 401
        assert "LIBRARIAN_API_TOKEN" in response.json()["error"]
    sent = closed.get(path, headers=PAGE)
    assert (sent.status_code, sent.headers["location"]) == (303, f"/login?next={path}")


def test_no_socket_is_opened_before_the_login(closed: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), closed.websocket_connect("/_stcore/stream"):
        pytest.fail("it was let in")
    assert log_in(closed) == 303
    with closed.websocket_connect("ws://library.example/_stcore/stream") as socket:
        assert socket.receive_text() == "the library"


def test_after_the_login_pages_and_routes_are_open_to_this_browser_only(
    closed: TestClient,
) -> None:
    assert log_in(closed) == 303
    assert closed.get("/").text == "the library"
    for path in ("/api/status", "/health", "/graph-view"):
        assert closed.get(path).status_code == 200
    other = TestClient(closed.app, base_url="http://library.example")
    assert other.get("/").status_code == 401


def test_the_cookie_is_for_this_browser_session_and_no_script(closed: TestClient) -> None:
    response = closed.post(LOGIN, data={"token": f" {TOKEN} "})
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age" not in cookie
    assert "expires" not in cookie.lower()
    assert TOKEN not in cookie
    assert "Secure" not in cookie
    safe = TestClient(closed.app, base_url="https://library.example", follow_redirects=False)
    assert "Secure" in safe.post(LOGIN, data={"token": TOKEN}).headers["set-cookie"]


@pytest.mark.parametrize("wrong", ["", "guess", TOKEN[:-1], TOKEN + "!", TOKEN.upper()])
def test_a_wrong_token_opens_nothing(closed: TestClient, wrong: str) -> None:
    response = closed.post(LOGIN, data={"token": wrong})
    assert response.status_code == 401
    assert "That is not the token." in response.text
    assert "set-cookie" not in response.headers
    assert closed.get("/").status_code == 401


def test_wrong_tokens_are_tried_slowly_and_the_right_one_is_not_heard_either(
    closed: TestClient, clock: Clock
) -> None:
    assert [log_in(closed, "guess") for _ in range(TRIES)] == [401] * TRIES
    late = closed.post(LOGIN, data={"token": TOKEN})
    assert late.status_code == 429
    assert late.headers["retry-after"] == f"{TRY_S:.0f}"
    assert f"Try again in {TRY_S:.0f} s." in late.text
    bearer = {"Authorization": f"Bearer {TOKEN}".encode()}
    assert closed.get("/api/status", headers=bearer).status_code == 429
    clock.now += TRY_S
    assert log_in(closed) == 303


def test_wrong_tokens_of_scripts_are_counted_as_well(closed: TestClient) -> None:
    wrong = {"Authorization": "Bearer guess"}
    codes = [closed.get("/api/status", headers=wrong).status_code for _ in range(TRIES + 1)]
    assert codes == [401] * TRIES + [429]


def test_wrong_tokens_of_many_addresses_are_slow_together(closed: TestClient, clock: Clock) -> None:
    def at(number: int) -> TestClient:
        where = (f"192.0.2.{number}", 1)
        return TestClient(closed.app, base_url="http://library.example", client=where)

    codes = [log_in(at(number), "guess") for number in range(TRIES_OF_ALL + 1)]
    assert codes == [401] * TRIES_OF_ALL + [429]
    clock.now += TRY_OF_ALL_S
    assert closed.post(LOGIN, data={"token": TOKEN}).status_code == 303


def test_who_logs_out_has_to_log_in_again(closed: TestClient) -> None:
    log_in(closed)
    other = TestClient(closed.app, base_url="http://library.example", follow_redirects=False)
    log_in(other)
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}
    assert closed.get(LOGOUT, headers=embedded).status_code == 403
    assert closed.get("/").status_code == 200
    assert closed.get(LOGOUT).headers["location"] == LOGIN
    assert closed.get("/").status_code == 401
    assert other.get("/").status_code == 200


def test_a_script_needs_no_cookie(closed: TestClient) -> None:
    right = {"Authorization": f"Bearer {TOKEN}".encode()}
    for _ in range(2 * TRIES):
        assert closed.get("/api/status", headers=right).status_code == 200
    posted = closed.post("/insert", json={"text": "Ada met Charles."}, headers=right)
    assert posted.status_code == 202


@pytest.mark.parametrize(
    ("address", "goes"),
    [
        ("/graph?name=A&name=B", "/graph?name=A&name=B"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ('"><script>alert(1)</script>', "/"),
        ("", "/"),
    ],
)
def test_the_login_leads_back_to_this_server_only(
    closed: TestClient, address: str, goes: str
) -> None:
    asked = closed.get(f"{LOGIN}?next={quote(address)}")
    (shown,) = re.findall(r'name="next" value="([^"]*)"', asked.text)
    assert html.unescape(shown) == goes
    response = closed.post(LOGIN, data={"token": TOKEN, "next": address})
    assert response.headers["location"] == goes


def test_a_page_asked_for_with_parameters_is_gone_on_to(closed: TestClient) -> None:
    sent = closed.get("/graph?name=%D0%90&name=B%26C", headers=PAGE).headers["location"]
    asked = closed.get(sent)
    (shown,) = re.findall(r'name="next" value="([^"]*)"', asked.text)
    assert html.unescape(shown) == "/graph?name=%D0%90&name=B%26C"


def test_a_form_of_another_site_does_not_log_in(closed: TestClient) -> None:
    foreign = {"Origin": "https://evil.example"}
    response = closed.post(LOGIN, data={"token": TOKEN}, headers=foreign)
    assert response.status_code == 403


def test_a_form_has_a_size(closed: TestClient) -> None:
    response = closed.post(LOGIN, data={"token": "a" * FORM_BYTES})
    assert response.status_code == 413


@pytest.mark.parametrize("name", ["library.example", "192.0.2.7:8003", "[::1", "", "a b"])
def test_behind_a_token_the_server_may_have_any_name(closed: TestClient, name: str) -> None:
    assert closed.get("/", headers={"Host": name}).status_code == 401
    assert closed.get(LOGIN, headers={"Host": name}).status_code == 200


# --- who may ask -----------------------------------------------------------------------------


def test_a_foreign_name_for_this_machine_opens_no_page_and_no_socket(
    open_door: TestClient,
) -> None:
    assert open_door.get("/").text == "the library"
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    for path in (*BEHIND, *OURS, LOGIN):
        response = open_door.get(path, headers=rebound)
        assert response.status_code == 403
        assert "evil.example" in response.json()["error"]
    with pytest.raises(WebSocketDisconnect):
        with open_door.websocket_connect("ws://127.0.0.1/_stcore/stream", headers=rebound):
            pytest.fail("it was let in")


def test_without_a_token_it_answers_on_its_own_machine_only(librarian: Librarian) -> None:
    """However it was started: by uvicorn itself, for one, which knows no settings of ours."""
    app = server(librarian, "", Clock())
    for name in ("192.0.2.7", "library.example"):
        client = TestClient(app, base_url=f"http://{name}")
        for path in (*BEHIND, *OURS):
            response = client.get(path)
            assert response.status_code == 403
            assert "Set LIBRARIAN_API_TOKEN" in response.json()["error"]
        with pytest.raises(WebSocketDisconnect):
            with client.websocket_connect(f"ws://{name}/_stcore/stream"):
                pytest.fail("it was let in")


def test_a_page_of_another_site_opens_no_socket(open_door: TestClient) -> None:
    for origin in ("https://evil.example", "http://127.0.0.1:3000", "null", "http://["):
        with pytest.raises(WebSocketDisconnect):
            with open_door.websocket_connect(
                "ws://127.0.0.1/_stcore/stream", headers={"Origin": origin}
            ):
                pytest.fail(f"{origin} was let in")
    own = {"Origin": "http://127.0.0.1"}
    with open_door.websocket_connect("ws://127.0.0.1/_stcore/stream", headers=own) as socket:
        assert socket.receive_text() == "the library"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_site_embeds_is_refused_but_a_link_there_works(
    open_door: TestClient, site: str
) -> None:
    for kind, mode in (("image", "no-cors"), ("script", "no-cors"), ("iframe", "navigate")):
        sent = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": kind}
        for path in ("/graph-view", "/", "/media/a.png"):
            assert open_door.get(path, headers=sent).status_code == 403
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert open_door.get("/graph-view", headers=link).status_code == 200
    assert open_door.post("/insert", json={"text": "a"}, headers=link).status_code == 403


# --- headers ---------------------------------------------------------------------------------


def test_every_answer_tells_browsers_what_to_keep_to(open_door: TestClient) -> None:
    for path in (*BEHIND, *OURS, "/nothing/here"):
        headers = open_door.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'self'" in policy
        assert "http:" not in policy
        assert "https:" not in policy
        assert "*" not in policy


def test_of_scripts_within_a_page_those_of_streamlit_and_the_shell_are_let_run() -> None:
    page = shell((resources.files("streamlit") / "static" / "index.html").read_text("utf-8"))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert scripts[0] == WHERE
    assert len(scripts) == 2
    (allowed,) = re.findall(r"script-src ([^;]*)", PAGES_POLICY)
    for script in scripts:
        own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{own}'" in allowed
    assert "'unsafe-inline'" not in allowed


def test_the_graph_keeps_its_own_stricter_policy(open_door: TestClient) -> None:
    policy = open_door.get("/graph-view").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox allow-scripts allow-downloads" in policy
    assert "allow-same-origin" not in policy


# --- how often -------------------------------------------------------------------------------


def test_who_asks_too_often_is_told_when_to_come_again(open_door: TestClient, clock: Clock) -> None:
    codes = [open_door.get("/api/status").status_code for _ in range(BURST)]
    assert set(codes) == {200}
    late = open_door.get("/api/status")
    assert late.status_code == 429
    assert late.headers["retry-after"] == "1"
    assert "Try again in 1 s." in late.json()["error"]
    assert open_door.get("/").status_code == 200  # pages go on
    clock.now += 1.0
    assert [open_door.get("/api/status").status_code for _ in range(int(PER_S))] == [200] * 100


def test_commands_of_the_owner_are_as_many_as_there_are_files(
    open_door: TestClient, librarian: Librarian
) -> None:
    owner = {HEADER: librarian.owner_secret}
    codes = [
        open_door.post("/api/do/journal", json={}, headers=owner).status_code
        for _ in range(BURST + 50)
    ]
    assert set(codes) == {200}


def test_a_method_that_is_not_done_is_told_those_that_are(open_door: TestClient) -> None:
    for method, path, allowed in (
        ("DELETE", "/insert", "POST"),
        ("BREW", "/api/status", "GET, HEAD"),
        ("GET", "/api/do/delete", "POST"),
        ("OPTIONS", "/upload/0123456789abcdef", "GET, HEAD, POST, PUT"),
    ):
        response = open_door.request(method, path)
        assert response.status_code == 405
        assert response.headers["allow"] == allowed
        assert "README.md" in response.json()["error"]
    assert open_door.head("/api/status").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "library.example"])
def test_nobody_serves_to_the_network_without_a_token(host: str) -> None:
    with pytest.raises(SettingsError, match="LIBRARIAN_API_TOKEN"):
        check_door(Settings(host=host))
    check_door(Settings(host=host, api_token=TOKEN))
    check_door(Settings(host="127.0.0.1"))
