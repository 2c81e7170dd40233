"""Vectors made ahead of time: while the model writes summaries, not after the last of them.

LightRAG asks for all vectors of a document at its very end. What it will ask for is known earlier,
so it is embedded in the background and handed over when it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import anyio
import numpy as np
from numpy.typing import NDArray

from librarian.calls import Calls
from librarian.errors import LibrarianError
from librarian.models.protocol import Vectors

log = logging.getLogger(__name__)

KEPT = 20_000  # vectors of 1,024 numbers are 80 MB
# Where both models do not fit into memory together, each turn between them loads one anew.
MOST_RELOADS = 2

Row = NDArray[np.float32]


class Embeddings:
    """Embeds through `calls`, some of it before it is asked for. All on one loop."""

    def __init__(self, calls: Calls, batch: int) -> None:
        self._calls = calls
        self._batch = batch
        self._wanted: dict[str, None] = {}  # in order, each once
        self._made: dict[str, Row] = {}
        self._running: set[str] = set()
        self._news = anyio.Event()

    def soon(self, texts: Iterable[str]) -> None:
        """Says that these texts will be asked for."""
        if self._calls.account.reloads > MOST_RELOADS:
            return
        for text in texts:
            if text not in self._made and text not in self._running:
                self._wanted[text] = None
        if len(self._wanted) >= self._batch:
            self._tell()

    async def run(self) -> None:
        """Embeds what was announced, in whole batches; ends when cancelled."""
        while True:
            if len(self._wanted) < self._batch or len(self._made) >= KEPT:
                await self._news.wait()
                continue
            texts = [self._take() for _ in range(self._batch)]
            self._running.update(texts)
            try:
                vectors = await self._calls.embed(texts)
                self._made.update(zip(texts, vectors, strict=True))
            except LibrarianError as exc:
                # LightRAG asks for them again when it needs them, and hears of it then.
                log.warning("Vectors could not be made ahead of time: %s", exc)
            finally:
                self._running.difference_update(texts)
                self._tell()

    async def embed(self, texts: Sequence[str], *, person: bool = False) -> Vectors:
        """One row per text, shape `(len(texts), dimension)`; what is ready is not asked again."""
        for text in texts:
            self._wanted.pop(text, None)
        while any(text in self._running for text in texts):
            await self._news.wait()
        each = dict.fromkeys(texts)
        rows = {text: self._made.pop(text) for text in each if text in self._made}
        missing = [text for text in each if text not in rows]
        rows.update(zip(missing, await self._calls.embed(missing, person=person), strict=True))
        if not rows:
            return np.zeros((0, self._calls.model.card.dimension), dtype=np.float32)
        return np.stack([rows[text] for text in texts])

    async def prepare(self, texts: Sequence[str]) -> None:
        """Makes vectors now, for a person who waits, and keeps them until they are asked for.

        Raises:
            ModelError: a text could not be embedded.
        """
        rows = await self.embed(texts, person=True)
        self._made.update(zip(texts, rows, strict=True))

    def _take(self) -> str:
        text = next(iter(self._wanted))
        del self._wanted[text]
        return text

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()
