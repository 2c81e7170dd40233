"""When LightRAG's storages are written: changes at once, whole files when there is time.

LightRAG says "processed" of a document only after its storages have said that they are written.
They say it here when the changes are in `changes`, those of the graph, its vectors and what goes
with them in one transaction. The files under the names that people know are written
while nothing else goes on.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from librarian import graphml
from librarian.changes import NAME, Changes, said
from librarian.durable import write_pieces
from librarian.errors import LibrarianError
from librarian.noted import Matrix, NotedGraph, NotedRows, NotedVectors, Row

if TYPE_CHECKING:
    from lightrag import LightRAG

SMALL = 32 << 20  # bytes of files and changes; writing the files takes a second or two
QUIET_S = 1.0  # what comes now is often followed by more
AGAIN_S = 60.0  # after a failure
SHARE = 0.25  # of the files: with so many changes, larger ones are written
_ROWS_A_PIECE = 3 * 64  # three bytes are four letters; only the last piece may end between them

# LightRAG writes these at moments when others are half done; the rest is one with the graph.
_ALONE = {
    "doc_status",
    "full_docs",
    "full_entities",
    "full_relations",
    "llm_response_cache",
    "text_chunks",
}

log = logging.getLogger(__name__)
Still = Callable[[], AbstractAsyncContextManager[None]]
Noted = NotedRows | NotedGraph | NotedVectors


class Saving:
    """The writing of an open LightRAG with storages in files. Runs on the loop of LightRAG."""

    def __init__(self, rag: LightRAG) -> None:
        """Reads what the files lack, and takes the writing over. Blocks; call it on opening.

        Raises:
            LibraryError: the changes cannot be read.
        """
        self._folder = Path(rag.doc_status._file_name).parent
        self._changes = Changes(self._folder / NAME)
        self._noted: dict[str, Noted] = {}
        self._turn = anyio.Lock()
        for storage in rag._index_storages():
            self._take(storage)

    async def run(self, busy: Callable[[], bool], still: Still, quiet_s: float = QUIET_S) -> None:
        """Writes the files when it is quiet and much has changed; ends when cancelled.

        `busy` says that documents are being read, `still` keeps the graph as it is.
        """
        while True:
            before = self._changes.bytes
            await anyio.sleep(quiet_s)
            if busy() or self._changes.bytes != before:
                continue
            if not await to_thread.run_sync(self._due):
                continue
            try:
                async with still():
                    await self.write_files()
            except (LibrarianError, OSError) as exc:  # it is on the disk, but under other names
                log.warning("LightRAG's files could not be written: %s", exc)
                await anyio.sleep(AGAIN_S)

    def _due(self) -> bool:
        changes, files = self._changes.bytes, self._file_bytes()
        return changes > 0 and (files + changes < SMALL or changes > SHARE * files)

    async def commit(self, only: str = "") -> None:
        """Puts on the disk what has changed, of one storage or of all; a write is whole or not
        there, and those who wait together share it.

        Raises:
            LibraryError: there is no room; the next one writes it.
        """
        async with self._turn:
            await self._commit((only,) if only else tuple(self._noted))

    async def _commit(self, names: Iterable[str]) -> None:
        found = {name: self._noted[name].changed(name) for name in names}
        changes = [each for some in found.values() for each in some]
        if not changes:
            return
        try:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._changes.write, changes)
        except BaseException:
            for name, some in found.items():
                self._noted[name].unsaved(some)
            raise

    async def write_files(self) -> None:
        """Writes all files, so that there are no changes beside them.

        Call it while nobody writes the graph.

        Raises:
            LibraryError, OSError: there is no room; the changes stay.
        """
        async with self._turn:
            while any(noted.touched for noted in self._noted.values()):
                await self._commit(tuple(self._noted))
            pieces = {name: _pieces(noted) for name, noted in self._noted.items()}  # of one moment
            with anyio.CancelScope(shield=True):
                for name, each in pieces.items():
                    await to_thread.run_sync(write_pieces, self._folder / name, each)
                await to_thread.run_sync(self._changes.clear)

    async def close(self) -> None:
        """Writes the files if that is quick. What LightRAG has left half done is not kept."""
        files = await to_thread.run_sync(self._file_bytes)
        half = any(noted.touched for noted in self._noted.values())
        if 0 < self._changes.bytes < SMALL - files and not half:
            await self.write_files()

    def end(self) -> None:
        """Closes the file of the changes."""
        self._changes.close()

    def _file_bytes(self) -> int:
        return sum(_size(self._folder / name) for name in self._noted)

    def _take(self, storage: Any) -> None:
        noted: Noted
        if hasattr(storage, "_graph"):
            name = Path(storage._graphml_xml_file).name
            storage._graph = graph = noted = NotedGraph.of(storage._graph)
            storage._get_graph = partial(_ready, graph)  # no other process writes the file
            storage.index_done_callback = self.commit
        elif hasattr(storage, "_client"):
            name = Path(storage._client_file_name).name
            stored = storage._client._NanoVectorDB__storage
            storage._client = noted = NotedVectors(stored, storage._client_file_name)
            storage._save_to_disk_locked = self._saved
        else:
            name = Path(storage._file_name).name
            storage._data = noted = NotedRows(storage._data)
            alone = storage.namespace in _ALONE
            storage.index_done_callback = partial(self.commit, name) if alone else self.commit
        noted.replay(self._changes.read(name))
        self._noted[name] = noted

    async def _saved(self, on_committed: Callable[[], Awaitable[None]]) -> None:
        await self.commit()
        await on_committed()


async def _ready(graph: NotedGraph) -> NotedGraph:
    return graph


def _pieces(noted: Noted) -> Iterator[bytes]:
    """What a file has, as it is at this moment, in the form in which LightRAG reads it."""
    if isinstance(noted, NotedRows):
        return _rows_pieces(list(noted.items()))
    if isinstance(noted, NotedGraph):
        return graphml.pieces(noted)
    return _vectors_pieces(noted.dimension, list(noted.rows), noted.matrix)


def _rows_pieces(rows: list[tuple[str, Row]]) -> Iterator[bytes]:
    yield b"{\n"
    for number, (key, row) in enumerate(rows):
        yield b",\n" * (number > 0) + said(key) + b": " + said(row)
    yield b"\n}\n"


def _vectors_pieces(dimension: int, rows: list[Row], matrix: Matrix) -> Iterator[bytes]:
    yield b'{"embedding_dim": %d, "data": [\n' % dimension
    for number, row in enumerate(rows):
        yield b",\n" * (number > 0) + said(row)
    yield b'\n], "matrix": "'
    for start in range(0, len(matrix), _ROWS_A_PIECE):
        yield base64.b64encode(matrix[start : start + _ROWS_A_PIECE].tobytes())
    yield b'"}'


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
