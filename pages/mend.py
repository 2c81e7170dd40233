"""Mend: what the model got wrong in the graph, put right by a person, with a way back."""

import streamlit as st

from librarian import ui
from librarian.errors import EditRefused, NameInUse
from librarian.knowledge import Entity
from librarian.mending import (
    Describe,
    DropEntity,
    DropRelation,
    Edit,
    Merge,
    Preview,
    Rename,
    shown,
)
from librarian.telling import effects, row, sentence

WAYS = {
    "Rename": "Later documents that use the old name are given the new one too.",
    "Merge": "Two names of one thing become one entity, here and in later documents.",
    "Describe": "Your words stay as you write them, whatever later documents add.",
    "Delete": "The entity goes with its relations, and stays away when a document names it again.",
    "Unlink": "The relation goes and stays away; both of its entities remain.",
}
READING = (
    " A document is being read meanwhile: an edit goes in between, and waits only while one is "
    "being merged into the graph."
)
LABELS = {"Delete": "Delete the entity", "Unlink": "Delete the relation"}
librarian = ui.get_librarian()
snapshot = librarian.snapshot()
state = st.session_state


def pick(label: str, key: str) -> str:
    """An entity by a part of its name; empty while there is none."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(label, key=f"{key}-text", placeholder="Part of a name").strip()
        like = (text, *librarian.find_entities(text, 30)) if text else ()
        found = list(librarian.entities(like))  # the names may be those of an earlier reading
        nothing = "Nothing like that" if text else "Write a part of its name"
        chosen = st.selectbox(
            "Which one",
            found,
            0 if found else None,
            key=f"{key}-{text}",
            placeholder=nothing,
            disabled=not found,
        )
    return chosen or ""


def make(edit: Edit, name: str) -> None:
    with st.spinner("Waiting until no document is being written into the graph…"):
        number = librarian.mend(edit)
    state.mended = (number, f"Edit {number}: {sentence(edit)}.", name)
    st.rerun()


def undo(number: int) -> None:
    with ui.told():
        librarian.undo_edit(number)
        state.mended = (0, f"Edit {number} is undone: the graph is as it was before it.", "")


def let_go(number: int) -> None:
    with ui.told():
        librarian.let_go_edit(number)
        state.mended = (0, f"Edit {number} is not made on later documents any more.", "")


def show(seen: Preview) -> None:
    """What an edit would do, as text."""
    st.markdown(f"{effects(seen)} No language model is asked.")
    if seen.documents:
        names = ", ".join(ui.plain(librarian.shelf.name_now(each)) for each in seen.documents[:10])
        more = len(seen.documents) - 10
        st.markdown(f"In {names}" + (f" and {more:,} more" if more > 0 else ""))
    if seen.name:
        st.markdown(f"**{ui.plain(seen.name)}** · {ui.plain(seen.type)}")
        with st.container(height=160 if len(seen.description) > 500 else "content", border=False):
            st.text(seen.description)


def offer(edit: Edit) -> None:
    """The preview of an edit, and the button that makes it."""
    with st.container(border=True):
        st.caption("What changes")
        try:
            seen = librarian.preview_edit(edit)
        except NameInUse as exc:
            st.warning(ui.plain(str(exc)), icon=":material/merge:")
            if isinstance(edit, Rename) and st.button("Merge the two", icon=":material/merge:"):
                make(Merge(edit.old, exc.name), exc.name)
            return
        except EditRefused as exc:
            st.info(ui.plain(str(exc)), icon=":material/info:")
            return
        show(seen)
        if st.button(LABELS.get(way, f"{way} it"), type="primary", key="make"):
            make(seen.edit, seen.name)


def described(before: Entity) -> Edit | None:
    words = st.text_area("Description", before.description, key=f"say-{before.name}", height=160)
    kind = st.text_input("Type", before.type, key=f"type-{before.name}", max_chars=60)
    said = None if words == shown(before.description) else words
    called = None if kind == before.type else kind
    return None if said is called is None else Describe(before.name, said, called)


def merged(name: str) -> Edit | None:
    other = pick("Merge it with", "other")
    if not other or other == name:
        st.caption("Choose another entity that is the same thing.")
        return None
    kept = st.radio("Which name stays?", [other, name], format_func=ui.plain, key=f"{name}|{other}")
    gone = name if kept == other else other
    joined = librarian.preview_edit(Merge(gone, kept)).description
    words = st.text_area("Description", joined, key=f"{gone}>{kept}", height=160)
    return Merge(gone, kept, None if words == joined else words)


def unlinked(name: str) -> Edit | None:
    ends = {
        each.target if each.source == name else each.source: each.description
        for each in librarian.around(name).relations
    }
    end = st.selectbox(
        "Relation with",
        sorted(ends),
        None,
        key=f"end-{name}",
        placeholder="Choose one" if ends else "It has no relations",
        disabled=not ends,
    )
    if end is None:
        return None
    st.text(ends[end])
    return DropRelation(name, end)


def edited(name: str) -> Edit | None:
    """The edit that the chosen way asks for; None while something is missing."""
    match way:
        case "Merge":
            return merged(name)
        case "Describe":
            before = librarian.entities((name,)).get(name)
            return described(before) if before else None
        case "Unlink":
            return unlinked(name)
        case "Delete":
            return DropEntity(name)
    new = st.text_input("New name", name, key=f"new-{name}")
    return None if new == name else Rename(name, new)


def history() -> None:
    entries = librarian.edits()
    st.subheader("Edits")
    if not entries:
        st.caption("None yet. Each edit is listed here, with its way back.")
        return
    state.listed = [entry.number for entry in entries]
    config = st.column_config
    st.dataframe(
        [row(entry) for entry in entries],
        key="edits",
        hide_index=True,
        column_config={
            "number": config.NumberColumn("No.", width=50),
            "way back": config.ButtonColumn("Way back", on_click=act, key="edit_action", width=90),
            "edit": config.TextColumn("Edit", width=380),
            "state": config.TextColumn("State", width=130),
            "made": config.TextColumn("Made", width=130),
            "cause": config.TextColumn("Because of", width=150),
        },
    )
    st.caption("“Let go” leaves an edit as it is, and no longer makes it on later documents.")


def act() -> None:
    if click := state.edit_action:
        (undo if click["label"] == "Undo" else let_go)(state.listed[click["row"]])


st.title("Mend")
if (wanted := st.query_params.get("entity")) and wanted != state.get("wanted"):
    state.wanted = state["entity-text"] = wanted
ui.banners(snapshot)
if not snapshot.ready:
    st.stop()
if done := state.pop("mended", None):
    number, words, name = done
    if name:
        state["entity-text"] = state.wanted = st.query_params["entity"] = name
    st.toast(ui.plain(words), icon=":material/check:")
    if number:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/check: {ui.plain(words)}")
            st.button("Undo", icon=":material/undo:", on_click=undo, args=(number,))
with ui.told():
    with ui.reading_graph():
        empty = not librarian.shown_graph().graph.entities
    if empty:
        st.info("No entities yet. They appear as soon as the first document is processed.")
    else:
        way = st.segmented_control("What to do", list(WAYS), default="Rename") or "Rename"
        st.caption(WAYS[way] + (READING if snapshot.busy else ""))
        if (name := pick("Find an entity", "entity")) and (edit := edited(name)):
            offer(edit)
    history()
