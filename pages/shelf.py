"""Shelf: all documents in one table: found, tagged, renamed, replaced, deleted and put back."""

from collections.abc import Callable, Sequence

import streamlit as st

from librarian import ui, ui_shelf
from librarian.documents import Status
from librarian.shelf import chosen
from librarian.snapshot import DocumentView
from librarian.ui_many import A_PART

DIALOGS = {
    "tags": ui_shelf.tags_dialog,
    "rename": ui_shelf.rename_dialog,
    "replace": ui_shelf.replace_dialog,
    "delete": ui_shelf.delete_dialog,
}
librarian = ui.get_librarian()
snapshot = librarian.snapshot()
state = st.session_state


def ask(what: str, views: Sequence[DocumentView]) -> None:
    state["shelf-asking"] = (what, [view.document.id for view in views])


def each(do: Callable[[str], None], views: Sequence[DocumentView]) -> None:
    with ui.told():
        for view in views:
            do(view.document.id)


def actions(views: Sequence[DocumentView]) -> None:
    """What can be done with what is selected."""
    statuses = {view.document.status for view in views}
    lacking = any(view.document.warnings for view in views)
    stopped = {Status.PAUSED, Status.FAILED} & statuses or lacking
    under_way = {Status.PENDING, Status.PROCESSING} & statuses
    one = len(views) == 1
    if st.button("Open", icon=":material/article:", disabled=not one):
        st.switch_page("document.py", query_params={"doc": views[0].document.id})
    for label, what, icon, fit in (
        ("Tags", "tags", "sell", bool(views)),
        ("Rename", "rename", "edit", one),
        ("Replace", "replace", "upload_file", one),
        ("Delete", "delete", "delete", bool(views)),
    ):
        picture = f":material/{icon}:"
        st.button(label, icon=picture, disabled=not fit, on_click=ask, args=(what, views))
    for label, do, icon, fit in (
        ("Pause", librarian.pause, "pause", bool(under_way)),
        ("Resume", librarian.retry, "play_arrow", bool(stopped)),
    ):
        picture = f":material/{icon}:"
        st.button(label, icon=picture, disabled=not fit, on_click=each, args=(do, views))


@st.fragment(run_every=ui.CALM)
def documents() -> None:
    if "shelf-asking" in state:
        st.rerun()  # a click runs this fragment only; the question is asked by the whole page
    views = librarian.snapshot().documents[::-1]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choice = ui_shelf.choice_of(views)
    found = chosen(views, choice)
    bar = st.container(horizontal=True)
    said = st.container(horizontal=True, vertical_alignment="center")
    selected = ui_shelf.table(found) if found else []
    if not found:
        st.info("No document is like that.", icon=":material/search_off:")
    with bar:
        actions(selected)
    with said:
        st.caption(
            f"{ui.many(len(views), 'document')}"
            + (f", {len(found):,} shown" if len(found) < len(views) else "")
            + (f", {len(selected):,} selected" if selected else ""),
            width="content",  # above its other end the table shows its tools
        )
        if len(found) < len(views):
            st.button("Show all", on_click=ui_shelf.clear_filters, type="tertiary")
        if len(found) > A_PART:  # the table's own box selects what is in sight
            st.button(
                "Select all of them", on_click=ui_shelf.choose, args=(found,), type="tertiary"
            )
            if selected:
                st.button("Select none", on_click=ui_shelf.choose, args=((),), type="tertiary")


st.title("Shelf")
ui.banners(snapshot)
if asked := state.pop("shelf-asking", None):
    what, ids = asked
    views = [view for view in snapshot.documents if view.document.id in set(ids)]
    if views:
        DIALOGS[what](librarian, views)
if said := state.get("shelf-said"):
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(ui.plain(said))
        if gone := state.get("shelf-gone"):
            st.button("Undo", icon=":material/undo:", on_click=ui_shelf.put_back,
                      args=(librarian, gone))  # fmt: skip
        st.button("Close", type="tertiary", on_click=state.pop, args=("shelf-said", None))
if snapshot.documents:
    documents()
else:
    st.info("No documents yet. The Library page takes them in.", icon=":material/inbox:")
    st.page_link("library.py", label="Library", icon=":material/local_library:")
ui_shelf.removed_list(librarian)
