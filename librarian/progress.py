"""How far a document is and how long it will take: numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from librarian.documents import Phase

_ORDER = tuple(Phase)
_TAIL = 0.12  # merging, embedding and saving, as a share of the time of extracting


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a document stands. Times are seconds of one clock."""

    started_s: float
    phase: Phase = Phase.CONVERTING
    chunks_total: int = 0
    chunks_done: int = 0
    chunks_saved: int = 0
    entities: int = 0  #: to be merged
    relations: int = 0
    texts_before: int = 0  #: embedded by anyone when this document began to embed
    extracting_s: float = 0.0  #: when its first chunk came back

    def at(self, phase: Phase) -> Progress:
        """In a phase; never in an earlier one than before."""
        if _ORDER.index(phase) <= _ORDER.index(self.phase):
            return self
        return replace(self, phase=phase)

    def chunk_done(self, done: int, total: int, *, saved: bool, now_s: float) -> Progress:
        """After a chunk's answers were read."""
        return replace(
            self.at(Phase.EXTRACTING),
            chunks_total=total,
            chunks_done=max(self.chunks_done, done),
            chunks_saved=self.chunks_saved + saved,
            extracting_s=self.extracting_s or now_s,
        )

    def steps(self, texts_embedded: int) -> tuple[int, int]:
        """Done and total of the phase; (0, 0) where it has no steps."""
        if self.phase is Phase.EXTRACTING:
            return self.chunks_done, self.chunks_total
        if self.phase is Phase.MERGING:
            return 0, self.entities + self.relations
        if self.phase is Phase.EMBEDDING:
            total = self.entities + self.relations + self.chunks_total
            return min(total, max(0, texts_embedded - self.texts_before)), total
        return 0, 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds until the end, and the range that it will probably lie in."""

    likely_s: float
    low_s: float
    high_s: float


def estimate(progress: Progress, now_s: float) -> Estimate | None:
    """How long a document will still take; None before there is anything to go by.

    The seconds per chunk so far, for the chunks left, and a share of that for what follows. The
    range narrows with the number of chunks seen.
    """
    paid = progress.chunks_done - progress.chunks_saved
    if progress.phase is not Phase.EXTRACTING or paid < 2 or not progress.extracting_s:
        return None
    per_chunk = (now_s - progress.started_s) / paid
    whole = per_chunk * progress.chunks_total
    likely = per_chunk * (progress.chunks_total - progress.chunks_done) + _TAIL * whole
    spread = 0.15 + 0.6 / paid**0.5
    return Estimate(likely, likely / (1 + spread), likely * (1 + spread))
