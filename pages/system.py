"""System: is everything there, what is set, which versions run."""

import time
from collections.abc import Iterable, Mapping

import streamlit as st

from librarian import ui
from librarian.checks import Check, Report, Severity
from librarian.pulls import PullState
from librarian.ui_backup import backup_area
from librarian.ui_hosts import hosts_area

librarian = ui.get_librarian()
st.title("System")
ui.banners(librarian.snapshot(), whole=True)

st.subheader("Checks")
FRESH_S = 15.0  # a click elsewhere on the page need not wait for a server that is silent
ICONS = {
    Severity.OK: ":green[:material/check_circle:]",
    Severity.WARN: ":orange[:material/warning:]",
    Severity.FAIL: ":red[:material/error:]",
}


def running() -> set[str]:
    return {each.model for each in librarian.pulls() if each.state is PullState.RUNNING}


def examined() -> Report:
    held: tuple[float, Report] | None = st.session_state.get("report")
    if held is None or time.monotonic() - held[0] > FRESH_S:
        with st.spinner("Looking…"):
            held = st.session_state.report = (time.monotonic(), librarian.doctor())
    return held[1]


def forget_report() -> None:
    st.session_state.pop("report", None)


def pull(model: str) -> None:
    with ui.told():
        librarian.pull(model)


def measure() -> None:
    st.session_state.measuring = True


def listed(rows: Iterable[Mapping[str, str]]) -> None:
    """A few lines that nobody sorts: there at once, where a table to work with has to be loaded."""
    shown = [{name: ui.plain(value) for name, value in row.items()} for row in rows]
    st.table(shown, border="horizontal", hide_index=True)


def show(check: Check) -> None:
    st.markdown(f"{ICONS[check.severity]} **{ui.plain(check.name)}** {ui.plain(check.message)}")
    if check.remedy:
        st.caption(ui.advice(check.remedy))


PULLING = running()


@st.fragment(run_every=ui.FAST if PULLING else None)
def pulled(model: str) -> None:
    """The way to a model that is missing, and how far it is; the pull goes on without the page."""
    if running() != PULLING:
        for each in librarian.pulls():
            if each.model in PULLING and each.state is PullState.DONE:
                st.toast(f"{ui.plain(each.model)} is on the server.")
        forget_report()
        st.rerun()  # the whole page: the checks have changed, and the pace of this fragment
    last = next((each for each in librarian.pulls() if each.model == model), None)
    if last is not None and last.state is PullState.RUNNING:
        st.progress(last.share, ui.plain(last.text))
        silent = time.monotonic() - last.moved_s
        if silent > FRESH_S:
            st.caption(f"Nothing has come for {ui.span(silent)}.")
        st.button("Cancel", key=f"cancel-{model}", on_click=librarian.cancel_pull, args=(model,))
        return
    again = last is not None and last.state is not PullState.DONE
    if last is not None and last.state is PullState.FAILED:
        st.error(ui.plain(last.error), icon=":material/error:")
    elif again:
        st.caption("The pull was cancelled; the server keeps what has arrived.")
    label = f"Pull {model} again" if again else f"Pull {model}"
    st.button(
        ui.plain(label),
        key=f"pull-{model}",
        icon=":material/download:",
        on_click=pull,
        args=(model,),
    )


with ui.told(), st.container(border=True):
    report = examined()
    for check in (*report.checks, *report.probed):
        show(check)
        for model in report.missing:
            if check.name == f"Model {model}":
                pulled(model)
if st.session_state.pop("measuring", False):
    with ui.told(), st.spinner("Measuring: a minute, or more if the model has to be loaded…"):
        librarian.probe()
        forget_report()
        st.rerun()
with st.container(horizontal=True):
    st.button("Check again", icon=":material/refresh:", on_click=forget_report)
    st.button(
        "Measure the model",
        icon=":material/speed:",
        disabled=librarian.snapshot().busy,
        on_click=measure,
        help="How many calls run at once and how long a chunk takes; it uses the model's time.",
    )

hosts_area(librarian)

st.subheader("Success table")
with ui.told():
    success = librarian.verify()
    listed(
        {
            "": "✓" if row.passed else "✗",
            "what": row.name,
            "now": row.value,
            "target": row.target,
            "verdict": "pass" if row.passed else "fail",
        }
        for row in success
    )
    for row in success:
        if row.why:
            st.caption(f":material/calculate: {ui.plain(row.why)}")

st.subheader("Settings in force")
settings = librarian.settings
st.table(
    {
        "Library": ui.plain(str(settings.home)),
        "Backend": settings.backend,
        "Database": ui.plain(str(settings.database)) if settings.database else "none: files",
        **(
            {"Server": ui.plain(settings.openai_url)}
            if settings.backend == "openai"
            else {"Ollama": ui.plain(settings.hosts_text)}
        ),
        "Language model": ui.plain(settings.llm_model),
        "Embedding model": ui.plain(settings.embed_model),
        "Calls at once": str(settings.llm_max_async),
        "Gleaning rounds": str(settings.gleaning),
        "Context": f"{settings.num_ctx:,} tokens",
        "Texts per embedding request": str(settings.embed_batch),
        "Language of descriptions": settings.language or "the document's own",
    },
    border="horizontal",
    width="content",
)
st.caption("Set by environment variables; README.md lists them.")
if settings.api_token:  # in this tab: a button with a link would open another one
    st.html('<a href="/logout" target="_self">Log out of this browser</a>')

if tables := [each for each in librarian.snapshot().files if each.table]:
    st.subheader("Tables")
    listed(
        {"table": each.name, "size": ui.size(each.bytes), "grown": ui.ago(each.modified_at)}
        for each in tables
    )
    if now := [each.name for each in tables if each.indexed_now]:
        st.info(
            f"The index over the vectors of `{now[0]}` is being made. Books are read and questions "
            "answered meanwhile, a little slower.",
            icon=":material/manufacturing:",
        )
    st.caption(
        f"In {ui.plain(str(settings.database))}, with their indexes. Only the vectors' are this "
        "library's alone; the others hold all libraries of the database."
    )

st.subheader("Backup")
backup_area(librarian)

st.subheader("Answers of the model")
NAMES = {"lightrag": "LightRAG's copies", "journal": "the journal", "all": "both"}
COPIES = ("kv_store_llm_response_cache.json", "lightrag_llm_cache")
FREE = "nothing to index again: the journal has them"


def clear(what: str) -> None:
    st.session_state.agreed = False
    with ui.told():
        librarian.clear_cache(what)
        st.toast(f"Cleared: {NAMES[what]}.")


st.markdown(
    "Every answer is kept, so that a text that is indexed again costs nothing. LightRAG has copies "
    "of its own; without them, what a deleted document shares with others keeps its words."
)
with ui.told():
    held = librarian.journal()
    sizes = {file.name: file.bytes for file in librarian.snapshot().files}
    copies = next((name for name in COPIES if name in sizes), COPIES[0])
    lost = (
        f"{held.answers:,} answer{'s' * (held.answers != 1)} in {ui.size(held.bytes)}, "
        f"{ui.span(held.model_s)} of the model's time, when texts are indexed again"
    )
    listed(
        (
            {
                "cache": copies,
                "size": ui.size(sizes.get(copies, 0)),
                "clearing it costs": FREE,
            },
            {"cache": "journal.sqlite3", "size": ui.size(held.bytes), "clearing it costs": lost},
        )
    )
    what = st.segmented_control(
        "What to clear", list(NAMES), format_func=NAMES.__getitem__, default="lightrag"
    )
    costly = what in ("journal", "all")
    agreed = costly and st.checkbox(f"I know what that costs: {lost}.", key="agreed")
    st.button(
        "Clear",
        icon=":material/delete_sweep:",
        disabled=what is None or (costly and not agreed),
        on_click=clear,
        args=(what,),
    )
