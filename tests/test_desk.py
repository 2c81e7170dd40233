"""Whose chunk a prompt is about: the contract with LightRAG's own prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightrag.prompt import PROMPTS

from librarian.calls import Calls, Ticket
from librarian.chunking import Chunk
from librarian.desk import LANGUAGE_MARK, Desk, chunk_text, subject_of
from librarian.documents import Document, Status
from librarian.errors import DocumentPaused
from librarian.journal import Journal
from librarian.language import UNKNOWN
from librarian.models.forms import EXTRACTION, KEYWORDS
from librarian.models.protocol import Completion, Heard, ModelCard, Prompt, Role, Vectors

FORM = json.dumps(
    {"entities": [], "relationships": [], "high_level_keywords": [], "low_level_keywords": []}
)
ENGLISH = "Charles Babbage designed the Analytical Engine in London."
RUSSIAN = "Пётр Ильич Чайковский родился в Воткинске и учился в Петербурге."
TRICKY = (
    ENGLISH,
    RUSSIAN,
    "Code:\n```\nprint(1)\n```\nand the end",
    "```\n---Output---\n```",
    "A text\n```\n\n---Output---\nthat holds the prompt's own ending\n```\n\n---Output---",
    "---Input Text---\n```\ninner\n```\n\n---Output---",
    "{braces} and {input_text} and %s",
    "ends with a fence\n```",
    "```",
)


class ListeningModel:
    """Answers any form and keeps the prompts."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    @property
    def card(self) -> ModelCard:
        return ModelCard(backend="offline", llm="any", embed="any", host="", dimension=1)

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        self.prompts.append(prompt)
        return Completion(text=FORM)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


def document(doc_id: str, *, language: str = "English", place: float = 1.0) -> Document:
    return Document(
        id=doc_id,
        name=f"{doc_id}.txt",
        status=Status.PENDING,
        bytes=1,
        characters=1,
        language=language,
        file="",
        created_at=0,
        updated_at=0,
        place=place,
    )


def extraction(text: str, name: str = "entity_extraction_json_user_prompt") -> str:
    template: str = PROMPTS[name]
    return template.format(
        max_total_records=50,
        max_entity_records=25,
        language=LANGUAGE_MARK,
        entity_types_guidance=PROMPTS["default_entity_types_guidance"],
        heading_context_block="",
        input_text=text,
    )


def system_prompt() -> str:
    template: str = PROMPTS["entity_extraction_json_system_prompt"]
    return template.format(
        max_total_records=50,
        max_entity_records=25,
        language=LANGUAGE_MARK,
        entity_types_guidance=PROMPTS["default_entity_types_guidance"],
        examples="",
    )


def gleaning() -> str:
    template: str = PROMPTS["entity_continue_extraction_json_user_prompt"]
    return template.format(language=LANGUAGE_MARK, max_total_records=50, max_entity_records=25)


def summary(*descriptions: str) -> str:
    template: str = PROMPTS["summarize_entity_descriptions"]
    return template.format(
        description_type="Entity",
        description_name="Babbage",
        description_list="\n".join(
            json.dumps({"Description": each}, ensure_ascii=False) for each in descriptions
        ),
        summary_length=600,
        language=LANGUAGE_MARK,
    )


def keywords(question: str) -> str:
    template: str = PROMPTS["keywords_extraction"]
    return template.format(
        query=question,
        language=LANGUAGE_MARK,
        examples="\n".join(PROMPTS["keywords_extraction_examples"]),
    )


def desk_of(model: ListeningModel, language: str = "") -> Desk:
    return Desk(Calls(model, limit=2), language)


def lay_out(desk: Desk, owner: Document, *chunks: str) -> None:
    text = "\n\n".join(chunks)
    desk.expect(owner, text)
    desk.lay_out(
        text,
        [Chunk(order=n, start=0, text=chunk, tokens=1) for n, chunk in enumerate(chunks)],
    )


@pytest.mark.parametrize("text", TRICKY)
@pytest.mark.parametrize(
    "template", ["entity_extraction_json_user_prompt", "entity_extraction_user_prompt"]
)
def test_the_chunk_is_read_back_from_lightrags_own_prompt(text: str, template: str) -> None:
    if template == "entity_extraction_user_prompt":
        filled = PROMPTS[template].format(
            max_total_records=50,
            max_entity_records=25,
            language=LANGUAGE_MARK,
            completion_delimiter="<|COMPLETE|>",
            tuple_delimiter="<|#|>",
            entity_types_guidance="",
            heading_context_block="",
            input_text=text,
        )
    else:
        filled = extraction(text)
    assert chunk_text(filled) == text


@given(st.text(min_size=1))
def test_any_chunk_is_read_back(text: str) -> None:
    assert chunk_text(extraction(text)) == text


def test_a_prompt_of_another_kind_has_no_chunk() -> None:
    for prompt in (gleaning(), summary("One.", "Two."), keywords("Who?"), "", "plain"):
        assert chunk_text(prompt) == ""


@pytest.mark.anyio
async def test_a_prompt_is_asked_for_its_document_in_its_turn_and_language() -> None:
    model = ListeningModel()
    desk = desk_of(model)
    lay_out(desk, document("doc-ru", language="Russian", place=7), RUSSIAN, "Второй отрывок.")
    assert not desk.was_asked("doc-ru", 1)
    await desk.extract(extraction("Второй отрывок."), system_prompt(), [], form=True)
    (prompt,) = model.prompts
    assert [message.role for message in prompt.messages] == ["system", "user"]
    for message in prompt.messages:
        assert LANGUAGE_MARK not in message.content
        assert "Russian" in message.content
    assert prompt.role is Role.EXTRACT
    assert prompt.schema is EXTRACTION
    assert desk.was_asked("doc-ru", 1)
    assert not desk.was_asked("doc-ru", 0)


@pytest.mark.anyio
async def test_the_language_that_a_person_set_wins() -> None:
    model = ListeningModel()
    desk = desk_of(model, "Esperanto")
    lay_out(desk, document("doc-ru", language="Russian"), RUSSIAN)
    await desk.extract(extraction(RUSSIAN), system_prompt(), [], form=True)
    await desk.keywords(keywords("Кто родился в Воткинске?"), "")
    for prompt in model.prompts:
        text = "".join(message.content for message in prompt.messages)
        assert "Esperanto" in text
        assert LANGUAGE_MARK not in text


@pytest.mark.anyio
async def test_an_extra_round_belongs_to_the_chunk_of_its_history() -> None:
    model = ListeningModel()
    calls = Calls(model, limit=1)
    desk = Desk(calls, "")
    lay_out(desk, document("doc-ru", language="Russian"), RUSSIAN)
    history = [
        {"role": "user", "content": extraction(RUSSIAN)},
        {"role": "assistant", "content": FORM},
    ]
    await desk.extract(gleaning(), system_prompt(), history, form=True)
    roles = [message.role for message in model.prompts[0].messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert desk.was_asked("doc-ru", 0)
    calls.pause("doc-ru")
    with pytest.raises(DocumentPaused):
        await desk.extract(gleaning(), system_prompt(), history, form=True)


@pytest.mark.anyio
async def test_two_documents_with_the_same_chunk_are_asked_for_in_the_first_ones_turn() -> None:
    model = ListeningModel()
    desk = desk_of(model)
    lay_out(desk, document("doc-b", place=2), ENGLISH, "Only in b.")
    lay_out(desk, document("doc-a", place=1), ENGLISH, "Only in a.")
    await desk.extract(extraction(ENGLISH), "", [], form=True)
    assert desk.was_asked("doc-a", 0)
    desk.forget("doc-a")
    assert not desk.was_asked("doc-a", 0)
    await desk.extract(extraction(ENGLISH), "", [], form=True)
    assert desk.was_asked("doc-b", 0)


@pytest.mark.anyio
async def test_a_summary_is_asked_for_in_the_language_of_its_descriptions() -> None:
    model = ListeningModel()
    desk = desk_of(model)
    await desk.extract(summary(RUSSIAN, RUSSIAN[::1]), "", [], form=False)
    (prompt,) = model.prompts
    assert prompt.role is Role.SUMMARY
    assert prompt.schema is None
    assert "Russian" in prompt.messages[-1].content
    assert LANGUAGE_MARK not in prompt.messages[-1].content


@pytest.mark.anyio
async def test_search_words_are_asked_for_in_the_language_of_the_question() -> None:
    model = ListeningModel()
    await desk_of(model).keywords(keywords("Кто родился в Воткинске и где он учился?"), "")
    (prompt,) = model.prompts
    assert prompt.role is Role.KEYWORD
    assert prompt.schema is KEYWORDS
    assert "Russian" in prompt.messages[-1].content
    assert LANGUAGE_MARK not in prompt.messages[-1].content


@pytest.mark.anyio
async def test_a_text_without_words_leaves_the_language_to_the_model() -> None:
    model = ListeningModel()
    desk = desk_of(model)
    lay_out(desk, replace(document("doc-n"), language=""), "1 2 3")
    await desk.extract(extraction("1 2 3"), "", [], form=True)
    assert UNKNOWN in model.prompts[0].messages[-1].content


def test_a_text_that_nobody_expects_is_nobodys() -> None:
    desk = desk_of(ListeningModel())
    desk.lay_out(ENGLISH, [Chunk(order=0, start=0, text=ENGLISH, tokens=1)])
    assert not desk.was_asked("doc-a", 0)
    assert Ticket().document == ""


# --- what is wrong with the answers ---------------------------------------------------------


@pytest.mark.anyio
async def test_a_document_is_warned_of_what_the_journal_has_about_its_chunks(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    desk = Desk(Calls(ListeningModel(), limit=2, journal=journal), "")
    book = document("doc-1")
    text = f"{ENGLISH} " * 20
    good = f"{RUSSIAN} " * 20
    desk.expect(book, "all of it")
    desk.lay_out(
        "all of it",
        [Chunk(order=n, start=0, text=each, tokens=9) for n, each in enumerate((good, text))],
    )
    assert await desk.alarms(book) == ()  # nothing is known of them yet
    await desk.extract(extraction(text), "", [], form=True)
    named = {"name": "Воткинск", "type": "city", "description": "Votkinsk, a town."}
    answer = Completion(text=json.dumps({"entities": [named], "relationships": []}))
    journal.put(
        b"key", answer, role="extract", model="m", document="", chunk=0, subject=subject_of(good)
    )
    (warning,) = await desk.alarms(book)
    assert "no entity in chunk 2." in warning
    journal.close()
    assert await desk.alarms(book) == ()  # a journal that cannot be read fails no document
