"""The watched folder on a page: which it is, what came from it, what was refused."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from librarian import ui
from librarian.app import Librarian

EVERY_S = 2.0  # between two looks at what came


def watched_area(librarian: Librarian) -> None:
    """Chooses the folder, and tells what came of it."""
    if librarian.watching.now().folder is None:
        with st.form("watch", border=False):
            path = st.text_input(
                "Or watch a folder: new and changed files come in by themselves",
                placeholder="/home/me/inbox or C:\\Inbox",
            )
            if st.form_submit_button("Watch it", icon=":material/visibility:"):
                with ui.told():
                    librarian.watching.choose(Path(path.strip() or "?"))
                    st.rerun()
    else:
        _came(librarian)


@st.fragment(run_every=EVERY_S)
def _came(librarian: Librarian) -> None:
    watched = librarian.watching.now()
    if watched.folder is None:  # another tab has left it
        st.rerun()
    with st.container(border=True):
        st.markdown(
            f":material/visibility: **{ui.plain(str(watched.folder))}** is watched: "
            f"{ui.many(watched.taken, 'file')} came from it"
            + (f", {watched.waiting:,} are being written" if watched.waiting else "")
            + ". What is deleted there stays here."
        )
        if watched.trouble:
            st.warning(ui.plain(watched.trouble), icon=":material/error:")
        if watched.refused:
            with st.expander(f"{ui.many(len(watched.refused), 'file')} could not be read"):
                for name, reason in watched.refused:
                    st.markdown(f"**{ui.plain(name)}** {ui.plain(reason)}")
        if st.button("Stop watching", icon=":material/visibility_off:"):
            librarian.watching.choose(None)
            st.rerun()
