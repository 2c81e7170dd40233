"""Library: what comes in, and what became of it."""

from pathlib import Path

import streamlit as st
from streamlit.elements.lib.mutable_status_container import StatusContainer

from librarian import ui
from librarian.documents import Admission, Outcome
from librarian.formats import FORMATS
from librarian.samples import SAMPLES
from librarian.ui_held import held_area, holding
from librarian.ui_upload import upload_area
from librarian.ui_watched import watched_area

librarian = ui.get_librarian()
snapshot = librarian.snapshot()
state = st.session_state
# Callbacks have these at hand: where a person has gone on meanwhile, Streamlit gives up a run, in
# the middle of what was clicked, at its next look into the session's state.
results: list[Admission] = state.setdefault("results", [])
conflicts: dict[str, tuple[str, str]] = state.setdefault("conflicts", {})
waiting = librarian.held.waiting()
NEWEST = 200  # documents in the table
LONG_S = 2.0  # from which on a person wants to know how long it has taken


def note(admission: Admission, text: str = "") -> None:
    if admission.outcome is Outcome.CONFLICT and (text or admission.upload):
        conflicts[admission.name] = (admission.upload, text)
    else:
        results.append(admission)


def replace(name: str) -> None:
    key, text = conflicts.pop(name)
    with ui.told():
        if key:
            size = librarian.uploads.size(key)
            for admission in librarian.add_upload(key, name, size, replace=True):
                note(admission)
        else:
            note(librarian.add_text(name, text, replace=True), text)


def keep_old(name: str) -> None:
    key, _ = conflicts.pop(name)
    if key:
        librarian.uploads.drop(key)


def add_pasted() -> None:
    title, pasted = state.pasted_title.strip(), state.pasted
    with ui.told():
        admission = librarian.add_text(f"{title}.md" if title else "", pasted)
        note(admission, pasted)
        if admission.outcome is not Outcome.REFUSED:  # it would have to be written again
            state.pasted_title = state.pasted = ""


def add_samples() -> None:
    with ui.told():
        for name, body in SAMPLES.items():
            note(librarian.add_text(name, body), body)


def taking(status: StatusContainer, label: str, seconds: float) -> None:
    status.update(label=f"{label} {ui.span(seconds)}" if seconds >= LONG_S else label)


def sentence(result: Admission) -> str:
    name, message = ui.plain(result.name), ui.plain(result.message)
    match result.outcome:
        case Outcome.ACCEPTED:
            waits = result.doc_id in {each.id for each in waiting}
            where = "waits for your start" if waits else "is in the queue"
            return f":green[:material/check:] **{name}** {where}. {message}".rstrip()
        case Outcome.REFUSED:
            return f":red[:material/block:] **{name}** was refused. {message}"
    return f":orange[:material/content_copy:] {message}"


st.title("Library")
st.caption(
    "Books and notes: "
    f"{', '.join(suffix for form in FORMATS for suffix in form.suffixes)}. "
    "Each is read by the model once and kept on this machine."
)
ui.banners(snapshot, whole=True)

files, text, folder = st.tabs(
    [":material/upload_file: Files", ":material/edit_note: Text", ":material/folder_open: Folder"]
)
with files:
    for admission in upload_area(librarian, "uploads"):
        note(admission)
    st.caption(
        "Whole folders and zip archives as well. Encodings are recognised: UTF-8, UTF-16, "
        "Windows-1251, KOI8-R. Files go to the disk as they come; one that is broken off goes on "
        "when it is chosen again."
    )
    holding(librarian)
with text, st.form("text", border=False):
    st.text_input(
        "Title", key="pasted_title", placeholder="Without one, its first words become its name"
    )
    st.text_area("Text", key="pasted", height=180)
    st.form_submit_button("Add the text", icon=":material/add:", on_click=add_pasted)
with folder:
    with st.form("folder", border=False):
        path = st.text_input(
            "Path on the machine that runs the library", placeholder="/home/me/books or C:\\Books"
        )
        asked = st.form_submit_button(
            "Add all files in it that are read", icon=":material/drive_folder_upload:"
        )
    watched_area(librarian)
if asked:  # below the tabs: a hidden one would hide it
    st.button("Stop", icon=":material/stop_circle:", key="stop-folder")
    with st.status("Reading the folder…") as status, ui.told():

        def reading(name: str, seconds: float) -> None:
            taking(status, f"Reading {ui.plain(name)}…", seconds)

        for admission in librarian.add_path(
            Path(path or "?"), watch=reading, holds=librarian.held.holds
        ):
            results.append(admission)
            status.update(label=f"Read {ui.plain(admission.name)}")
    st.rerun()

held_area(librarian, waiting)
for name in list(conflicts):
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{ui.plain(name)}** is in the library with another text. Replace it?")
        st.button("Replace", key=f"yes-{name}", on_click=replace, args=(name,), type="primary")
        st.button("Keep the old one", key=f"no-{name}", on_click=keep_old, args=(name,))

if results:
    accepted = sum(each.outcome is Outcome.ACCEPTED for each in results)
    with st.container(border=True):
        for result in results[-40:]:
            st.markdown(sentence(result))
        if accepted and (left := ui.outlook(snapshot)):
            st.markdown(f":material/schedule: {left}")
        with st.container(horizontal=True, vertical_alignment="center"):
            if accepted:
                st.page_link(
                    "indexing.py", label="Watch the indexing", icon=":material/monitoring:"
                )
            st.button("Clear this list", on_click=results.clear, type="tertiary")

if not snapshot.documents:
    with st.container(border=True):
        st.markdown(
            "**Nothing here yet.** Drop your first books above, or try it with two short texts:"
        )
        st.button("Load the sample library", icon=":material/auto_stories:", on_click=add_samples)
else:
    st.subheader(ui.many(len(snapshot.documents), "document"))
    st.page_link("shelf.py", label="Find, tag, rename, delete", icon=":material/shelves:")
    if not results and (left := ui.outlook(snapshot)):
        st.markdown(f":material/schedule: {left}")
    newest = snapshot.documents[: -NEWEST - 1 : -1]
    if len(newest) < len(snapshot.documents):
        st.caption(f"The newest {len(newest):,} of them; the Shelf has all.")
    shown = st.dataframe(
        [
            {
                "name": view.document.name,
                "language": view.document.language,
                "status": view.document.status.value,
                "size": ui.size(view.document.bytes),
                "entities": view.document.entities or None,
                "added": ui.ago(view.document.created_at),
            }
            for view in newest
        ],
        key="library-table",
        placeholder="",
        hide_index=True,
        column_config={"name": st.column_config.TextColumn(width="large")},
        on_select="rerun",
        selection_mode="single-cell",
    )
    if cells := shown.selection.cells:
        view = newest[cells[0][0]]
        st.switch_page("document.py", query_params={"doc": view.document.id})
