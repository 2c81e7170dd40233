"""A library goes from files into PostgreSQL and back: the same rows, no model, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from librarian.app import Librarian
from librarian.errors import WrongStorage
from librarian.migration import ATTEMPT, KEPT, MigrationBusy, TargetNotEmpty, migrate
from librarian.settings import Settings
from tests.conftest import Opened, until, until_processed
from tests.postgres_server import GIVEN, PostgresServer
from tests.test_app import ENGINE_EN, MUSIC_RU, long_text
from tests.test_postgres import answered, settings_of, told
from tests.test_reembed import Stored, stored, words

TEXTS = {"engine.txt": ENGINE_EN, "music.txt": MUSIC_RU, "ships.txt": long_text(12)}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if GIVEN:
        yield GIVEN
        return
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library in files; tests take copies of it."""
    home = tmp_path_factory.mktemp("made") / "home"
    librarian = Librarian.open(settings_of(home))
    try:
        librarian.wait_ready()
        for name, text in TEXTS.items():
            librarian.add_text(name, text)
        until_processed(librarian, *TEXTS)
        librarian.graph()
    finally:
        librarian.close()
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy, under a name of its own, so that tests do not meet in the database."""
    copy = tmp_path / "home"
    shutil.copytree(made, copy)
    manifest = json.loads((copy / "library.json").read_text())
    name = f"library_{os.urandom(6).hex()}"
    (copy / "lightrag_cache" / manifest["workspace"]).rename(copy / "lightrag_cache" / name)
    (copy / "library.json").write_text(json.dumps(manifest | {"workspace": name}))
    yield copy


def hear_nothing(_: object) -> None:
    pass


def graph_of(settings: Settings) -> object:
    librarian = Librarian.open(settings)
    try:
        librarian.wait_ready()
        return told(librarian.graph())
    finally:
        librarian.close()


def far(one: Stored, other: Stored) -> float:
    """How far the vectors of two libraries are apart."""
    return max(
        float(np.max(np.abs(np.array(vector) - np.array(other[name][key][1]))))
        for name, rows in one.items()
        for key, (_, vector) in rows.items()
    )


def test_there_and_back_it_is_the_same(home: Path, url: str, opened: Opened) -> None:
    settings, before, graph = settings_of(home, url), stored(home), graph_of(settings_of(home))
    there = migrate(settings, "postgres", hear_nothing)
    assert there.rows > 100
    assert there.apart == 0.0
    assert not list((home / "lightrag_cache").iterdir())
    assert there.kept.startswith(str(home / KEPT))
    assert graph_of(settings) == graph
    librarian = opened(settings)
    assert "Babbage" in answered(librarian, "Who designed the Analytical Engine?")
    librarian.close()
    back = migrate(settings, "files", hear_nothing)
    named = {part.name: part.sha256 for part in there.parts if part.name != "llm_response_cache"}
    assert named.items() <= {part.name: part.sha256 for part in back.parts}.items()
    assert words(stored(home)) == words(before)
    assert far(stored(home), before) <= 1e-6
    assert graph_of(settings_of(home)) == graph
    assert not (home / ATTEMPT).exists()
    again = migrate(settings, "postgres", hear_nothing)  # nothing was left of the first time
    assert again.rows == back.rows


def test_a_library_that_is_there_already_is_not_moved(home: Path, url: str) -> None:
    assert not migrate(settings_of(home, url), "files", hear_nothing).parts


def test_a_target_that_is_not_empty_is_refused_and_told(home: Path, url: str) -> None:
    settings, manifest = settings_of(home, url), (home / "library.json").read_bytes()
    twin = home.parent / "twin"
    shutil.copytree(home, twin)
    migrate(settings_of(twin, url), "postgres", hear_nothing)
    with pytest.raises(TargetNotEmpty, match="another copy of this folder") as refused:
        migrate(settings, "postgres", hear_nothing)
    assert url.split("@")[0].rpartition(":")[2] not in str(refused.value)
    assert (home / "library.json").read_bytes() == manifest
    assert graph_of(settings_of(home)) == graph_of(settings_of(twin, url))
    shutil.copytree(home / "lightrag_cache", twin / "lightrag_cache", dirs_exist_ok=True)
    with pytest.raises(TargetNotEmpty, match="Move that folder away"):
        migrate(settings_of(twin, url), "files", hear_nothing)


def test_a_home_that_is_in_use_is_refused(home: Path, url: str) -> None:
    librarian = Librarian.open(settings_of(home))
    try:
        with pytest.raises(MigrationBusy, match="Close its dashboard"):
            migrate(settings_of(home, url), "postgres", hear_nothing)
    finally:
        librarian.close()


@pytest.mark.parametrize("to", ["postgres", "files"])
def test_a_process_that_is_killed_in_the_middle_is_gone_on_with(
    home: Path, url: str, to: str
) -> None:
    settings = settings_of(home, url)
    if to == "files":
        migrate(settings, "postgres", hear_nothing)
    graph = graph_of(settings)
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from librarian import copying, migration\n"
        "from tests.test_postgres import settings_of\n"
        "seen = 0\n"
        "def hear(self, rows):\n"
        "    global seen\n"
        "    seen += rows\n"
        "    if seen > 60: os.kill(os.getpid(), signal.SIGKILL)\n"
        "class Killed(migration.Migration):\n"
        "    _hear = hear\n"
        "migration.Migration = Killed\n"
        "migration.migrate(settings_of(Path(sys.argv[1]), sys.argv[2]), sys.argv[3], print)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(home), url, to], capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert (home / ATTEMPT).exists()
    assert graph_of(settings) == graph  # where it was, and whole
    librarian = Librarian.open(settings)
    try:  # it may be worked with meanwhile
        librarian.wait_ready()
        librarian.delete("music.txt")
        until(lambda: not librarian._library.catalogue.deletions(), "the deletion")
        librarian.add_text("somerville.txt", "Mary Somerville met John Herschel in Edinburgh.")
        until_processed(librarian, "somerville.txt")
        graph = told(librarian.graph())
    finally:
        librarian.close()
    report = migrate(settings, to, hear_nothing)
    assert report.rows > 60
    assert graph_of(settings if to == "postgres" else settings_of(home)) == graph
    if to == "postgres":
        with pytest.raises(WrongStorage):
            graph_of(settings_of(home))
