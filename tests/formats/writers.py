"""One known text in every format that is read: two headings, a Russian and an English paragraph."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from pathlib import Path

RUSSIAN_HEADING = "Маяк на мысе Тихом"
RUSSIAN = (
    "Маяк на мысе Тихом построил в 1871 году инженер Павел Ремизов — так говорит журнал «Заря»."
)
ENGLISH_HEADING = "The Lighthouse of Quiet Cape"
ENGLISH = (
    "The lighthouse at Quiet Cape was built in 1871 by Pavel Remizov, and it cost “a fortune”."
)
OLD_RUSSIAN = RUSSIAN.replace("—", "-").replace("«", '"').replace("»", '"')  # KOI8-R has neither
OLD_ENGLISH = ENGLISH.replace("“", '"').replace("”", '"')
MARKDOWN = f"# {RUSSIAN_HEADING}\n\n{RUSSIAN}\n\n## {ENGLISH_HEADING}\n\n{ENGLISH}\n"
OLD = MARKDOWN.replace(RUSSIAN, OLD_RUSSIAN).replace(ENGLISH, OLD_ENGLISH)
REAL = Path(__file__).parent / "real"
UNREAD = ("libreoffice.doc", "reportlab-password.pdf", "README.md")  # of the real ones


def texts() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of plain texts in every encoding."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1251"):
        yield f"{encoding}.txt", MARKDOWN.encode(encoding)
    for encoding in ("koi8-r", "cp866"):
        yield f"{encoding}.txt", OLD.encode(encoding)
    yield "note.md", MARKDOWN.encode()


def web_page(charset: str = "", text: tuple[str, str] = (RUSSIAN, ENGLISH)) -> str:
    meta = f'<meta charset="{charset}">' if charset else ""
    return (
        f"<!DOCTYPE html><html><head>{meta}<title>Чужое</title><script>one()</script></head>"
        f"<body onload='two()'><h1>{RUSSIAN_HEADING}</h1><p>{text[0]}</p><script>three()</script>"
        f"<h2>{ENGLISH_HEADING}</h2><p>{text[1]}</p><style>p {{}}</style></body></html>"
    )


def fiction(encoding: str, russian: str = RUSSIAN, english: str = ENGLISH) -> bytes:
    return f"""<?xml version="1.0" encoding="{encoding}"?>
<FictionBook xmlns="http://www.gribuser.ru/xml/fictionbook/2.0"
 xmlns:l="http://www.w3.org/1999/xlink">
<description><title-info><book-title>Записки смотрителя</book-title>
<annotation><p>О чём эта книга.</p></annotation></title-info></description>
<body><title><p>Записки</p><p>смотрителя</p></title>
<section><title><p>{RUSSIAN_HEADING}</p></title><p>{russian}<a l:href="#n1">[1]</a></p>
<poem><stanza><v>Строка первая</v><v>Строка вторая</v></stanza></poem></section>
<section><title><p>{ENGLISH_HEADING}</p></title><p>{english}</p></section></body>
<body name="notes"><section id="n1"><title><p>1</p></title><p>Примечание о маяке.</p></section>
</body><binary id="c" content-type="image/png">AAAA</binary></FictionBook>""".encode(encoding)


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def chapter(heading: str, text: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
        f"<head><title>x</title></head><body>{heading}<p>{text}</p></body></html>"
    )


def book(chapters: Mapping[str, str], hrefs: Mapping[str, str] | None = None) -> bytes:
    """An EPUB whose manifest is in the alphabet's order and whose spine is in the given one."""
    named = {f"c{n}": path for n, path in enumerate(chapters)}
    items = "".join(
        f'<item id="{key}" href="{(hrefs or {}).get(path, path)}" '
        'media-type="application/xhtml+xml"/>'
        for key, path in sorted(named.items(), key=lambda each: each[1])
    )
    spine = "".join(f'<itemref idref="{key}"/>' for key in named)
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<?xml version="1.0"?><container '
            'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
            'full-path="OEBPS/book.opf"/></rootfiles></container>',
            "OEBPS/book.opf": '<?xml version="1.0"?><package '
            f'xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest>'
            f"<spine>{spine}</spine></package>",
            **{f"OEBPS/{path}": content for path, content in chapters.items()},
        }
    )


def books() -> Iterator[tuple[str, bytes]]:
    first = chapter(f"<h1>{RUSSIAN_HEADING}</h1>", RUSSIAN)
    second = chapter(f"<h2>{ENGLISH_HEADING}</h2>", ENGLISH)
    yield "order.epub", book({"z.xhtml": first, "a.xhtml": second})
    spaced = "Глава 1.xhtml"
    yield (
        "spaces.epub",
        book(
            {spaced: first, "b.xhtml": second}, {spaced: "%D0%93%D0%BB%D0%B0%D0%B2%D0%B0%201.xhtml"}
        ),
    )
    yield "utf-8.fb2", fiction("utf-8")
    yield "cp1251.fb2", fiction("windows-1251")
    yield "utf-16.fb2", fiction("utf-16")
    yield "koi8-r.fb2", fiction("koi8-r", OLD_RUSSIAN, OLD_ENGLISH)
    yield "packed.fb2.zip", zipped({"book.fb2": fiction("windows-1251")})


def rich(text: str, *, unicode: bool) -> str:
    if unicode:
        return "".join(each if ord(each) < 128 else f"\\u{ord(each)}?" for each in text)
    return "".join(
        each if ord(each) < 128 else f"\\'{each.encode('cp1251')[0]:02x}" for each in text
    )


def rich_text(*, unicode: bool) -> bytes:
    paragraphs = [
        (f"\\pard\\outlinelevel{level} " if level is not None else "\\pard ")
        + rich(text, unicode=unicode)
        + "\\par\n"
        for level, text in (
            (0, RUSSIAN_HEADING),
            (None, RUSSIAN),
            (1, ENGLISH_HEADING),
            (None, ENGLISH),
        )
    ]
    head = "{\\rtf1\\ansi\\ansicpg1251\\deff0{\\fonttbl{\\f0\\fcharset204 Times;}}\n"
    return (head + "".join(paragraphs) + "}").encode("ascii")


def letter(charset: str, *, html: bool = False, old: bool = False) -> bytes:
    message = EmailMessage()
    message["Subject"] = "Письмо" if html else RUSSIAN_HEADING
    message["From"], message["To"] = "Анна <a@b.c>", "d@e.f"
    pair = (OLD_RUSSIAN, OLD_ENGLISH) if old else (RUSSIAN, ENGLISH)
    if html:
        message.set_content(web_page("", pair), subtype="html", charset=charset)
    else:
        text = f"{pair[0]}\n\n## {ENGLISH_HEADING}\n\n{pair[1]}"
        message.set_content(text, charset=charset, cte="base64")
    message.add_attachment(b"x", maintype="image", subtype="png", filename="карта.png")
    return bytes(message)


def pages_and_letters() -> Iterator[tuple[str, bytes]]:
    yield "utf-8.html", web_page("utf-8").encode()
    yield "cp1251.htm", web_page("windows-1251").encode("cp1251")
    yield "lying.html", web_page("utf-8").encode("cp1251")
    yield "silent.xhtml", web_page().encode("utf-16")
    yield "code-page.rtf", rich_text(unicode=False)
    yield "unicode.rtf", rich_text(unicode=True)
    yield "utf-8.eml", letter("utf-8")
    yield "koi8-r.eml", letter("koi8-r", old=True)
    yield "web.eml", letter("utf-8", html=True)


def real() -> Iterator[tuple[str, bytes]]:
    for path in sorted(REAL.iterdir()):
        if path.name not in UNREAD:
            yield path.name, path.read_bytes()


def all_files() -> dict[str, bytes]:
    """At least forty files by name."""
    return dict([*texts(), *books(), *pages_and_letters(), *real()])


def pdf(pages: list[list[str]]) -> bytes:
    """A plain PDF in Helvetica, for as many pages as one likes; lines of Latin letters."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 "
               "/BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"]  # fmt: skip
    kids = []
    for lines in pages:
        drawn = "".join(
            f"BT /F1 10 Tf 50 {800 - 14 * n} Td ({line}) Tj ET\n" for n, line in enumerate(lines)
        )
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}endstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {len(objects)} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    tail = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    tail += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + tail.encode("ascii")
