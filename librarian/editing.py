"""A person's edits, made in LightRAG's storages: the graph, its vectors, and who said what.

LightRAG's own calls for this (`aedit_entity`, `amerge_entities`, `adelete_by_entity`) leave the
lists of what a document brought (`full_entities`, `full_relations`) as they were, so that deleting
the document later would leave the renamed entity behind; and they have no way back. So an edit is
planned as values before and after (`mending`), written down (`edits`), and then written here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from librarian.edits import Edits, Entry, State
from librarian.embeddings import Embeddings
from librarian.errors import EditEntangled, EditRefused, LibrarianError
from librarian.gate import Gate, guard
from librarian.holdings import Holdings
from librarian.knowledge import Entity, Graph
from librarian.mending import (
    Change,
    Describe,
    DropEntity,
    DropRelation,
    Edit,
    Merge,
    Preview,
    Rename,
    names_in,
    plan,
    preview,
    same,
    tidied,
)
from librarian.standing import Standing, standing
from librarian.storages import Storages, Values
from librarian.translation import translated

if TYPE_CHECKING:
    from lightrag import LightRAG

log = logging.getLogger(__name__)


class Editing:
    """Makes edits in an open LightRAG, takes them back, and makes them again where they stand."""

    def __init__(
        self,
        rag: LightRAG,
        holdings: Holdings,
        embeddings: Embeddings,
        edits: Edits | None = None,
        reached: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`reached` hears of each step of the writing before it is taken."""
        self.count = 0  #: of changes to the graph
        self._rag = rag
        self._embeddings = embeddings
        self._edits = edits
        self._reached = reached
        self._storages = Storages(rag, holdings, reached)
        self._gate = Gate()
        self._standing: Standing | None = None
        self._unsettled = False  # an edit was begun and could be neither finished nor undone
        guard(rag, self._gate, self._ready, self._edited)

    async def entities(self, names: Iterable[str]) -> tuple[Entity, ...]:
        """Those of these that there are now."""
        with translated():
            return await self._storages.entities(names)

    async def around(self, name: str) -> Graph:
        """An entity as it is now, its relations and their other ends; nothing if it is gone."""
        with translated():
            return await self._storages.around(name)

    async def preview(self, edit: Edit) -> Preview:
        """What an edit would do; nothing is changed.

        Raises:
            EditRefused: it cannot be made; why, and what to do.
        """
        with translated():
            edit = self._tidied(edit)
            part = await self._storages.part(names_in(edit))
            return preview(edit, part, plan(edit, part, self._most))

    async def make(self, edit: Edit) -> int:
        """Makes an edit, when no document is being written into the graph; its number.

        Raises:
            EditRefused: it cannot be made; why, and what to do.
            LibrarianError: it was not made; the graph is as it was.
        """
        with translated():
            edit = self._tidied(edit)
            async with self._gate.alone():
                await self._settle()
                return await self._make(edit, "")

    async def undo(self, number: int) -> None:
        """Puts back what an edit has changed, exactly.

        Raises:
            EditEntangled: something later changed the same; what, and what to do.
        """
        edits = self._journal
        with translated():
            async with self._gate.alone():
                await self._settle()
                entry = await to_thread.run_sync(edits.get, number)
                if entry.state not in (State.DONE, State.LET_GO):
                    raise EditRefused("This edit is not in the graph any more.")
                changes = await to_thread.run_sync(edits.changes, number)
                await self._check_untouched(entry, changes)
                before = {change.key: change.before for change in changes}
                await self._embed(before)
                await to_thread.run_sync(edits.mark, number, State.UNDOING)
                with anyio.CancelScope(shield=True):
                    await self._settle()

    async def let_go(self, number: int) -> None:
        """Leaves an edit in the graph, but no longer makes it on what later documents bring."""
        with translated():
            entry = await to_thread.run_sync(self._journal.get, number)
            if entry.state is not State.DONE:
                raise EditRefused("This edit is not made on later documents.")
            await to_thread.run_sync(self._journal.mark, number, State.LET_GO)
            self._standing = None

    async def settle(self) -> None:
        """Finishes what a killed process has left; call it before any document is read.

        Raises:
            LibrarianError: it could not be finished.
        """
        if self._edits is not None:
            with translated():
                async with self._gate.alone():
                    await self._settle()
            await self.again("The last run")

    async def again(self, cause: str) -> None:
        """Makes the standing edits on what a document has brought back, or LightRAG made anew."""
        if not await self._due():
            return
        try:
            with translated():
                async with self._gate.alone():
                    await self._settle()
                    for edit in await self._due():
                        try:
                            await self._make(edit, cause)
                        except EditRefused:  # the one before it has done that as well
                            log.info("%s: there is nothing left to do.", type(edit).__name__)
        except LibrarianError as exc:  # the document itself is whole; the next end tries again
            log.warning("Edits could not be made again: %s", exc)

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Waits until nobody writes the graph; then all of it is on the disk, and stays as it is.

        Raises:
            EditRefused: the program ends before.
        """
        async with self._gate.alone():
            if self._edits is not None:
                await self._settle()
            await self._storages.save()
            yield

    async def idle(self) -> None:
        """Says that LightRAG's pipeline has ended, however it ended."""
        await self._gate.leave()

    async def close(self) -> None:
        """Ends the edit that is being made, and refuses those that wait."""
        await self._gate.close()

    @property
    def _journal(self) -> Edits:
        if self._edits is None:
            raise EditRefused("This library was opened without its journal of edits.")
        return self._edits

    @property
    def _most(self) -> int:
        return int(self._rag.max_source_ids_per_entity)

    async def _make(self, edit: Edit, cause: str) -> int:
        edits = self._journal
        part = await self._storages.part(names_in(edit))
        changes = plan(edit, part, self._most)
        after = {change.key: change.after for change in changes}
        await self._embed(after)
        with anyio.CancelScope(shield=True):
            begin = partial(edits.begin, edit, changes, cause, time.time())
            number = await to_thread.run_sync(begin)
            try:
                await self._settle()
            except Exception:
                await to_thread.run_sync(edits.mark, number, State.UNDOING)
                await self._settle()
                raise
        log.info("Edit %d: %s%s", number, type(edit).__name__, f" ({cause})" if cause else "")
        return number

    async def _settle(self) -> None:
        """Finishes edits that are begun, and those that are being undone."""
        edits = self._journal
        self._unsettled = True
        for entry in await to_thread.run_sync(edits.unfinished):
            forth = entry.state is State.BEGUN
            changes = await to_thread.run_sync(edits.changes, entry.number)
            self._reached("journal")
            values = {c.key: c.after if forth else c.before for c in changes}
            await self._storages.write(values if forth else await self._storages.left(values))
            self.count += 1
            state = State.DONE if forth else State.UNDONE
            await to_thread.run_sync(edits.mark, entry.number, state)
        self._standing, self._unsettled = None, False

    async def _ready(self) -> None:
        """Settles what an edit has left half, before LightRAG writes upon it."""
        if self._unsettled:
            async with self._gate.alone():
                await self._settle()

    async def _check_untouched(self, entry: Entry, changes: Sequence[Change]) -> None:
        own = {change.key for change in changes}
        edges = [each.key for each in changes if each.key[0] == "edge" and each.before]
        others = {("node", end) for _, *ends in edges for end in ends} - own
        now = await self._storages.now([*own, *others])
        keys = [each.key for each in changes if not same(now[each.key], each.after)]
        gone = [key for key in others if now[key] is None]  # so is what would be related to it
        if not keys and not gone:
            return
        later = await to_thread.run_sync(self._journal.later, entry.number, [*keys, *gone])
        if later is not None:
            raise EditEntangled(
                f"Edit {later.number} changed the same later. Undo edit {later.number} first."
            )
        if not keys:  # it went with its documents, and so do the relations with it
            return
        names = list(dict.fromkeys(name for key in keys for name in key[1:] if key[0] != "doc"))
        about = f" “{names[0]}”" if names else " the same"
        raise EditEntangled(
            f"A document that was read or deleted since has changed{about}. Make the opposite edit "
            "instead; “Let go” keeps this one from being made on later documents."
        )

    async def _the_standing(self) -> Standing:
        if self._standing is None:
            made = await to_thread.run_sync(self._edits.standing) if self._edits else ()
            self._standing = standing(made)
        return self._standing

    async def _due(self) -> list[Edit]:
        """The edits that bring the graph to what stands."""
        stands, graph = await self._the_standing(), self._rag.chunk_entity_relation_graph
        due: list[Edit] = []
        for old, new in stands.aliases.items():
            if await graph.has_node(old):
                due.append(Merge(old, new) if await graph.has_node(new) else Rename(old, new))
        due += [DropEntity(name) for name in stands.gone if await graph.has_node(name)]
        due += [DropRelation(*pair) for pair in stands.parted if await graph.has_edge(*pair)]
        for name, said in stands.words.items():
            node = await graph.get_node(name)
            came = any(
                isinstance(edit, Merge | Rename) and names_in(edit)[1] == name for edit in due
            )
            if came or (node is not None and _unlike(said, node)):
                due.append(said)
        return due

    async def _embed(self, values: Values) -> None:
        """Makes the vectors before anything is changed: the model may not be there."""
        rows = [row for part in self._storages.vectors(values) for row in part.values()]
        await self._embeddings.prepare([row["content"] for row in rows])

    async def _edited(self) -> Callable[[str], str]:
        stands = await self._the_standing()
        return lambda answer: stands.applied(answer, _named)

    def _tidied(self, edit: Edit) -> Edit:
        return tidied(edit, _named)


def _named(name: str) -> str:
    """A name as LightRAG writes it: without quotation marks around it, and the like."""
    from lightrag.utils import normalize_entity_name

    return str(normalize_entity_name(name))


def _unlike(said: Describe, node: Mapping[str, Any]) -> bool:
    words = said.description is not None and said.description != node.get("description")
    return words or (said.type is not None and said.type != node.get("entity_type"))
