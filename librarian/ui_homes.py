"""Which library a page shows: told to every tab when another one is opened in its place."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from librarian import ui
from librarian.answers import Answer
from librarian.conversations import to_markdown
from librarian.entrance import AFRESH
from librarian.errors import LibrarianError
from librarian.homes import Home, Homes, new_home, same_folder
from librarian.registry import PROCESS

WATCH_S = 2.0  # until a tab sees that another one has switched
# A tab's state, and that of its widgets in the browser, is the old library's: only a new page load
# is sure to have none of it.
_AFRESH = f"<script>{AFRESH}</script>"


def known() -> Homes:
    """The list of libraries."""
    return Homes(PROCESS.settings.homes_file)


def label_of(path: Path) -> str:
    """What a library is called here."""
    try:
        homes = known().all()
    except LibrarianError:  # the Libraries page says what is wrong with the list
        homes = ()
    return next((home.label for home in homes if same_folder(home.path, path)), path.name)


def one_library() -> None:
    """Ends a page that belongs to a library which is not open any more, and says so.

    Call it before anything else is drawn. Meanwhile it looks now and then, in every tab.
    """
    state = st.session_state
    if state.setdefault("library", PROCESS.number) != PROCESS.number:
        _told_of_switch()
        st.stop()
    with st.sidebar:
        _watch()


@st.fragment(run_every=WATCH_S)
def _watch() -> None:
    if st.session_state.get("library") != PROCESS.number:
        st.rerun()


def sidebar() -> None:
    """The name of the open library, on every page."""
    home = _open_home()
    if home is None:
        return
    label = label_of(home)
    short = label if len(label) <= 28 else f"{label[:27]}…"
    with st.sidebar:
        st.page_link(
            "libraries.py", label=ui.plain(short), icon=":material/swap_horiz:", help=str(home)
        )


def _told_of_switch() -> None:
    state = st.session_state
    if state.get("library-afresh"):
        st.html(_AFRESH, unsafe_allow_javascript=True)
        return
    try:
        name = ui.plain(label_of(PROCESS.get().settings.home))
        st.info(
            f"This dashboard has another library open now: **{name}**. What this tab showed was of "
            "the one before; nothing of that one is lost.",
            icon=":material/swap_horiz:",
        )
    except LibrarianError as exc:
        st.error(ui.plain(str(exc)), icon=":material/error:")
    turns: list[Answer] = state.get("turns") or []
    with st.container(horizontal=True):
        st.button("Show it", type="primary", on_click=_afresh)
        if turns:
            st.download_button(
                "Save this tab's conversation", to_markdown(turns), "conversation.md",
                on_click="ignore", icon=":material/download:",
            )  # fmt: skip


def _afresh() -> None:
    st.session_state["library-afresh"] = True


@st.dialog("Open another library?")
def switch_dialog(home: Home, *, create: bool = False) -> None:
    """Says what happens to the one that is open, then changes over."""
    st.markdown(f"**{ui.plain(home.label)}**")
    st.caption(ui.plain(str(home.path)))
    st.markdown(_consequences())
    with st.container(horizontal=True):
        if st.button("Create and open" if create else "Open", type="primary"):
            with ui.told(), st.spinner("Closing the one and opening the other…", show_time=True):
                if create:
                    new_home(home.path)  # somebody may have put something there
                if (left := _open_home()) is not None:
                    known().opened(left)  # the way back
                PROCESS.switch(home.path)
                _afresh()
                known().opened(home.path, home.label)
            if st.session_state.get("library") != PROCESS.number:
                st.rerun()
        if st.button("Stay"):
            st.rerun()


def _open_home() -> Path | None:
    try:
        return PROCESS.get().settings.home
    except LibrarianError:
        return None


def _consequences() -> str:
    try:
        snapshot = PROCESS.get().snapshot()
    except LibrarianError:
        return "No library is open now."
    said = "Every tab of this dashboard changes over, and so do its HTTP routes."
    if snapshot.busy:
        said += (
            " Documents are being read: that stops, and goes on when this library is opened again. "
            f"Of the model's work, {ui.many(len(snapshot.calls), 'call')} in flight "
            f"{'is' if len(snapshot.calls) == 1 else 'are'} lost."
        )
    return said
