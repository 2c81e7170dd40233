"""Files on their way from a browser: slice by slice, and on after a break."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.uploads import KEPT_S, NoRoom, UploadError, Uploads, WrongPlace

KEY = "0123456789abcdef"
DATA = "Смотритель маяка.\n".encode() * 400


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "incoming")


def test_slices_become_the_file_with_its_hash(uploads: Uploads) -> None:
    assert uploads.size(KEY) == 0
    for start in range(0, len(DATA), 1000):
        assert uploads.append(KEY, start, DATA[start : start + 1000]) == min(
            len(DATA), start + 1000
        )
    upload = uploads.finish(KEY, "a/маяк.txt", len(DATA))
    assert (upload.name, upload.bytes) == ("a/маяк.txt", len(DATA))
    assert upload.sha256 == hashlib.sha256(DATA).hexdigest()
    assert uploads.path(KEY).read_bytes() == DATA


def test_a_slice_for_another_place_is_told_where_to_go_on(uploads: Uploads) -> None:
    uploads.append(KEY, 0, DATA[:1000])
    for offset in (0, 999, 1001):
        with pytest.raises(WrongPlace) as caught:
            uploads.append(KEY, offset, b"x")
        assert caught.value.size == 1000
    assert uploads.path(KEY).read_bytes() == DATA[:1000]


def test_another_process_goes_on_where_this_one_ended(uploads: Uploads, tmp_path: Path) -> None:
    uploads.append(KEY, 0, DATA[:1000])
    later = Uploads(tmp_path / "incoming")
    assert later.ticket != uploads.ticket
    later.append(KEY, later.size(KEY), DATA[1000:])
    assert later.finish(KEY, "x", len(DATA)).sha256 == hashlib.sha256(DATA).hexdigest()


def test_a_file_that_is_not_whole_is_not_taken(uploads: Uploads) -> None:
    uploads.append(KEY, 0, DATA[:10])
    with pytest.raises(WrongPlace):
        uploads.finish(KEY, "x", 11)
    with pytest.raises(UploadError, match="not here any more"):
        uploads.path("f" * 16)


def test_an_empty_file_arrives_empty(uploads: Uploads) -> None:
    assert uploads.finish(KEY, "empty.txt", 0).bytes == 0
    assert uploads.path(KEY).read_bytes() == b""


def test_a_full_disk_is_said_before_it_is_full(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, least_free_bytes=1 << 60)
    with pytest.raises(NoRoom, match="MB left"):
        uploads.append(KEY, 0, b"x")
    assert uploads.size(KEY) == 0


@given(st.text(max_size=80) | st.sampled_from(["../../etc/passwd", "a" * 65, "", "0" * 15]))
def test_nothing_but_a_key_names_a_file(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    uploads = Uploads(tmp_path_factory.mktemp("incoming"))
    if 16 <= len(key) <= 64 and set(key) <= set("0123456789abcdef"):
        return
    for do in (uploads.size, uploads.path, uploads.drop):
        with pytest.raises(UploadError):
            do(key)


def test_what_nobody_went_on_with_is_removed_after_two_days(tmp_path: Path) -> None:
    now = [1000.0]
    uploads = Uploads(tmp_path, clock=lambda: now[0])
    uploads.append(KEY, 0, DATA)
    os.utime(uploads.path(KEY), (now[0], now[0]))
    uploads.sweep()
    assert uploads.size(KEY)
    now[0] += KEPT_S + 1
    uploads.sweep()
    assert uploads.size(KEY) == 0
    uploads.drop(KEY)  # it may be gone already
