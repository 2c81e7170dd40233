"""Files that are broken or mean harm: each costs itself only, and is refused in a sentence."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.documents import MAX_BYTES, Admission, Outcome
from librarian.settings import Settings
from librarian.workers import Converter, Limits
from tests.formats import hostile, writers

ADDRESS = "http://127.0.0.1:9/x"  # for the names of tests; the real one is known when they run


class Listener(http.server.BaseHTTPRequestHandler):
    """Notes that somebody came."""

    visits: list[str]

    def do_GET(self) -> None:
        self.visits.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def visits() -> Iterator[tuple[str, list[str]]]:
    """An address that no file may make anybody ask, and who did."""
    seen: list[str] = []
    handler = type("Handler", (Listener,), {"visits": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/x", seen
        server.shutdown()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Librarian]:
    home = tmp_path_factory.mktemp("hostile") / "library"
    librarian = Librarian.open(Settings.from_env({}, home=home, backend="offline"))
    librarian.wait_ready()
    yield librarian
    librarian.close()


def is_one_sentence_and_advice(admission: Admission) -> bool:
    """What happened and what to do next, on one line that a person would read."""
    message = admission.message
    return 10 < len(message) < 400 and "\n" not in message and message.endswith(".")


def answers(librarian: Librarian) -> bool:
    """Whether the app takes in and shows another text."""
    added = librarian.add_text("sound.md", "The keeper wrote of the weather every evening.")
    return added.outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE) and librarian.snapshot().ready


REFUSED = {name: words for name, _, words in hostile.refused(ADDRESS)}
SURVIVED = [name for name, _ in hostile.survived(ADDRESS)]


def test_there_are_twenty_five_of_them() -> None:
    assert len([name for name in REFUSED if not name.startswith("empty")]) >= 25


@pytest.fixture(scope="module")
def files(visits: tuple[str, list[str]]) -> dict[str, bytes]:
    address, _ = visits
    made = {name: data for name, data, _ in hostile.refused(address)}
    return made | dict(hostile.survived(address))


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_file_ends_in_one_sentence(
    app: Librarian, files: dict[str, bytes], name: str
) -> None:
    admission = app.add_file(name, files[name])
    assert admission.outcome is Outcome.REFUSED
    assert REFUSED[name] in admission.message
    assert is_one_sentence_and_advice(admission)
    assert answers(app)


@pytest.mark.parametrize("name", SURVIVED)
def test_an_odd_file_is_read_or_refused_and_brings_nothing_in(
    app: Librarian, files: dict[str, bytes], visits: tuple[str, list[str]], name: str
) -> None:
    admission = app.add_file(name, files[name])
    if admission.outcome is Outcome.REFUSED:
        assert is_one_sentence_and_advice(admission)
    else:
        assert admission.outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE)
        assert admission.doc_id is not None
        kept = list((app.settings.home / "files").glob("*.text.md"))
        text = "\n".join(path.read_text(encoding="utf-8") for path in kept)
        assert "root:" not in text  # of /etc/passwd
        assert "haha" not in text
        assert "<script" not in text
    assert visits[1] == []
    assert answers(app)


def test_a_gigabyte_of_zeros_is_refused_without_being_read(app: Librarian, tmp_path: Path) -> None:
    for name in ("zeros.txt", "zeros.pdf"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 30)
    (tmp_path / "after.txt").write_text("The one that comes with them is taken.", encoding="utf-8")
    found = {admission.name: admission for admission in app.add_path(tmp_path)}
    assert found["after.txt"].outcome is Outcome.ACCEPTED
    for name in ("zeros.txt", "zeros.pdf"):
        assert found[name].outcome is Outcome.REFUSED
        assert f"at most {MAX_BYTES:,} are read" in found[name].message


def test_a_hundred_thousand_paragraphs_are_read(app: Librarian) -> None:
    body = "".join(hostile.paragraph(f"Entry {n}: the wind was {n % 12}.") for n in range(100_000))
    converter = Converter(Limits())
    try:
        text = converter.convert("long.docx", hostile.word(body)).text
    finally:
        converter.close()
    assert text.count("\n\n") == 99_999
    assert text.endswith("Entry 99999: the wind was 3.")


def test_scripts_of_a_page_are_not_its_text(app: Librarian) -> None:
    admission = app.add_file("scripts.html", writers.web_page("utf-8").encode())
    assert admission.outcome is Outcome.ACCEPTED
    (kept,) = (app.settings.home / "files").glob("scripts.*.text.md")
    text = kept.read_text(encoding="utf-8")
    assert writers.ENGLISH in text
    assert "one()" not in text and "onload" not in text


def test_names_with_paths_stay_in_the_library(app: Librarian, tmp_path: Path) -> None:
    data = b"{\\rtf1 A name that would climb out of its folder.}"
    admission = app.add_file("../../../outside/../../evil.rtf", data)
    assert admission.outcome is Outcome.ACCEPTED
    home = app.settings.home
    found = [path.parent for path in tmp_path.parent.rglob("*evil*")]
    assert set(found) == {home / "files"}
    assert not list(Path(__file__).parent.parent.parent.glob("*evil*"))
