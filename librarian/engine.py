"""LightRAG, opened, fed and asked on one loop; its words and exceptions end here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from librarian.desk import Desk
from librarian.documents import Document, Status
from librarian.embeddings import Embeddings
from librarian.errors import EngineError
from librarian.evidence import Gathering, Indexed, Retrieval, passages_of
from librarian.holdings import Holdings
from librarian.knowledge import Graph
from librarian.lexicon import Lexicon
from librarian.models.protocol import Message
from librarian.postgres import patient
from librarian.scope import learned, within, worded
from librarian.storages import brought
from librarian.tokens import PieceTokenizer
from librarian.translation import translated
from librarian.vectors import VectorRows, chunk_rows, entity_rows, relation_rows

if TYPE_CHECKING:
    from lightrag import LightRAG

    from librarian.editing import Editing

log = logging.getLogger(__name__)

DOCUMENTS_AT_ONCE = 2  # the second one's calls fill the slots while the first is merged
POLL_S = 0.1
MODES = ("mix", "hybrid", "local", "global", "naive")
_USER_QUERY = "\n\n---User Query---\n\n"


class Engine:
    """An open LightRAG. Every method runs on the loop that opened it."""

    def __init__(
        self,
        rag: LightRAG,
        holdings: Holdings,
        desk: Desk,
        embeddings: Embeddings,
        editing: Editing,
        lexicon: Lexicon | None = None,
    ) -> None:
        """With a `lexicon`, passages are searched for by their words, too."""
        self.editing = editing
        self._rag = rag
        self.holdings = holdings
        self._desk = desk
        self._embeddings = embeddings
        self._lexicon = lexicon
        self._work = anyio.Event()
        self._version = 0

    @property
    def version(self) -> str:
        """Changes whenever the graph does."""
        return f"{self._rag.workspace}-{self._version + self.editing.count}"

    def was_asked(self, doc_id: str, chunk: int) -> bool:
        """Whether a chunk went to the model in this run."""
        return self._desk.was_asked(doc_id, chunk)

    async def index(self, document: Document, text: str) -> Indexed:
        """Puts a document through LightRAG, from chunking to saved.

        Raises:
            EngineError: LightRAG refused it; its failures come back as `Indexed.error`.
        """
        from lightrag.utils import sanitize_text_for_encoding

        plain = sanitize_text_for_encoding(text)
        self._desk.expect(document, plain)
        with translated(), patient():
            try:
                await self._enqueue(document, plain)
                self._work.set()
                row = await self._ended(document)
                await self.holdings.noted()
                alarms = await self._desk.alarms(document)
                unread = self._desk.unread(document.id).values()
                warnings = (*unread, *alarms, *self._desk.remarks())
            finally:
                self._desk.forget(document.id)
        with patient():
            await self.editing.again(document.name)
            self._version += 1
            return replace(await self._indexed(document.id, row), warnings=warnings)

    async def embed_ahead(self) -> None:
        """Makes vectors while they are not asked for yet; ends when cancelled."""
        await self._embeddings.run()

    async def run(self) -> None:
        """LightRAG's pipeline, whenever there is something for it; ends when cancelled."""
        with patient():
            while True:
                if self._lexicon is not None:
                    await learned(self.holdings, self._lexicon)
                await self._work.wait()
                self._work = anyio.Event()
                try:
                    await self._rag.apipeline_process_enqueue_documents()
                except Exception:
                    # The documents themselves say how they ended; this is LightRAG's own trouble.
                    log.exception("LightRAG's pipeline stopped. It is started again.")
                    await anyio.sleep(1)
                    self._work.set()
                await self.editing.idle()

    async def keep_files(self) -> None:
        """Writes LightRAG's own files whenever it is quiet; ends when cancelled."""
        await self.holdings.keep_files(lambda: self._desk.busy, self.editing.still)

    async def delete(self, doc_id: str) -> None:
        """Takes a document out of the graph, the vectors and the statuses.

        Call it while nothing is being indexed.

        Raises:
            EngineError: LightRAG refused or failed.
        """
        with translated(), patient():
            row = await self._rag.doc_status.get_by_id(doc_id)
            if row is None:
                return
            unlocked = await self._unlocked(dict(row), doc_id)
            if unlocked != row:
                await self._rag.doc_status.upsert({doc_id: unlocked})
            result = await self._rag.adelete_by_doc_id(doc_id, delete_llm_cache=False)
        if result.status not in ("success", "not_found"):
            raise EngineError(f"{result.message}")
        self._version += 1
        with patient():
            await self.editing.again("A deletion")

    async def forget_answers(self) -> None:
        """Empties LightRAG's cache of model answers."""
        with translated():
            await self._rag.aclear_cache()

    async def forget_answers_about(self, chunk: str) -> None:
        """Empties LightRAG's cache of what the model said about a chunk, by the chunk's id."""
        with translated():
            row = await self._rag.text_chunks.get_by_id(chunk)
            if row is not None:
                await self._rag.llm_response_cache.delete(list(row.get("llm_cache_list") or ()))
                await self.save_answers()

    @property
    def history_tokens(self) -> int:
        """How much of a conversation a question may carry; the rest is for its evidence."""
        return int(self._rag.max_total_tokens // 4)

    async def retrieve(
        self,
        question: str,
        mode: str,
        history: tuple[Message, ...] = (),
        documents: frozenset[str] = frozenset(),
    ) -> Retrieval | None:
        """What the library holds for a question; None when it holds nothing.

        `documents` are ids; without any, the whole library is searched. The question before is
        searched for too: "and who was his sister?" names nobody.

        Raises:
            QuestionError: LightRAG finds it too short.
            EngineError: the search failed.
        """
        from lightrag import QueryParam

        carried = sum(PieceTokenizer().count(each.content) for each in history)
        param = QueryParam(
            mode=mode,
            only_need_prompt=True,
            enable_rerank=False,
            # LightRAG's own defaults for a question, 30,000 in all, are longer than the context.
            max_entity_tokens=self._rag.max_entity_tokens,
            max_relation_tokens=self._rag.max_relation_tokens,
            max_total_tokens=self._rag.max_total_tokens - carried,
            conversation_history=[{"role": m.role, "content": m.content} for m in history],
        )
        before = [each.content for each in history if each.role == "user"][-1:]
        rag = within(self._rag, documents, self.holdings) if documents else self._rag
        if self._lexicon is not None:
            rag = worded(rag, self._lexicon, documents, self.holdings)
        with translated():
            found = await rag.aquery_llm("\n".join((*before, question)), param)
        if found["status"] != "success":
            if found["metadata"].get("failure_reason") == "no_results":
                return None
            raise EngineError(str(found["message"]))
        prompt = found["llm_response"]["content"] or ""
        system, mark, _ = prompt.rpartition(_USER_QUERY)
        if not mark:
            return None
        data = found["data"]
        return Retrieval(
            messages=(
                Message(role="system", content=system),
                *history,
                Message(role="user", content=question),
            ),
            passages=tuple(passages_of(data["chunks"])),
            entities=tuple(each["entity_name"] for each in data["entities"]),
            relations=tuple((each["src_id"], each["tgt_id"]) for each in data["relationships"]),
        )

    async def graph(self) -> Graph:
        """The whole graph as it is now."""
        version, gathering = self.version, Gathering()
        with translated():
            async for nodes in self.holdings.nodes():
                await to_thread.run_sync(gathering.nodes, nodes)
            async for edges in self.holdings.edges():
                await to_thread.run_sync(gathering.edges, edges)
        return await to_thread.run_sync(gathering.graph, version)

    async def vector_rows(self) -> VectorRows:
        """Everything that has a vector, read from the chunks and the graph."""
        from lightrag.operate import _truncate_vdb_content
        from lightrag.utils import compute_mdhash_id

        rag = self._rag
        limits = {"embedding_token_limit": rag.embedding_token_limit, "tokenizer": rag.tokenizer}

        def cut(content: str, label: str) -> str:
            return str(_truncate_vdb_content(content, limits, label))

        with translated():
            chunks = await self.holdings.chunks()
            nodes = await rag.chunk_entity_relation_graph.get_all_nodes()
            edges = await rag.chunk_entity_relation_graph.get_all_edges()
            return VectorRows(
                chunks=chunk_rows(chunks),
                entities=entity_rows(nodes, compute_mdhash_id, cut),
                relations=relation_rows(edges, compute_mdhash_id, cut),
            )

    async def embed_anew(self, rows: VectorRows) -> None:
        """Makes the vectors of all rows and writes them; the storages are empty before.

        Raises:
            ModelError: a text could not be embedded.
            EngineError: LightRAG could not store them.
        """
        rag = self._rag
        with translated():
            for storage, each in (
                (rag.chunks_vdb, rows.chunks),
                (rag.entities_vdb, rows.entities),
                (rag.relationships_vdb, rows.relations),
            ):
                await storage.upsert(each)
                await storage.index_done_callback()  # the vectors are made here

    async def brought(self, doc_id: str) -> Graph:
        """The part of the graph that a document brought, without reading the rest."""
        with translated():
            return await brought(self._rag, doc_id, self.version)

    async def passages(self, chunks: Sequence[str]) -> dict[str, str]:
        """The texts of chunks by their ids, without those that are gone."""
        with translated():
            rows = await self._rag.text_chunks.get_by_ids(list(chunks))
        return {chunk: str(row["content"]) for chunk, row in zip(chunks, rows, strict=True) if row}

    async def counts(self, doc_id: str) -> Indexed | None:
        """How LightRAG stands with a document; None when it does not know it."""
        row = await self._rag.doc_status.get_by_id(doc_id)
        return None if row is None else await self._indexed(doc_id, row)

    async def times(self) -> dict[str, float]:
        """Seconds of processing of each processed document, by LightRAG's book."""
        rows = await self._rag.doc_status.get_docs_by_statuses([_doc_status("processed")])
        return {doc_id: _processing_s(row) for doc_id, row in rows.items()}

    async def save_answers(self) -> None:
        """Writes LightRAG's cache of model answers to disk now."""
        await self._rag.llm_response_cache.index_done_callback()

    async def _ended(self, document: Document) -> dict[str, Any]:
        """Waits for LightRAG's last word on a document."""
        while True:
            row = await self._rag.doc_status.get_by_id(document.id)
            if row is None:
                raise EngineError(f"LightRAG lost {document.name}.")
            if row["status"] in ("processed", "failed"):
                return dict(row)
            await anyio.sleep(POLL_S)

    async def _enqueue(self, document: Document, text: str) -> None:
        known = await self._rag.doc_status.get_by_id(document.id)
        if known is None:
            name = document.filed or document.name
            await self._rag.apipeline_enqueue_documents(text, ids=[document.id], file_paths=[name])
        else:
            # Enqueueing a known id again would make it a duplicate; a pending row is taken up,
            # and what an earlier run left of the document is taken out before.
            row = dict(known) | {"status": _doc_status("pending"), "error_msg": ""}
            await self._rag.doc_status.upsert({document.id: await self._unlocked(row, document.id)})

    async def _unlocked(self, row: dict[str, Any], doc_id: str) -> dict[str, Any]:
        """A row that LightRAG will take out of the graph again.

        Stopped while it merges, then stopped again after it was taken out, a document is marked as
        in the graph without the list of what is there, and LightRAG refuses it for ever. Both lists
        are on disk before the mark is made, and only a finished removal drops them.
        """
        state = row.get("metadata") or {}
        if (
            state.get("kg_write_state") != "graph_mutation_started"
            or "kg_purge" in state
            or await self._rag.full_entities.get_by_id(doc_id) is not None
            or await self._rag.full_relations.get_by_id(doc_id) is not None
        ):
            return row
        return row | {"metadata": state | {"kg_write_state": "pre_graph"}}

    async def _indexed(self, doc_id: str, row: dict[str, Any]) -> Indexed:
        entities = await self._rag.full_entities.get_by_id(doc_id) or {}
        relations = await self._rag.full_relations.get_by_id(doc_id) or {}
        return Indexed(
            status=Status(row["status"]) if row["status"] in tuple(Status) else Status.PENDING,
            chunks=row.get("chunks_count") or 0,
            entities=len(entities.get("entity_names", ())),
            relations=len(relations.get("relation_pairs", ())),
            error=row.get("error_msg") or None,
        )


def _doc_status(value: str) -> Any:
    from lightrag.base import DocStatus

    return DocStatus(value)


def _processing_s(row: Any) -> float:
    times = row.metadata or {}
    return float(times.get("process_end_time", 0) - times.get("process_start_time", 0))
