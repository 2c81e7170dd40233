"""A Celery worker that holds the LightRAG; the messages lie in a folder."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

HOME, OLLAMA = "BENCH_HOME", "BENCH_OLLAMA"  # the worker takes no arguments of ours
home = Path(os.environ[HOME])
queue = home / "queue"
for folder in (queue / "tasks", queue / "results"):
    folder.mkdir(parents=True, exist_ok=True)
celery = Celery("bench", broker="filesystem://", backend=(queue / "results").as_uri())
celery.conf.update(
    broker_transport_options={
        "data_folder_in": str(queue / "tasks"),
        "data_folder_out": str(queue / "tasks"),
        "control_folder": str(queue / "control"),
        "polling_interval": 0.1,
    },
    worker_proc_alive_timeout=60,  # importing and opening LightRAG takes longer than its 4 s
)
opened: dict[str, Any] = {}


@worker_process_init.connect
def open_rag(**_: object) -> None:
    """LightRAG is opened in the child, on the loop that its sync methods will find."""
    from tests.bench.event_loops.rag import make

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    opened["rag"] = make(home / "rag", os.environ[OLLAMA])
    loop.run_until_complete(opened["rag"].initialize_storages())


@celery.task
def insert(text: str, name: str) -> None:
    """Indexes a text."""
    opened["rag"].insert(text, file_paths=name)


@celery.task
def query(question: str) -> str:
    """Answers a question."""
    from lightrag import QueryParam

    return str(opened["rag"].query(question, QueryParam(enable_rerank=False)))


@celery.task
def ready() -> bool:
    """Whether there is a worker with an open LightRAG."""
    return "rag" in opened
