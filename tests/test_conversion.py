"""Files of every format become text with their headings and pages, in a process of their own."""

import io
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from librarian import formats, recognition
from librarian.app import Librarian
from librarian.conversion import Converted, _joined, convert, page_at
from librarian.documents import Outcome, check_text, document_id
from librarian.errors import (
    DocumentError,
    EncryptedDocument,
    ScannedDocument,
    UnreadableDocument,
    UnsupportedDocument,
)
from librarian.intake import (
    admit_file,
    discard,
    pages_of,
    read_document,
    was_recognised,
)
from librarian.library import Library
from librarian.settings import SECRETS
from librarian.workers import Converter, Limits
from tests.formats import writers

FILES = writers.all_files()
#: Real files that have no headings: the writer keeps them as large or bold letters.
WITHOUT_HEADINGS = {"libreoffice.epub", "libreoffice.rtf"}
HEADINGS = (writers.RUSSIAN_HEADING, writers.ENGLISH_HEADING)


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    converter = Converter()
    yield converter
    converter.close()


def words(text: str) -> str:
    """A text without what a format may change: quotes, dashes, spaces."""
    for mark in "“”«»":
        text = text.replace(mark, '"')
    return " ".join(text.replace("—", "-").split())


# --- every format ---------------------------------------------------------------------------


def test_there_are_forty_files_and_every_format_is_among_them() -> None:
    assert len(FILES) >= 40
    for suffix in formats.SUFFIXES:
        assert any(name.endswith(suffix) for name in FILES), suffix


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_its_paragraphs_under_their_headings(name: str, converter: Converter) -> None:
    converted = converter.convert(name, FILES[name])
    text = words(converted.text)
    assert words(writers.RUSSIAN) in text
    assert words(writers.ENGLISH) in text
    assert text.index(words(writers.RUSSIAN)) < text.index(words(writers.ENGLISH))
    for heading in HEADINGS:
        lines = [line for line in converted.text.splitlines() if line.strip("#* ") == heading]
        assert len(lines) == 1
        assert lines[0].startswith("#") or name in WITHOUT_HEADINGS
    assert check_text(converted.text) == converted.text  # what is stored is read back the same
    for foreign in ("one()", "two()", "three()", "<p", "\\", "Чужое"):
        assert foreign not in converted.text


@pytest.mark.parametrize("name", ["chromium.pdf", "libreoffice.docx", "cp1251.fb2", "order.epub"])
def test_the_same_file_gives_the_same_text_in_another_process(
    name: str, converter: Converter
) -> None:
    again = convert(name, FILES[name])
    assert converter.convert(name, FILES[name]) == again


@pytest.mark.parametrize(
    ("name", "under"),
    [
        ("libreoffice.docx", "book.pdf"),
        ("chromium.pdf", "book.txt"),
        ("code-page.rtf", "book.txt"),
        ("order.epub", "book.docx"),
        ("packed.fb2.zip", "book.fb2"),
        ("cp1251.fb2", "book.txt"),
        ("utf-8.html", "book.epub"),
        ("cp1251.txt", "book.pdf"),
        ("libreoffice.xlsx", "book.odt"),
    ],
)
def test_a_file_under_a_wrong_ending_is_read_as_what_it_is(name: str, under: str) -> None:
    assert convert(under, FILES[name]).text == convert(name, FILES[name]).text


def test_a_fiction_book_keeps_its_annotation_verse_and_notes() -> None:
    text = convert("a.fb2", writers.fiction("windows-1251")).text
    assert text.index("О чём эта книга.") < text.index("# Записки смотрителя")
    assert "Строка первая\nСтрока вторая" in text
    assert text.endswith("# Примечания\n\n## 1\n\nПримечание о маяке.")


def test_a_letter_keeps_who_wrote_it_and_the_names_of_what_came_with_it() -> None:
    text = convert("a.eml", writers.letter("koi8-r", old=True)).text
    assert text.startswith(f"# {writers.RUSSIAN_HEADING}\n\nFrom: Анна <a@b.c>\nTo: d@e.f")
    assert "Attached: карта.png" in text


def test_what_is_locked_or_not_read_is_said() -> None:
    with pytest.raises(EncryptedDocument, match="under a password"):
        convert("a.pdf", (writers.REAL / "reportlab-password.pdf").read_bytes())
    with pytest.raises(UnsupportedDocument, match="before 2007"):
        convert("a.docx", (writers.REAL / "libreoffice.doc").read_bytes())
    with pytest.raises(UnsupportedDocument, match="archive"):
        convert("a.docx", writers.zipped({"a.txt": "x"}))


def test_the_table_in_readme_is_made_from_what_is_read() -> None:
    readme = Path(__file__).parent.parent / "README.md"
    assert formats.table() in readme.read_text(encoding="utf-8")


# --- pages ----------------------------------------------------------------------------------


def test_pages_of_a_pdf_are_where_their_text_is() -> None:
    converted = convert("chromium.pdf", FILES["chromium.pdf"])
    text, pages = converted.text, converted.pages
    assert page_at(pages, text.index(writers.RUSSIAN_HEADING)) == 1
    assert page_at(pages, text.index(writers.ENGLISH)) == 2
    assert page_at(pages, text.index("Третья страница")) == 3
    assert "перенос слова" in text  # which the page's end of line divides


def test_pages_of_slides_are_their_numbers() -> None:
    converted = convert("a.pptx", FILES["python-pptx.pptx"])
    assert len(converted.pages) == 2
    assert page_at(converted.pages, converted.text.index(writers.ENGLISH)) == 2


def test_running_heads_and_numbers_of_pages_are_left_out_and_sentences_go_on() -> None:
    pages = [
        ["Notes of a Keeper", f"Entry {n} tells of the ship number {n} and goes on to the", f"{n}"]
        for n in range(1, 31)
    ]
    converted = convert("a.pdf", writers.pdf(pages))
    assert "Notes of a Keeper" not in converted.text
    assert "goes on to the\n\nEntry 7 tells" in converted.text
    assert [page_at(converted.pages, converted.text.index(f"Entry {n} ")) for n in (1, 17, 30)] == [
        1,
        17,
        30,
    ]


def test_a_pdf_of_pictures_is_said_to_be_a_scan() -> None:
    with pytest.raises(DocumentError, match="It has 3 pages and no text. It is a scan"):
        convert("a.pdf", writers.pdf([[], [], []]))


def scan(*pages: Sequence[str]) -> bytes:
    """A PDF that holds nothing but pictures of its pages."""
    font = ImageFont.load_default(size=40)
    pictures = []
    for lines in pages:
        picture = Image.new("L", (1654, 2339), 255)
        for number, line in enumerate(lines):
            ImageDraw.Draw(picture).text((140, 160 + 80 * number), line, font=font, fill=0)
        pictures.append(picture)
    made = io.BytesIO()
    pictures[0].save(made, "PDF", save_all=True, append_images=pictures[1:], resolution=200)
    return made.getvalue()


KEEPER = ("The keeper of the lighthouse wrote down", "every ship that passed in the night.")


def test_a_scan_is_refused_with_the_way_out_where_nothing_can_read_it() -> None:
    converter = Converter(languages=lambda: "")
    try:
        with pytest.raises(ScannedDocument, match="It has 2 pages and no text. .*Tesseract"):
            converter.convert("scan.pdf", scan(KEEPER, KEEPER))
    finally:
        converter.close()


@pytest.mark.skipif(not recognition.languages(), reason="Tesseract is not installed")
def test_a_scan_is_read_with_its_pages_where_tesseract_is_installed(
    converter: Converter, tmp_path: Path
) -> None:
    read = converter.convert("scan.pdf", scan(KEEPER, ("Harbour dues were paid in silver.",)))
    assert read.recognised
    assert "wrote down every ship that passed" in " ".join(read.text.split())
    assert page_at(read.pages, read.text.index("silver")) == 2
    library = Library.open(tmp_path / "library")
    try:
        taken = admit_file(library, "scan.pdf", scan(KEEPER), converter=converter.convert)
        assert taken.outcome is Outcome.ACCEPTED
        assert "recognised" in taken.message
        assert was_recognised(library, library.catalogue.get(taken.doc_id))
    finally:
        library.close()


@pytest.mark.skipif(not recognition.languages(), reason="Tesseract is not installed")
def test_a_scan_of_empty_pages_is_still_a_scan(converter: Converter) -> None:
    with pytest.raises(ScannedDocument, match="It has 2 pages and no text"):
        converter.convert("scan.pdf", scan((), ()))


def test_no_language_is_known_where_tesseract_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    recognition.languages.cache_clear()
    try:
        assert recognition.languages() == ""
        assert recognition.text_of(b"", "eng") == ""
    finally:
        recognition.languages.cache_clear()


@given(st.lists(st.text(max_size=40), min_size=1, max_size=12))
def test_every_page_begins_where_it_is_said_to(texts: list[str]) -> None:
    converted = _joined(texts)
    assert len(converted.pages) == len(texts)
    assert list(converted.pages) == sorted(converted.pages)
    for number, text in enumerate(texts, 1):
        plain = check_text(f"{text}.").removesuffix(".").strip() if text.strip() else ""
        start = converted.pages[number - 1]
        assert converted.text[start : start + len(plain)] == plain
        if plain:
            assert page_at(converted.pages, start) == number


@given(st.integers(0, 10**9))
def test_a_text_without_pages_has_none_anywhere(offset: int) -> None:
    assert page_at((), offset) is None
    assert page_at((0,), offset) == 1


# --- in the library -------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library.open(tmp_path / "home")
    yield library
    library.close()


def test_a_converted_file_is_kept_with_its_text_and_pages_and_goes_with_them(
    library: Library,
) -> None:
    data = FILES["chromium.pdf"]
    admission = admit_file(library, "маяк.pdf", data)
    assert admission.outcome is Outcome.ACCEPTED
    (document,) = library.catalogue.all()
    assert library.read_original(document.file) == data
    assert document.file.endswith(".pdf")
    text = read_document(library, document)
    assert document.id == document_id(text)
    assert (document.language, document.bytes) == ("Russian", len(data))
    assert page_at(pages_of(library, document), text.index(writers.ENGLISH)) == 2
    assert admit_file(library, "again.pdf", data).outcome is Outcome.DUPLICATE
    discard(library, document)
    assert list(library.files.iterdir()) == []


def test_a_plain_text_is_kept_alone_and_has_no_pages(library: Library) -> None:
    admit_file(library, "a.txt", FILES["cp1251.txt"])
    (document,) = library.catalogue.all()
    assert len(list(library.files.iterdir())) == 1
    assert pages_of(library, document) == ()
    assert page_at((), 5) is None


def test_the_chunks_of_a_pdf_know_their_page(librarian: Librarian) -> None:
    from tests.conftest import until_processed

    admission = librarian.add_file("маяк.pdf", FILES["chromium.pdf"])
    assert admission.doc_id is not None, admission.message
    until_processed(librarian, "маяк.pdf")
    parts = librarian.dossier(admission.doc_id).parts
    assert [part.page for part in parts] == [1]


# --- workers --------------------------------------------------------------------------------

#: A worker that does with each file what its name says.
WILD = """
import json, os, sys, time
def answer(what):
    data = json.dumps(what).encode()
    os.write(1, len(data).to_bytes(8, "big") + data)
while head := sys.stdin.buffer.read(8):
    name, size, _ = json.loads(sys.stdin.buffer.read(int.from_bytes(head, "big")))
    sys.stdin.buffer.read(size)
    if name == "hang":
        time.sleep(600)
    if name == "die":
        os._exit(3)
    if name == "eat":
        held = [bytearray(b"x" * (1 << 20)) for _ in range(400)]
        time.sleep(600)
    if name == "lie":
        os.write(1, (1 << 60).to_bytes(8, "big"))
        time.sleep(600)
    if name == "noise":
        os.write(1, (4).to_bytes(8, "big") + b"zzzz")
        time.sleep(600)
    told = " ".join(os.environ) if name == "tell" else name
    answer({"text": told, "pages": []})
"""


@pytest.fixture
def wild(tmp_path: Path) -> Iterator[Converter]:
    script = tmp_path / "wild.py"
    script.write_text(WILD, encoding="utf-8")
    limits = Limits(seconds=3.0, seconds_per_mb=10.0, memory=200 << 20)
    converter = Converter(limits, [sys.executable, str(script)])
    yield converter
    converter.close()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("hang", "could not be read in 4 seconds"),
        ("die", "broke down"),
        ("eat", "more than 200 MB of memory"),
        ("lie", "broke down"),
        ("noise", "broke down"),
    ],
)
def test_a_worker_that_goes_wrong_costs_its_own_file_only(
    wild: Converter, what: str, words: str
) -> None:
    assert wild.convert("good", b"") == Converted(text="good")
    with pytest.raises(UnreadableDocument, match=words):
        wild.convert(what, b"x" * 100_000)
    assert wild.convert("good", b"") == Converted(text="good")
    assert wild.started == 2


def test_a_worker_is_told_no_secret(wild: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "hidden")
    told = wild.convert("tell", b"").text.split()
    assert "PATH" in told
    assert not set(SECRETS) & set(told)


def test_a_worker_is_used_again(wild: Converter) -> None:
    for n in range(5):
        assert wild.convert(f"{n}", b"").text == f"{n}"
    assert wild.started == 1


def test_who_watches_a_conversion_can_end_it(wild: Converter) -> None:
    class Stopped(Exception):
        pass

    seen: list[float] = []

    def watch(seconds: float) -> None:
        seen.append(seconds)
        if len(seen) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        wild.convert("hang", b"", watch)
    assert seen == sorted(seen)
    assert wild.convert("good", b"").text == "good"


def test_closing_ends_what_is_being_converted_and_leaves_no_process(wild: Converter) -> None:
    before = set(psutil.Process().children())
    failed: list[str] = []

    def run() -> None:
        try:
            wild.convert("hang", b"")
        except DocumentError as exc:
            failed.append(str(exc))

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 20
    while not wild.started and time.monotonic() < deadline:
        time.sleep(0.01)
    wild.close()
    thread.join(20)
    assert failed
    assert set(psutil.Process().children()) <= before
    with pytest.raises(DocumentError, match="being closed"):
        wild.convert("good", b"")


@pytest.mark.skipif(os.name == "nt", reason="the limit of addresses is the system's own elsewhere")
def test_a_real_worker_has_limits_of_the_system(converter: Converter) -> None:
    converter.convert("a.txt", b"some text")
    found = [
        child
        for child in psutil.Process().children()
        if "librarian.workers" in " ".join(child.cmdline())
    ]
    assert found
    soft, _ = found[0].rlimit(psutil.RLIMIT_AS)  # type: ignore[attr-defined]
    assert 0 < soft <= 8 << 30
