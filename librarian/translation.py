"""LightRAG's exceptions in this program's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from librarian.errors import EmbeddingMismatch, EngineError, LibrarianError, QuestionError
from librarian.postgres import heeded


@contextmanager
def translated() -> Iterator[None]:
    """Turns LightRAG's exceptions into this program's.

    A database that was away is told also where LightRAG goes on without what it had to say.
    """
    from lightrag.query_validation import QueryValidationError

    try:
        with heeded():
            yield
    except LibrarianError:
        raise
    except AssertionError as exc:
        if "Embedding dim mismatch" in str(exc):
            raise EmbeddingMismatch(f"{exc}.") from exc
        raise EngineError(f"{exc}.") from exc
    except QueryValidationError as exc:
        raise QuestionError("The question is too short to search for anything.") from exc
    except Exception as exc:
        raise EngineError(f"{type(exc).__name__}: {exc}.") from exc
