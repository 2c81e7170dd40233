"""Text with headings and page numbers out of any file that is read; runs in a worker process."""

from __future__ import annotations

import re
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from librarian import ebooks, recognition
from librarian.documents import decoded, plain_text, suffix_of
from librarian.errors import (
    EmptyDocument,
    EncryptedDocument,
    ScannedDocument,
    UndecodableDocument,
    UnreadableDocument,
)
from librarian.formats import FORMAT_OF, Kind, checked_zip, kind_of

TEXT_BYTES = 64 << 20  # of a document's text; the longest novel has 10 MB
THREADS = 1  # of a conversion; the others are for the model and the pages
_MARK = "chapter-and-page-"  # made unguessable enough by what surrounds it, below
_HEADING = 120  # characters; what is longer was taken for one by mistake
_HEADINGS = 2  # a page, on average; with more of them the library took emphasis for headings
_RUNNING = 0.3  # of the pages have the same line at an edge: it is a running head
_FEW_PAGES = 6  # too few to tell a running head from a chapter's
_FULL_LINE = 0.75  # of a page's width: the next line goes on with the sentence
_SCANNED = 8  # letters a page; stamps and page numbers of scans are that many
_CHARSET = (
    rb"""(?i)<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([\w-]+)"""  # of a web page
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The text of a file; `pages` has the offset at which each page begins, the first is page 1."""

    text: str
    pages: tuple[int, ...] = ()
    recognised: bool = False  #: from pictures of its pages, so that words may be wrong


def page_at(pages: Sequence[int], offset: int) -> int | None:
    """The number of the page that has this character; None for a text without pages."""
    return max(1, bisect_right(pages, offset)) if pages else None


def convert(name: str, data: bytes, recognise: str = "") -> Converted:
    """The text of a file, by what its bytes say it is. Deterministic: the text gives the id.

    `recognise` are Tesseract's languages, in which a scan is read; without any, it is refused.

    Raises:
        DocumentError: why it cannot be read, for the person who offered it.
    """
    if not data:
        raise EmptyDocument("The file has no bytes.")
    suffix = suffix_of(name)
    kind = kind_of(suffix, data)
    try:
        if kind is Kind.PDF:
            converted = _pdf(data, recognise)
        elif kind is Kind.PPTX:
            converted = _slides(data)
        else:
            converted = Converted(text=plain_text(_flowing(kind, data)))
    except UndecodableDocument as exc:
        if suffix in FORMAT_OF[Kind.TEXT].suffixes:
            raise
        raise UnreadableDocument(f"It is no {suffix} file, whatever its name says.") from exc
    if not any(map(str.isalnum, converted.text)):
        raise EmptyDocument("No text is in it.")
    if len(converted.text.encode()) > TEXT_BYTES:
        raise UnreadableDocument(f"It holds more than {TEXT_BYTES:,} bytes of text.")
    return converted


def _flowing(kind: Kind, data: bytes) -> str:
    if kind is Kind.TEXT:
        return decoded(data)
    if kind is Kind.HTML:
        return _html(data)
    if kind is Kind.FB2:
        return ebooks.from_fb2(data)
    if kind is Kind.FB2_ZIP:
        return ebooks.from_fb2_zip(data)
    if kind is Kind.EPUB:
        return ebooks.from_epub(data, _html)
    if kind is Kind.EMAIL:
        return ebooks.from_email(data, _html)
    if kind is Kind.ODT:
        return ebooks.from_odt(data)
    if kind in (Kind.DOCX, Kind.XLSX, Kind.ODS):
        checked_zip(data).close()
    return _unmarked(_extracted(data, FORMAT_OF[kind].mime).content)


def _html(data: bytes) -> str:
    """A page of any encoding; its head is left out, which the library makes text of."""
    text = re.sub(r"(?is)<head[\s>].*?</head\s*>", "", _html_text(data), count=1)
    text = re.sub(r"(?is)<(svg|noscript|iframe|template)\b.*?</\1\s*>", "", text)
    return _unmarked(_extracted(text.encode("utf-8", "replace"), "text/html").content)


def _html_text(data: bytes) -> str:
    said = re.search(_CHARSET, data[:4096])
    if said and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode(said[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass  # many say what they are not
    return decoded(data)


def _unmarked(markdown: str) -> str:
    """Markdown without what only a browser needs: escapes, pictures, addresses of scripts."""
    text = re.sub(r"!\[([^\]]*)\]\([^)\s]*(?:\s[^)]*)?\)", r"\1", markdown)
    text = re.sub(r"\[([^\]]*)\]\((?:javascript|data|vbscript):[^)]*\)", r"\1", text, flags=re.I)
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)


def _slides(data: bytes) -> Converted:
    checked_zip(data).close()
    mark = f"{_MARK}{len(data)}-"  # no text knows its own file's size
    content = _extracted(data, FORMAT_OF[Kind.PPTX].mime, mark=mark).content
    parts = re.split(rf"{re.escape(mark)}\d+;", content.replace("\\", ""))
    return _joined([_unmarked(part) for part in parts[1:]] or [_unmarked(content)])


def _pdf(data: bytes, recognise: str) -> Converted:
    result = _extracted(data, "application/pdf", structure=True)
    pages = [_lines(page["content"]) for page in result.pages or []]
    if sum(map(str.isalnum, "".join("".join(page) for page in pages))) < _SCANNED * len(pages):
        return _scan(data, len(pages), recognise)
    headings = _headings((result.document or {}).get("nodes") or (), len(pages))
    running = _running(pages)
    texts = []
    for number, lines in enumerate(pages, 1):
        kept = [
            line
            for place, line in enumerate(lines)
            if not (_at_edge(place, lines) and (_same(line) in running or line.isdigit()))
        ]
        texts.append(_paragraphs(kept, headings.get(number, {})))
    return _joined(texts)


def _scan(data: bytes, pages: int, recognise: str) -> Converted:
    """What can be read of pictures of pages."""
    import kreuzberg

    texts = []
    with tempfile.TemporaryDirectory(prefix="librarian-") as folder:
        file = Path(folder) / "scan.pdf"
        file.write_bytes(data)
        for number in range(pages if recognise else 0):
            try:
                picture = kreuzberg.render_pdf_page(file, number, dpi=recognition.DPI)
            except (kreuzberg.KreuzbergError, RuntimeError, ValueError, OSError) as exc:
                raise UnreadableDocument(f"Page {number + 1} of the scan cannot be drawn.") from exc
            texts.append(_paragraphs(_lines(recognition.text_of(picture, recognise)), {}))
    if not any(map(str.isalnum, "".join(texts))):
        scanned = ScannedDocument(f"It has {pages} pages and no text.")
        scanned.pages = pages
        raise scanned
    return replace(_joined(texts), recognised=True)


def _lines(content: str) -> list[str]:
    """A page's lines; a word that was divided at a line's end is whole again."""
    whole = re.sub(r"(?:\x02|\xad)\s*", "", content)
    whole = re.sub(r"(?<=[^\W\d_])-\r?\n(?=[^\W\d_])(?=[a-zа-яё])", "", whole)
    return [" ".join(line.split()) for line in whole.splitlines() if line.strip()]


def _headings(nodes: Sequence[Mapping[str, Any]], pages: int) -> dict[int, dict[str, int]]:
    """Level of each heading on each page; none where the library has taken too much for one."""
    found: dict[int, dict[str, int]] = {}
    for node in nodes:
        content = node["content"]
        if content["node_type"] not in ("heading", "title"):
            continue
        text = " ".join(str(content.get("text") or "").split())
        if text and len(text) <= _HEADING and text[-1] not in ".,;:" and not text[0].islower():
            found.setdefault(node.get("page") or 0, {})[text] = int(content.get("level") or 1)
    return found if sum(map(len, found.values())) <= _HEADINGS * (pages + 5) else {}


def _at_edge(place: int, lines: Sequence[str]) -> bool:
    return place < 1 or place >= len(lines) - 2


def _running(pages: Sequence[Sequence[str]]) -> set[str]:
    """Lines at the edge of many pages, numbers aside: not a word of the text."""
    if len(pages) < _FEW_PAGES:
        return set()
    seen = Counter(
        each
        for lines in pages
        for each in {line for place, line in enumerate(lines) if _at_edge(place, lines)}
    )
    heads = Counter[str]()
    for line, count in seen.items():
        heads[_same(line)] += count if count > 1 or line.isdigit() else 0
    return {line for line, count in heads.items() if count >= _RUNNING * len(pages)}


def _same(line: str) -> str:
    """A running head without the number of its page."""
    return re.sub(r"^\d+\s+|\s+\d+$", "", line)


def _paragraphs(lines: Sequence[str], headings: Mapping[str, int]) -> str:
    """Lines joined where a sentence goes on; headings marked."""
    if not lines:
        return ""
    lengths = sorted(map(len, lines))
    width = lengths[-1 - len(lengths) // 10]
    parts: list[str] = []
    going_on, place = False, 0
    while place < len(lines):
        line, taken, level = _heading_at(lines, place, headings)
        if level:
            parts.append(f"{'#' * min(level, 6)} {line}")
        elif going_on:
            parts[-1] += f" {line}"
        else:
            parts.append(line)
        going_on = not level and len(line) >= _FULL_LINE * width
        place += taken
    return "\n\n".join(parts)


def _heading_at(
    lines: Sequence[str], place: int, headings: Mapping[str, int]
) -> tuple[str, int, int]:
    """A heading of up to three lines, or one line that is none: text, lines, level or 0."""
    for taken in (3, 2, 1):
        text = " ".join(lines[place : place + taken])
        if text in headings:
            return text, min(taken, len(lines) - place), headings[text]
    return lines[place], 1, 0


def _joined(texts: Sequence[str]) -> Converted:
    """Pages as one text; a sentence that goes over the page's end is not broken."""
    text, starts = "", []
    for page in map(plain_text, texts):
        if text and page:
            text += " " if text[-1] not in '.!?…:»"”|' and page[0].islower() else "\n\n"
        starts.append(len(text))
        text += page
    return Converted(text=text, pages=tuple(starts))


def _extracted(data: bytes, mime: str, *, structure: bool = False, mark: str = "") -> Any:
    """What the library makes of it, as Markdown; nothing is cached, recognised or fetched."""
    import kreuzberg

    pages = kreuzberg.PageConfig(
        extract_pages=True,
        insert_page_markers=bool(mark),
        marker_format=f"\n\n{mark}{{page_num}};\n\n",
    )
    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        output_format="markdown",
        include_document_structure=structure,
        # It takes headings for running heads; ours are told apart in `_running`.
        content_filter=kreuzberg.ContentFilterConfig(
            include_headers=True, include_footers=True, strip_repeating_text=False
        ),
        pages=pages if structure or mark else None,
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=THREADS),
    )
    try:
        return kreuzberg.extract_bytes_sync(data, mime, config)
    except (kreuzberg.KreuzbergError, RuntimeError, ValueError, OSError) as exc:
        words = str(exc).casefold()
        if "password" in words or "encrypt" in words:
            raise EncryptedDocument("It is under a password.") from exc
        raise UnreadableDocument("It is damaged, or is not what its beginning says.") from exc
