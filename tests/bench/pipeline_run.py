"""`python -m tests.bench.pipeline_run WHO TEXT FOLDER MEMORY`: one text into a fresh folder.

The model is in the process and answers at once: what it has not thought of in an earlier run, it
thinks up and remembers. The last line that is printed is what the run took, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import pickle
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from librarian.models.offline import OfflineBrain
from librarian.models.protocol import Completion, Heard, ModelCard, Prompt, Vectors
from librarian.settings import Settings
from librarian.tokens import PieceTokenizer
from tests.bench.processes import ENDED, SLOTS, Broken

if TYPE_CHECKING:
    from lightrag import LightRAG

    from librarian.app import Librarian
    from librarian.documents import Document

DIMENSION = 1024
LOOK_S = 0.05
READ_S = 600.0
WRITE_S = 60.0

Row = NDArray[np.float32]
Turns = tuple[tuple[str, str], ...]  # role and words of each message


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run took and what it made."""

    cpu_s: float  #: of all threads, until the text was in the graph
    wall_s: float
    later_s: float = 0.0  #: of the processor, for files that are written when it is quiet
    calls: int
    vectors: int
    chunks: int
    thought: int  #: answers and vectors that were not known yet; their time is left out


class Double:
    """A model that remembers every answer and every vector in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._brain = OfflineBrain()
        self._answers: dict[Turns, str] = {}
        self._rows: dict[str, Row] = {}
        if file.exists():
            self._answers, self._rows = pickle.loads(file.read_bytes())
        self.calls = self.vectors = self.thought = 0
        self.thought_s = 0.0  #: of the processor

    def answer(self, turns: Turns) -> str:
        """The reply to the last message."""
        self.calls += 1
        if (known := self._answers.get(turns)) is not None:
            return known
        begun_s = time.thread_time()
        messages = [{"role": role, "content": words} for role, words in turns]
        said = self._answers[turns] = self._brain.answer(messages)
        self._count(1, begun_s)
        return said

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of unit length per text."""
        self.vectors += len(texts)
        missing = [text for text in texts if text not in self._rows]
        if missing:
            begun_s = time.thread_time()
            rows = np.array(self._brain.embed(missing, DIMENSION), dtype=np.float32)
            self._rows.update(zip(missing, rows, strict=True))
            self._count(len(missing), begun_s)
        return np.stack([self._rows[text] for text in texts])

    def save(self) -> None:
        """Writes down what was thought of."""
        self._file.write_bytes(pickle.dumps((self._answers, self._rows)))

    def _count(self, number: int, begun_s: float) -> None:
        self.thought += number
        self.thought_s += time.thread_time() - begun_s


class OurModel:
    """The double behind the protocol of a model, with the card of one on a server."""

    card = ModelCard(
        backend="ollama",  # the offline one would bring a lexicon
        llm="qwen3:8b",
        embed="bge-m3",
        host="",  # so that nobody asks after it there
        dimension=DIMENSION,
        options="{}",
    )

    def __init__(self, double: Double) -> None:
        self._double = double

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        """See `Model.complete`."""
        text = self._double.answer(tuple((each.role, each.content) for each in prompt.messages))
        if heard is not None:
            heard(text)
        return Completion(text=text, prompt_tokens=1, output_tokens=1)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Model.embed`."""
        return self._double.embed(texts)

    async def aclose(self) -> None:
        """Nothing is open."""


class Clock:
    """Processor time and wall time since it was made, without what the double thought."""

    def __init__(self, double: Double) -> None:
        self._double = double
        self._wall_s, self._cpu_s = time.monotonic(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Processor time, wall time."""
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.monotonic() - self._wall_s
        return cpu_s - self._double.thought_s, wall_s - self._double.thought_s


def ours(text: Path, folder: Path, double: Double) -> Figures:
    """Through the library and all that its loop has, without the web server."""
    from librarian.app import Librarian  # LightRAG alone is to be without it

    settings = Settings.from_env(
        {}, home=folder, backend="ollama", homes_file=folder / "libraries.json"
    )
    logging.getLogger().addHandler(logging.NullHandler())  # else one that prints is put there
    librarian = Librarian.open(settings, model=OurModel(double))
    try:
        librarian.wait_ready()
        clock = Clock(double)
        for admission in librarian.add_path(text):
            print(admission.message)
        document = _ended(librarian)
        cpu_s, wall_s = clock.read()
        _until(lambda: not _changes(folder), WRITE_S, "LightRAG's files")
        written_s, _ = clock.read()
    finally:
        librarian.close()
    if document.status != "processed":
        raise Broken(f"{document.name} is {document.status}. {document.error}")
    return Figures(
        cpu_s=cpu_s,
        wall_s=wall_s,
        later_s=written_s - cpu_s,
        calls=double.calls,
        vectors=double.vectors,
        chunks=document.chunks_total,
        thought=double.thought,
    )


def lightrag(text: Path, folder: Path, double: Double) -> Figures:
    """Through LightRAG as its own examples use it."""
    return asyncio.run(_lightrag(text.read_text(encoding="utf-8"), folder, double))


async def _lightrag(text: str, folder: Path, double: Double) -> Figures:
    from lightrag.base import DocStatus

    rag = _plain(folder, double)
    await rag.initialize_storages()
    clock = Clock(double)
    await rag.ainsert(text)
    cpu_s, wall_s = clock.read()
    found = await rag.doc_status.get_docs_by_statuses([DocStatus.PROCESSED])
    await rag.finalize_storages()
    if len(found) != 1:
        raise Broken("LightRAG has not processed the text.")
    return Figures(
        cpu_s=cpu_s,
        wall_s=wall_s,
        calls=double.calls,
        vectors=double.vectors,
        chunks=next(iter(found.values())).chunks_count,
        thought=double.thought,
    )


def _plain(folder: Path, double: Double) -> LightRAG:
    """LightRAG with what shapes the work as `assembly` has it, and the rest as it comes.

    How much a chunk may give, it reads in the environment.
    """
    from lightrag import LightRAG
    from lightrag.utils import EmbeddingFunc, Tokenizer

    async def complete(
        prompt: str,
        system_prompt: str | None = None,
        history_messages: Sequence[dict[str, str]] = (),
        **_: object,
    ) -> str:
        turns = [("system", system_prompt)] if system_prompt else []
        turns += [(each["role"], each["content"]) for each in history_messages]
        return double.answer((*turns, ("user", prompt)))

    async def embed(texts: list[str], **_: object) -> Any:
        return double.embed(texts)

    settings = Settings()
    room = settings.num_ctx - settings.num_ctx // 4
    return LightRAG(
        working_dir=str(folder),
        tokenizer=Tokenizer("pieces", PieceTokenizer()),
        chunk_token_size=settings.chunk_tokens,
        llm_model_func=complete,
        llm_model_name=OurModel.card.llm,
        llm_model_max_async=SLOTS,
        embedding_func=EmbeddingFunc(embedding_dim=DIMENSION, func=embed),
        embedding_batch_num=settings.embed_batch,
        entity_extract_max_gleaning=0,
        entity_extraction_use_json=True,
        summary_context_size=min(12000, room - 1500),
        summary_max_tokens=min(1200, room // 4),
        addon_params={"language": "Russian"},
    )


def _ended(librarian: Librarian) -> Document:
    """The only document, when it has ended."""

    def found() -> Document:
        (view,) = librarian.snapshot().documents
        return view.document

    _until(lambda: librarian.snapshot().documents, READ_S, "the text to be taken up")
    _until(lambda: found().status in ENDED, READ_S, "the text to be read")
    return found()


def _until(condition: Callable[[], object], patience_s: float, what: str) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"Waited in vain for {what}.")
        time.sleep(LOOK_S)


def _changes(home: Path) -> int:
    """How many rows wait to be written into LightRAG's files."""
    from librarian.changes import NAME

    (path,) = home.rglob(NAME)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=WRITE_S)) as db:
        return int(db.execute("SELECT count(*) FROM changes").fetchone()[0])


READERS = {"ours": ours, "lightrag": lightrag}


def main() -> None:
    """Reads, remembers, tells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=READERS)
    for name in ("text", "folder", "memory"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    double = Double(given.memory)
    figures = READERS[given.who](given.text, given.folder, double)
    if figures.thought:
        double.save()
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
