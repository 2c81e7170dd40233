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
