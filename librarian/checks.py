"""What a check says: a name, a verdict, what was seen, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: what was seen, and what to do about it."""

    name: str
    severity: Severity
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What a probe has measured. The tokens of a chunk are assumed where none was read yet."""

    seconds_per_chunk: float  #: one at a time
    at_once: int  #: calls that the server works on together, of as many as are set
    gain: float  #: how many times as much is done by calls at once
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    chunk_prompt_tokens: int
    chunk_output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was looked at."""

    checks: tuple[Check, ...]
    missing: tuple[str, ...] = ()  #: models that a pull would mend
    probed: tuple[Check, ...] = ()  #: what the last probe said; it is no reason to be unwell now
    speed: Speed | None = None  #: by the last probe

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(check.severity is not Severity.FAIL for check in self.checks)


def fine(name: str, message: str) -> Check:
    """A check that came out well."""
    return Check(name=name, severity=Severity.OK, message=message)


def warning(name: str, message: str, remedy: str) -> Check:
    """A check that a person should know of."""
    return Check(name=name, severity=Severity.WARN, message=message, remedy=remedy)


def failure(name: str, message: str, remedy: str) -> Check:
    """A check of something that the work cannot do without."""
    return Check(name=name, severity=Severity.FAIL, message=message, remedy=remedy)
