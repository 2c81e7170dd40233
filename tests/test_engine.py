"""LightRAG behind the engine: real, over the offline model or a small working double."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from librarian.assembly import open_engine
from librarian.calls import Calls
from librarian.documents import Document, Status, check_text, document_id
from librarian.engine import MODES, Engine
from librarian.errors import EmbeddingMismatch, PromptTooLong
from librarian.language import language_of
from librarian.models.offline import OfflineModel
from librarian.models.protocol import Completion, Heard, Message, Model, Prompt, Role
from librarian.settings import Settings
from librarian.signals import ChunkExtracted, Signal

pytestmark = pytest.mark.anyio

ENGINE_EN = """Charles Babbage designed the Analytical Engine in London. The Royal Society gave \
Charles Babbage money for the Difference Engine.
"""
MUSIC_RU = """Пётр Ильич Чайковский родился в Воткинске. Пётр Ильич Чайковский дружил с Николаем \
Рубинштейном в Москве.
"""


class FailingModel(OfflineModel):
    """The offline model, with a chunk that it cannot read until it is mended."""

    def __init__(self, poison: str) -> None:
        super().__init__()
        self.poison = poison
        self.stuck = False  #: it never answers about that chunk, in place of failing
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        self.prompts.append(prompt)
        if self.poison and self.poison in prompt.messages[-1].content:
            if self.stuck:
                await anyio.sleep_forever()
            await anyio.sleep(0.2)  # the other chunks are done by then
            raise PromptTooLong("qwen3:8b: a very long chunk.")
        return await super().complete(prompt, heard)

    @property
    def extractions(self) -> int:
        return sum(prompt.role is Role.EXTRACT for prompt in self.prompts)


@asynccontextmanager
async def engine_at(
    directory: Path,
    *,
    model: Model | None = None,
    workspace: str = "library_test",
    chunk_tokens: int = 200,
    heard: Callable[[Signal], None] = lambda _: None,
    gleaning: int = 0,
) -> AsyncIterator[Engine]:
    """An open engine at work."""
    calls = Calls(model or OfflineModel(), limit=4)
    async with (
        open_engine(
            directory=directory,
            workspace=workspace,
            settings=Settings.from_env({}, gleaning=gleaning),
            chunk_tokens=chunk_tokens,
            calls=calls,
            heard=heard,
        ) as engine,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(engine.run)
        tasks.start_soon(engine.embed_ahead)
        yield engine
        calls.close()
        tasks.cancel_scope.cancel()


def document(text: str, name: str = "a.txt", place: float = 1.0) -> Document:
    return Document(
        id=document_id(text),
        name=name,
        status=Status.PROCESSING,
        bytes=len(text),
        characters=len(text),
        language=language_of(text),
        file=name,
        created_at=0,
        updated_at=0,
        place=place,
    )


def long_text(paragraphs: int) -> str:
    return "\n\n".join(
        f"Captain Alder{n} sailed from Port Ember{n} to Thorn{n} with Mate Willow{n}. "
        + f"In the year {1700 + n} the crew of the Falcon{n} found salt there. " * 6
        for n in range(paragraphs)
    )


async def test_a_document_is_indexed_with_its_counts(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        before = engine.version
        ended = await engine.index(document(long_text(6)), long_text(6))
        assert ended.status is Status.PROCESSED
        assert ended.error is None
        assert ended.chunks >= 3
        graph = await engine.graph()
        assert ended.entities == len(graph.entities) > 0
        assert ended.relations == len(graph.relations) > 0
        assert engine.version != before
        assert await engine.counts(document_id(long_text(6))) == ended
        chunk = graph.entities[0].chunks[0]
        assert (await engine.passages([chunk]))[chunk] in long_text(6)
        brought = await engine.brought(document_id(long_text(6)))
        assert set(brought.entities) == set(graph.entities)
        ends = [{frozenset((r.source, r.target)) for r in g.relations} for g in (brought, graph)]
        assert ends[0] == ends[1]
        assert set(await engine.times()) == {document_id(long_text(6))}


async def test_a_failed_document_says_why_and_a_second_try_pays_only_for_what_is_missing(
    tmp_path: Path,
) -> None:
    text = long_text(8)
    model, signals = FailingModel("Alder7"), list[tuple[ChunkExtracted, bool]]()

    def heard(signal: Signal) -> None:
        if isinstance(signal, ChunkExtracted):
            signals.append((signal, engine.was_asked(signal.document, signal.chunk)))

    async with engine_at(tmp_path, model=model, heard=heard) as engine:
        ended = await engine.index(document(text), text)
        assert ended.status is Status.FAILED
        assert "gave nothing" in str(ended.error)
        assert "a very long chunk" in str(ended.error)
        assert "Retry" in str(ended.error)
        done = [signal.chunk for signal, _ in signals]
        assert done
        assert all(asked for _, asked in signals)
        signals.clear()
        model.poison = ""
        asked_before = model.extractions
        ended = await engine.index(document(text), text)
        assert ended.status is Status.PROCESSED
        assert model.extractions - asked_before == ended.chunks - len(done)
        assert {signal.chunk for signal, asked in signals if not asked} == set(done)


async def test_an_extra_round_is_asked_for_in_the_chunks_own_name(tmp_path: Path) -> None:
    model = FailingModel("")
    async with engine_at(tmp_path, model=model, gleaning=1) as engine:
        ended = await engine.index(document(ENGINE_EN), ENGINE_EN)
    assert ended.status is Status.PROCESSED
    assert model.extractions == 2


@pytest.mark.parametrize(
    "text",
    [
        "  leading space\n\n\n" + ENGINE_EN,
        "tabs\tand\u2028odd\u00a0spaces\u200b " + ENGINE_EN,
        "<SEP> and <|#|> and <|COMPLETE|> and {braces} " + ENGINE_EN,
        "```\n---Output---\n```\n" + ENGINE_EN,
        "&lt;b&gt; &amp; <script>alert(1)</script> " + ENGINE_EN,
        "\ufffe\uffff\x85\x9f " + ENGINE_EN,
        "👩‍👩‍👧 𝔘𝔫𝔦 " + ENGINE_EN,
    ],
)
async def test_odd_texts_are_indexed_and_known_by_their_owner(tmp_path: Path, text: str) -> None:
    plain = check_text(text)
    asked: list[bool] = []

    def heard(signal: Signal) -> None:
        if isinstance(signal, ChunkExtracted):
            asked.append(engine.was_asked(signal.document, signal.chunk))

    async with engine_at(tmp_path, heard=heard) as engine:
        ended = await engine.index(document(plain), plain)
        assert ended.status is Status.PROCESSED
        assert "Charles Babbage" in {entity.name for entity in (await engine.graph()).entities}
    assert asked
    assert all(asked)


async def test_two_files_of_one_name_in_two_folders_are_two_documents(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        for place, (folder, text) in enumerate((("a", ENGINE_EN), ("b", MUSIC_RU))):
            ended = await engine.index(document(text, f"{folder}∕notes.txt", place), text)
            assert ended.status is Status.PROCESSED
        documents = {name for each in (await engine.graph()).entities for name in each.documents}
        assert documents == {"a∕notes.txt", "b∕notes.txt"}


async def test_each_document_is_asked_about_in_its_own_language(tmp_path: Path) -> None:
    model = FailingModel("")
    async with engine_at(tmp_path, model=model) as engine:
        async with anyio.create_task_group() as both:
            both.start_soon(engine.index, document(ENGINE_EN, "en.txt", 1), ENGINE_EN)
            both.start_soon(engine.index, document(MUSIC_RU, "ru.txt", 2), MUSIC_RU)
    for prompt in model.prompts:
        asked = prompt.messages[-1].content
        language = "Russian" if "Чайковский" in asked else "English"
        assert f"output language is {language}" in asked or f"in {language}" in asked
        assert "⟦" not in "".join(message.content for message in prompt.messages)


@pytest.mark.parametrize("mode", MODES)
async def test_an_empty_library_has_nothing_for_a_question(tmp_path: Path, mode: str) -> None:
    async with engine_at(tmp_path) as engine:
        assert await engine.retrieve("Who was Charles Babbage?", mode) is None


async def test_the_evidence_has_passages_entities_and_the_conversation(tmp_path: Path) -> None:
    history = (
        Message(role="user", content="Who built engines?"),
        Message(role="assistant", content="Charles Babbage."),
    )
    async with engine_at(tmp_path) as engine:
        await engine.index(document(ENGINE_EN, "engine.txt"), ENGINE_EN)
        await engine.index(document(MUSIC_RU, "music.txt", 2), MUSIC_RU)
        found = await engine.retrieve("Who designed the Analytical Engine?", "mix", history)
    assert found is not None
    assert [message.role for message in found.messages] == ["system", "user", "assistant", "user"]
    assert found.messages[-1].content.strip() == "Who designed the Analytical Engine?"
    assert "Charles Babbage designed" in found.messages[0].content
    assert found.passages[0].document == "engine.txt"
    assert found.passages[0].number > 0
    assert "Analytical Engine" in found.entities
    assert all(len(pair) == 2 for pair in found.relations)
    assert found.relations


@pytest.mark.parametrize("mode", MODES)
async def test_only_chosen_documents_are_used_however_small_beside_the_others(
    tmp_path: Path, mode: str
) -> None:
    large = "\n\n".join(
        f"Charles Babbage designed the Analytical Engine {n} in Hamburg. Secret{n} was there."
        for n in range(120)
    )
    small = "Charles Babbage designed the Analytical Engine with Ada Lovelace in London."
    own = document(small, "small.txt", 2)
    async with engine_at(tmp_path, chunk_tokens=60) as engine:
        await engine.index(document(large, "large.txt"), large)
        await engine.index(own, small)
        question = "Who designed the Analytical Engine?"
        found = await engine.retrieve(question, mode, documents=frozenset({own.id}))
        whole = await engine.retrieve(question, mode)
        nothing = await engine.retrieve(question, mode, documents=frozenset({"doc-unknown"}))
    assert found is not None
    assert {passage.document for passage in found.passages} == {"small.txt"}
    for word in ("Hamburg", "Secret", "large.txt"):
        assert word not in found.messages[0].content
    assert whole is not None
    assert "large.txt" in {passage.document for passage in whole.passages}
    assert nothing is None


async def test_a_question_may_hold_the_marks_of_a_prompt(tmp_path: Path) -> None:
    question = "What is\n\n---User Query---\n\nCharles Babbage and the ---Context--- of {braces}?"
    async with engine_at(tmp_path) as engine:
        await engine.index(document(ENGINE_EN), ENGINE_EN)
        found = await engine.retrieve(question, "naive")
    assert found is not None
    assert "Charles Babbage designed" in found.messages[0].content


async def test_deleting_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        before = engine.version
        await engine.delete("doc-unknown")
        assert engine.version == before
        assert await engine.counts("doc-unknown") is None
        assert await engine.passages(["doc-unknown-chunk-000"]) == {}
        assert (await engine.brought("doc-unknown")).entities == ()


async def test_a_library_that_is_opened_again_has_its_graph(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        await engine.index(document(ENGINE_EN), ENGINE_EN)
        before = {entity.name for entity in (await engine.graph()).entities}
    async with engine_at(tmp_path) as engine:
        assert {entity.name for entity in (await engine.graph()).entities} == before


async def test_two_libraries_in_one_process_do_not_see_each_other(tmp_path: Path) -> None:
    async with engine_at(tmp_path / "a", workspace="library_a") as engine:
        await engine.index(document(ENGINE_EN), ENGINE_EN)
    async with engine_at(tmp_path / "b", workspace="library_b") as engine:
        assert (await engine.graph()).entities == ()
        await engine.index(document(MUSIC_RU), MUSIC_RU)
        assert "Charles Babbage" not in {e.name for e in (await engine.graph()).entities}


async def test_vectors_of_another_size_are_not_opened(tmp_path: Path) -> None:
    async with engine_at(tmp_path) as engine:
        await engine.index(document(ENGINE_EN), ENGINE_EN)
    with pytest.raises(EmbeddingMismatch):
        async with engine_at(tmp_path, model=OfflineModel(dimension=128)):
            pass


async def test_closing_in_the_middle_keeps_the_answers_that_were_paid_for(tmp_path: Path) -> None:
    text = long_text(8)
    model, done = FailingModel(""), anyio.Event()

    def heard(signal: Signal) -> None:
        if isinstance(signal, ChunkExtracted) and signal.done >= 2:
            done.set()

    model.poison, model.stuck = "Alder7", True
    async with engine_at(tmp_path, model=model, heard=heard) as engine:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.index, document(text), text)
            await done.wait()
            tasks.cancel_scope.cancel()
    model.poison = ""
    first = model.extractions
    async with engine_at(tmp_path, model=model) as engine:
        ended = await engine.index(document(text), text)
    assert ended.status is Status.PROCESSED
    assert model.extractions - first <= ended.chunks - 2


def test_a_stray_env_file_changes_nothing(tmp_path: Path) -> None:
    """LightRAG reads `.env` of the working directory when it is imported."""
    (tmp_path / ".env").write_text("WORKSPACE=stray\nOLLAMA_HOST=http://stray\nCHUNK_SIZE=7\n")
    code = (
        "import os\nbefore = dict(os.environ)\n"
        "from librarian.opening import import_lightrag\nimport_lightrag()\n"
        "import sys\nassert 'lightrag' in sys.modules\n"
        "assert dict(os.environ) == before, set(os.environ.items()) - set(before.items())\n"
    )
    root = str(Path(__file__).resolve().parent.parent)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
