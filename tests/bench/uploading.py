"""A file of a gigabyte through the browser: the memory that it takes, and the time."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.processes import app, own_folder
from tests.bench.report import Row
from tests.bench.watchers import MemoryWatcher, chromium

GIGABYTE = 1024**3
MB = 1024 * 1024
SETTLE_S = 3.0  # for imports that the first page brings
PAGE_MS = 300_000.0


def upload(corpus: Path | None) -> list[Row]:
    """Zeros, which are refused when they have come: only the way here is measured."""
    with own_folder() as folder, chromium() as browser:
        path = folder / "zeros.txt"
        with path.open("wb") as stream:
            stream.truncate(GIGABYTE)
        with app(folder / "home", LIBRARIAN_BACKEND="offline") as measured:
            measured.until_ready()
            page = browser.new_page()
            page.goto(measured.url, timeout=PAGE_MS)
            page.get_by_text("Drop files or folders here").wait_for()
            time.sleep(SETTLE_S)
            with MemoryWatcher(measured.process) as before:
                time.sleep(1.0)
            begun_s = time.monotonic()
            with MemoryWatcher(measured.process) as during:
                page.set_input_files("input[type=file]", [str(path)])
                page.get_by_text("zeros.txt was refused").wait_for(timeout=PAGE_MS)
            seconds = time.monotonic() - begun_s
            page.close()
    grown = (during.peak - before.peak) / MB
    return [
        Row(what="upload of 1 GB: memory grows by, at most", value=grown, unit="MB", most=100),
        Row(what="upload of 1 GB: from choosing it to the answer", value=seconds, unit="s"),
    ]
