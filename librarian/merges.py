"""LightRAG's merge of a document into the graph, in an order that keeps the model at work.

LightRAG merges the entities of a document, 64 at a time as they were found, then its relations.
So few are summed up by the model at once, some at the very end, and all relations wait for the
last of them. Here what the model is asked about begins first, no number of these keeps others from
being merged, and a relation waits for nothing but its own two entities. `tests/test_merges.py`
holds what LightRAG has to do for that.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from librarian.signals import merging

AT_ONCE = 8  # entities or relations whose merge begins in one round of the loop
PLACES = 64  # merges under way, as many as LightRAG has; those that wait for the model not counted
UNLIMITED = 1 << 20

T = TypeVar("T")
Name = tuple[str, str]
MergeOne = Callable[..., Awaitable[Any]]
MergeAll = Callable[..., Awaitable[None]]
Wait = Callable[..., Awaitable[list[Any]]]
Said = Mapping[Any, list[dict[str, Any]]]  # of entities by name, or of relations by both ends
Tasks = list[asyncio.Task[Any]]

#: The tasks of the entities of the document that this task merges, until its relations join them.
_entities: ContextVar[Tasks | None] = ContextVar("entities", default=None)
_placed: ContextVar[bool] = ContextVar("placed", default=False)


class PerLoop(Generic[T]):
    """One of a thing for each event loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()
        self._last: tuple[object, T] | None = None  # to look it up costs as much as a lock

    def __call__(self) -> T:
        loop, last = asyncio.get_running_loop(), self._last
        if last is None or last[0] is not loop:
            if loop not in self._made:
                self._made[loop] = self._make()
            last = self._last = loop, self._made[loop]
        return last[1]


class Locks:
    """Locks by name. Who needs several takes them together, and waits without holding any."""

    def __init__(self) -> None:
        self._held: set[Name] = set()
        self._waiting: dict[Name, dict[asyncio.Future[None], tuple[Name, ...]]] = {}

    async def take(self, names: tuple[Name, ...]) -> None:
        """Returns when all are free and taken; of those who can go on the first comes first."""
        if self._held.isdisjoint(names):
            self._held.update(names)
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for name in names:
            self._waiting.setdefault(name, {})[given] = names
        try:
            await given
        except BaseException:
            if given.done() and not given.cancelled():  # given while the task was cancelled
                self.give(names)
            else:
                self._forget(given, names)
            raise

    def give(self, names: tuple[Name, ...]) -> None:
        """Frees them, and hands each on."""
        self._held.difference_update(names)
        for name in names:
            waiting = self._waiting.get(name, {}).items()
            for given, wanted in waiting:
                if not given.done() and self._held.isdisjoint(wanted):
                    self._held.update(wanted)
                    self._forget(given, wanted)
                    given.set_result(None)
                    break

    def __bool__(self) -> bool:
        return bool(self._held or self._waiting)

    def _forget(self, given: asyncio.Future[None], names: tuple[Name, ...]) -> None:
        for name in names:
            del self._waiting[name][given]
            if not self._waiting[name]:
                del self._waiting[name]


class Turns:
    """Lets only so many begin in each round of the loop, and so many be under way."""

    def __init__(self, most: int = AT_ONCE, places: int = PLACES) -> None:
        self._most = self._left = most
        self._places = places
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._renewing = False

    async def begin(self) -> None:
        """Returns when there is a turn and a place; who came first goes first."""
        if self._left > 0 and self._places > 0 and not self._waiting:
            self._take()
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(given)
        self._renew_soon()
        try:
            await given
        except BaseException:
            if not given.cancel() and not given.cancelled():  # given while it was cancelled
                self.leave()
            raise

    def leave(self) -> None:
        """Gives up a place: at the end, or for as long as the model is asked."""
        self._places += 1
        self._hand_on()

    def come_back(self) -> None:
        """Takes the place again, also where there are then more than should be."""
        self._places -= 1

    def _take(self) -> None:
        self._left -= 1
        self._places -= 1
        self._renew_soon()

    def _renew_soon(self) -> None:
        if not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._renewing = False
        self._left = self._most
        self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting and self._left > 0 and self._places > 0:
            given = self._waiting.popleft()
            if not given.done():
                self._take()
                given.set_result(None)


def asked_first(merge: MergeAll) -> MergeAll:
    """The same as `merge` of LightRAG, beginning with what the model is asked to sum up."""

    @wraps(merge)
    async def merged(
        chunk_results: Sequence[tuple[Said, Said]],
        *args: Any,
        global_config: Mapping[str, Any],
        **more: Any,
    ) -> None:
        least = int(global_config["force_llm_summary_on_merge"])
        entities = _together(each for found, _ in chunk_results for each in found.items())
        relations = _together(
            (tuple(sorted(ends)), said)
            for _, found in chunk_results
            for ends, said in found.items()
        )
        ordered = [(many_first(entities, least), many_first(relations, least))]
        config = {**global_config, "llm_model_max_async": UNLIMITED}  # `Turns` has the limit
        begun: Tasks = []
        token = _entities.set(begun if relations else None)
        try:
            await merge(ordered, *args, global_config=config, **more)
        finally:
            _entities.reset(token)
            for task in begun:  # stopped before its relations began to be merged
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    return merged


def relations_too(wait: Wait) -> Wait:
    """The same as `wait` of LightRAG, which does not begin with relations before it has returned.

    That of the entities returns at once, and that of the relations waits for both. The locks see
    to it that a relation comes after its entities: these wait for them first.
    """

    @wraps(wait)
    async def waited(
        tasks: Tasks, *, context: str = "", task_labels: Mapping[Any, str] | None = None
    ) -> list[Any]:
        entities = _entities.get()
        if entities is not None and context.startswith("entity merge "):
            entities.extend(tasks)
            return list(tasks)  # only how many there are is looked at
        if entities and context.startswith("relation merge "):
            before = {task: "an entity" for task in entities}
            both = [*entities, *tasks]
            entities.clear()
            await wait(both, context=context, task_labels={**before, **(task_labels or {})})
            return [task.result() for task in tasks]
        return await wait(tasks, context=context, task_labels=task_labels)

    return waited


def in_turn(merge: MergeOne, turns: Callable[[], Turns], what: str = "") -> MergeOne:
    """The same as `merge` of LightRAG, of which any number would run in one go.

    An answer of the model takes several rounds of the loop until the next question is on its way.
    `what` is merged: `entities` or `relations`.
    """

    @wraps(merge)
    async def merged(*args: Any, **more: Any) -> Any:
        here = turns()
        await here.begin()
        token = _placed.set(True)
        try:
            with merging(what):
                return await merge(*args, **more)
        finally:
            _placed.reset(token)
            here.leave()

    return merged


def away(ask: MergeOne, turns: Callable[[], Turns]) -> MergeOne:
    """The same as `ask` of LightRAG, for which a merge leaves its place meanwhile."""

    @wraps(ask)
    async def asked(*args: Any, **more: Any) -> Any:
        if not _placed.get():
            return await ask(*args, **more)
        here = turns()
        here.leave()
        try:
            return await ask(*args, **more)
        finally:
            here.come_back()

    return asked


def many_first(found: Said, least: int) -> Said:
    """Those with `least` descriptions or more come first, most before all; the others as found."""
    sizes = {each: len({one.get("description") for one in said}) for each, said in found.items()}
    many = sorted((each for each in found if sizes[each] >= least), key=lambda each: -sizes[each])
    few = [each for each in found if sizes[each] < least]
    return {each: found[each] for each in (*many, *few)}


def _together(found: Iterable[tuple[Any, list[dict[str, Any]]]]) -> Said:
    said = defaultdict(list)
    for each, some in found:
        said[each].extend(some)
    return said
