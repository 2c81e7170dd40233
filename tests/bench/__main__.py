"""`python -m tests.bench WHAT`: measures the real program and prints one table."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import traceback
from pathlib import Path

import psutil

from tests.bench.measures import MEASURES
from tests.bench.report import Row, table


def main() -> int:
    """Runs measurements: 0 they were made, whatever they say; 1 one of them could not be."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all processes are ended
    rows = [_load("before")]
    broken: list[str] = []
    for name in MEASURES if given.what == "all" else [given.what]:
        begun_s = time.monotonic()
        try:
            found = MEASURES[name](given.corpus)
        except Exception:  # the others are measured all the same
            broken.append(name)
            traceback.print_exc()
        else:
            rows += found
            if given.what == "all":
                took = f"{name}: {(time.monotonic() - begun_s) / 60:.1f} min"
                print(took, table(found), sep="\n", file=sys.stderr, flush=True)
    rows.append(_load("after"))
    if given.json:
        report = {"rows": [row.as_json() for row in rows], "broken": broken}
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        print(table(rows))
    return 1 if broken else 0


def _load(when: str) -> Row:
    """How busy the machine was with this and with other things."""
    cores = psutil.cpu_count() or 1
    what = f"machine: load {when}, {cores} cores"
    return Row(what=what, value=psutil.getloadavg()[0], unit="load")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("what", choices=[*MEASURES, "all"])
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="real texts, else made-up ones")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
