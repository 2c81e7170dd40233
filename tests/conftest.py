"""What several test modules need: an open library, a stand-in server, and a bounded wait."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from librarian.app import Librarian
from librarian.documents import Status
from librarian.settings import Settings
from librarian.snapshot import DocumentView
from tests.ollama_server import OllamaServer

hypothesis.settings.register_profile(
    "plain",
    deadline=None,  # a busy machine is no bug
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("plain")

# A shell starts what runs in its background with Ctrl+C ignored, and so all that this starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PATIENCE_S = 40.0  # for work of one second; a busy machine may take many times that


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    """A stand-in for Ollama that answers at once, with four slots."""
    with OllamaServer(parallel=4, num_ctx=8192) as running:
        yield running


Opened = Callable[[Settings], Librarian]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens libraries and closes them, whatever the test came to."""
    held: list[Librarian] = []

    def open_(settings: Settings) -> Librarian:
        librarian = Librarian.open(settings)
        held.append(librarian)
        librarian.wait_ready()
        return librarian

    yield open_
    for librarian in reversed(held):
        librarian.close()


@pytest.fixture
def librarian(opened: Opened, tmp_path: Path) -> Librarian:
    """An open and empty library with the offline model."""
    return opened(Settings.from_env({}, home=tmp_path / "library", backend="offline"))


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for something that comes by itself, and fails by name where it does not."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.01)


def view_of(librarian: Librarian, name: str) -> DocumentView | None:
    """A document as the pages see it now."""
    views = librarian.snapshot().documents
    return next((view for view in views if view.document.name == name), None)


def until_status(librarian: Librarian, name: str, status: Status) -> DocumentView:
    """Waits until a document has come to a status."""

    def reached() -> bool:
        view = view_of(librarian, name)
        found = view is not None and view.document.status is status
        if view is not None and not found and view.document.status is Status.FAILED:
            raise AssertionError(f"{name} failed: {view.document.error}")
        return found

    until(reached, f"{name} to be {status}")
    view = view_of(librarian, name)
    assert view is not None
    return view


def until_processed(librarian: Librarian, *names: str) -> None:
    """Waits until documents are in the graph, for good."""
    for name in names:
        until_status(librarian, name, Status.PROCESSED)
