"""The pulls of models that run or ended in this process, whoever looks at them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

import anyio
from anyio.abc import TaskGroup

from librarian.errors import LibrarianError
from librarian.models.ollama import missing_models
from librarian.models.servers import Step, pull

GB = 1e9  # as `ollama list` counts


class PullState(StrEnum):
    """Where a pull stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  #: `error` has the reason and the remedy
    CANCELLED = "cancelled"  #: what has arrived is kept by the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One pull. Moments are of the monotonic clock."""

    model: str
    state: PullState = PullState.RUNNING
    status: str = "asking the server"
    done: int = 0  #: bytes
    total: int = 0  #: of the files that it has come to
    error: str = ""
    begun_s: float
    moved_s: float

    @property
    def text(self) -> str:
        """Where it stands, in a few words."""
        if self.state is not PullState.RUNNING:
            return "on the server" if self.state is PullState.DONE else self.state.value
        if self.total:
            return f"{self.done / GB:.2f} of {self.total / GB:.2f} GB, {self.share:.0%}"
        return self.status

    @property
    def share(self) -> float:
        """How much of what is known has arrived, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


class Pulls:
    """Starts and cancels pulls on the loop. `seen` is a value: read it from any thread."""

    def __init__(self, hosts: Sequence[str], tasks: TaskGroup) -> None:
        self.seen: tuple[Pull, ...] = ()  # in the order of their begin; one of a model
        self._hosts = tuple(hosts)
        self._tasks = tasks
        self._scopes: dict[str, anyio.CancelScope] = {}

    async def start(self, model: str) -> None:
        """Begins a pull, unless this model is being pulled already."""
        if model in self._scopes:
            return
        now = time.monotonic()
        others = tuple(each for each in self.seen if each.model != model)
        self.seen = (*others, Pull(model=model, begun_s=now, moved_s=now))
        self._scopes[model] = anyio.CancelScope()
        self._tasks.start_soon(self._run, model)

    async def cancel(self, model: str) -> None:
        """Ends a pull; does nothing where none runs."""
        if scope := self._scopes.get(model):
            scope.cancel()

    async def _run(self, model: str) -> None:
        state, error = PullState.CANCELLED, ""
        try:
            with self._scopes[model]:
                for host in await self._lacking(model):
                    await pull(host, model, lambda step: self._hear(model, step))
                state = PullState.DONE
        except LibrarianError as exc:
            state, error = PullState.FAILED, str(exc)
        finally:
            del self._scopes[model]
            self._change(model, state=state, error=error)

    async def _lacking(self, model: str) -> Sequence[str]:
        """The hosts that do not have it; where all have it, each gets the newest."""
        if len(self._hosts) == 1:
            return self._hosts
        lacking = [host for host in self._hosts if await missing_models(host, [model])]
        return lacking or self._hosts

    def _hear(self, model: str, step: Step) -> None:
        self._change(
            model,
            status=step.status,
            done=step.done,
            total=step.total,
            moved_s=time.monotonic(),
        )

    def _change(self, model: str, **changes: object) -> None:
        self.seen = tuple(
            replace(each, **changes) if each.model == model else each  # type: ignore[arg-type]
            for each in self.seen
        )


@asynccontextmanager
async def open_pulls(hosts: Sequence[str]) -> AsyncIterator[Pulls]:
    """The pulls of servers; leaving ends those that run."""
    async with anyio.create_task_group() as tasks:
        try:
            yield Pulls(hosts, tasks)
        finally:
            tasks.cancel_scope.cancel()
