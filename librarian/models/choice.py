"""Which model reads this library: the one it was begun with, or the best that answers now."""

from __future__ import annotations

from dataclasses import dataclass

from librarian.errors import EmbeddingMismatch
from librarian.models.hosts import SeveralHosts
from librarian.models.offline import OfflineModel
from librarian.models.ollama import OllamaModel, missing_models
from librarian.models.openai import OpenAIModel
from librarian.models.protocol import Model, ModelCard
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
    same = embed == settings.embed_model
    if wanted == "openai":
        return Choice(await _prepared(_openai(settings, dimension * same, fingerprint * same)))

    def made(host: str, like: ModelCard | None = None) -> OllamaModel:
        return OllamaModel(
            host=host,
            llm=settings.llm_model,
            embed=settings.embed_model,
            num_ctx=settings.num_ctx,
            dimension=like.dimension if like else dimension * same,
            fingerprint=like.fingerprint if like else fingerprint * same,
        )

    model: OllamaModel | SeveralHosts
    if settings.more_hosts:
        models = (settings.llm_model, settings.embed_model)
        at_once = settings.llm_max_async + 1
        model = SeveralHosts(settings.ollama_hosts, made, models=models, at_once=at_once)
    else:
        model = made(settings.ollama_host)
    return Choice(await _prepared(model))


def _openai(settings: Settings, dimension: int, fingerprint: tuple[float, ...]) -> OpenAIModel:
    return OpenAIModel(
        url=settings.openai_url,
        embed_url=settings.openai_embed_url,
        key=settings.openai_key,
        llm=settings.llm_model,
        embed=settings.embed_model,
        num_ctx=settings.num_ctx,
        dimension=dimension,
        fingerprint=fingerprint,
    )


async def _prepared(model: OllamaModel | SeveralHosts | OpenAIModel) -> Model:
    try:
        await model.prepare()
    except BaseException:
        await model.aclose()
        raise
    return model


async def _why_not_ollama(settings: Settings) -> str:
    missing: tuple[str, ...] | None = None
    for host in settings.ollama_hosts:
        found = await missing_models(host, (settings.llm_model, settings.embed_model))
        if found == ():
            return ""
        missing = found if missing is None else missing
    if missing is None:
        return (
            f"No Ollama answers at {settings.hosts_text}, so the offline model reads this "
            "library: it finds names and key phrases and answers by quoting. For a language "
            f"model, start Ollama, run `ollama pull {settings.llm_model}` and "
            f"`ollama pull {settings.embed_model}`, and start again before adding documents."
        )
    if missing:
        pulls = " and ".join(f"`ollama pull {name}`" for name in missing)
        return (
            f"Ollama answers at {settings.hosts_text}, but lacks {', '.join(missing)}, so the "
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
