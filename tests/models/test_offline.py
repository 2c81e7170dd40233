"""The offline model under LightRAG's own prompts."""

import json
import subprocess
import sys
from typing import Any

import anyio
import numpy as np
import pytest
from lightrag.prompt import PROMPTS

from librarian.models.hashing import embed
from librarian.models.offline import OfflineBrain, OfflineModel
from librarian.models.protocol import Completion, Message, Prompt, Role
from tests.models.test_terms import PROSE_EN, PROSE_RU, TECHNICAL_RU

LIGHTHOUSE = "Смотритель зажигает лампу маяка каждый вечер и гасит её на рассвете."
HARVEST = "Осенью крестьяне убирают рожь и везут мешки с зерном на мельницу."
HARBOUR = "The harbour master writes down every ship that comes in before noon."


def extraction_prompt(text: str, *, total: int = 100, entities: int = 40) -> str:
    template: str = PROMPTS["entity_extraction_json_user_prompt"]
    return template.format(
        max_total_records=total,
        max_entity_records=entities,
        language="Russian",
        entity_types_guidance=PROMPTS["default_entity_types_guidance"],
        heading_context_block="",
        input_text=text,
    )


def answer_prompt(*passages: tuple[str, str]) -> str:
    rows = [{"reference_id": number, "content": text} for number, text in passages]
    context = PROMPTS["naive_query_context"].format(
        text_chunks_str="\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        reference_list_str="\n".join(f"[{number}] book_{number}.txt" for number, _ in passages),
    )
    filled: str = PROMPTS["naive_rag_response"].format(
        response_type="Multiple Paragraphs", user_prompt="n/a", content_data=context
    )
    return filled


def ask(request: str, *, system: str = "", schema: dict[str, Any] | None = None) -> str:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": request}]
    return OfflineBrain().answer(messages, schema)


def extracted(text: str, **limits: int) -> dict[str, list[dict[str, str]]]:
    answer: dict[str, list[dict[str, str]]] = json.loads(ask(extraction_prompt(text, **limits)))
    return answer


def complete(prompt: Prompt, heard: list[str] | None = None) -> Completion:
    model = OfflineModel()
    return anyio.run(model.complete, prompt, None if heard is None else heard.append)


def test_extraction_is_json_in_lightrags_form() -> None:
    answer = extracted(PROSE_RU)
    assert answer.keys() == {"entities", "relationships"}
    for entity in answer["entities"]:
        assert entity.keys() == {"name", "type", "description"}
    for relation in answer["relationships"]:
        assert relation.keys() == {"source", "target", "keywords", "description"}
        assert all(relation.values())


def test_every_relation_joins_two_of_the_entities_once() -> None:
    answer = extracted(PROSE_RU)
    names = {entity["name"] for entity in answer["entities"]}
    pairs = [frozenset((one["source"], one["target"])) for one in answer["relationships"]]
    assert pairs
    assert len(pairs) == len(set(pairs))
    assert all(len(pair) == 2 and pair <= names for pair in pairs)


def test_extraction_keeps_to_the_limits_that_the_prompt_names() -> None:
    answer = extracted(PROSE_RU, total=7, entities=4)
    assert len(answer["entities"]) <= 4
    assert len(answer["entities"]) + len(answer["relationships"]) <= 7


def test_types_are_those_of_the_prompt() -> None:
    types = {entity["name"]: entity["type"] for entity in extracted(PROSE_RU)["entities"]}
    assert types["Марина Оленина"] == "Person"
    assert types["Архангельск"] == "Location"
    allowed = "\n".join(["- Concept: an idea"])
    request = extraction_prompt(PROSE_RU).replace(PROMPTS["default_entity_types_guidance"], allowed)
    entities = json.loads(ask(request))["entities"]
    assert {entity["type"] for entity in entities} <= {"Concept", "Other"}


def test_a_description_is_a_sentence_of_the_text() -> None:
    text = " ".join(TECHNICAL_RU.split())
    for entity in extracted(TECHNICAL_RU)["entities"]:
        assert entity["description"] in text


def test_a_document_with_the_prompts_own_marks_is_read_to_its_end() -> None:
    text = f"{PROSE_EN}\n```\nНочью.\n---Output---\n```\nПотом Марина Оленина уехала в Казань."
    names = {entity["name"] for entity in extracted(text)["entities"]}
    assert "Марина Оленина" in names


def test_gleaning_finds_nothing_missed() -> None:
    request = PROMPTS["entity_continue_extraction_json_user_prompt"].format(
        max_total_records=100, max_entity_records=40, language="Russian"
    )
    assert json.loads(ask(request)) == {"entities": [], "relationships": []}


@pytest.mark.parametrize("text", ["", "...", "1 2 3", "\0" * 100])
def test_a_text_without_terms_gives_empty_lists(text: str) -> None:
    assert extracted(text) == {"entities": [], "relationships": []}


def test_search_words_are_named_like_the_entities() -> None:
    request = PROMPTS["keywords_extraction"].format(
        query="Что Завьялов узнал о Марине Олениной и смотрителе маяка?",
        examples="\n".join(PROMPTS["keywords_extraction_examples"]),
        language="Russian",
    )
    answer = json.loads(ask(request))
    assert answer.keys() == {"high_level_keywords", "low_level_keywords"}
    assert {"Марина Оленина", "Завьялов"} <= set(answer["low_level_keywords"])
    assert "смотритель маяка" in answer["high_level_keywords"]


def test_a_question_that_names_nothing_is_searched_by_its_own_words() -> None:
    request = PROMPTS["keywords_extraction"].format(
        query="как установить?", examples="", language="Russian"
    )
    assert json.loads(ask(request))["low_level_keywords"] == ["установить"]


def test_a_summary_tells_each_thing_once_within_its_length() -> None:
    described = [LIGHTHOUSE, HARVEST, LIGHTHOUSE, f"{LIGHTHOUSE} Лампа стара."] * 20
    request = PROMPTS["summarize_entity_descriptions"].format(
        description_type="Entity",
        description_name="маяк",
        description_list="\n".join(
            json.dumps({"Description": text}, ensure_ascii=False) for text in described
        ),
        summary_length=100,
        language="Russian",
    )
    summary = ask(request)
    assert summary.count(LIGHTHOUSE) == 1
    assert HARVEST in summary
    assert len(summary) <= 300


def test_an_answer_quotes_the_passage_that_was_asked_about() -> None:
    system = answer_prompt(("1", HARVEST), ("2", LIGHTHOUSE), ("3", HARBOUR))
    answer = ask("Кто зажигает лампы на маяках?", system=system)
    assert f"> {LIGHTHOUSE} [2]" in answer
    assert answer.endswith("### References\n\n- [2] book\\_2.txt")
    assert HARVEST not in answer


def test_an_answer_is_in_the_language_of_the_question() -> None:
    system = answer_prompt(("1", HARBOUR))
    assert ask("Who writes down the ships?", system=system).startswith("No language model")
    assert ask("Что такое harbour master?", system=system).startswith("Языковой модели нет")


def test_an_answer_without_a_fitting_passage_says_so() -> None:
    answer = ask("Сколько стоит паровоз?", system=answer_prompt(("1", HARVEST)))
    assert "нет слов этого вопроса" in answer
    assert "References" not in answer


@pytest.mark.parametrize(
    "question",
    [
        "Что говорится о «Корчагиных»?",
        "Расскажите о Корчагине.",
        "What is said about “Корчагин”?",
        "Что известно о корчагинской лампе?",
    ],
)
def test_what_is_asked_about_counts_and_not_the_words_that_ask(question: str) -> None:
    text = "Лампу на маяке зажигает Корчагин. Корчагин следит за маяком. Маяк Корчагина высок."
    answer = ask(question, system=answer_prompt(("1", text), ("2", HARVEST)))
    assert "> Лампу на маяке зажигает Корчагин." in answer
    assert HARVEST not in answer


def test_quoted_markup_stays_text() -> None:
    text = "Маяк <script>alert(1)</script> [горит](javascript:x) *ярко* `ночью` $x$ ## и днём."
    answer = ask("Когда горит маяк?", system=answer_prompt(("1", text)))
    assert "<script>" not in answer.replace("\\<script", "")
    for mark in ("\\<script\\>", "\\[горит\\]", "\\*ярко\\*", "\\`ночью\\`", "\\$x\\$", "\\#\\#"):
        assert mark in answer


def test_a_question_in_a_prompts_words_is_still_a_question() -> None:
    prompt = Prompt(
        messages=(
            Message(role="system", content=answer_prompt(("1", HARVEST))),
            Message(role="user", content=extraction_prompt(PROSE_RU)),
        ),
        role=Role.QUERY,
    )
    assert not complete(prompt).text.startswith("{")


def test_what_is_heard_is_the_answer_in_pieces() -> None:
    heard: list[str] = []
    prompt = Prompt(
        messages=(
            Message(role="system", content=answer_prompt(("1", LIGHTHOUSE))),
            Message(role="user", content="Что делает смотритель?"),
        ),
        role=Role.QUERY,
    )
    completion = complete(prompt, heard)
    assert len(heard) > 2
    assert "".join(heard) == completion.text


def test_a_completion_counts_tokens_and_measures_time() -> None:
    ticks = iter([10.0, 12.5])
    model = OfflineModel(clock=lambda: next(ticks))
    prompt = Prompt(messages=(Message(role="user", content="Где маяк?"),), role=Role.QUERY)
    completion = anyio.run(model.complete, prompt)
    assert completion.prompt_tokens == 3
    assert completion.output_tokens > 0
    assert completion.total_s == 2.5


def test_the_card_names_no_host() -> None:
    card = OfflineModel(dimension=64).card
    assert (card.backend, card.embed, card.host, card.dimension) == (
        "offline",
        "hashed-64",
        "",
        64,
    )


def test_every_text_has_a_unit_vector() -> None:
    texts = ["", "...", "\0", "и", PROSE_RU, "я" * 5000, "\ud800"]
    vectors = anyio.run(OfflineModel().embed, texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), 512)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0)
    assert anyio.run(OfflineModel().embed, []).shape == (0, 512)


def test_a_question_is_nearest_to_its_passage_in_any_inflection() -> None:
    passages = embed([HARVEST, LIGHTHOUSE, HARBOUR], 512)
    asked = embed(
        ["О лампах маяков и смотрителе", "мешок зерна с мельницы", "ships in harbours"], 512
    )
    assert np.argmax(asked @ passages.T, axis=1).tolist() == [1, 0, 2]


def test_vectors_are_the_same_in_another_process() -> None:
    code = "from librarian.models.hashing import embed; print(embed(['старый маяк'], 64).tolist())"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(printed) == embed(["старый маяк"], 64).tolist()


def test_the_brain_gives_plain_lists() -> None:
    rows = OfflineBrain().embed(["маяк", "зерно"], 32)
    assert [len(row) for row in rows] == [32, 32]
    assert isinstance(rows[0][0], float)
