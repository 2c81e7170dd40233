"""What was measured, as an aligned table or as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured number, and the most that it may be."""

    what: str
    value: float
    unit: str = ""
    most: float | None = None  #: None where there is no target

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.most is None else self.value <= self.most

    def as_json(self) -> dict[str, Any]:
        """The row for a program."""
        return {
            "what": self.what,
            "measured": round(self.value, 4),
            "unit": self.unit,
            "target": self.most,
            "holds": self.holds,
        }

    def cells(self) -> tuple[str, str, str, str]:
        """The row for people."""
        target = "" if self.most is None else f"<= {_number(self.most, self.unit)}"
        verdict = {None: "", True: "yes", False: "NO"}[self.holds]
        return self.what, _number(self.value, self.unit), target, verdict


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def table(rows: Sequence[Row]) -> str:
    """The rows below each other."""
    lines = [("what", "measured", "target", "holds"), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    lines.insert(1, ("-" * widths[0], "-" * widths[1], "-" * widths[2], "-" * widths[3]))
    return "\n".join(
        f"{what:<{widths[0]}}  {value:>{widths[1]}}  {target:>{widths[2]}}  {holds}".rstrip()
        for what, value, target, holds in lines
    )


def _number(value: float, unit: str) -> str:
    digits = {"s": 2, "ms": 0, "MB": 0, "times": 3, "load": 2, "%": 2}.get(unit, 0)
    shown = "" if unit == "load" else unit
    return f"{value:,.{digits}f} {shown}".rstrip()
