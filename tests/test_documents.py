"""Names and bytes as people have them: every encoding, every nuisance."""

import random
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from librarian import documents
from librarian.documents import (
    MAX_BYTES,
    NAME_LENGTH,
    check_supported,
    check_text,
    clean_name,
    document_id,
    file_name,
    read_text,
)
from librarian.errors import (
    DocumentError,
    DocumentTooLarge,
    EmptyDocument,
    RepetitiveDocument,
    UndecodableDocument,
    UnsupportedDocument,
)

RUSSIAN = """Маяк на мысе Тихом построил в 1871 году инженер Павел Ремизов. До этого рыбаки деревни
Заречье зажигали на скале костры — так было и при отцах, и при дедах.

Первым смотрителем маяка стал Игнат Корчагин, отставной матрос. Он вёл журнал, в который записывал
погоду, проходившие суда и рассказы рыбаков.
"""
ENGLISH = """The lighthouse at Quiet Cape was built in 1871 by Pavel Remizov. Before that the
fishermen lit fires on the rock — as their fathers did. It cost £40, “a fortune”.
"""


# --- bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1251", "koi8-r"]
)
@pytest.mark.parametrize("length", [1, 20])
def test_russian_is_read_in_every_encoding(encoding: str, length: int) -> None:
    text = RUSSIAN.replace("—", "-") * length
    assert read_text(text.encode(encoding)) == text.strip()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_english_is_read_in_every_unicode(encoding: str) -> None:
    assert read_text(ENGLISH.encode(encoding)) == ENGLISH.strip()


@pytest.mark.parametrize("encoding", ["utf-8", "cp1251"])
def test_a_short_note_in_russian_is_read(encoding: str) -> None:
    text = "Позвонить Анне завтра утром и отдать ей книгу про маяк."
    assert read_text(text.encode(encoding)) == text


def test_a_long_book_in_an_old_encoding_is_read_whole() -> None:
    text = (RUSSIAN.replace("—", "-") + f"{ENGLISH[:80]}\n") * 3
    assert read_text(text.encode("cp1251")) == text.strip()


def test_line_ends_of_every_system_become_one() -> None:
    assert read_text(b"one\r\ntwo\rthree\nfour") == "one\ntwo\nthree\nfour"


def test_a_letter_in_two_marks_is_the_same_document() -> None:
    composed, split = "Ёлка и Йод", unicodedata.normalize("NFD", "Ёлка и Йод")
    assert composed != split
    assert document_id(read_text(composed.encode())) == document_id(read_text(split.encode()))


@pytest.mark.parametrize(
    "data", [b"", b" \n\t\r\n ", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n", b"\x0b\x0c"]
)
def test_a_file_without_text_is_refused(data: bytes) -> None:
    with pytest.raises(EmptyDocument):
        read_text(data)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [64, 2048, 200_000])
def test_random_bytes_are_refused(seed: int, size: int) -> None:
    with pytest.raises(DocumentError):
        read_text(random.Random(seed).randbytes(size))


@pytest.mark.parametrize(
    "head",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x01\x00\x00\x00\x01\x00\x08\x06\x00\x00\x00",
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00",
        b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00>\x00",
    ],
)
def test_a_picture_or_a_program_named_txt_is_refused(head: bytes) -> None:
    with pytest.raises(UndecodableDocument):
        read_text(head + random.Random(3).randbytes(5000))


def test_fifty_megabytes_of_one_line_are_refused() -> None:
    line = b"The same line again and again, as a broken program writes it.\n"
    with pytest.raises(RepetitiveDocument, match="repeats itself"):
        read_text(line * (50 * 1024 * 1024 // len(line)))


def test_a_book_and_a_table_are_no_repetition() -> None:
    rows = random.Random(5)
    table = "\n".join(f"| {rows.randint(0, 99)} | {rows.randint(0, 9999)} |" for _ in range(40_000))
    assert len(table) > 300_000
    assert read_text(table.encode()) == table


def test_a_file_over_the_limit_is_refused_with_the_limit() -> None:
    with pytest.raises(DocumentTooLarge, match=f"{MAX_BYTES:,}"):
        read_text(bytes(MAX_BYTES + 1))


def test_control_characters_and_half_characters_become_spaces() -> None:
    assert check_text("a\x00b\x07c\ud800d\x1be\x7ff") == "a b c d e f"
    assert check_text("tab\tand\nline") == "tab\tand\nline"


@given(st.text(st.characters()))
def test_any_text_is_made_plain_or_refused(text: str) -> None:
    try:
        plain = check_text(text)
    except EmptyDocument:
        return
    assert plain.encode().decode() == plain
    assert plain == plain.strip() != ""
    assert "\x00" not in plain
    assert "\r" not in plain
    assert check_text(plain) == plain  # what is stored is read back as the same document


@given(st.text(min_size=1, max_size=300))
def test_what_is_stored_of_any_text_is_read_back(text: str) -> None:
    try:
        plain = check_text(text)
    except EmptyDocument:
        return
    assert read_text(plain.encode()) == plain


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_by_name(data: bytes) -> None:
    try:
        text = read_text(data)
    except DocumentError as exc:
        assert str(exc)
    else:
        assert text.strip()
        text.encode()


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("book.txt", "book.txt"),
        ("../../etc/passwd", "etc∕passwd"),
        ("..\\..\\windows\\notes.txt", "windows∕notes.txt"),
        ("C:\\Users\\me\\notes.txt", "Users∕me∕notes.txt"),
        ("/abs/olute.md", "abs∕olute.md"),
        ("folder/./sub/../book.md", "folder∕sub∕book.md"),
        ('He said "hello".txt', 'He said "hello".txt'),
        ("two\nlines\r\n.txt", "two lines .txt"),
        ("nul\x00byte.txt", "nul byte.txt"),
        ("\u202etxt.exe", "txt.exe"),
        ("a\u200f\u200eb.txt", "a b.txt"),
        ("half\ud800.txt", "half .txt"),
        ("<script>alert(1)</script>.txt", "<script>alert(1)<∕script>.txt"),
        ("notes [native].txt", "notes (native).txt"),
        ("a<SEP>b.txt", "a b.txt"),
        ("  spaces   inside  .txt ", "spaces inside .txt"),
        ("Йод.txt", unicodedata.normalize("NFC", "Йод.txt")),
        ("...", "document"),
        ("", "document"),
        ("///", "document"),
    ],
)
def test_a_name_is_made_fit_to_show_and_store(name: str, shown: str) -> None:
    assert clean_name(name) == shown


def test_a_name_of_three_hundred_characters_keeps_its_ending() -> None:
    name = clean_name("я" * 300 + ".md")
    assert len(name) <= NAME_LENGTH
    assert name.endswith("….md")


@given(st.text(st.characters(), max_size=400))
@example("a <SEP> b")
@example("<SEP>/a/<SEP>")
def test_no_name_is_a_path_or_holds_a_control_character(name: str) -> None:
    clean = clean_name(name)
    assert 0 < len(clean) <= NAME_LENGTH
    assert "/" not in clean
    assert "\\" not in clean
    assert clean not in (".", "..")
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in clean)
    assert clean == " ".join(clean.split())
    clean.encode()
    assert clean_name(clean) == clean


@given(st.text(st.characters(), max_size=400), st.text(min_size=1))
def test_an_original_is_stored_under_one_plain_file_name(name: str, text: str) -> None:
    clean = clean_name(name)
    file = file_name(clean, "doc-0123456789abcdef")
    assert PurePosixPath(file).name == PureWindowsPath(file).name == file
    assert len(file.encode()) < 255
    assert "89abcdef" in file
    assert file.endswith(documents.SUFFIXES)
    assert not any(character in '<>:"|?*\n\r\x00' for character in file)


@pytest.mark.parametrize(
    "name", ["a.txt", "A.TXT", "заметки.md", "archive.tar.txt", "b.PDF", "c.fb2", "c.FB2.zip"]
)
def test_what_is_read_is_known_by_its_ending(name: str) -> None:
    check_supported(name)


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.doc", ".doc"),
        ("A.JPG", ".jpg"),
        ("a.zip", ".zip"),
        ("README", "without an ending"),
        ("a.txt.exe", ".exe"),
    ],
)
def test_other_files_are_refused_by_their_ending(name: str, ending: str) -> None:
    with pytest.raises(UnsupportedDocument, match=ending):
        check_supported(name)


def test_the_same_text_has_the_same_id_and_another_text_another() -> None:
    assert document_id("a") == document_id("a") != document_id("b")
    assert document_id("a").startswith("doc-")
