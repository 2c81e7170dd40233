"""Which model reads this library: the one it was begun with, or the best that answers now."""

from __future__ import annotations

from dataclasses import dataclass

from librarian.errors import EmbeddingMismatch
from librarian.models.offline import OfflineModel
from librarian.models.ollama import OllamaModel, missing_models
from librarian.models.protocol import Model
from librarian.settings import Settings


@dataclass(frozen=True, slots=True)
class Choice:
    """A model, and what a person should know about why it is this one."""

    model: Model
    notice: str = ""


async def choose(
    settings: Settings,
    *,
    backend: str = "",
    embed: str = "",
    dimension: int = 0,
    fingerprint: tuple[float, ...] = (),
) -> Choice:
    """The model of a library; all but the settings are what it was begun with.

    Raises:
        EmbeddingMismatch: another kind of model is asked for than it was begun with.
        ModelError: Ollama is asked for, and is not there or lacks the embedding model.
    """
    if backend and settings.backend not in ("auto", backend):
        raise EmbeddingMismatch(
            f"This library was begun with the {backend} model, and LIBRARIAN_BACKEND is "
            f"{settings.backend}."
        )
    wanted = backend or settings.backend
    if wanted == "offline":
        return Choice(OfflineModel(), _offline_notice(settings) if backend else "")
    if wanted == "auto":
        reason = await _why_not_ollama(settings)
        if reason:
            return Choice(OfflineModel(), reason)
    model = OllamaModel(
        host=settings.ollama_host,
        llm=settings.llm_model,
        embed=settings.embed_model,
        num_ctx=settings.num_ctx,
        dimension=dimension if embed == settings.embed_model else 0,
        fingerprint=fingerprint if embed == settings.embed_model else (),
    )
    try:
        await model.prepare()
    except BaseException:
        await model.aclose()
        raise
    return Choice(model)


async def _why_not_ollama(settings: Settings) -> str:
    missing = await missing_models(settings.ollama_host, (settings.llm_model, settings.embed_model))
    if missing is None:
        return (
            f"No Ollama answers at {settings.ollama_host}, so the offline model reads this "
            "library: it finds names and key phrases and answers by quoting. For a language "
            f"model, start Ollama, run `ollama pull {settings.llm_model}` and "
            f"`ollama pull {settings.embed_model}`, and start again before adding documents."
        )
    if missing:
        pulls = " and ".join(f"`ollama pull {name}`" for name in missing)
        return (
            f"Ollama answers at {settings.ollama_host}, but lacks {', '.join(missing)}, so the "
            f"offline model reads this library. Run {pulls} and start again before adding "
            "documents."
        )
    return ""


def _offline_notice(settings: Settings) -> str:
    if settings.backend == "offline":
        return ""
    return (
        "The offline model reads this library: it was begun with it, and vectors of two models "
        "never mix. For a language model run `re-embed` with it, or begin another library."
    )
