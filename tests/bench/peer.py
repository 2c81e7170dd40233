"""Ours and LightRAG's own server over the same texts and the same stand-in, in one run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import httpx
import psutil

from tests.bench import texts
from tests.bench.processes import (
    ENDED,
    LATENCY_S,
    ROOT,
    SLOTS,
    App,
    Broken,
    Process,
    StandIn,
    app,
    free_port,
    own_folder,
    reads_with,
    running,
    stand_in,
    tail,
    until,
)
from tests.bench.report import Row
from tests.bench.shares import Shares, shares

PEER = ROOT / ".bench" / "peer"  # an environment of its own, made at the first run
PACKAGES = ("lightrag-hku[api]==1.5.7", "ollama==0.6.3")
INSTALL_S = 1800.0
READ_S = 900.0
LOOK_S = 0.1
CHUNKS = 500  # of a document that targets speak of
WORDS = {
    "before": "before the first call",
    "model": "the model's own time",
    "server": "in the server beyond that",
    "idle": "idle slots while others had a call",
    "embedding": "only embedding",
    "merge": "nothing asked: merge, storage, waiting",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run over some texts."""

    parts: Shares
    cpu_s: float  #: of the process, without the model
    calls: int
    embeds: int


Read = Callable[[Sequence[Path]], None]  #: hands texts over and waits until they are in the graph


def peer(corpus: Path | None) -> list[Row]:
    """A book and then all texts, by both."""
    with own_folder() as folder, stand_in(folder) as ollama:
        book, all_texts = [texts.book(corpus, folder)], texts.library(corpus, folder)
        rows = []
        for what, paths, most in (("Floor_01", book, 1.2), ("three texts", all_texts, 1.1)):
            ours = _ours(folder / f"ours {len(paths)}", ollama, paths)
            theirs = _theirs(folder / f"theirs {len(paths)}", ollama, paths)
            rows += _rows(f"peer: {what}, ours", ours, most)
            rows += _rows(f"peer: {what}, LightRAG's server", theirs, None)
    return rows


def _rows(what: str, run: Run, most: float | None) -> list[Row]:
    named = zip(fields(run.parts), astuple(run.parts), strict=True)
    over = run.parts.wall / run.parts.model
    return [
        Row(what=f"{what}: wall time / model", value=over, unit="times", most=most),
        Row(what=f"{what}: wall time", value=run.parts.wall, unit="s"),
        *(Row(what=f"{what}: {WORDS[f.name]}", value=each, unit="s") for f, each in named),
        Row(what=f"{what}: processor time", value=run.cpu_s, unit="s"),
        Row(what=f"{what}: chat calls", value=run.calls),
        Row(what=f"{what}: embed requests", value=run.embeds),
    ]


def _ours(home: Path, ollama: StandIn, paths: Sequence[Path]) -> Run:
    environ = reads_with(ollama)

    def once(where: Path) -> Run:
        with app(where, **environ) as opened:
            opened.until_ready()
            return _timed(ollama, opened.process, lambda: _read_by_us(opened, paths))

    return _twice(home, ollama, once)


def _theirs(home: Path, ollama: StandIn, paths: Sequence[Path]) -> Run:
    _install()

    def once(where: Path) -> Run:
        with _server(where, ollama) as (url, process, log):
            return _timed(ollama, process, lambda: _read_by_them(url, process, log, paths))

    return _twice(home, ollama, once)


def _twice(home: Path, ollama: StandIn, once: Callable[[Path], Run]) -> Run:
    """The second of two runs: then the stand-in has thought about everything before."""
    ollama.set(latency_s=0.0)
    once(home.with_name(f"{home.name} warm"))
    ollama.set(latency_s=LATENCY_S)
    return once(home)


def _timed(ollama: StandIn, process: Process, read: Callable[[], None]) -> Run:
    ollama.set(forget_calls=True)
    before_s, begun_s = _cpu(process), time.monotonic()
    read()
    ended_s = time.monotonic()
    calls = [each for each in ollama.calls() if each["outcome"] == "done"]
    chats = sum(each["endpoint"] == "/api/chat" for each in calls)
    return Run(
        parts=shares(calls, begun_s, ended_s, latency_s=LATENCY_S, slots=SLOTS),
        cpu_s=_cpu(process) - before_s,
        calls=chats,
        embeds=len(calls) - chats,
    )


def _read_by_us(opened: App, paths: Sequence[Path]) -> None:
    wanted = {opened.add(path) for path in paths}

    def ended() -> bool:
        documents = opened.status()["documents"]
        time.sleep(LOOK_S)  # as often as the other is asked
        return wanted <= {each["id"] for each in documents if each["status"] in ENDED}

    until(ended, "the texts to be read", opened.process, opened.log, READ_S)
    if (counts := opened.status()["counts"])["processed"] < len(wanted):
        raise Broken(f"Not all texts were processed: {counts}")


def _read_by_them(url: str, process: Process, log: Path, paths: Sequence[Path]) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        for path in paths:
            body = {"text": path.read_text(encoding="utf-8"), "file_source": path.name}
            client.post("/documents/text", json=body).raise_for_status()

        def ended() -> bool:
            counts = client.get("/documents/status_counts").json()["status_counts"]
            time.sleep(LOOK_S)
            if counts.get("failed"):
                raise Broken(f"It failed: {counts}\n{tail(log)}")
            return int(counts.get("processed", 0)) >= len(paths)

        until(ended, "LightRAG's server to read the texts", process, log, READ_S)


@contextmanager
def _server(home: Path, ollama: StandIn) -> Iterator[tuple[str, Process, Path]]:
    port, log = free_port(), home.with_suffix(".log")
    home.mkdir()
    settings = {
        "HOST": "127.0.0.1", "PORT": str(port), "PYTHONPATH": str(ROOT), "LOG_DIR": str(home),
        "WORKING_DIR": str(home / "storage"), "INPUT_DIR": str(home / "inputs"),
        "LLM_BINDING": "ollama", "LLM_BINDING_HOST": ollama.url, "LLM_MODEL": "qwen3:8b",
        "EMBEDDING_BINDING": "ollama", "EMBEDDING_BINDING_HOST": ollama.url,
        "EMBEDDING_MODEL": "bge-m3", "EMBEDDING_DIM": "1024", "MAX_ASYNC": str(SLOTS),
        "MAX_GLEANING": "0", "OLLAMA_LLM_NUM_CTX": "8192", "SUMMARY_LANGUAGE": "Russian",
    }  # fmt: skip
    script = ROOT / "tests" / "bench" / "peer_server.py"
    command = [str(_python()), str(script)]
    with running(command, settings, log, cwd=home) as process:
        url = f"http://127.0.0.1:{port}"

        def healthy() -> bool:
            return httpx.get(f"{url}/health", trust_env=False).is_success

        until(healthy, "LightRAG's server", process, log)
        yield url, process, log


def _install() -> None:
    """Makes the environment of LightRAG's server, which this project does not depend on."""
    if (PEER / "whole").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True, timeout=INSTALL_S)
    pip = [str(_python()), "-m", "pip", "install", "--quiet", *PACKAGES]
    subprocess.run(pip, check=True, timeout=INSTALL_S)
    (PEER / "whole").touch()


def _python() -> Path:
    return PEER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _cpu(process: Process) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system
