"""Which model reads a library: what answers now, or what it was begun with."""

from collections.abc import Iterator

import anyio
import pytest

from librarian.errors import EmbeddingMismatch, ModelMissing, ModelUnavailable
from librarian.models.choice import Choice, choose
from librarian.models.protocol import ModelCard
from librarian.settings import Settings
from tests.ollama_server import DEFAULT_MODELS, OllamaServer


@pytest.fixture
def gone() -> Iterator[str]:
    """The address of a server that has stopped."""
    with OllamaServer() as server:
        url = server.url
    yield url


def chosen(url: str, wanted: str = "auto", **pinned: object) -> tuple[ModelCard, str]:
    settings = Settings.from_env({"OLLAMA_HOST": url, "LIBRARIAN_BACKEND": wanted})

    async def inside() -> Choice:
        choice = await choose(settings, **pinned)  # type: ignore[arg-type]
        await choice.model.aclose()
        return choice

    choice = anyio.run(inside)
    return choice.model.card, choice.notice


def test_ollama_is_chosen_when_it_answers_and_has_the_models(server: OllamaServer) -> None:
    card, notice = chosen(server.url)
    assert (card.backend, card.llm, card.embed) == ("ollama", "qwen3:8b", "bge-m3")
    assert (card.host, card.dimension) == (server.url, 1024)
    assert notice == ""


def test_the_offline_model_is_chosen_with_a_notice_when_nobody_answers(gone: str) -> None:
    card, notice = chosen(gone)
    assert card.backend == "offline"
    assert gone in notice
    assert "ollama pull qwen3:8b" in notice
    assert "ollama pull bge-m3" in notice


@pytest.mark.parametrize("missing", ["qwen3:8b", "bge-m3"])
def test_the_offline_model_is_chosen_when_a_model_is_missing_and_it_is_named(
    server: OllamaServer, missing: str
) -> None:
    server.remove_model(missing)
    card, notice = chosen(server.url)
    assert card.backend == "offline"
    assert f"ollama pull {missing}" in notice
    others = {model.name for model in DEFAULT_MODELS} - {missing}
    assert not any(f"ollama pull {name}" in notice for name in others)


def test_offline_is_offline_without_a_word_or_a_request(server: OllamaServer) -> None:
    assert chosen(server.url, "offline")[0].backend == "offline"
    assert chosen(server.url, "offline", backend="offline")[1] == ""
    assert server.calls == []


def test_ollama_that_was_asked_for_is_not_replaced(gone: str) -> None:
    with pytest.raises(ModelUnavailable):
        chosen(gone, "ollama")
    with OllamaServer(models=()) as empty, pytest.raises(ModelMissing, match="bge-m3"):
        chosen(empty.url, "ollama")


def test_a_library_begun_offline_stays_so_and_says_why(server: OllamaServer) -> None:
    card, notice = chosen(server.url, backend="offline", embed="hashed-512", dimension=512)
    assert card.backend == "offline"
    assert "begun with it" in notice


def test_a_library_begun_with_ollama_waits_for_it(gone: str) -> None:
    with pytest.raises(ModelUnavailable):
        chosen(gone, backend="ollama", embed="other", dimension=1024)


@pytest.mark.parametrize(("wanted", "begun"), [("offline", "ollama"), ("ollama", "offline")])
def test_another_kind_than_it_was_begun_with_is_refused(
    server: OllamaServer, wanted: str, begun: str
) -> None:
    with pytest.raises(EmbeddingMismatch, match=begun):
        chosen(server.url, wanted, backend=begun, embed="any", dimension=7)


def test_a_known_dimension_is_not_asked_for_again(server: OllamaServer) -> None:
    card, _ = chosen(server.url, backend="ollama", embed="bge-m3", dimension=1024)
    assert card.dimension == 1024
    assert server.calls == []
    card, _ = chosen(server.url, backend="ollama", embed="another", dimension=77)
    assert card.dimension == 1024
    assert [call.endpoint for call in server.calls] == ["/api/embed"]
