"""`python -m tests.bench.plot OUT.svg REPORT.json …`: what a document costs, as curves.

A report is what `python -m tests.bench growth --json` prints; each storage in it gives a curve.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT, EDGE = 640, 320, 56
COLOURS = ("#c2410c", "#0f766e", "#1d4ed8", "#7c3aed")
_ROW = re.compile(r"\w+, (\w+): documents (\d+) to (\d+), processor time of each")
Curve = list[tuple[float, float]]  #: documents, and seconds of each there


def curves_of(report: dict[str, list[dict[str, object]]]) -> dict[str, Curve]:
    """The points of one report by storage, each in the middle of its documents."""
    found: dict[str, Curve] = {}
    for row in report["rows"]:
        if match := _ROW.match(str(row["what"])):
            middle = (int(match[2]) + int(match[3])) / 2
            found.setdefault(match[1], []).append((middle, float(str(row["measured"]))))
    return found


def drawn(curves: dict[str, Curve]) -> str:
    """The picture; white behind it, so that it can be read in a dark page, too."""
    points = [point for each in curves.values() for point in each]
    most_x, most_y = max(x for x, _ in points), max(y for _, y in points)

    def place(x: float, y: float) -> str:
        across = EDGE + (WIDTH - 2 * EDGE) * x / most_x
        return f"{across:.1f},{HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * y / most_y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _line((place(0, most_y), place(0, 0), place(most_x, 0)), "#666", 1),
        f'<text x="{EDGE}" y="{EDGE - 16}">seconds of processor time a document</text>',
        f'<text x="{WIDTH - EDGE}" y="{HEIGHT - 16}" text-anchor="end">documents</text>',
        f'<text x="{EDGE - 8}" y="{EDGE + 4}" text-anchor="end">{most_y:.2g}</text>',
        f'<text x="{EDGE - 8}" y="{HEIGHT - EDGE + 4}" text-anchor="end">0</text>',
        f'<text x="{WIDTH - EDGE}" y="{HEIGHT - EDGE + 20}" text-anchor="middle">{most_x:g}</text>',
    ]
    for number, (name, each) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(_line([place(*point) for point in each], colour, 3))
        x, y = place(*each[-1]).split(",")
        label = f'x="{x}" y="{float(y) - 10:.1f}" text-anchor="end" fill="{colour}"'
        parts.append(f"<text {label}>{escape(name)}</text>")
    return "\n".join((*parts, "</svg>\n"))


def _line(places: Sequence[str], colour: str, width: int) -> str:
    points = " ".join(places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def main() -> None:
    """Reads reports and writes the picture."""
    out, *reports = sys.argv[1:]
    curves: dict[str, Curve] = {}
    for path in reports:
        curves |= curves_of(json.loads(Path(path).read_text(encoding="utf-8")))
    Path(out).write_text(drawn(curves), encoding="utf-8")


if __name__ == "__main__":
    main()
