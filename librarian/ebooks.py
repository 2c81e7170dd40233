"""Formats of which the conversion library loses text: FictionBook, EPUB, ODT and e-mail."""

from __future__ import annotations

import email
import email.policy
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from librarian.errors import EncryptedDocument, UnreadableDocument
from librarian.formats import BROKEN_ZIP, checked_zip

MEMBER_BYTES = 100 << 20  # of one file in a zip
DEPTH = 100  # of elements in each other; the deepest book has 12
HtmlToText = Callable[[bytes], str]
_BLOCKS = {"p", "v", "text-author", "subtitle", "date", "td", "th"}


def parsed(data: bytes) -> ElementTree.Element:
    """A tree of XML that can hold no surprises: no entities of its own, not endlessly deep.

    Raises:
        UnreadableDocument: it is neither whole nor harmless.
    """
    if re.search(rb"<!ENTITY", data.replace(b"\x00", b"")):
        raise UnreadableDocument("It defines entities, as only hostile files do.")
    depth = 0
    root: ElementTree.Element | None = None
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    try:
        for start in range(0, len(data), 1 << 16):
            parser.feed(data[start : start + (1 << 16)])
            for event, element in parser.read_events():
                root = element if root is None else root
                depth += 1 if event == "start" else -1
                if depth > DEPTH:
                    raise UnreadableDocument("Its elements are nested too deeply.")
        parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as exc:
        raise UnreadableDocument(f"Its XML is broken ({exc}).") from exc
    if root is None:
        raise UnreadableDocument("Its XML is empty.")
    return root


def from_fb2(data: bytes) -> str:
    """A FictionBook as Markdown: its annotation, bodies with their headings, notes at the end."""
    root = parsed(data)
    parts: list[str] = []
    title = root.find("{*}description/{*}title-info/{*}book-title")
    bodies = root.findall("{*}body")
    if title is not None and not (bodies and bodies[0].find("{*}title") is not None):
        parts.append(f"# {_inline(title)}")
    for annotation in root.findall("{*}description/{*}title-info/{*}annotation"):
        parts += _fb2_blocks(annotation, 1)
    for body in bodies:
        if body.get("name"):
            parts.append("# Примечания" if body.get("name") == "notes" else f"# {body.get('name')}")
        parts += _fb2_blocks(body, 1)
    return "\n\n".join(part for part in parts if part.strip("# "))


def _fb2_blocks(element: ElementTree.Element, level: int) -> Iterator[str]:
    for child in element:
        tag = _tag(child)
        if tag == "title":
            yield "#" * min(level, 6) + " " + " ".join(filter(None, map(_inline, child)))
        elif tag == "section":
            yield from _fb2_blocks(child, level + 1)
        elif tag == "subtitle":
            yield "#" * min(level + 1, 6) + " " + _inline(child)
        elif tag == "stanza":
            yield "\n".join(_inline(line) for line in child)
        elif tag == "tr":
            yield "| " + " | ".join(_inline(cell) for cell in child) + " |"
        elif tag in _BLOCKS:
            yield _inline(child)
        else:
            yield from _fb2_blocks(child, level)


def from_fb2_zip(data: bytes) -> str:
    """The one book in a zip."""
    with checked_zip(data) as archive:
        books = [name for name in archive.namelist() if name.lower().endswith(".fb2")]
        return from_fb2(_member(archive, books[0]))


def from_epub(data: bytes, read: HtmlToText) -> str:
    """The chapters of an EPUB in the order of its spine; `read` makes text of each.

    Raises:
        UnreadableDocument: it has no list of chapters, or one of them is missing.
        EncryptedDocument: its chapters are sealed for one reading program.
    """
    with checked_zip(data) as archive:
        names = set(archive.namelist())
        package = _package_name(archive, names)
        folder = posixpath.dirname(package)
        tree = parsed(_member(archive, package))
        hrefs = {item.get("id"): item.get("href") or "" for item in tree.findall(".//{*}item")}
        chapters = []
        for entry in tree.findall(".//{*}itemref"):
            href = unquote(hrefs.get(entry.get("idref"), "").partition("#")[0])
            path = posixpath.normpath(posixpath.join(folder, href))
            if path not in names:
                raise UnreadableDocument(f"Its chapter {href or entry.get('idref')!r} is missing.")
            chapters.append(path)
        if "META-INF/encryption.xml" in names:
            sealed = parsed(_member(archive, "META-INF/encryption.xml"))
            uris = {
                unquote(each.get("URI") or "") for each in sealed.findall(".//{*}CipherReference")
            }
            if uris & set(chapters):
                raise EncryptedDocument("Its chapters are sealed for one reading program.")
        texts = [read(_member(archive, chapter)) for chapter in chapters]
    return "\n\n".join(text.strip() for text in texts if text.strip())


def _package_name(archive: zipfile.ZipFile, names: set[str]) -> str:
    if "META-INF/container.xml" not in names:
        raise UnreadableDocument("It lacks META-INF/container.xml, which names its chapters.")
    container = parsed(_member(archive, "META-INF/container.xml"))
    found = next((each.get("full-path") for each in container.findall(".//{*}rootfile")), None)
    if found not in names:
        raise UnreadableDocument("Its list of chapters is missing.")
    return str(found)


def from_odt(data: bytes) -> str:
    """An OpenDocument text as Markdown; notes stand in brackets where they belong.

    Raises:
        EncryptedDocument: it is under a password.
    """
    with checked_zip(data) as archive:
        if b"encryption-data" in _member(archive, "META-INF/manifest.xml"):
            raise EncryptedDocument("It is under a password.")
        body = parsed(_member(archive, "content.xml")).find("{*}body/{*}text")
    if body is None:
        raise UnreadableDocument("It is damaged: it has no body.")
    return "\n\n".join(part for part in _odt_blocks(body) if part.strip("# -|"))


def _odt_blocks(element: ElementTree.Element) -> Iterator[str]:
    for child in element:
        tag = _tag(child)
        if tag == "h":
            level = next((v for k, v in child.items() if k.endswith("}outline-level")), "1")
            yield (
                "#" * min(max(1, int(level) if level.isdigit() else 1), 6) + " " + _odt_line(child)
            )
        elif tag == "p":
            yield _odt_line(child)
        elif tag == "list":
            items = [" ".join(_odt_blocks(item)) for item in child]
            yield "\n".join(f"- {item}" for item in items if item)
        elif tag == "table":
            yield "\n".join(_odt_rows(child))
        elif tag not in ("tracked-changes", "forms", "sequence-decls"):
            yield from _odt_blocks(child)


def _odt_rows(table: ElementTree.Element) -> Iterator[str]:
    for number, row in enumerate(table.iterfind(".//{*}table-row")):
        cells = [" ".join(_odt_blocks(cell)) for cell in row.iterfind("{*}table-cell")]
        if any(cells):
            yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{' --- |' * len(cells)}"


def _odt_line(element: ElementTree.Element) -> str:
    return " ".join("".join(_odt_words(element)).split())


def _odt_words(element: ElementTree.Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        tag = _tag(child)
        if tag in ("tab", "s", "line-break"):
            yield " "
        elif tag == "note":
            note = child.find("{*}note-body")
            yield f" ({' '.join(_odt_blocks(note))})" if note is not None else ""
        elif tag not in ("annotation", "title", "desc"):
            yield from _odt_words(child)
        yield child.tail or ""


def from_email(data: bytes, read: HtmlToText) -> str:
    """A letter: its subject as heading, who wrote it to whom, its text, names of attachments."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    try:
        lines = [f"{name}: {message[name]}" for name in ("From", "To", "Date") if message[name]]
        subject = str(message["Subject"] or "").strip()
        body = message.get_body(("plain", "html"))
        text = str(body.get_content()) if body is not None else ""
        if body is not None and body.get_content_type() == "text/html":
            text = read(text.encode("utf-8", "replace"))
        attached = [part.get_filename() for part in message.iter_attachments()]
    except (LookupError, ValueError, TypeError, AttributeError, IndexError, KeyError) as exc:
        raise UnreadableDocument(f"It is not a whole letter ({exc}).") from exc
    if not subject and not lines:
        raise UnreadableDocument("It has none of a letter's heads (From, To, Subject).")
    lines += [f"Attached: {name}" for name in attached if name]
    return "\n\n".join(filter(None, [f"# {subject}" if subject else "", "\n".join(lines), text]))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as file:
            data = file.read(MEMBER_BYTES + 1)
    except (KeyError, *BROKEN_ZIP) as exc:
        raise UnreadableDocument(f"It is damaged: {name!r} cannot be unpacked.") from exc
    if len(data) > MEMBER_BYTES:
        raise UnreadableDocument(f"{name!r} in it is larger than {MEMBER_BYTES:,} bytes.")
    return data


def _inline(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
