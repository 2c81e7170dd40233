"""New vectors for an old library: as if it had been indexed with the new model, or not at all."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from librarian.app import Librarian
from librarian.errors import EmbeddingMismatch, EngineError, ModelUnavailable
from librarian.library import ATTEMPT, Library
from librarian.models.offline import OfflineModel
from librarian.models.protocol import Vectors
from librarian.reembed import LibraryInUse, Progress, re_embed
from librarian.settings import Settings
from tests.conftest import Opened, until, until_processed
from tests.ollama_server import DEFAULT_MODELS, Fault, OllamaServer, StandInModel
from tests.test_app import ENGINE_EN, MUSIC_RU, SOMERVILLE_EN, long_text
from tests.test_cli import run

OTHER = StandInModel(name="nomic-embed-text", capabilities=("embedding",), dimension=384)
TEXTS = {"engine.txt": ENGINE_EN, "music.txt": MUSIC_RU, "ships.txt": long_text(12)}
Stored = dict[str, dict[str, tuple[dict[str, Any], list[float]]]]


def hear_nothing(_: Progress) -> None:
    pass


def offline(home: Path) -> Settings:
    return Settings.from_env({}, home=home, backend="offline", chunk_tokens=200)


def filled(settings: Settings, model: OfflineModel | None = None) -> None:
    """Makes a library of which a document was deleted again."""
    librarian = Librarian.open(settings, model=model)
    try:
        librarian.wait_ready()
        for name, text in (TEXTS | {"somerville.txt": SOMERVILLE_EN}).items():
            librarian.add_text(name, text)
        until_processed(librarian, *TEXTS, "somerville.txt")
        librarian.delete("somerville.txt")
        # The snapshot may be of the moment before; the catalogue forgets when all is on the disk.
        until(lambda: not librarian._library.catalogue.deletions(), "the deletion")
        until(lambda: "William Herschel" not in str(librarian.graph()), "the graph to forget")
    finally:
        librarian.close()


def storage(home: Path) -> Path:
    manifest = json.loads((home / "library.json").read_text())
    return home / "lightrag_cache" / str(manifest["workspace"])


def stored(home: Path) -> Stored:
    """The rows of each vector file, without what tells when they were written, and the vectors."""
    found: Stored = {}
    for path in sorted(storage(home).glob("vdb_*.json")):
        data = json.loads(path.read_text())
        matrix = np.frombuffer(base64.b64decode(data["matrix"]), dtype=np.float32)
        vectors = matrix.reshape(-1, data["embedding_dim"]).tolist()
        found[path.name] = {
            row["__id__"]: (
                {k: v for k, v in row.items() if k not in ("__created_at__", "__write_seq__")},
                vector,
            )
            for row, vector in zip(data["data"], vectors, strict=True)
        }
    return found


def words(rows: Stored) -> dict[str, dict[str, Any]]:
    """The rows without any vector."""
    return {
        name: {
            key: {k: v for k, v in row.items() if k != "vector"} for key, (row, _) in each.items()
        }
        for name, each in rows.items()
    }


def rest(home: Path) -> dict[str, bytes]:
    """Everything of LightRAG's but the vectors."""
    return {
        path.name: path.read_bytes()
        for path in sorted(storage(home).iterdir())
        if not path.name.startswith(("vdb_", "changes"))
    }


def in_use(home: Path) -> bool:
    """Whether the home has the storage that its manifest names, and no other."""
    return list((home / "lightrag_cache").iterdir()) == [storage(home)]


def test_vectors_are_those_of_a_library_that_was_indexed_with_the_new_model(
    tmp_path: Path, opened: Opened
) -> None:
    filled(offline(tmp_path / "old"))
    filled(offline(tmp_path / "anew"), OfflineModel(dimension=128))
    before, untouched = stored(tmp_path / "old"), rest(tmp_path / "old")
    old = Librarian.open(offline(tmp_path / "old"), model=OfflineModel(dimension=128))
    with pytest.raises(EmbeddingMismatch, match=r"BACKEND=offline.* re-embed --home .*old` makes"):
        old.wait_ready(20)
    old.close()
    heard: list[Progress] = []
    report = re_embed(offline(tmp_path / "old"), heard.append, OfflineModel(dimension=128))
    assert (report.before, report.embed, report.dimension) == ("hashed-512", "hashed-128", 128)
    after = stored(tmp_path / "old")
    assert after == stored(tmp_path / "anew")
    assert words(after) == words(before)
    assert [len(rows) for rows in after.values()] == [
        report.chunks,
        report.entities,
        report.relations,
    ]
    assert min(report.chunks, report.entities, report.relations) > 5
    assert rest(tmp_path / "old") == untouched
    assert in_use(tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "library.json").read_text())
    assert (manifest["embed"], manifest["dimension"]) == ("hashed-128", 128)


def test_a_library_goes_over_to_another_model_of_ollama_without_a_word_from_a_language_model(
    tmp_path: Path, opened: Opened
) -> None:
    with OllamaServer(models=(*DEFAULT_MODELS, OTHER), parallel=4, num_ctx=8192) as server:
        environ = {"OLLAMA_HOST": server.url, "LIBRARIAN_BACKEND": "auto"}
        settings = Settings.from_env(environ, home=tmp_path, chunk_tokens=200)
        filled(settings)
        environ["LIBRARIAN_EMBED_MODEL"] = OTHER.name
        settings = Settings.from_env(environ, home=tmp_path, chunk_tokens=200)
        old = Librarian.open(settings)
        with pytest.raises(EmbeddingMismatch, match="set LIBRARIAN_EMBED_MODEL=bge-m3. Or change"):
            old.wait_ready(20)
        old.close()
        asked = len(server.calls)
        re_embed(settings, hear_nothing)
        endpoints = [call.endpoint for call in server.calls[asked:]]
        assert set(endpoints) == {"/api/embed"}
        librarian = opened(settings)
        stream = librarian.ask("Who designed the Analytical Engine?")
        assert "".join(stream)
        assert "engine.txt" in {source.document for source in stream.answer.sources}
        rows = {row.name: row for row in librarian.verify()}
        assert rows["Documents processed"].passed
        assert rows["Event-loop errors"].passed
        kinds = {call.role for call in server.calls[asked:] if call.endpoint == "/api/chat"}
        assert "extract" not in kinds


def test_the_success_table_stays_green(tmp_path: Path, opened: Opened) -> None:
    settings = Settings.from_env({}, home=tmp_path, backend="offline")
    first = Librarian.open(settings)
    first.wait_ready()
    first.add_text("ships.txt", long_text(200))
    until_processed(first, "ships.txt")
    graph = first.graph()
    first.close()
    re_embed(settings, hear_nothing, OfflineModel(dimension=1024))
    second = Librarian.open(settings, model=OfflineModel(dimension=1024))
    try:
        second.wait_ready()
        assert all(row.passed for row in second.verify())
        assert (second.graph().entities, second.graph().relations) == (
            graph.entities,
            graph.relations,
        )
        stream = second.ask("Who sailed from Port Ember7?")
        assert stream.answer.sources
    finally:
        second.close()


class Breaking(OfflineModel):
    """An embedder that ends in the middle."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__(dimension=128)
        self._do = do
        self._texts = 0

    async def embed(self, texts: object) -> Vectors:
        self._texts += len(texts)  # type: ignore[arg-type]
        if self._texts > 20:
            self._do()
        return await super().embed(texts)  # type: ignore[arg-type]


def test_what_fails_in_the_middle_leaves_the_library_as_it_was(
    tmp_path: Path, opened: Opened
) -> None:
    filled(offline(tmp_path))
    before = (tmp_path / "library.json").read_bytes(), stored(tmp_path)

    def fail() -> None:
        raise RuntimeError("a cosmic ray")

    with pytest.raises(EngineError, match="cosmic ray"):
        re_embed(offline(tmp_path), hear_nothing, Breaking(fail))
    assert ((tmp_path / "library.json").read_bytes(), stored(tmp_path)) == before
    assert in_use(tmp_path)
    assert not (tmp_path / ATTEMPT).exists()
    assert opened(offline(tmp_path)).ask("Who designed the Analytical Engine?").answer.sources


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_process_that_is_stopped_in_the_middle_leaves_the_library_as_it_was(
    tmp_path: Path, opened: Opened, number: signal.Signals, code: int
) -> None:
    home = tmp_path / "library"
    with OllamaServer(models=(*DEFAULT_MODELS, OTHER), parallel=4, num_ctx=8192) as server:
        settings = Settings.from_env({"OLLAMA_HOST": server.url}, home=home, chunk_tokens=200)
        filled(settings)
        before = (home / "library.json").read_bytes(), stored(home)
        server.embed_latency_s = 0.3
        asked = len(server.calls)
        environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("LIBRARIAN_", "LLM_"))},
            "OLLAMA_HOST": server.url,
            "LIBRARIAN_EMBED_MODEL": OTHER.name,
            "LIBRARIAN_EMBED_BATCH": "4",
        }
        command = [sys.executable, "-m", "librarian", "re-embed", "--home", str(home)]
        with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as process:
            server.wait_until(lambda s: len(s.calls) > asked + 4, timeout_s=40)
            server.embed_latency_s = 60.0  # it must not come to its end before it is stopped
            assert (home / ATTEMPT).exists()
            assert len(list((home / "lightrag_cache").iterdir())) == 2
            process.send_signal(number)
            _, said = process.communicate(timeout=20)
            assert process.returncode == code
            assert (b"with its old vectors" in said) == (number == signal.SIGINT)
        assert ((home / "library.json").read_bytes(), stored(home)) == before
        server.embed_latency_s = 0.0
        librarian = opened(settings)
        assert in_use(home)
        assert not (home / ATTEMPT).exists()
        assert librarian.ask("Who designed the Analytical Engine?").answer.sources
        librarian.close()
        report = run(home, "re-embed", "--json", **environ | {"LIBRARIAN_BACKEND": "auto"})
        assert (report.returncode, report.stderr) == (0, "")
        counts = json.loads(report.stdout)
        assert (counts["before"], counts["embed"], counts["dimension"]) == (
            "bge-m3",
            OTHER.name,
            384,
        )
        assert [counts[name] for name in ("chunks", "entities", "relations")] == [
            len(rows) for rows in stored(home).values()
        ]


def test_a_process_killed_after_the_switch_leaves_the_new_library(tmp_path: Path) -> None:
    library = Library.open(tmp_path)
    library.pin(OfflineModel().card, chunk_tokens=200, versions={})
    new, old = library.manifest.workspace, "library_old"
    for name in (new, old, "library_of_a_backup"):
        (library.cache / name).mkdir()
    library.close()
    (tmp_path / ATTEMPT).write_text(json.dumps({"workspaces": [old, new]}))
    Library.open(tmp_path).close()
    left = {path.name for path in (tmp_path / "lightrag_cache").iterdir()}
    assert left == {new, "library_of_a_backup"}


def test_a_home_that_is_in_use_is_refused_with_what_to_do(tmp_path: Path) -> None:
    home = tmp_path / "library"
    holder = Library.open(home, address="http://127.0.0.1:8003")
    try:
        with pytest.raises(LibraryInUse, match=r"http://127\.0\.0\.1:8003.*Close its dashboard"):
            re_embed(offline(home), hear_nothing)
        refused = run(home, "re-embed")
        assert refused.returncode == 1
        assert "run `re-embed` again" in refused.stderr
        assert str(os.getpid()) in refused.stderr
    finally:
        holder.close()


def test_an_ollama_that_is_away_does_not_make_a_library_an_offline_one(tmp_path: Path) -> None:
    with OllamaServer(parallel=4, num_ctx=8192) as server:
        settings = Settings.from_env({"OLLAMA_HOST": server.url}, home=tmp_path, chunk_tokens=200)
        filled(settings)
    before = stored(tmp_path)
    with pytest.raises(ModelUnavailable):
        re_embed(settings, hear_nothing)
    assert stored(tmp_path) == before


def test_a_library_that_was_begun_offline_may_go_over_to_ollama(
    tmp_path: Path, server: OllamaServer, opened: Opened
) -> None:
    filled(offline(tmp_path))
    settings = Settings.from_env({"OLLAMA_HOST": server.url}, home=tmp_path, backend="ollama")
    old = Librarian.open(settings)
    with pytest.raises(EmbeddingMismatch, match="re-embed"):
        old.wait_ready(20)
    old.close()
    assert re_embed(settings, hear_nothing).embed == "bge-m3"
    librarian = opened(settings)
    assert librarian.ask("Who designed the Analytical Engine?").answer.sources


def test_an_ollama_that_goes_away_in_the_middle_is_waited_for(
    tmp_path: Path, server: OllamaServer
) -> None:
    settings = Settings.from_env(
        {"OLLAMA_HOST": server.url, "LIBRARIAN_EMBED_BATCH": "8"}, home=tmp_path, chunk_tokens=200
    )
    filled(settings)
    before = words(stored(tmp_path))
    heard: list[Progress] = []

    def hear(progress: Progress) -> None:
        heard.append(progress)
        if len(heard) == 1:
            server.inject(Fault.REFUSE, None, after=3)
        if progress.waiting:
            server.heal()

    re_embed(settings, hear)
    assert any("ollama serve" in progress.waiting for progress in heard)
    assert words(stored(tmp_path)) == before


def test_an_empty_library_takes_the_new_model_and_says_so(tmp_path: Path) -> None:
    done = run(tmp_path / "library", "re-embed")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 chunks, 0 entities and 0 relations have vectors of hashed-512 now" in done.stdout


def test_progress_is_heard(tmp_path: Path) -> None:
    filled(offline(tmp_path))
    heard: list[Progress] = []
    re_embed(offline(tmp_path), heard.append, Breaking(lambda: time.sleep(0.6)))
    assert heard[0] == Progress()
    assert {each.total for each in heard[1:]} - {0} == {sum(map(len, stored(tmp_path).values()))}
    done = [each.done for each in heard]
    assert done == sorted(done)
