"""Uploaded files and archives as documents, over a real library."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from librarian.app import Librarian
from librarian.archives import BadArchive, members_of
from librarian.documents import Admission, Outcome
from tests.conftest import until_processed

KEY = "0123456789abcdef"
LARS = "Капитан Ларс Хольм прибыл в Беломорск на пароходе «Аврора Севера»."
ADA = "Ada Lovelace worked with Charles Babbage on the Analytical Engine in London."


def offer(
    librarian: Librarian, name: str, data: bytes, *, replace: bool = False
) -> tuple[Admission, ...]:
    librarian.uploads.append(KEY, 0, data)
    return librarian.add_upload(KEY, name, len(data), replace=replace)


def archive(**members: str | bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return held.getvalue()


def left_behind(librarian: Librarian) -> list[Path]:
    return list((librarian.settings.home / "incoming").iterdir())


def test_an_uploaded_file_is_a_document_and_is_dropped(librarian: Librarian) -> None:
    (admission,) = offer(librarian, "a/lars.txt", LARS.encode())
    assert admission.outcome is Outcome.ACCEPTED
    until_processed(librarian, "a∕lars.txt")
    assert left_behind(librarian) == []


def test_a_file_that_is_refused_is_dropped(librarian: Librarian) -> None:
    (admission,) = offer(librarian, "scan.bin", b"\x00\x01")
    assert admission.outcome is Outcome.REFUSED
    assert left_behind(librarian) == []


def test_a_file_that_is_too_large_is_refused_unread(librarian: Librarian) -> None:
    librarian.uploads.append(KEY, 0, b"x")
    path = librarian.uploads.path(KEY)
    with path.open("r+b") as stream:
        stream.truncate(300 * 1024 * 1024)  # a hole: it takes no room
    (admission,) = librarian.add_upload(KEY, "large.txt", 300 * 1024 * 1024)
    assert admission.outcome is Outcome.REFUSED
    assert "at most" in admission.message


def test_a_conflict_keeps_the_file_until_a_person_has_decided(librarian: Librarian) -> None:
    offer(librarian, "book.txt", LARS.encode())
    (admission,) = offer(librarian, "book.txt", ADA.encode())
    assert (admission.outcome, admission.upload) == (Outcome.CONFLICT, KEY)
    size = librarian.uploads.size(KEY)
    (admission,) = librarian.add_upload(KEY, "book.txt", size, replace=True)
    assert admission.outcome is Outcome.ACCEPTED
    assert left_behind(librarian) == []


def test_an_archive_is_what_is_in_it_by_relative_names(librarian: Librarian) -> None:
    data = archive(
        **{
            "Книги/Ларс.txt": LARS,
            "notes/ada.md": ADA,
            "notes/copy.txt": LARS,
            ".git/config.txt": "x",
            "__MACOSX/._ada.md": "x",
            "picture.png": b"\x89PNG",
            "../../outside.txt": "The keeper Ignat Korchagin left the lighthouse.",
        }
    )
    found = {each.name: each.outcome for each in offer(librarian, "all.zip", data)}
    assert found == {
        "Книги∕Ларс.txt": Outcome.ACCEPTED,
        "notes∕ada.md": Outcome.ACCEPTED,
        "notes∕copy.txt": Outcome.DUPLICATE,
        "outside.txt": Outcome.ACCEPTED,
    }
    assert left_behind(librarian) == []
    assert not (librarian.settings.home.parent / "outside.txt").exists()


def test_a_conflict_inside_an_archive_can_be_decided_like_any_other(librarian: Librarian) -> None:
    offer(librarian, "book.txt", LARS.encode())
    (admission,) = offer(librarian, "all.zip", archive(**{"book.txt": ADA}))
    assert admission.outcome is Outcome.CONFLICT
    size = librarian.uploads.size(admission.upload)
    (admission,) = librarian.add_upload(admission.upload, "book.txt", size, replace=True)
    assert admission.outcome is Outcome.ACCEPTED


def test_names_of_an_old_russian_archive_are_read(tmp_path: Path) -> None:
    packed = archive(**{"XXXX.txt": LARS})
    path = tmp_path / "old.zip"
    path.write_bytes(packed.replace(b"XXXX.txt", "Маяк.txt".encode("cp866")))
    assert [name for name, _ in members_of(path)] == ["Маяк.txt"]


def encrypted() -> bytes:
    data = bytearray(archive(**{"a.txt": ADA}))
    data[6] |= 1  # the flag in the local header and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no zip archive"),
        (b"PK\x03\x04 and then nothing", "no zip archive"),
        (archive(**{"a.txt": ADA * 99})[:-30], "no zip archive"),
        (archive(**{"picture.png": b"\x89PNG"}), "no document"),
        (encrypted(), "password"),
    ],
)
def test_what_is_no_archive_of_documents_is_refused_in_words(
    librarian: Librarian, data: bytes, reason: str
) -> None:
    (admission,) = offer(librarian, "all.zip", data)
    assert admission.outcome is Outcome.REFUSED
    assert reason in admission.message
    assert left_behind(librarian) == []


def test_a_bomb_is_stopped_while_it_is_unpacked(librarian: Librarian) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        with packed.open("bomb.txt", "w", force_zip64=True) as stream:
            for _ in range(220):
                stream.write(b"\0" * 1024 * 1024)
    (admission,) = offer(librarian, "bomb.zip", held.getvalue())
    assert admission.outcome is Outcome.REFUSED
    assert "unpacks to more" in admission.message


def test_an_archive_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    data = bytearray(archive(**{"a.txt": ADA * 50, "b.txt": LARS * 50}))
    place = data.index(b"b.txt") + 5
    data[place : place + 40] = b"\xff" * 40
    path = tmp_path / "broken.zip"
    path.write_bytes(data)
    members = members_of(path)
    name, pieces = next(members)
    assert (name, b"".join(pieces)) == ("a.txt", (ADA * 50).encode())
    with pytest.raises(BadArchive):
        for _, more in members:
            list(more)
