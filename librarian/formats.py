"""Which kinds of file are read, how each is known by its bytes, and what is kept of it."""

from __future__ import annotations

import io
import lzma
import re
import zipfile
import zlib
from dataclasses import dataclass
from enum import StrEnum

from librarian.errors import EncryptedDocument, UnreadableDocument, UnsupportedDocument

UNPACKED_BYTES = 1 << 30  # of all files in a zip together; the largest books with pictures: 300 MB
PACKED_RATIO = 200  # text packs 4 times, XML of an empty spreadsheet 100 times
PACKED_FILES = 20_000
_HEAD = 4096  # bytes in which a file says what it is


#: What reading a damaged zip raises.
BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
    NotImplementedError,
    OSError,
    EOFError,
    ValueError,
)


class Kind(StrEnum):
    """A way of reading."""

    TEXT = "text"
    HTML = "html"
    PDF = "pdf"
    DOCX = "docx"
    ODT = "odt"
    RTF = "rtf"
    EPUB = "epub"
    FB2 = "fb2"
    FB2_ZIP = "fb2.zip"
    PPTX = "pptx"
    XLSX = "xlsx"
    XLS = "xls"
    ODS = "ods"
    EMAIL = "eml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A row of README's table."""

    kind: Kind
    name: str
    suffixes: tuple[str, ...]
    kept: str
    mime: str = ""  #: by which the conversion library knows it; empty where it is not asked


_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"
FORMATS = (
    Format(
        kind=Kind.TEXT,
        name="Plain text, Markdown",
        suffixes=(".txt", ".md"),
        kept="all of it; UTF-8, UTF-16, Windows-1251, KOI8-R and CP866 are recognised",
    ),
    Format(
        kind=Kind.PDF,
        name="PDF",
        suffixes=(".pdf",),
        kept="text with its page numbers; headings where their type is larger; running heads and "
        "page numbers are left out",
        mime="application/pdf",
    ),
    Format(
        kind=Kind.EPUB,
        name="EPUB",
        suffixes=(".epub",),
        kept="chapters in reading order, headings, lists, tables",
    ),
    Format(
        kind=Kind.FB2,
        name="FictionBook",
        suffixes=(".fb2",),
        kept="annotation, chapters and their headings, verse, notes; every encoding it names",
    ),
    Format(
        kind=Kind.FB2_ZIP,
        name="FictionBook in a zip",
        suffixes=(".fb2.zip",),
        kept="the same; the zip holds one book",
    ),
    Format(
        kind=Kind.DOCX,
        name="Word",
        suffixes=(".docx",),
        kept="headings, lists, tables, notes",
        mime=f"{_OFFICE}.wordprocessingml.document",
    ),
    Format(
        kind=Kind.ODT,
        name="OpenDocument text",
        suffixes=(".odt",),
        kept="headings, lists, tables, notes",
    ),
    Format(
        kind=Kind.RTF,
        name="RTF",
        suffixes=(".rtf",),
        kept="text, tables; headings where they have an outline level; no notes",
        mime="application/rtf",
    ),
    Format(
        kind=Kind.HTML,
        name="Web page",
        suffixes=(".html", ".htm", ".xhtml"),
        kept="headings, lists, tables, links; no scripts, styles or pictures",
        mime="text/html",
    ),
    Format(
        kind=Kind.PPTX,
        name="PowerPoint",
        suffixes=(".pptx",),
        kept="titles as headings, text and tables of each slide, with its number as the page",
        mime=f"{_OFFICE}.presentationml.presentation",
    ),
    Format(
        kind=Kind.XLSX,
        name="Excel",
        suffixes=(".xlsx",),
        kept="each sheet as a table under its name; values, no formulas",
        mime=f"{_OFFICE}.spreadsheetml.sheet",
    ),
    Format(
        kind=Kind.XLS,
        name="Excel before 2007",
        suffixes=(".xls",),
        kept="the same",
        mime="application/vnd.ms-excel",
    ),
    Format(
        kind=Kind.ODS,
        name="OpenDocument spreadsheet",
        suffixes=(".ods",),
        kept="the same",
        mime=f"{_OPEN}.spreadsheet",
    ),
    Format(
        kind=Kind.EMAIL,
        name="E-mail",
        suffixes=(".eml",),
        kept="subject as heading, sender, receiver, date, text; names of attachments",
    ),
)
FORMAT_OF = {form.kind: form for form in FORMATS}
SUFFIXES = tuple(suffix for form in FORMATS for suffix in form.suffixes)
_BY_SUFFIX = {suffix: form.kind for form in FORMATS for suffix in form.suffixes}
_TEXTUAL = (Kind.TEXT, Kind.HTML, Kind.FB2, Kind.EMAIL)  # told apart by their ending alone
_MEMBERS = {
    "word/document.xml": Kind.DOCX,
    "ppt/presentation.xml": Kind.PPTX,
    "xl/workbook.xml": Kind.XLSX,
    "META-INF/container.xml": Kind.EPUB,
}
_MIMETYPES = {
    b"application/epub+zip": Kind.EPUB,
    f"{_OPEN}.text".encode(): Kind.ODT,
    f"{_OPEN}.spreadsheet".encode(): Kind.ODS,
}


def table() -> str:
    """README's table of formats."""
    rows = [
        f"| {form.name} | {', '.join(f'`{suffix}`' for suffix in form.suffixes)} | {form.kept} |"
        for form in FORMATS
    ]
    return "\n".join(["| Format | Endings | What is kept |", "|---|---|---|", *rows])


def kind_of(suffix: str, data: bytes) -> Kind:
    """What a file is by its bytes; its ending decides only between kinds of plain text.

    Raises:
        UnsupportedDocument: it is a kind that is known and not read.
        EncryptedDocument: a Word, Excel or PowerPoint file under a password.
        UnreadableDocument: a zip whose list of files is broken, or that would unpack to too much.
    """
    named = _BY_SUFFIX.get(suffix, Kind.TEXT)
    if b"%PDF-" in data[:1024]:
        return Kind.PDF
    if data.startswith(b"PK\x03\x04"):
        return _kind_of_zip(data)
    if data.startswith(b"{\\rtf"):
        return Kind.RTF
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _kind_of_compound(data)
    if named is not Kind.HTML and re.search(rb"<FictionBook[\s>]", data[:_HEAD]):
        return Kind.FB2
    if named in _TEXTUAL:
        return named
    if re.match(rb"\s*(?:<!doctype html|<html)[\s>]", data[:_HEAD], re.IGNORECASE):
        return Kind.HTML
    return Kind.TEXT  # or nothing; whether it is text, its decoding tells


def is_text(data: bytes) -> bool:
    """Whether bytes lack the beginning of every kind that is no plain text."""
    packed = data.startswith((b"PK\x03\x04", b"{\\rtf", b"\xd0\xcf\x11\xe0"))
    return not packed and b"%PDF-" not in data[:1024] and b"<FictionBook" not in data[:_HEAD]


def checked_zip(data: bytes) -> zipfile.ZipFile:
    """A zip that says it unpacks to a bearable size.

    What it says may be a lie; the worker's limit of memory is for that.

    Raises:
        UnreadableDocument: it is broken, or too much.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = archive.infolist()
    except BROKEN_ZIP as exc:
        raise UnreadableDocument("It is damaged: the list of what it holds is broken.") from exc
    unpacked = sum(member.file_size for member in members)
    if len(members) > PACKED_FILES:
        raise UnreadableDocument(f"It packs {len(members):,} files.")
    if unpacked > max(UNPACKED_BYTES // 10, min(UNPACKED_BYTES, PACKED_RATIO * len(data))):
        raise UnreadableDocument(f"Its {len(data):,} bytes would unpack to {unpacked:,}.")
    return archive


def _kind_of_zip(data: bytes) -> Kind:
    with checked_zip(data) as archive:
        names = set(archive.namelist())
        if "mimetype" in names:
            with _opened(archive, "mimetype") as file:
                kind = _MIMETYPES.get(file.read(100).strip())
            if kind is not None:
                return kind
    for name, kind in _MEMBERS.items():
        if name in names:
            return kind
    if len([name for name in names if name.lower().endswith(".fb2")]) == 1:
        return Kind.FB2_ZIP
    raise UnsupportedDocument("It is an archive of something that is not read yet.")


def _opened(archive: zipfile.ZipFile, name: str) -> io.BytesIO:
    try:
        with archive.open(name) as file:
            return io.BytesIO(file.read(100))
    except BROKEN_ZIP as exc:
        raise UnreadableDocument("It is damaged: what it packs cannot be unpacked.") from exc


def _kind_of_compound(data: bytes) -> Kind:
    def holds(stream: str) -> bool:
        return stream.encode("utf-16-le") in data

    if holds("EncryptedPackage"):
        raise EncryptedDocument("It is under a password.")
    if holds("Workbook") and not holds("WordDocument"):
        return Kind.XLS
    raise UnsupportedDocument("It is a Word or PowerPoint file of before 2007, which is not read.")
