"""The log: what LightRAG says goes into it without the names and passages that it cites."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from librarian.logbook import Logbook


@pytest.fixture
def logbook(tmp_path: Path) -> Logbook:
    return Logbook(tmp_path / "librarian.log")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("chunk-1: found 3/4 fields on ENTITY `Ада` @ `person`", "on ENTITY ‘…’ @ ‘…’"),
        ("Entity '…' of 'a\nb' has no description", "Entity ‘…’ of ‘…’ has no description"),
        ("Query nodes: Ада Лавлейс, London (top_k:40)", "Query nodes: …"),
        ("Query edges: saffron", "Query edges: …"),
        ("Forced low_level_keywords to origin query: Кто?\nАда", "origin query: …"),
        ("Chunk 1 of 3 extracted 7 Ent + 9 Rel", "Chunk 1 of 3 extracted 7 Ent + 9 Rel"),
    ],
)
def test_names_and_questions_stay_out_of_the_log(
    logbook: Logbook, tmp_path: Path, said: str, kept: str
) -> None:
    try:
        logging.getLogger("lightrag").warning(said)
        logging.getLogger("lightrag").warning("%s", said)
    finally:
        logbook.close()
    assert all(line.endswith(kept) for line in logbook.tail)
    assert len(logbook.tail) == 2
    text = (tmp_path / "librarian.log").read_text(encoding="utf-8")
    assert text.splitlines() == list(logbook.tail)


def test_a_line_for_each_relation_is_left_out(logbook: Logbook) -> None:
    logging.getLogger("lightrag").warning("Upserting relation of two")
    logbook.close()
    assert logbook.tail == ()


@pytest.mark.parametrize(
    "line",
    [
        "PostgreSQL database,\nsql:INSERT INTO t VALUES ($1),\ndata:{'a': 'Heathcliff'},\n"
        "error:null value in column\nDETAIL:  Failing row contains (Heathcliff).",
        "[ws] PostgreSQL database,\nsql:SELECT 1,\nparams:{'ids': ['Heathcliff']},\nerror:gone",
        "[ws] Error to prepare upsert,\nerror: gone\nitem: {'content': 'Heathcliff went out'}",
    ],
)
def test_what_a_database_did_not_take_is_not_in_the_log(line: str, tmp_path: Path) -> None:
    logbook = Logbook(tmp_path / "librarian.log")
    try:
        logging.getLogger("lightrag").error(line)
        (said,) = logbook.tail
    finally:
        logbook.close()
    assert "Heathcliff" not in said
    assert "null value in column" in said or "gone" in said
