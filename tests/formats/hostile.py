"""Files that are broken or mean harm, each as small as it can be."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator

from librarian import formats
from tests.formats import writers

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/'
    'content-types"><Default Extension="xml" ContentType="application/xml"/></Types>'
)


def word(body: str | bytes, *, head: str = "", **more: str | bytes) -> bytes:
    """A Word file with this body; `more` are further files, `__` for a slash in their names."""
    if isinstance(body, str):
        body = (
            f'<?xml version="1.0"?>{head}<w:document xmlns:w="{_W}"><w:body>{body}</w:body>'
            "</w:document>"
        )
    files: dict[str, str | bytes] = {"[Content_Types].xml": _TYPES, "word/document.xml": body}
    return writers.zipped(
        {**files, **{name.replace("__", "/"): text for name, text in more.items()}}
    )


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def laughs(root: str) -> str:
    """A thousand million laughs, as a document type."""
    lines = ['<!ENTITY l0 "ha">'] + [f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)]
    return f"<!DOCTYPE {root} [{''.join(lines)}]>"


def outside(root: str, target: str) -> str:
    """An entity that is somebody else's file."""
    return f'<!DOCTYPE {root} [<!ENTITY x SYSTEM "{target}">]>'


def fiction(head: str, text: str) -> bytes:
    return (
        f'<?xml version="1.0"?>{head}<FictionBook><body><p>{text}</p></body></FictionBook>'.encode()
    )


def understated(size: int, said: int) -> bytes:
    """A Word file whose document unpacks to `size` bytes and says that it has `said`."""
    packed = word(b"<w>" + b" " * size)
    real, lie = struct.pack("<I", size + 3), struct.pack("<I", said)
    assert packed.count(real) >= 2
    return packed.replace(real, lie)


def claiming(size: int) -> bytes:
    """A zip of few bytes one of whose files says that it has `size` of them."""
    packed = bytearray(word(paragraph("few")))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        real = archive.getinfo("word/document.xml").file_size
    return bytes(packed).replace(struct.pack("<I", real), struct.pack("<I", size))


def sheet_of_repeats() -> bytes:
    office = "urn:oasis:names:tc:opendocument:xmlns"
    return writers.zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": f'<?xml version="1.0"?><office:document-content xmlns:office="{office}:'
            f'office:1.0" xmlns:table="{office}:table:1.0" xmlns:text="{office}:text:1.0">'
            '<office:body><office:spreadsheet><table:table table:name="s"><table:table-row '
            'table:number-rows-repeated="1048576"><table:table-cell '
            'table:number-columns-repeated="16384"><text:p>x</text:p></table:table-cell>'
            "</table:table-row></table:table></office:spreadsheet></office:body>"
            "</office:document-content>",
        }
    )


def refused(address: str) -> Iterator[tuple[str, bytes, str]]:
    """Name, bytes, and words of the sentence; `address` is a server nobody may ask."""
    pdf = writers.pdf([["A page of a book that was cut off"]] * 20)
    yield "bomb.docx", word(b" " * (200 << 20)), "would unpack to"
    yield "bomb-of-many.epub", writers.zipped({f"{n}": "" for n in range(20_001)}), "packs 20,"
    yield "understated.docx", understated(200 << 20, 1000), ""
    yield "four-gigabytes.docx", claiming(0xFFFFFFFE), "would unpack to 4,294,9"
    yield "laughs.fb2", fiction(laughs("FictionBook"), "&l9;"), "defines entities"
    yield "file.fb2", fiction(outside("FictionBook", "file:///etc/passwd"), "&x;"), "entities"
    yield "http.fb2", fiction(outside("FictionBook", address), "&x;"), "entities"
    yield (
        "sixteen.fb2",
        fiction(laughs("FictionBook"), "&l9;").decode().encode("utf-16"),
        "entities",
    )
    yield "deep.fb2", fiction("", "<a>" * 50_000), "too deeply"
    yield "broken.fb2", fiction("", "<a>text</b>"), "XML is broken"
    yield "cut.pdf", pdf[:900], "damaged"
    yield "head.pdf", b"%PDF-1.7\n", "damaged"
    yield (
        "locked.pdf",
        (writers.REAL / "reportlab-password.pdf").read_bytes(),
        "under a password",
    )
    yield "scan.pdf", writers.pdf([[]] * 8), "is a scan"
    yield "picture.pdf", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, "is no .pdf file"
    yield "program.docx", b"MZ\x90\x00" + bytes(range(256)) * 40, "is no .docx file"
    yield "cut.docx", (writers.REAL / "libreoffice.docx").read_bytes()[:3000], "damaged"
    yield "cut.epub", (writers.REAL / "pandoc.epub").read_bytes()[:-40], "damaged"
    yield (
        "no-container.epub",
        writers.zipped({"mimetype": "application/epub+zip"}),
        "lacks META-INF",
    )
    climbing = writers.book(
        {"../../../../etc/passwd": "x"}, {"../../../../etc/passwd": "/etc/passwd"}
    )
    yield "climbing.epub", climbing, "chapter '/etc/passwd' is missing"
    yield "nuls.txt", bytes(100_000), ""
    yield "letter.eml", b"no heads at all", "none of a letter's heads"
    yield "zip-in-zip.docx", writers.zipped({"a.zip": writers.zipped({"b": "x"})}), "archive"
    yield "old.docx", (writers.REAL / "libreoffice.doc").read_bytes(), "before 2007"
    sealed = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
    yield "sealed.xlsx", sealed, "under a password"
    for suffix in formats.SUFFIXES:
        yield f"empty{suffix}", b"", "no bytes"


def survived(address: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of files that are read or refused, whichever; the app goes on."""
    yield "half-letters.txt", "\ud83d".encode("utf-16-le", "surrogatepass") * 999
    yield "half-letter.txt", "A half \ud83d letter.".encode("utf-16", "surrogatepass")
    yield "half-letter.fb2", fiction("", "A half &#xD83D; letter.")
    yield "laughs.docx", word(paragraph("&l9;"), head=laughs("w:document"))
    yield "file.docx", word(paragraph("&x;"), head=outside("w:document", "file:///etc/passwd"))
    yield "http.docx", word(paragraph("&x;"), head=outside("w:document", address))
    yield "deep.docx", word("<w:p>" * 100_000)
    yield "deep.html", b"<div>" * 100_000 + b"text"
    yield "deep.rtf", b"{\\rtf1" + b"{" * 300_000 + b"text"
    yield "deep.eml", b"Subject: x\nContent-Type: message/rfc822\n\n" * 20_000
    yield "deep-tables.html", b"<table><tr><td>" * 5_000 + b"text"
    yield "repeats.ods", sheet_of_repeats()
    yield "length.pdf", writers.pdf([["text"]]).replace(b"/Length 3", b"/Length 4294967295")
    yield (
        "endless.pdf",
        writers.pdf([["text"]]).replace(b"/Kids [5 0 R]", b"/Kids [2 0 R]"),
    )
    yield (
        "attributes.html",
        b"<p " + b" ".join(b"a%d=b" % n for n in range(200_000)) + b">" + b"text",
    )
    yield (
        "far.docx",
        word(
            paragraph("text"),
            **{
                "word/_rels/document.xml.rels": '<?xml version="1.0"?><Relationships xmlns='
                '"http://schemas.openxmlformats.org/package/2006/relationships"><Relationship '
                'Id="r1" TargetMode="External" Type="http://schemas.openxmlformats.org/'
                f'officeDocument/2006/relationships/attachedTemplate" Target="{address}"/>'
                "</Relationships>"
            },
        ),
    )
    yield (
        "calling.html",
        f"<link rel=stylesheet href={address}><img src={address}><iframe src={address}></iframe>"
        f"<script src={address}></script><p>A page that wants something.".encode(),
    )
    yield (
        "calling.epub",
        writers.book(
            {"a.xhtml": writers.chapter(f'<img src="{address}"/>', "A chapter with a picture.")}
        ),
    )
