"""Text of pictures of pages, by Tesseract where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

WANTED = ("rus", "eng")  # of the languages that are installed; others only where neither is there
DPI = 200  # letters of 10 points are 28 pixels high; Tesseract wants 20 and more
PAGE_S = 60.0  # for one page; usually it takes two seconds
_LIST_S = 10.0
_WINDOWS = (r"C:\Program Files\Tesseract-OCR\tesseract.exe",)  # where its installer puts it


@lru_cache(maxsize=1)
def languages() -> str:
    """The languages that pages are read in here, as Tesseract takes them; empty without it."""
    command = program()
    if command is None:
        return ""
    try:
        listed = subprocess.run(
            [command, "--list-langs"], capture_output=True, timeout=_LIST_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = listed.stdout.decode(errors="replace").split("\n")[1:]
    there = [name.strip() for name in found if name.strip() not in ("", "osd", "equ")]
    return "+".join([name for name in WANTED if name in there] or there[:1])


def program() -> str | None:
    """Where Tesseract is."""
    found = shutil.which("tesseract")
    return found or next((path for path in _WINDOWS if Path(path).exists()), None)


def text_of(picture: bytes, wanted: str) -> str:
    """The text of a page; empty where it could not be read.

    `picture` is a PNG, `wanted` are languages as `languages` gives them.
    """
    command = program()
    if command is None:
        return ""
    try:
        read = subprocess.run(
            [command, "stdin", "stdout", "-l", wanted, "--dpi", str(DPI)],
            input=picture,
            capture_output=True,
            timeout=PAGE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return read.stdout.decode(errors="replace").replace("\f", "")
