"""Indexing: what is being done, how fast, how long yet."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from librarian import ui
from librarian.documents import Status
from librarian.snapshot import DocumentView, Snapshot
from librarian.ui_hosts import hosts_table
from librarian.ui_many import A_PART, part

MOST = 32  # calls at once
# What a window of 1280 pixels shows without scrolling comes first.
BUSY = (
    "name", "state", "progress", "left", "actions", "chunks", "entities", "relations", "elapsed",
    "model time", "tokens", "error", "size", "saved",
)  # fmt: skip
CALM = (
    "name", "state", "entities", "relations", "actions", "error", "chunks", "elapsed",
    "model time", "tokens", "size", "saved",
)  # fmt: skip
# As a specification: st.bar_chart makes and checks it anew at each refresh, a third of its time.
LAST_HOUR = {
    "mark": {"type": "bar", "tooltip": True},
    "encoding": {
        "x": {
            "field": "ago",
            "type": "ordinal",
            "title": "minutes ago",
            "axis": {"labelAngle": 0, "labelOverlap": True},
        },
        "y": {"field": "chunks", "type": "quantitative", "title": "chunks"},
    },
}

librarian = ui.get_librarian()
st.title("Indexing")
ui.banners(librarian.snapshot())
first = librarian.snapshot()
waiting = first.busy or first.count(Status.PENDING) > 0


def act() -> None:
    click = st.session_state.row_action
    if not click:
        return
    doc = st.session_state.shown[click["row"]]
    with ui.told():
        match click["label"]:
            case "Pause":
                librarian.pause(doc)
            case "Resume" | "Retry":
                librarian.retry(doc)
            case "Next":
                librarian.move_next(doc)
            case "Last":
                librarian.move_last(doc)
            case "Delete":
                st.session_state.deleting = doc
            case "Open":
                st.session_state.opening = doc


@st.dialog("Delete this document?")
def confirm(doc: str, name: str) -> None:
    st.markdown(
        f"**{ui.plain(name)}** and what only it said will be taken out of the graph. "
        "Its original is kept for 30 days; the Shelf puts it back."
    )
    with st.container(horizontal=True):
        if st.button("Delete", type="primary"):
            with ui.told():
                librarian.delete(doc)
            st.rerun()
        if st.button("Keep it"):
            st.rerun()


@st.fragment(run_every=ui.FAST if waiting else ui.CALM)
def live() -> None:
    if doc := st.session_state.pop("opening", None):
        st.switch_page("document.py", query_params={"doc": doc})
    if "deleting" in st.session_state:
        st.rerun()  # a click runs this fragment only; the question is asked by the whole page
    snapshot = librarian.snapshot()
    busy = snapshot.busy or snapshot.count(Status.PENDING) > 0
    if busy != waiting:
        st.rerun()  # the whole page, so that the pace of this fragment follows
    health, rates = snapshot.health, snapshot.throughput
    colour = {"idle": "gray", "working": "green", "slow": "orange", "waiting": "orange"}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(health.verdict, color=colour.get(health.verdict, "red"))  # type: ignore[arg-type]
        st.markdown(ui.advice(f"{health.cause} {health.remedy}".strip()) or ui.reader(snapshot))
        if health.restart is not None:
            st.button("Ask it again", on_click=librarian.restart_call, args=(health.restart,))
    with st.container(horizontal=True):
        for status in (Status.PROCESSED, Status.PROCESSING, Status.PENDING, Status.FAILED):
            st.metric(status.value.capitalize(), f"{snapshot.count(status):,}", border=True)
        if snapshot.count(Status.PAUSED):
            st.metric("Paused", f"{snapshot.count(Status.PAUSED):,}", border=True)
        st.metric("Chunks a minute", f"{rates.chunks_per_min:.1f}" if busy else "–", border=True)
        st.metric(
            "Tokens a second", f"{rates.output_tokens_per_s:,.0f}" if busy else "–", border=True
        )
        st.metric("Calls in flight", rates.calls_in_flight, border=True)
    if left := ui.outlook(snapshot):
        st.markdown(f":material/schedule: {left}")
    _documents(snapshot)
    before = st.session_state.setdefault("sizes", {})
    for file in snapshot.files:
        before.setdefault(file.name, file.bytes)
    _when_open("Calls of the model", ":material/sync_alt:", lambda: _calls(snapshot))
    _when_open("Files of the library", ":material/database:", lambda: _files(snapshot, before))
    _when_open("Log", ":material/terminal:", lambda: _log(snapshot))


def _when_open(label: str, icon: str, draw: Callable[[], None]) -> None:
    """What is folded is not sent, neither at first nor with each refresh."""
    box = st.expander(label, icon=icon, key=f"open-{label}", on_change="rerun")
    if box.open:
        with box:
            draw()


def _documents(snapshot: Snapshot) -> None:
    views: Sequence[DocumentView] = snapshot.documents[::-1]
    if not views:
        st.info("No documents yet. The Library page takes them in.", icon=":material/inbox:")
        return
    if len(views) > A_PART:  # those under way are the oldest of a queue
        views = sorted(views, key=lambda view: view.document.status is not Status.PROCESSING)
    views = part(views, "indexing-part", "The Shelf finds any of them.")
    st.session_state.shown = [view.document.id for view in views]
    config = st.column_config
    st.dataframe(
        ui.rows(views, st.session_state.setdefault("rows", {})),
        key="documents",
        hide_index=True,
        placeholder="",
        column_config={
            "name": config.TextColumn("Document", width=215, pinned=True),
            "state": config.TextColumn("State", width=180),
            "progress": config.ProgressColumn(
                "Progress", min_value=0, max_value=1, format="percent", width=110
            ),
            "left": config.TextColumn("Left", width=215),
            "actions": config.ButtonColumn("Actions", on_click=act, key="row_action", width=90),
            "chunks": config.TextColumn("Chunks", width=85),
            "entities": config.NumberColumn("Entities", format="localized", width=75),
            "relations": config.NumberColumn("Relations", format="localized", width=75),
            "elapsed": config.TextColumn("Elapsed", width=95),
            "model time": config.TextColumn("Model time", width=95),
            "tokens": config.TextColumn("Tokens", width=75),
            "error": config.TextColumn("Remarks", width=260),
            "size": config.TextColumn("Size", width=80),
            "saved": config.NumberColumn(
                "Saved", help="Chunks whose answers were already paid for", width=70
            ),
        },
        column_order=BUSY if any(view.phase or view.eta_s for view in views) else CALM,
    )


def _calls(snapshot: Snapshot) -> None:
    rates, limit = snapshot.throughput, snapshot.limit
    with st.container(horizontal=True):
        st.metric("Half end within", ui.span(rates.median_call_s) if rates.median_call_s else "–")
        st.metric("19 of 20 within", ui.span(rates.p95_call_s) if rates.p95_call_s else "–")
        st.metric("Asked again", snapshot.retries)
        st.metric(
            "At once",
            limit,
            help="With Ollama one more than it has slots, so that the next prompt is there "
            "when an answer has ended.",
        )
    with st.container(horizontal=True):
        fewer, more = librarian.calls_at_once, librarian.calls_at_once
        st.button("Fewer at once", on_click=fewer, args=(limit - 1,), disabled=limit <= 1)
        st.button("More at once", on_click=more, args=(limit + 1,), disabled=limit >= MOST)
    if (why := snapshot.why_so_many) is not None:
        words = f"{limit} at once: {why}." if why else "How many at once is best is being measured."
        st.caption(ui.plain(words))
    hosts_table(snapshot)
    names = {view.document.id: view.document.name for view in snapshot.documents}
    if snapshot.calls:
        st.dataframe(
            [
                {
                    "for": names.get(call.document, "several documents"),
                    "what": f"chunk {call.chunk + 1}" if call.chunk >= 0 else call.role,
                    "since": ui.span(call.age_s),
                    "silent for": ui.span(call.silent_s),
                }
                for call in snapshot.calls
            ],
            key="calls",
            hide_index=True,
        )
    if snapshot.minutes:
        now = int(snapshot.beat_s // 60)
        ended = {now - minute.number: minute.chunks for minute in snapshot.minutes}
        st.caption("Chunks read in each minute of the last hour, by minutes ago")
        read = [{"ago": ago, "chunks": ended.get(ago, 0)} for ago in range(60)]
        st.vega_lite_chart(read, LAST_HOUR, height=160, key="hour")
    else:
        st.caption("No call has ended yet.")


def _log(snapshot: Snapshot) -> None:
    st.code("\n".join(snapshot.log[-60:]) or "Nothing logged yet.", language=None, height=320)


def _files(snapshot: Snapshot, before: Mapping[str, int]) -> None:
    rows = []
    for file in snapshot.files:
        grown = file.bytes - before[file.name]
        rows.append(
            {
                "file": file.name,
                "size": ui.size(file.bytes),
                "since this page was opened": f"+{ui.size(grown)}" if grown > 0 else "",
                "written": ui.ago(file.modified_at),
            }
        )
    st.dataframe(rows, key="files", hide_index=True)


if doc := st.session_state.pop("deleting", None):
    name = next((v.document.name for v in first.documents if v.document.id == doc), doc)
    confirm(doc, name)
live()
