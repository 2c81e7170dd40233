"""LightRAG as a program without this project's rooms sets it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ollama
from lightrag import LightRAG
from lightrag.utils import EmbeddingFunc, Tokenizer

from librarian.tokens import PieceTokenizer
from tests.bench.processes import SLOTS

LLM, EMBED, DIMENSION = "qwen3:8b", "bge-m3", 1024
NUM_CTX = 8192


def make(home: Path, url: str) -> LightRAG:
    """A LightRAG over a folder, not opened yet; like LightRAG's own, its client lives for a call.

    So no error about loops comes from a client that was made on another one.
    """

    async def complete(
        prompt: str,
        system_prompt: str | None = None,
        history_messages: list[dict[str, str]] | None = None,
        response_format: object = None,
        **_: object,
    ) -> str:
        system = [{"role": "system", "content": system_prompt}] if system_prompt else []
        answer = await ollama.AsyncClient(url, trust_env=False).chat(
            model=LLM,
            messages=[*system, *(history_messages or []), {"role": "user", "content": prompt}],
            format="json" if response_format else None,
            think=False,
            options={"num_ctx": NUM_CTX},
        )
        return answer.message.content or ""

    async def embed(texts: list[str], **_: object) -> Any:
        answer = await ollama.AsyncClient(url, trust_env=False).embed(model=EMBED, input=texts)
        return np.array(answer.embeddings, dtype=np.float32)

    home.mkdir(parents=True, exist_ok=True)
    return LightRAG(
        working_dir=str(home),
        workspace="bench",
        tokenizer=Tokenizer("pieces", PieceTokenizer()),  # LightRAG's own is downloaded
        llm_model_func=complete,
        llm_model_name=LLM,
        llm_model_max_async=SLOTS,
        embedding_func=EmbeddingFunc(embedding_dim=DIMENSION, func=embed),
        embedding_batch_num=64,
        entity_extract_max_gleaning=0,
        entity_extraction_use_json=True,
        max_total_tokens=5000,  # of the context that a question is answered from; it has to fit
    )
