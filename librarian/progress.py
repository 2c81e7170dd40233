"""How far a document is: numbers in, numbers out. What is shown of it never goes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from librarian.documents import Document, Phase

_ORDER = tuple(Phase)
#: What each phase costs, as a share of the whole, until it was measured here.
USUAL = (0.01, 0.01, 0.86, 0.06, 0.04, 0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a document stands. Times are seconds of one clock; the numbers of work only grow."""

    started_s: float
    weights: Sequence[float] = USUAL  #: of the phases; fixed, or the share would jump
    share: float = 0.0  #: of the whole, from 0 to 1
    phase: Phase = Phase.CONVERTING
    phase_s: float = 0.0  #: when it began
    lasted_s: tuple[tuple[Phase, float], ...] = ()  #: how long the phases before it took
    chunks_total: int = 0
    chunks_done: int = 0
    kept: int = 0  #: chunks that an earlier run had done
    asked: int = 0  #: chunks that went to the model in this run
    replayed: int = 0  #: chunks whose answers were there, in this run
    entities: int = 0  #: to be merged
    entities_done: int = 0
    relations: int = 0
    relations_done: int = 0
    texts: int = 0  #: to be embedded
    texts_done: int = 0

    @classmethod
    def of(cls, document: Document, now_s: float, weights: Sequence[float] = USUAL) -> Progress:
        """Of a document that is taken up; what an earlier run had done counts at once."""
        done = document.chunks_done
        begun = cls(
            started_s=now_s,
            phase_s=now_s,
            weights=weights,
            share=document.share,
        )
        return begun._moved(
            chunks_total=max(document.chunks_total, done), chunks_done=done, kept=done
        )

    @property
    def chunks_saved(self) -> int:
        """Chunks of those done that had been paid for before this run."""
        return min(max(self.kept, self.replayed), max(0, self.chunks_total - self.asked))

    def at(self, phase: Phase, now_s: float) -> Progress:
        """In a phase; never in an earlier one than before."""
        if _ORDER.index(phase) <= _ORDER.index(self.phase):
            return self
        lasted = (*self.lasted_s, (self.phase, now_s - self.phase_s))
        return self._moved(phase=phase, phase_s=now_s, lasted_s=lasted)

    def chunked(self, total: int, now_s: float) -> Progress:
        """After a document was cut."""
        return self._moved(chunks_total=max(total, self.chunks_done)).at(Phase.EXTRACTING, now_s)

    def chunk_done(self, done: int, total: int, *, saved: bool, now_s: float) -> Progress:
        """After a chunk's answers were read."""
        done = max(self.chunks_done, done)
        return self.at(Phase.EXTRACTING, now_s)._moved(
            chunks_total=max(total, done),
            chunks_done=done,
            asked=self.asked + (not saved),
            replayed=self.replayed + saved,
        )

    def merging(self, what: str, total: int, now_s: float) -> Progress:
        """When the merging of its entities begins, or that of its relations."""
        begun = self.at(Phase.MERGING, now_s)
        if what == "entities":
            return begun._moved(entities=max(total, self.entities))
        return begun._moved(relations=max(total, self.relations))

    def stored(self, what: str, count: int) -> Progress:
        """After so many entities or relations of it were stored."""
        if self.phase is not Phase.MERGING:
            return self
        if what == "entities":
            return self._moved(entities_done=min(self.entities, self.entities_done + count))
        return self._moved(relations_done=min(self.relations, self.relations_done + count))

    def merged(self, now_s: float) -> Progress:
        """When its merging has ended."""
        whole = self._moved(entities_done=self.entities, relations_done=self.relations)
        return whole.at(Phase.EMBEDDING, now_s)

    def embedding(self, texts: int, now_s: float) -> Progress:
        """When it waits for the vectors of so many more texts."""
        more = self.at(Phase.EMBEDDING, now_s)
        return more._moved(texts=self.texts + texts)

    def embedded(self, texts: int, now_s: float) -> Progress:
        """After so many of its texts have vectors; after the last one it is saved."""
        more = self._moved(texts_done=min(self.texts, self.texts_done + texts))
        if more.phase is Phase.EMBEDDING and more.texts_done == more.texts:
            return more.at(Phase.SAVING, now_s)
        return more

    def began_s(self, phase: Phase) -> float:
        """When a phase began that it has come to."""
        before = _ORDER[: _ORDER.index(phase)]
        return self.started_s + sum(lasted for each, lasted in self.lasted_s if each in before)

    @property
    def steps(self) -> tuple[int, int]:
        """Done and total of the phase; (0, 0) where it has no steps."""
        match self.phase:
            case Phase.EXTRACTING:
                return self.chunks_done, self.chunks_total
            case Phase.MERGING:
                done = self.entities_done + self.relations_done
                return done, self.entities + self.relations
            case Phase.EMBEDDING:
                return self.texts_done, self.texts
        return 0, 0

    @property
    def part(self) -> float:
        """How much of its phase is done, from 0 to 1."""
        done, total = self.steps
        return done / total if total else 0.0

    def _moved(self, **changes: Any) -> Progress:
        moved = replace(self, **changes)
        return replace(moved, share=max(self.share, moved._reached()))

    def _reached(self) -> float:
        """The share by what is done; what was extracted before is done in every phase."""
        at = _ORDER.index(self.phase)
        reached = sum(self.weights[:at]) + self.weights[at] * self.part
        if self.chunks_total and at < 2:
            extracted = self.chunks_done / self.chunks_total
            reached = max(reached, sum(self.weights[:2]) + self.weights[2] * extracted)
        return min(1.0, reached)
