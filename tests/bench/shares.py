"""Where the wall time of a run went, by what was asked of the model and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.bench.processes import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Seconds; all of them together are the wall time."""

    before: float  #: until the first call: reading, cutting
    model: float  #: what the calls must take: each its latency, all slots full
    server: float  #: what the calls took beyond that
    idle: float  #: slots without a call while others had one
    embedding: float  #: only vectors were asked for
    merge: float  #: nothing was asked, so it merged, wrote or waited

    @property
    def wall(self) -> float:
        """All of it."""
        return self.before + self.model + self.server + self.idle + self.embedding + self.merge


def shares(
    calls: Iterable[Json], begun_s: float, ended_s: float, *, latency_s: float, slots: int
) -> Shares:
    """Divides a run. `calls` are those of the stand-in, on the clock of `begun_s` and `ended_s`."""
    done = [each for each in calls if each["outcome"] == "done"]
    chats = [each for each in done if each["endpoint"] == "/api/chat"]
    first_s = min((each["started_s"] for each in chats), default=ended_s)
    model = len(chats) * latency_s / slots
    full = idle = embedding = merge = 0.0
    for length_s, asked, embeds in _moments(done, first_s, ended_s):
        if asked:
            full += length_s * min(asked, slots) / slots
            idle += length_s * max(0, slots - asked) / slots
        elif embeds:
            embedding += length_s
        else:
            merge += length_s
    return Shares(
        before=first_s - begun_s,
        model=model,
        server=full - model,
        idle=idle,
        embedding=embedding,
        merge=merge,
    )


def _moments(calls: list[Json], begun_s: float, ended_s: float) -> Iterator[tuple[float, int, int]]:
    """Stretches of time with how many chats and how many embeddings ran in each."""
    steps = [(begun_s, 0, 0), (ended_s, 0, 0)]
    for call in calls:
        chat = int(call["endpoint"] == "/api/chat")
        for at_s, step in ((call["started_s"], 1), (call["ended_s"], -1)):
            steps.append((min(max(at_s, begun_s), ended_s), step * chat, step * (1 - chat)))
    chats = embeds = 0
    for (at_s, chat, embed), (next_s, *_) in pairwise(sorted(steps)):
        chats, embeds = chats + chat, embeds + embed
        yield next_s - at_s, chats, embeds
