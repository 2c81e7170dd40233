"""How many calls at once the model's server makes good use of: measured while it works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

FIRST = 3  # calls at once; two that run and one that is ready when one of them ends
RISES = 1.1  # times as fast as before: it pays to try more
FALLS = 1.03  # less than this and the calls before were enough
PATIENCE = 4  # calls for each at once, before it is believed that they are not faster
_AT_THE_TOP = "as many as LLM_MAX_ASYNC allows"
PROMPT_SHARE = 0.1  # a token that is read costs about a tenth of one that is written


@dataclass(slots=True)
class _Window:
    """What ended since a moment."""

    begun_s: float | None = None
    tokens: float = 0.0
    calls: int = 0


class HowMany(Protocol):
    """Something that finds out how many calls at once are best."""

    @property
    def level(self) -> int:
        """How many it is now."""
        ...

    @property
    def said(self) -> str:
        """Why so many; empty while it is not known."""
        ...

    def anew(self) -> None:
        """Begins again."""
        ...

    def ended(self, now_s: float, prompt_tokens: int, output_tokens: int, at_once: int) -> bool:
        """Takes in a call that has ended; whether the level has changed."""
        ...


class Tuning:
    """A search upwards: more calls at once for as long as the work goes faster.

    A call that only waits in the server's queue costs nothing, so trying more is free; too few
    leave the server idle. Speed is counted in tokens, because calls differ in length.
    """

    def __init__(self, most: int) -> None:
        """Begins low; `most` is what a person allows."""
        self.most = most
        self.anew()

    def anew(self) -> None:
        """Begins again: the server may be another one now."""
        self.level = min(FIRST, self.most)
        self.said = _AT_THE_TOP if self.level == self.most else ""  #: why so many; empty: not known
        self._best: tuple[int, float] | None = None  # the level before, with its tokens a second
        self._skip = 0  # ends of calls that began at another level
        self._window = _Window()

    def ended(self, now_s: float, prompt_tokens: int, output_tokens: int, at_once: int) -> bool:
        """Takes in a call that ended while `at_once` ran; True where the level has changed."""
        if self.said:
            return False
        if at_once < self.level:  # too little work to tell anything
            self._window = _Window()
            return False
        if self._skip > 0:
            self._skip -= 1
            return False
        window = self._window
        if window.begun_s is None:
            window.begun_s = now_s
            return False
        window.tokens += output_tokens + PROMPT_SHARE * prompt_tokens
        window.calls += 1
        if window.calls < 2 * self.level or now_s <= window.begun_s:
            return False
        speed = window.tokens / (now_s - window.begun_s)
        faster = self._best is not None and speed >= RISES * self._best[1]
        if not faster and window.calls < PATIENCE * self.level:
            return False
        return self._judge(speed)

    def _judge(self, speed: float) -> bool:
        before = self._best
        if before is None or speed >= RISES * before[1]:
            if self.level == self.most:
                self.said = _AT_THE_TOP
                return False
            self._best = (self.level, speed)
            self._go_to(min(self.most, 2 * self.level - 1))
        elif speed < FALLS * before[1]:
            tried = self.level
            self._go_to(before[0])
            self.said = f"{tried} at once were no faster"
        else:
            self.said = f"{before[0]} at once were hardly slower"
            return False
        return True

    def _go_to(self, level: int) -> None:
        self._skip = self.level
        self.level = level
        self._window = _Window()


class Together:
    """The tuning of several hosts as that of one: as many calls as all that work take."""

    def __init__(
        self, levels: Callable[[], Sequence[tuple[str, Tuning]]], anew: Callable[[], None]
    ) -> None:
        """`levels` gives the hosts that work, each with its own tuning."""
        self._levels = levels
        self._anew = anew
        self._told = 0

    @property
    def level(self) -> int:
        """How many calls run at once."""
        return sum(tuning.level for _, tuning in self._levels())

    @property
    def said(self) -> str:
        """Why so many; empty while one of them finds it out."""
        levels = self._levels()
        if not all(tuning.said for _, tuning in levels):
            return ""
        return "; ".join(f"{tuning.level} at {host}, {tuning.said}" for host, tuning in levels)

    def anew(self) -> None:
        """Begins again at every host."""
        self._anew()

    def ended(self, now_s: float, prompt_tokens: int, output_tokens: int, at_once: int) -> bool:
        """Whether it has changed since the last call: each host has counted its own."""
        del now_s, prompt_tokens, output_tokens, at_once
        changed, self._told = self.level != self._told, self.level
        return changed
