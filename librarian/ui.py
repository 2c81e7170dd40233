"""What the pages share: the Librarian, the banners, numbers as words, and safe text."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlencode

import streamlit as st

from librarian.answers import pieces
from librarian.app import Librarian
from librarian.conversations import safe_markdown
from librarian.documents import Status
from librarian.errors import LibrarianError
from librarian.estimates import between, sentence
from librarian.evidence import Passage
from librarian.knowledge import Graph
from librarian.registry import PROCESS
from librarian.snapshot import DocumentView, Snapshot

FAST = 1.0  # seconds between refreshes while there is work
CALM = 5.0
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-!|<>~$:&])")
_CODE = re.compile(r"`([^`\n]+)`")
#: What Markdown makes a link of even where it is escaped.
_ADDRESS = re.compile(
    r"((?:https?://|www\.)[^\s`\[\]]*[^\s`\[\].,;:!?'\")»”]"
    r"|[-.\w+]{1,64}@[-\w]+(?:\.[-\w]+)+)",
    re.IGNORECASE,
)
_STATUS_ICONS = {
    Status.PENDING: ":material/schedule:",
    Status.PROCESSING: ":material/autorenew:",
    Status.PROCESSED: ":material/check_circle:",
    Status.FAILED: ":material/error:",
    Status.PAUSED: ":material/pause_circle:",
}


def get_librarian() -> Librarian:
    """The open library; where there is none, the page says why and ends here."""
    try:
        return PROCESS.get()
    except LibrarianError as exc:
        st.error(plain(str(exc)), icon=":material/error:")
        st.stop()


def whole_graph(librarian: Librarian) -> Graph:
    """The graph of the library; a large one takes some seconds where it has changed."""
    with reading_graph():
        return librarian.graph()


def reading_graph() -> AbstractContextManager[None]:
    """While it is open the page says what it waits for."""
    return st.spinner("Reading the graph…", show_time=True)


def banners(snapshot: Snapshot, *, whole: bool = False) -> None:
    """What a person should know on every page; `whole` on those that it is about."""
    if snapshot.trouble:
        st.error(plain(snapshot.trouble), icon=":material/error:")
    elif not snapshot.ready:
        st.info("The library is being opened.", icon=":material/hourglass_top:")
    if snapshot.notice and whole:
        st.info(_ADDRESS.sub(r"`\1`", snapshot.notice), icon=":material/info:")
    elif snapshot.notice:
        st.caption(
            ":material/info: The offline model reads this library; the Library page says why "
            "and how to change that."
        )


@contextmanager
def told() -> Iterator[None]:
    """Shows an error of the library as a sentence and lets the page go on."""
    try:
        yield
    except LibrarianError as exc:
        st.error(plain(str(exc)), icon=":material/error:")


def plain(text: str) -> str:
    """A text from outside, so that Markdown shows it as it is; addresses as code, not as links."""
    return "".join(
        f"`{piece}`" if at % 2 else _MARKUP.sub(r"\\\1", piece)
        for at, piece in enumerate(_ADDRESS.split(text))
    )


def advice(text: str) -> str:
    """The same with what is between backticks as code, for copying."""
    return "".join(
        f"`{piece}`" if at % 2 else plain(piece) for at, piece in enumerate(_CODE.split(text))
    )


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def span(seconds: float | None) -> str:
    """A length of time for people."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def share(view: DocumentView) -> float:
    """How much of a document is done, from 0 to 1; its phases weighed by what they cost."""
    return 1.0 if view.document.status is Status.PROCESSED else view.document.share


def state(view: DocumentView) -> str:
    """Status and phase in a few words."""
    document = view.document
    if view.phase is None:
        lacking = document.status is Status.PROCESSED and document.warnings
        return "processed, with warnings" if lacking else document.status.value
    if view.phase_total:
        return f"{view.phase.value} {view.phase_done:,} of {view.phase_total:,}"
    return view.phase.value


def row(view: DocumentView) -> dict[str, object]:
    """A line of the table of documents."""
    document = view.document
    return {
        "name": document.name,
        "state": state(view),
        "progress": math.floor(100 * share(view)) / 100,  # not 100 % before the end
        "chunks": f"{document.chunks_done} / {document.chunks_total}"
        if document.chunks_total
        else "",
        "saved": document.chunks_saved or None,
        "entities": document.entities or None,
        "relations": document.relations or None,
        "size": size(document.bytes),
        "elapsed": span(document.elapsed_s) if document.elapsed_s else "",
        "left": between(view.eta_s, view.eta_low_s, view.eta_high_s),
        "model time": span(view.spent.model_s) if view.spent.calls else "",
        "tokens": rounded(view.spent.prompt_tokens + view.spent.output_tokens)
        if view.spent.calls
        else "",
        "error": document.error or "; ".join(document.warnings),
        "actions": _actions(view),
    }


def rows(
    views: Sequence[DocumentView], before: dict[str, tuple[DocumentView, dict[str, object]]]
) -> list[dict[str, object]]:
    """The table of documents; `before` keeps the lines of those that have not changed."""
    made = {}
    for view in views:
        known = before.get(view.document.id)
        made[view.document.id] = known if known and known[0] is view else (view, row(view))
    before.clear()
    before.update(made)
    return [line for _, line in made.values()]


def reader(snapshot: Snapshot) -> str:
    """Which model reads the library, in a sentence."""
    model = snapshot.model
    if model is None:
        return "The model is being opened."
    if model.backend == "offline":
        return "Read by the offline model: no language model is in use."
    where = model.host
    if snapshot.hosts:
        resting = sum(bool(host.trouble) for host in snapshot.hosts)
        where = f"{len(snapshot.hosts)} hosts" + (f", {resting} of them at rest" if resting else "")
    return plain(f"Read by {model.llm}, embedded by {model.embed}, at {where}.")


def outlook(snapshot: Snapshot) -> str:
    """How long the queue will take and why, in a sentence; empty for an empty queue."""
    said = sentence(snapshot.queue) if snapshot.queue else ""
    if said and snapshot.health.verdict == "waiting":
        said += " That counts from when the work goes on."
    return plain(said)


def many(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def rounded(count: int) -> str:
    """A large number in three digits or so: `12.3 k`, `1.2 M`."""
    for unit, step in (("", 1), ("k", 1e3), ("M", 1e6)):
        if count < 1000 * step:
            return f"{count / step:.3g} {unit}".rstrip()
    return f"{count / 1e9:.3g} G"


def ago(moment: float) -> str:
    """How long ago something was, by this machine's clock."""
    return f"{span(max(0.0, time.time() - moment))} ago"


def _actions(view: DocumentView) -> list[str]:
    match view.document.status:
        case Status.PENDING:
            return ["Next", "Last", "Pause", "Open", "Delete"]
        case Status.PROCESSING:
            return ["Pause", "Open", "Delete"]
        case Status.PROCESSED if view.document.warnings:
            return ["Open", "Retry", "Delete"]
        case Status.FAILED:
            return ["Retry", "Open", "Delete"]
        case Status.PAUSED:
            return ["Resume", "Open", "Delete"]
    return ["Open", "Delete"]


def answer_markdown(text: str, sources: tuple[Passage, ...] = ()) -> str:
    """A model's answer as Markdown without what could load or hide something.

    Its only links are ours: from the number of a source to the passage in its document.
    """
    shown = []
    for piece in pieces(text, sources):
        if isinstance(piece, Passage):
            address = f"/document?{urlencode({'chunk': piece.chunk})}"
            shown.append(f"[\\[{piece.number}\\]]({address})")
        else:
            shown.append(safe_markdown(piece))
    return "".join(shown)
