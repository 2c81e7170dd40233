"""A library as commands see it: open in their own process, or in the dashboard that has it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from librarian.errors import LibrarianError, NotReady
from librarian.library import Owner, owner_of
from librarian.secret import HEADER, read_secret
from librarian.settings import Settings

if TYPE_CHECKING:
    from librarian.app import Librarian

Json = dict[str, Any]
Heard = Callable[[str], None]

PATIENCE_S = 10.0  # Ollama may just be starting
LOOK_S = 1.0  # for what only tells how it stands; a dead server is told at once
OPENING_S = 120.0  # LightRAG reads all of its files
FRESH_S = 5.0
CONNECT_S = 5.0
POLL_S = 0.5
OPENING = "x-library-opening"  # of the library that is meant; the dashboard may have switched
ENDED = ("processed", "failed", "paused", "deleted")
GLANCE_S = 20.0  # a status is one attribute; a doctor's probes have 2 s each


class DashboardSilent(LibrarianError):
    """Look at its terminal; stop that process if it hangs, and try again."""


class DashboardError(LibrarianError):
    # No docstring: what the dashboard says ends with its advice already.
    pass


class Desk(Protocol):
    """Where a command is served. `verb` is one of `librarian.web.VERBS`."""

    def status(self) -> Json:
        """The status report of this moment."""
        ...

    def doctor(self) -> Json:
        """The doctor's report."""
        ...

    def ask(self, question: str, mode: str, heard: Heard) -> Json:
        """An answer; `heard` gets the text, in pieces where they can be had."""
        ...

    def do(self, verb: str, **body: object) -> Json:
        """Runs a verb.

        Raises:
            LibrarianError: it could not be done; the reason.
        """
        ...


@contextmanager
def open_desk(settings: Settings) -> Iterator[Desk]:
    """The desk of a home: of the dashboard that has it, else of this process, closed at the end.

    Raises:
        LibraryBusy: another command has the home.
    """
    owner = owner_of(settings.home)
    if owner is not None and owner.address:
        secret = read_secret(settings.home)
        with Remote(owner, settings.api_token, secret=secret) as remote:
            yield remote
        return
    from librarian.app import Librarian  # brings LightRAG, which takes a second to import

    librarian = Librarian.open(settings)
    try:
        yield Local(librarian)
    finally:
        librarian.close()


def watch(
    desk: Desk, ids: Sequence[str], timeout_s: float = math.inf
) -> Iterator[tuple[Json, list[Json]]]:
    """Status reports, with the documents of these ids, until all of them have ended.

    Raises:
        DashboardError: LightRAG is not open, so nothing would move.
    """
    last: dict[str, Json] = {
        doc_id: {"id": doc_id, "name": doc_id, "status": "pending"} for doc_id in ids
    }
    begun = time.monotonic()
    until = begun + timeout_s
    while True:
        report = desk.status()
        found = {document["id"]: document for document in report["documents"]}
        # A report from before, of a loop that stands still, does not have them yet.
        old = report["loop"]["heartbeat_age_s"] >= time.monotonic() - begun
        gone: Json = {} if old else {"status": "deleted"}
        last = {id_: found.get(id_, {**known, **gone}) for id_, known in last.items()}
        yield report, list(last.values())
        ended = all(document["status"] in ENDED for document in last.values())
        if ended or time.monotonic() > until:
            return
        if report["trouble"] and not report["ready"]:
            raise DashboardError(report["trouble"])
        time.sleep(POLL_S)


class Local:
    """Serves from a Librarian of this process."""

    def __init__(self, librarian: Librarian) -> None:
        self._librarian = librarian

    def status(self) -> Json:
        """The status report of this moment, also where the model or LightRAG cannot be opened."""
        from librarian.snapshot import as_json

        with suppress(LibrarianError):  # the report has it, as its `trouble`
            self._wait(LOOK_S)
        return _fresh(lambda: as_json(self._librarian.snapshot(), time.monotonic()))

    def doctor(self) -> Json:
        """The doctor's report."""
        from librarian.web import checks_json

        with suppress(LibrarianError):  # the report says why it does not open
            self._librarian.wait_ready(LOOK_S)
        return checks_json(self._librarian.doctor())

    def ask(self, question: str, mode: str, heard: Heard) -> Json:
        """An answer, heard as it is made."""
        from dataclasses import asdict

        self._wait()
        stream = self._librarian.ask(question, mode)
        try:
            for piece in stream:
                heard(piece)
            return asdict(stream.answer)
        finally:
            stream.stop()

    def do(self, verb: str, **body: object) -> Json:
        """Runs a verb as the dashboard would."""
        from librarian.web import VERBS

        self._wait()
        self.status()  # what a verb reads of the snapshot is of this moment
        report: Json = VERBS[verb](self._librarian, body)
        return report

    def _wait(self, patience_s: float = PATIENCE_S) -> None:
        """A large library takes its time; what keeps it from opening is said soon."""
        until = time.monotonic() + OPENING_S
        while True:
            try:
                return self._librarian.wait_ready(patience_s)
            except NotReady:
                if time.monotonic() > until:
                    raise


class Remote:
    """Serves through the dashboard that has the home."""

    def __init__(
        self,
        owner: Owner,
        token: str = "",
        transport: httpx.BaseTransport | None = None,
        *,
        secret: str = "",
    ) -> None:
        self._owner = owner
        headers = {OPENING.encode(): owner.opening.encode()}
        headers |= {b"Authorization": f"Bearer {token}".encode()} if token else {}
        headers |= {HEADER.encode(): secret.encode()} if secret else {}
        self._client = httpx.Client(
            base_url=owner.address,
            headers=headers,
            timeout=httpx.Timeout(None, connect=CONNECT_S),  # an answer may take minutes
            trust_env=False,  # a proxy has no way to this machine's loopback
            transport=transport or httpx.HTTPTransport(retries=3, trust_env=False),
        )

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def status(self) -> Json:
        """The status report of this moment."""
        return _fresh(lambda: self._send("GET", "/api/status", timeout_s=GLANCE_S))

    def doctor(self) -> Json:
        """The doctor's report."""
        return self._send("GET", "/health", timeout_s=GLANCE_S)

    def ask(self, question: str, mode: str, heard: Heard) -> Json:
        """An answer, heard when it is whole."""
        answer = self.do("ask", question=question, mode=mode)
        heard(str(answer["text"]))
        return answer

    def do(self, verb: str, **body: object) -> Json:
        """Runs a verb in the dashboard."""
        return self._send("POST", f"/api/do/{verb}", body)

    def _send(
        self, method: str, path: str, body: Json | None = None, timeout_s: float | None = None
    ) -> Json:
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)
        # Escaped JSON also carries file names that are not Unicode.
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            response = self._client.request(
                method, path, content=content, headers=headers, timeout=timeout
            )
            report = response.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise DashboardSilent(
                f"The dashboard at {self._owner.address} (process {self._owner.pid}) has this "
                f"library, but gave no answer ({exc or type(exc).__name__})."
            ) from exc
        if not isinstance(report, dict):
            raise DashboardSilent(f"At {self._owner.address} answers something else.")
        if response.is_error and "error" in report:  # an unwell doctor's report is a report
            raise DashboardError(str(report["error"]))
        return report


def _fresh(read: Callable[[], Json]) -> Json:
    """A report made after this call; an older one only from a loop that stands still."""
    asked = time.monotonic()
    while True:
        report = read()
        waited = time.monotonic() - asked
        if report["loop"]["heartbeat_age_s"] < waited or waited > FRESH_S:
            return report
        time.sleep(0.05)
