"""The backups of a library on a page: made, listed, deleted."""

from __future__ import annotations

import streamlit as st

from librarian import ui
from librarian.app import Librarian


def backup_area(librarian: Librarian) -> None:
    """What a backup is, a button that makes one, and those that there are."""
    backups = librarian.backups
    st.markdown(
        "All of the library in one file: documents, graph, edits, conversations, and every answer "
        "that the model was paid for with time. It may work meanwhile."
    )
    st.caption(
        f"They go to {ui.plain(str(backups.folder))}; copy them to another disk. "
        "`python -m librarian restore FILE --home FOLDER` makes a library of one."
    )
    if st.session_state.pop("backing_up", False):
        _make(librarian)
    st.button("Make a backup", icon=":material/archive:", on_click=_wish)
    for kept in backups.all():
        with st.container(horizontal=True, vertical_alignment="center"):
            words = f"{ui.plain(kept.name)} · {ui.size(kept.bytes)} · {ui.ago(kept.modified_at)}"
            st.markdown(words, width="content")
            if st.button("Delete", key=f"backup-{kept.name}", type="tertiary"):
                _delete(librarian, kept.name)


def _wish() -> None:
    st.session_state.backing_up = True


def _make(librarian: Librarian) -> None:
    bar = st.progress(0.0, "Waiting until no document is being merged into the graph…")

    def tell(done: int, whole: int) -> None:
        bar.progress(done / max(1, whole), f"{ui.size(done)} of {ui.size(whole)}")

    with ui.told():
        made = librarian.backups.make(heard=tell)
        st.toast(f"Written: {ui.plain(made.path)}, {ui.size(made.bytes)}.")
    bar.empty()


@st.dialog("Delete this backup?")
def _delete(librarian: Librarian, name: str) -> None:
    st.text(name)
    st.caption("It cannot be brought back.")
    if st.button("Delete", type="primary"):
        with ui.told():
            librarian.backups.delete(name)
            st.rerun()
