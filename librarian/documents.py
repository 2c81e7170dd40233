"""What a document is: its name, its text, its place in the queue."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

import charset_normalizer

from librarian.errors import (
    DocumentTooLarge,
    EmptyDocument,
    RepetitiveDocument,
    UndecodableDocument,
    UnsupportedDocument,
)
from librarian.formats import FORMAT_OF, SUFFIXES, Kind

MAX_BYTES = 200 * 1024 * 1024  # a text of this size is 50,000 chunks: months on an 8B model
NAME_LENGTH = 150  # characters; leaves room for an id in a file name on every system
_ENCODINGS = ["cp1251", "koi8_r", "cp866", "cp1252", "utf_16", "utf_16_le", "utf_16_be"]
_REPETITIVE_RATIO = 60  # prose compresses 2 to 4 times, tables 20; one line over and over, 120
_REPETITIVE_BYTES = 256 * 1024
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


class Status(StrEnum):
    """Where a document stands; LightRAG's words, and two of our own.

    pending -> processing -> processed | failed | paused; paused and failed -> pending by a person.
    """

    PENDING = "pending"  #: in the queue
    PROCESSING = "processing"  #: being read by the model
    PROCESSED = "processed"  #: all of it is in the graph and saved
    FAILED = "failed"  #: stopped by an error that is named
    PAUSED = "paused"  #: stopped by a person; what was paid for is kept


class Phase(StrEnum):
    """What is done with a document while it is `processing`, in this order."""

    CONVERTING = "converting"
    CHUNKING = "chunking"
    EXTRACTING = "extracting"
    MERGING = "merging"
    EMBEDDING = "embedding"
    SAVING = "saving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of the library, as its catalogue knows it. Times are seconds since 1970."""

    id: str
    name: str
    status: Status
    bytes: int
    characters: int
    language: str  #: in English, as models are told it: `Russian`
    file: str  #: of the original, in the library's `files/`
    created_at: float
    updated_at: float
    place: float = 0.0  #: in the queue; the smallest is next
    chunks_total: int = 0
    chunks_done: int = 0
    chunks_saved: int = 0  #: of those done, how many had been paid for before
    entities: int = 0
    relations: int = 0
    elapsed_s: float = 0.0  #: spent on it so far
    share: float = 0.0  #: that was shown as done last, from 0 to 1
    warnings: tuple[str, ...] = ()
    error: str | None = None
    filed: str = ""  #: the name that it came with, by which LightRAG has it; empty until renamed
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An earlier text of a document, which another one of the same name has replaced."""

    id: str
    bytes: int
    chunks: int
    entities: int
    elapsed_s: float
    created_at: float
    replaced_at: float


class Outcome(StrEnum):
    """What became of something that was offered to the library."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  #: the same text is there already
    CONFLICT = "conflict"  #: another text has that name; a person decides
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The answer to an upload: what was done with it, and why in words."""

    name: str
    outcome: Outcome
    doc_id: str | None = None
    message: str = ""
    upload: str = ""  #: the key of the uploaded file, kept while a person decides


def clean_name(name: str) -> str:
    """A name that can be shown, searched and stored: one line, no path, no invisible marks.

    A relative path of a folder import keeps its folders, joined by a division slash, which no
    file system and no LightRAG storage takes for a path. Raises nothing; may give `document`.
    """
    text = unicodedata.normalize("NFC", _UNSAFE.sub(" ", name.replace("\\", "/")))
    text = text.replace("<SEP>", " ")  # by which LightRAG joins names
    parts = [part.strip() for part in text.split("/")]
    kept = [part for part in parts if part.strip(". ") and not part.endswith(":")]
    joined = " ".join("∕".join(kept).split())
    joined = joined.replace("[", "(").replace("]", ")")  # LightRAG reads [hints] in file names
    if len(joined) > NAME_LENGTH:
        suffix = suffix_of(joined)
        joined = joined[: NAME_LENGTH - len(suffix) - 1].rstrip() + "…" + suffix
    return joined or "document"


def one_line(text: str, longest: int) -> str:
    """A short text of a person on one line, without marks that cannot be seen; may be empty."""
    sound = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    shown = "".join(each if each.isprintable() else " " for each in sound)
    return " ".join(shown.split())[:longest].strip()


def suffix_of(name: str) -> str:
    """The ending of a name, in small letters, with its dot; a packed book has two."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".zip" and name.lower().endswith(".fb2.zip"):
        return ".fb2.zip"
    return suffix if len(suffix) <= 10 else ""


def check_supported(name: str) -> None:
    """Refuses what cannot be read yet.

    Raises:
        UnsupportedDocument: with the ending.
    """
    suffix = suffix_of(name)
    if suffix not in SUFFIXES:
        shown = f"{suffix} files" if suffix else "Files without an ending"
        raise UnsupportedDocument(f"{shown} cannot be read yet.")


def check_size(size: int) -> None:
    """Refuses more bytes than are read.

    Raises:
        DocumentTooLarge: with both numbers.
    """
    if size > MAX_BYTES:
        raise DocumentTooLarge(f"It has {size:,} bytes; at most {MAX_BYTES:,} are read.")


def is_plain(name: str) -> bool:
    """Whether a file of this name is read as it is, without conversion."""
    return suffix_of(name) in FORMAT_OF[Kind.TEXT].suffixes


def read_text(data: bytes) -> str:
    """The text of a file's bytes, with plain line ends and nothing that storages choke on.

    Raises:
        DocumentTooLarge: over `MAX_BYTES`.
        EmptyDocument: no bytes, or nothing but white space.
        UndecodableDocument: no text in any encoding that is looked for.
        RepetitiveDocument: one passage over and over.
    """
    check_size(len(data))
    if not data:
        raise EmptyDocument("The file has no bytes.")
    return check_text(decoded(data))


def check_text(text: str) -> str:
    """A text made plain: what `read_text` does after decoding, with the same errors."""
    plain = plain_text(text)
    if not plain:
        raise EmptyDocument("It has nothing but white space.")
    raw = plain.encode()
    if len(raw) > _REPETITIVE_BYTES:
        ratio = len(raw) / len(zlib.compress(raw, 1))
        if ratio > _REPETITIVE_RATIO:
            raise RepetitiveDocument(f"It repeats itself: {len(raw):,} bytes hold almost no text.")
    return plain


def plain_text(text: str) -> str:
    """The same text in composed letters, with plain line ends and no control characters."""
    plain = unicodedata.normalize("NFC", text.removeprefix("\ufeff"))
    plain = plain.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", " ", plain).strip()


def decoded(data: bytes) -> str:
    """Bytes as text, in whichever encoding they are.

    Raises:
        UndecodableDocument: in none that is looked for.
    """
    text = _utf8(data)
    if text is not None:
        return text
    best = charset_normalizer.from_bytes(data, cp_isolation=_ENCODINGS).best()
    if best is None:
        raise UndecodableDocument
    text = str(best)
    controls = sum(character < " " and character not in "\t\n\r\f" for character in text[:65536])
    if controls * 100 > min(len(text), 65536):
        raise UndecodableDocument
    return text


def _utf8(data: bytes) -> str | None:
    """UTF-8 with or without its mark; None for anything else, UTF-16 without a mark included."""
    if b"\x00" in data[:4096]:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def document_id(text: str) -> str:
    """The id of a document with this text: the same text, the same id."""
    return "doc-" + hashlib.sha256(text.encode()).hexdigest()[:32]


def file_name(name: str, doc_id: str) -> str:
    """The name under which an original is kept: readable, unique, safe on every file system."""
    suffix = suffix_of(name)
    stem = name[: -len(suffix)] if suffix else name
    safe = re.sub(r"[^\w.() -]+", "_", stem).strip(". ")[:60] or "document"
    return f"{safe}.{doc_id[-8:]}{suffix if suffix in SUFFIXES else '.txt'}"
