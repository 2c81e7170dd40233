"""Libraries: those that are known on this machine; one of them is open."""

from pathlib import Path

import streamlit as st

from librarian import ui, ui_homes
from librarian.errors import LibrarianError
from librarian.homes import Home, clean_label, known_home, new_home, same_folder
from librarian.library import owner_of
from librarian.registry import PROCESS

homes = ui_homes.known()
state = st.session_state


def ask(home: Home, create: bool = False) -> None:
    state["switch-to"] = (home, create)


def rename(path: Path, key: str) -> None:
    with ui.told():
        homes.rename(path, state[key])


def forget(path: Path) -> None:
    with ui.told():
        homes.forget(path)


def standing(home: Home) -> tuple[str, bool]:
    """A word about a library, and whether it can be opened."""
    if not home.there:
        return "There is no library in its folder now.", False
    with ui.told():
        if (owner := owner_of(home.path)) is not None:
            return f"Open in process {owner.pid or '?'} since {ui.plain(owner.since)}.", False
    return (f"Opened last {ui.ago(home.opened_at)}." if home.opened_at else ""), True


def card(home: Home, number: int, here: bool) -> None:
    said, fit = ("", False) if here else standing(home)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{ui.plain(home.label)}**", width="content")
            if here:
                st.badge("open", color="green")
        st.caption(f"{ui.plain(str(home.path))}  \n{said}")
        with st.container(horizontal=True):
            if not here:
                st.button(
                    "Open", key=f"open-{number}", disabled=not fit, on_click=ask, args=(home,),
                    icon=":material/folder_open:",
                )  # fmt: skip
            with st.popover("Rename", icon=":material/edit:"):
                key = f"label-{home.path}-{home.label}"
                st.text_input(
                    "Name", home.label, key=key, on_change=rename, args=(home.path, key),
                    help="Its folder keeps its name.",
                )  # fmt: skip
            if not here:
                with st.popover("Forget", icon=":material/playlist_remove:"):
                    st.markdown("It goes off this list. Its folder and all files in it stay.")
                    st.button("Forget it", key=f"forget-{number}", on_click=forget,
                              args=(home.path,))  # fmt: skip


st.title("Libraries")
st.caption(
    "Each is a folder of its own, with its documents, graph, answers and conversations. One is "
    "open at a time; the work on it stops when it is closed and goes on when it is opened again."
)
if asked := state.pop("switch-to", None):
    ui_homes.switch_dialog(asked[0], create=asked[1])
try:
    opened: Path | None = PROCESS.get().settings.home
except LibrarianError as exc:
    opened = None
    st.error(ui.plain(str(exc)), icon=":material/error:")
with ui.told():
    for number, home in enumerate(homes.all()):
        card(home, number, opened is not None and same_folder(home.path, opened))

create, find = st.tabs(
    [":material/create_new_folder: New", ":material/folder_open: Add a known one"]
)
beside = opened.parent if opened else Path.home()
with create, st.form("new-library", border=False):
    label = st.text_input("Name", placeholder="History")
    path = st.text_input("Folder for it, new or empty", placeholder=str(beside / "history"))
    if st.form_submit_button("Create…", icon=":material/add:"):
        with ui.told():
            folder = new_home(Path(path or beside / (clean_label(label) or "?")))
            ask(Home(path=folder, label=clean_label(label) or folder.name), create=True)
            st.rerun()
with find, st.form("known-library", border=False):
    path = st.text_input("Folder of a library on this machine", placeholder=str(beside / "library"))
    if st.form_submit_button("Open…", icon=":material/folder_open:"):
        with ui.told():
            folder = known_home(Path(path))
            ask(Home(path=folder, label=ui_homes.label_of(folder)))
            st.rerun()
