"""Several Ollama servers as one model: each call goes to one that has room for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import monotonic
from typing import Protocol, TypeVar

import anyio

from librarian.decisions import Decision, row_for
from librarian.errors import ModelError, ModelMissing, ModelUnavailable, ModelUnsuitable
from librarian.models.ollama import LOADED_S, builds_at, tagged
from librarian.models.protocol import Completion, Heard, Model, ModelCard, Prompt, Role, Vectors
from librarian.tuning import Together, Tuning

T = TypeVar("T")
Builds = dict[str, str]  #: the digest of each model of a host, by its name with its tag

REST_S = 2.0  # of a host that has failed; twice as long each time
LONGEST_REST_S = 60.0
MENDED_S = 20.0  # between two looks at a host that a person has to mend
REMEMBERED = 32  # calls of a host, for its median
PEOPLE = (Role.QUERY, Role.KEYWORD)


class HostModel(Model, Protocol):
    """The models of one host."""

    async def prepare(self) -> None:
        """Learns the embedding dimension where it is not known yet.

        Raises:
            ModelError: the server or the model is not there.
        """
        ...


Make = Callable[[str, ModelCard | None], HostModel]  #: for a host, like this one where known


class HostDisagrees(ModelUnsuitable):
    """Until all hosts have the same build, this one gets no calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """A host as it is now."""

    address: str
    running: int
    at_once: int  #: calls that it is given at once
    calls: int  #: that have ended
    median_s: float | None
    rests_s: float  #: until it is tried again; 0 while it works
    trouble: str


@dataclass(slots=True, eq=False)
class _Host:
    address: str
    tuning: Tuning
    model: HostModel | None = None
    running: int = 0
    most: dict[object, int] = field(default_factory=dict)  # that ran beside each of them
    speaking: int = 0  # of those that run: the server works on their answers
    spoke_at_once: int = 0  # most of them so far, which is how many slots it has
    embedding: int = 0
    calls: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    known: bool = False  # its models are those of the others
    trouble: ModelError | None = None
    failures: int = 0  # one after the other
    until_s: float = 0.0


class SeveralHosts:
    """A language model and an embedder that several servers have.

    A host that fails is left alone for a while; its calls go to the others. Only where none is
    left, the last one's error is raised. A host with another build of a model is left out.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        make: Make,
        *,
        models: Sequence[str],
        at_once: int,
        builds: Callable[[str], Awaitable[Builds | None]] = builds_at,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Call it on the loop that will use it. A host gets at most `at_once` calls at once."""
        self._make = make
        self._models = tuple(models)
        self._builds = builds
        self._clock = clock
        self._hosts = [_Host(address, Tuning(at_once)) for address in addresses]
        self._agreed: dict[str, tuple[str, str]] = {}  # the digest of a model, and whose it is
        self._lead: HostModel | None = None
        self.tuning = Together(self.levels, self.anew)  #: how many calls at once all of them take

    @property
    def card(self) -> ModelCard:
        """Names, hosts and embedding dimension."""
        lead = self._lead or self._model_of(self._hosts[0])
        addresses = tuple(host.address for host in self._hosts)
        return replace(lead.card, host=addresses[0], hosts=addresses)

    def views(self) -> tuple[HostView, ...]:
        """Every host as it is now, in the order of the setting."""
        now = self._clock()
        return tuple(
            HostView(
                address=host.address,
                running=host.running,
                at_once=host.tuning.level,
                calls=host.calls,
                median_s=median(host.seconds) if host.seconds else None,
                rests_s=max(0.0, host.until_s - now) if host.trouble else 0.0,
                trouble=str(host.trouble or ""),
            )
            for host in self._hosts
        )

    async def prepare(self) -> None:
        """Looks at all hosts, and learns the dimension from the first that is well.

        Raises:
            ModelError: none of them is well; the reason of the first.
        """
        found: dict[_Host, Builds | None] = {}

        async def look(host: _Host) -> None:
            found[host] = await self._builds(host.address)

        async with anyio.create_task_group() as tasks:
            for host in self._hosts:
                tasks.start_soon(look, host)
        for host in self._hosts:
            try:
                self._judge(host, found[host])
                if self._lead is None:
                    await self._model_of(host).prepare()
                    self._lead = self._model_of(host)
            except ModelError as exc:
                self._rest(host, exc)
        if self._lead is None:
            raise self._hosts[0].trouble or ModelUnavailable()

    async def complete(self, prompt: Prompt, heard: Heard | None = None) -> Completion:
        """See `Model.complete`."""
        spoke, person = False, prompt.role in PEOPLE

        async def once(host: _Host) -> Completion:
            speaks = False

            def listening(piece: str) -> None:
                nonlocal spoke, speaks
                spoke = spoke or bool(piece)
                host.speaking += not speaks
                speaks = True
                host.spoke_at_once = max(host.spoke_at_once, host.speaking)
                if heard is not None:
                    heard(piece)

            call = object()
            host.running += 1
            host.most[call] = 0
            host.most = {each: max(most, host.running) for each, most in host.most.items()}
            try:
                await self._greet(host)
                begun_s = self._clock()
                answer = await self._model_of(host).complete(prompt, listening)
                self._note(host, prompt, answer, begun_s, host.most[call])
            finally:
                host.running -= 1
                del host.most[call]
                host.speaking -= speaks
            return answer

        def read() -> bool:  # a person has the beginning of it before them
            return spoke and prompt.role is Role.QUERY

        def load(host: _Host) -> int:  # a question goes to a slot, work where it is wanted
            return host.running - (host.spoke_at_once if person else host.tuning.level)

        return await self._somewhere(once, load, read)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Model.embed`."""

        async def once(host: _Host) -> Vectors:
            host.embedding += 1
            try:
                await self._greet(host)
                return await self._model_of(host).embed(texts)
            finally:
                host.embedding -= 1

        return await self._somewhere(once, lambda host: host.embedding, lambda: False)

    async def aclose(self) -> None:
        """Closes the connections to all of them."""
        for host in self._hosts:
            if host.model is not None:
                await host.model.aclose()

    def levels(self) -> list[tuple[str, Tuning]]:
        """The hosts that take calls now, with what is known of how many."""
        found = [(host.address, host.tuning) for host in self._hosts if host.trouble is None]
        return found or [(self._hosts[0].address, self._hosts[0].tuning)]

    def slots(self) -> int:
        """How many answers the hosts that work have written at the same time."""
        return sum(host.spoke_at_once for host in self._hosts if host.trouble is None)

    def anew(self) -> None:
        """The servers may be others now."""
        for host in self._hosts:
            host.tuning.anew()

    async def _somewhere(
        self,
        once: Callable[[_Host], Awaitable[T]],
        load: Callable[[_Host], int],
        final: Callable[[], bool],
    ) -> T:
        """Does it at one host after the other until it is done, beginning with the least loaded."""
        tried: list[_Host] = []
        while True:
            host = self._next(tried, load)
            tried.append(host)
            try:
                result = await once(host)
            except ModelError as exc:
                if row_for(exc).decision not in (Decision.WAIT, Decision.STOP):
                    host.known = False  # it may have gone in the middle of an answer
                    raise
                self._rest(host, exc)
                if final() or len(tried) == len(self._hosts):
                    raise
            else:
                host.trouble, host.failures = None, 0
                return result

    def _next(self, tried: list[_Host], load: Callable[[_Host], int]) -> _Host:
        """One that has not been tried: of those that work, else of those that rest."""
        left = [host for host in self._hosts if host not in tried]
        now = self._clock()
        well = [host for host in left if host.trouble is None or host.until_s <= now]
        return min(well or left, key=load)

    async def _greet(self, host: _Host) -> None:
        if not host.known or host.trouble is not None:
            self._judge(host, await self._builds(host.address))

    def _judge(self, host: _Host, builds: Builds | None) -> None:
        """Takes a host in, if it has what the others have.

        Raises:
            ModelError: it has not, or does not answer.
        """
        if builds is None:
            raise ModelUnavailable(f"{host.address}:")
        for name in self._models:
            digest = builds.get(tagged(name))
            if digest is None:
                raise ModelMissing(f"{host.address} lacks {name}.")
            agreed, whose = self._agreed.setdefault(name, (digest, host.address))
            if digest != agreed:
                raise HostDisagrees(
                    f"{name} at {host.address} is another build than at {whose}. Run "
                    f"`OLLAMA_HOST={host.address} ollama pull {name}`, or the same for the other."
                )
        host.known = True

    def _rest(self, host: _Host, exc: ModelError) -> None:
        resting = host.trouble is not None and self._clock() < host.until_s
        host.trouble, host.known, host.spoke_at_once = exc, False, 0
        if resting:  # calls that had begun together fail together
            return
        stopped = row_for(exc).decision is Decision.STOP
        pause = min(LONGEST_REST_S, REST_S * 2**host.failures)
        host.until_s = self._clock() + (MENDED_S if stopped else pause)
        host.failures = min(host.failures + 1, 10)

    def _note(
        self, host: _Host, prompt: Prompt, answer: Completion, begun_s: float, beside: int
    ) -> None:
        now = self._clock()
        host.calls += 1
        host.known = host.known and answer.load_s < LOADED_S  # it may have been pulled anew
        host.seconds.append(now - begun_s)
        if prompt.role not in PEOPLE:
            # Calls end together, and while their answers are written down fewer of them run.
            host.tuning.ended(now, answer.prompt_tokens, answer.output_tokens, beside)

    def _model_of(self, host: _Host) -> HostModel:
        if host.model is None:
            host.model = self._make(host.address, self._lead.card if self._lead else None)
        return host.model


def hosts_of(model: object) -> tuple[HostView, ...]:
    """The hosts of a model as they are now, where it has several."""
    return model.views() if isinstance(model, SeveralHosts) else ()


def slots_of(model: object) -> int | None:
    """How many answers its hosts write at once, as far as is seen; None where it has no several."""
    return model.slots() if isinstance(model, SeveralHosts) else None
