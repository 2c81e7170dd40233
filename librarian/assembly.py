"""LightRAG put together: its models, its cutter and its limits, on one loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from librarian import collector
from librarian.calls import Calls
from librarian.chunking import chunks_of
from librarian.copying import Store
from librarian.database import Database
from librarian.desk import LANGUAGE_MARK, Desk
from librarian.editing import Editing
from librarian.edits import Edits
from librarian.embeddings import Embeddings
from librarian.engine import DOCUMENTS_AT_ONCE, Engine
from librarian.errors import DocumentPaused
from librarian.holdings import Holdings
from librarian.lexicon import Lexicon
from librarian.lighter import lighten, lock_lightly
from librarian.models.protocol import ModelCard, NoModel
from librarian.opening import forget_shared, import_lightrag, opened
from librarian.recalled import keep_answers
from librarian.settings import Settings
from librarian.signals import Ear, Heard, attend
from librarian.tokens import PieceTokenizer
from librarian.translation import translated

if TYPE_CHECKING:
    from lightrag import LightRAG

NEVER_S = 30 * 24 * 3600  # LightRAG kills calls that are still alive; ours are watched elsewhere
# Chunks that LightRAG has in hand of each document; after a deletion, twice as many merges. The
# order of a document's own is in `merges`; how many calls really run at once, in `calls`.
IN_HAND = 32
SHUT = "Queue is shutting down"  # what LightRAG says of a call that comes after that
# LightRAG allows 100 records a chunk; on an 8B model that is minutes, and longer than its context.
RECORDS = 50
ENTITIES = 25
OFFLINE_EVIDENCE = 30_000  # tokens

Borders = Callable[[str], Sequence[int]]


@asynccontextmanager
async def open_engine(
    *,
    directory: Path,
    workspace: str,
    settings: Settings,
    chunk_tokens: int,
    calls: Calls,
    heard: Heard,
    database: Database | None = None,
    borders: Borders = lambda _: (),
    edits: Edits | None = None,
    reached: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Engine]:
    """LightRAG over a folder, with the models behind `calls`; `heard` gets its progress.

    With a `database`, its storages are there, and the folder stays empty. `borders` says of a text
    where its chunks begin, where a fresh cut is not to say it. A person's edits are written down in
    `edits`; `reached` hears of each step of making one.

    Raises:
        EmbeddingMismatch: the vectors there have another dimension.
        EngineError: LightRAG could not open its files.
        DatabaseUnavailable: the server is away.
        DatabaseUnfit: it lacks something.
    """
    collector.spare()
    await to_thread.run_sync(import_lightrag)
    collector.keep()
    lighten()
    desk = Desk(calls, settings.language, settings.gleaning)
    embeddings = Embeddings(calls, settings.embed_batch)
    build = partial(
        _build, directory, workspace, settings, chunk_tokens, calls, desk, embeddings, borders
    )
    asyncio.get_running_loop().set_exception_handler(_without_paused)
    rag, holdings = await opened(build, database, calls.model.card.dimension)
    lock_lightly(rag)
    keep_answers(rag, desk.is_makeshift)
    attend(rag.chunks_vdb, "chunks", heard, embeddings.soon)
    attend(rag.entities_vdb, "entities", heard, embeddings.soon)
    attend(rag.relationships_vdb, "relations", heard, embeddings.soon)
    ear = Ear(heard)
    logging.getLogger("lightrag").addHandler(ear)
    editing = Editing(rag, holdings, embeddings, edits, reached)
    lexicon = Lexicon() if calls.model.card.backend == "offline" else None
    engine = Engine(rag, holdings, desk, embeddings, editing, lexicon)
    try:
        yield engine
    finally:
        logging.getLogger("lightrag").removeHandler(ear)
        with anyio.CancelScope(shield=True):
            await holdings.close()
            await editing.close()
            await _shut(rag, calls, holdings)


@asynccontextmanager
async def open_storages(
    *,
    directory: Path,
    workspace: str,
    settings: Settings,
    card: ModelCard,
    database: Database | None = None,
) -> AsyncIterator[Store]:
    """LightRAG's storages alone, to copy them: there is no model that anything could be asked.

    Two may be open at once; `forget_shared` ends what they share.
    """
    await to_thread.run_sync(import_lightrag)
    calls = Calls(NoModel(card), limit=1)
    desk, embeddings = Desk(calls, "", 0), Embeddings(calls, settings.embed_batch)
    build = partial(
        _build, directory, workspace, settings, 1200, calls, desk, embeddings, lambda _: ()
    )
    rag, holdings = await opened(build, database, card.dimension)
    try:
        yield Store(rag, holdings)
    finally:
        with anyio.CancelScope(shield=True):
            await holdings.close()
            calls.close()
            await rag.embedding_func.func.shutdown(graceful=False)
            for storage in (rag.chunks_vdb, rag.entities_vdb, rag.relationships_vdb):
                await storage.drop_pending_index_ops()
            await rag.finalize_storages()
            await holdings.save()
            holdings.end()


async def _shut(rag: LightRAG, calls: Calls, holdings: Holdings) -> None:
    """Saves what is paid for and lets go; half-merged documents are left to the next start."""
    calls.close()
    await calls.ended()
    try:
        # A worker of LightRAG that is cancelled inside a call takes up the next one instead.
        for queue in (*rag.role_llm_funcs.values(), rag.embedding_func.func):
            await queue.shutdown(graceful=False)
        await rag.llm_response_cache.index_done_callback()
        await rag._discard_pending_index_ops()
        await rag.finalize_storages()
        await holdings.save()
    finally:
        holdings.end()
        forget_shared()


def _without_paused(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """LightRAG takes only the first error of a document's chunks; a pause ends all of them, and so
    does closing: what had not been asked yet finds its queue shut."""
    error = context.get("exception")
    if not (isinstance(error, DocumentPaused) or str(error).endswith(SHUT)):
        loop.default_exception_handler(context)


def _build(
    directory: Path,
    workspace: str,
    settings: Settings,
    chunk_tokens: int,
    calls: Calls,
    desk: Desk,
    embeddings: Embeddings,
    borders: Borders,
    storages: Mapping[str, str] = MappingProxyType({}),
) -> LightRAG:
    from lightrag import LightRAG
    from lightrag.utils import EmbeddingFunc, Tokenizer

    room = settings.num_ctx - settings.num_ctx // 4  # the rest is for the answer
    # What a question is answered from; most of it is for passages. The offline model has no limit.
    evidence = OFFLINE_EVIDENCE if calls.model.card.backend == "offline" else room - 1500
    at_once = (settings.llm_max_async + 1) * len(settings.ollama_hosts)
    in_hand = max(IN_HAND, at_once * DOCUMENTS_AT_ONCE)
    extract, ask = _closures(desk)

    async def embed(texts: list[str], context: str = "", **_: object) -> Any:
        return await embeddings.embed(texts, person=context == "query")

    with translated():
        return LightRAG(
            working_dir=str(directory),
            workspace=workspace,
            tokenizer=Tokenizer("pieces", PieceTokenizer()),
            chunk_token_size=chunk_tokens,
            chunking_func=_chunking(chunk_tokens, desk, borders),
            llm_model_func=extract,
            llm_model_name=calls.model.card.llm,
            llm_model_max_async=in_hand,
            role_llm_configs={
                # The chunks in hand of each document, and so many of its merges that none of the
                # model's slots waits for one: in LightRAG's own queue, where the others wait, the
                # chunks of the next document would hold up the merge of this one.
                "extract": {"max_async": 3 * in_hand * DOCUMENTS_AT_ONCE},
                "keyword": {"func": ask, "max_async": 4},
                "query": {"func": ask, "max_async": 4},
            },
            default_llm_timeout=NEVER_S,
            embedding_func=EmbeddingFunc(
                embedding_dim=calls.model.card.dimension,
                func=embed,
                supports_asymmetric=True,
                # Tables of vectors get this name: an index over the vectors of several libraries
                # would find mostly those of the largest one.
                model_name=workspace if storages else None,
            ),
            # Hashed vectors of a short question and a long chunk share few numbers.
            cosine_better_than_threshold=0.04 if calls.model.card.backend == "offline" else 0.2,
            embedding_batch_num=settings.embed_batch,
            embedding_func_max_async=4,
            default_embedding_timeout=NEVER_S,
            entity_extract_max_gleaning=settings.gleaning,
            entity_extraction_use_json=True,
            entity_extract_max_records=RECORDS,
            entity_extract_max_entities=ENTITIES,
            summary_context_size=min(12000, room - 1500),
            summary_max_tokens=min(1200, room // 4),
            max_parallel_insert=DOCUMENTS_AT_ONCE,
            max_total_tokens=evidence,
            max_entity_tokens=evidence // 8,
            max_relation_tokens=evidence // 7,
            addon_params={"language": LANGUAGE_MARK},
            **storages,
        )


def _chunking(limit: int, desk: Desk, borders: Borders) -> Callable[..., Any]:
    """What cuts a text for LightRAG, off the loop, and tells the desk of it."""
    count = PieceTokenizer().count

    async def chunk(
        _tokenizer: object, content: str, _by: object, _only: object, _overlap: int, _size: int
    ) -> list[dict[str, Any]]:
        chunks = await to_thread.run_sync(
            lambda: chunks_of(content, limit=limit, count=count, borders=borders(content))
        )
        desk.lay_out(content, chunks)
        return [
            {"tokens": each.tokens, "content": each.text, "chunk_order_index": each.order}
            for each in chunks
        ]

    return chunk


def _closures(desk: Desk) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """LightRAG copies what it is given deeply, so the functions are plain closures."""

    async def extract(
        prompt: str,
        system_prompt: str | None = None,
        history_messages: list[dict[str, str]] | None = None,
        response_format: object = None,
        **_: object,
    ) -> str:
        return await desk.extract(
            prompt, system_prompt or "", history_messages or [], form=response_format is not None
        )

    async def ask(prompt: str, system_prompt: str | None = None, **_: object) -> str:
        return await desk.keywords(prompt, system_prompt or "")

    return extract, ask
