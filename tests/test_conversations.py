"""Conversations on disk and as Markdown: nothing lost, nothing believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from librarian.answers import Answer
from librarian.conversations import Conversations, safe_markdown, to_markdown
from librarian.errors import LibraryError
from librarian.evidence import Passage

PASSAGE = Passage(number=1, document="Дневник <b>.txt", chunk="doc-a-chunk-000", text="Он вёл.")
TURN = Answer(
    question="Кто вёл журнал?\n# Heading",
    text="Корчагин [1].",
    mode="mix",
    sources=(PASSAGE,),
    cited=(1,),
    entities=("Игнат Корчагин",),
    seconds=1.5,
)


@pytest.fixture
def shelf(tmp_path: Path) -> Conversations:
    return Conversations(tmp_path / "conversations", iter(range(1, 99)).__next__)


def test_what_is_kept_is_there_for_the_next_start(shelf: Conversations, tmp_path: Path) -> None:
    kept = shelf.keep([TURN])
    assert Conversations(tmp_path / "conversations").all() == ((kept,), 0)
    assert kept.turns == (TURN,)
    assert kept.title == "Кто вёл журнал? # Heading"


def test_a_conversation_that_goes_on_keeps_its_place_and_title(shelf: Conversations) -> None:
    first, other = shelf.keep([TURN]), shelf.keep([TURN], title="Other")
    shelf.rename(first.id, "  Маяк  ")
    again = shelf.keep([TURN, TURN], first.id, "Маяк")
    assert [each.title for each in shelf.all()[0]] == ["Маяк", "Other"]
    assert shelf.get(first.id).turns == (TURN, TURN)
    shelf.delete(first.id)
    shelf.delete(first.id)
    assert shelf.all() == ((other,), 0)
    assert again.id == first.id


@pytest.mark.parametrize("name", ["", "../../catalogue", "a" * 31, "A" * 32])
def test_an_id_is_never_a_path(shelf: Conversations, name: str) -> None:
    with pytest.raises(LibraryError):
        shelf.get(name)
    with pytest.raises(LibraryError):
        shelf.delete(name)


def test_a_title_is_asked_for(shelf: Conversations) -> None:
    kept = shelf.keep([TURN])
    with pytest.raises(LibraryError, match="needs a title"):
        shelf.rename(kept.id, "  ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b'{"title": "a", "changed_at": 1, "turns": []}',
        b'{"title": 5, "changed_at": 1, "turns": [{}]}',
        b'{"title": "a", "changed_at": 1, "turns": [{"question": {"a": 1}}]}',
    ],
)
def test_a_damaged_file_is_counted_and_harms_no_other(
    shelf: Conversations, tmp_path: Path, data: bytes
) -> None:
    kept = shelf.keep([TURN])
    (tmp_path / "conversations" / ("b" * 32 + ".json")).write_bytes(data)
    assert shelf.all() == ((kept,), 1)
    with pytest.raises(LibraryError, match="damaged"):
        shelf.get("b" * 32)


def test_the_file_is_plain_json(shelf: Conversations, tmp_path: Path) -> None:
    kept = shelf.keep([TURN])
    data = json.loads((tmp_path / "conversations" / f"{kept.id}.json").read_bytes())
    assert data["turns"][0]["question"] == TURN.question


def test_the_export_names_the_sources_that_are_cited() -> None:
    text = to_markdown([TURN])
    assert text.startswith("## Кто вёл журнал? # Heading\n\nКорчагин \\[1\\].")
    assert "### Sources\n\n- \\[1\\] Дневник \\<b>.txt" in text


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>x</script>",
        "<img src=x onerror=x>",
        "![a](http://evil.test/a.png)",
        "[a](javascript:x)",
        "[a]: http://evil.test",
        "\\\\[a](http://evil.test)",
        ":material/home:",
        ":red[a]",
        "http://evil.test",
        "WWW.evil.test",
        "$\\href{javascript:x}{a}$",
    ],
)
def test_nothing_of_a_model_stays_active_in_markdown(hostile: str) -> None:
    safe = safe_markdown(hostile)
    for mark in "[]<$":
        for at, letter in enumerate(safe):
            before = safe[:at]
            slashes = len(before) - len(before.rstrip("\\"))
            assert letter != mark or slashes % 2, safe
    for mark in ("://", ":material/", ":red", "www.evil"):
        assert mark not in safe.lower()


def test_what_is_escaped_already_is_left_alone() -> None:
    assert safe_markdown(r"\[1\] **bold** \<b> 12:30") == r"\[1\] **bold** \<b> 12:30"
