"""What the Shelf page asks before it does something, and how it says what was done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import streamlit as st

from librarian import ui
from librarian.app import Librarian
from librarian.documents import Outcome
from librarian.removed import KEPT_S
from librarian.shelf import (
    NO_TAG,
    Choice,
    Losses,
    folder_of,
    folders_of,
    format_of,
    standing_of,
)
from librarian.snapshot import DocumentView
from librarian.ui_many import part

KEPT_DAYS = round(KEPT_S / 86_400)
NAMED = 8  # documents of a list; the others are counted
FILTERS = ("shelf-status", "shelf-format", "shelf-tags", "shelf-folders")
Views = Sequence[DocumentView]


def choice_of(views: Views) -> Choice:
    """Draws the search field and the filters, and gives what they ask for."""
    state = st.session_state
    text = st.text_input(
        "Find", key="shelf-text", placeholder="Part of a name or a tag", width="stretch"
    )
    with st.popover("Filters", icon=":material/filter_alt:"):
        _filter("Status", FILTERS[0], {standing_of(each.document) for each in views})
        _filter("Format", FILTERS[1], {format_of(each.document) for each in views})
        tags = {tag for each in views for tag in each.document.tags or (NO_TAG,)}
        _filter("Tag", FILTERS[2], tags, lambda tag: tag or "(no tag)")
        _filter("Folder", FILTERS[3], set(folders_of(views)))
    statuses, formats, tagged, folders = (state.get(key) or () for key in FILTERS)
    return Choice(text=text, statuses=statuses, formats=formats, tags=tagged, folders=folders)


def clear_filters() -> None:
    """Asks for every document again."""
    st.session_state["shelf-text"] = ""
    for key in FILTERS:
        st.session_state[key] = []


def _filter(
    label: str, key: str, values: set[str], shown: Callable[[str], str] = lambda each: each
) -> None:
    options = sorted(values.union(st.session_state.get(key) or ()), key=str.casefold)
    st.multiselect(label, options, key=key, format_func=shown, placeholder="Any")


def table(found: Views) -> list[DocumentView]:
    """Draws the documents, a part of them where there are many, and gives those selected of all.

    Streamlit knows a selection by the places of its rows, so that other rows are another table;
    it begins with what was selected in the one before.
    """
    state = st.session_state
    kept = set(state.get("shelf-chosen", ()))
    views = part(found, "shelf-part")
    ids = [view.document.id for view in views]
    config = st.column_config
    digest = hashlib.sha1("".join(ids).encode()).hexdigest()[:16]
    event = st.dataframe(
        [_row(view) for view in views],
        key=f"shelf-{digest}-{state.get('shelf-all', 0)}",
        hide_index=True,
        height=min(600, 37 + 35 * len(ids)),
        placeholder="",
        column_config={
            "name": config.TextColumn("Document", width=380),
            "status": config.TextColumn("Status", width=110),
            "tags": config.ListColumn("Tags", width=150),
            "format": config.TextColumn("Format", width=70),
            "size": config.NumberColumn("Size", format="bytes", width=80),
            "chunks": config.NumberColumn("Chunks", format="localized", width=75),
            "entities": config.NumberColumn("Entities", format="localized", width=75),
            "folder": config.TextColumn("Folder", width=150),
            "language": config.TextColumn("Language", width=90),
            "added": config.DatetimeColumn("Added", format="YYYY-MM-DD HH:mm", width=130),
            "came as": config.TextColumn("Came as", width=150),
        },
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={
            "selection": {"rows": [n for n, each in enumerate(ids) if each in kept]}
        },
    )
    chosen = kept.difference(ids).union(ids[row] for row in event.selection.rows if row < len(ids))
    selected = [view for view in found if view.document.id in chosen] if chosen else []
    state["shelf-chosen"] = [view.document.id for view in selected]
    return selected


def choose(views: Views) -> None:
    """Selects these documents and no others, whether they are in sight or not."""
    state = st.session_state
    state["shelf-chosen"] = [view.document.id for view in views]
    state["shelf-all"] = state.get("shelf-all", 0) + 1  # another table


def _row(view: DocumentView) -> dict[str, object]:
    document = view.document
    folder = folder_of(document.name)
    return {
        "name": document.name,
        "status": standing_of(document),
        "tags": list(document.tags),
        "format": format_of(document),
        "size": document.bytes,
        "chunks": document.chunks_total or None,
        "entities": document.entities or None,
        "folder": folder.replace("∕", "/"),
        "language": document.language,
        "added": round(document.created_at) * 1000,
        "came as": "" if document.filed == document.name else document.filed,
    }


@st.dialog("Tags")
def tags_dialog(librarian: Librarian, views: Views) -> None:
    """Gives tags to documents and takes some away."""
    _listed(views)
    known = librarian.shelf.tags()
    theirs = sorted({tag for view in views for tag in view.document.tags}, key=str.casefold)
    with st.form("tags", border=False):
        add = st.multiselect(
            "Add", known, accept_new_options=True, placeholder="A known tag, or a new one"
        )
        drop = st.multiselect("Take away", theirs, placeholder="None", disabled=not theirs)
        if st.form_submit_button("Save", type="primary"):
            with ui.told():
                librarian.shelf.tag([view.document.id for view in views], add, drop)
                st.rerun()


@st.dialog("Rename")
def rename_dialog(librarian: Librarian, views: Views) -> None:
    """Gives one document another name."""
    document = views[0].document
    with st.form("rename", border=False):
        name = st.text_input("Name", document.name)
        st.caption(
            "Shown on all pages, in answers and in exports. The text stays as it is, and no model "
            "is asked. A file of the old name is still known as this document."
        )
        if st.form_submit_button("Rename", type="primary"):
            with ui.told():
                librarian.shelf.rename(document.id, name)
                st.rerun()


@st.dialog("Replace by a new version")
def replace_dialog(librarian: Librarian, views: Views) -> None:
    """Puts a file in the place of one document, whatever it is called."""
    document = views[0].document
    st.markdown(f"**{ui.plain(document.name)}**")
    st.caption(
        "It keeps its name and its tags. Only chunks that have changed are asked about; the "
        "graph then is as if only the new version had ever been there."
    )
    file = st.file_uploader("The new version", key=f"new-{document.id}")
    if file is not None and st.button("Replace", type="primary"):
        with ui.told(), st.spinner("Reading it…", show_time=True):
            admission = librarian.shelf.replace(document.id, file.name, file.getvalue())
            if admission.outcome is Outcome.ACCEPTED:
                st.session_state["shelf-said"] = f"{document.name} has a new version in the queue."
                st.rerun()
            st.error(ui.plain(admission.message), icon=":material/block:")


@st.dialog("Delete?")
def delete_dialog(librarian: Librarian, views: Views) -> None:
    """Says what goes before anything does."""
    _listed(views)
    ids = [view.document.id for view in views]
    with ui.told():
        st.markdown(said(librarian.shelf.losses(ids, ui.whole_graph(librarian))))
    for_good = st.checkbox("Remove the originals for good")
    st.caption(
        "They cannot be put back."
        if for_good
        else f"The originals are kept in the library's `removed` folder for {KEPT_DAYS} days and "
        "can be put back from this page."
    )
    with st.container(horizontal=True):
        if st.button("Delete", type="primary"):
            with ui.told():
                names = librarian.shelf.delete(ids, for_good=for_good)
                st.session_state["shelf-said"] = f"Deleted: {ui.many(len(names), 'document')}."
                st.session_state["shelf-gone"] = [] if for_good else ids
                st.rerun()
        if st.button("Keep"):
            st.rerun()


def said(losses: Losses) -> str:
    """What a deletion takes and what stays, in sentences."""
    entities = f"{losses.entities:,} {'entity' if losses.entities == 1 else 'entities'}"
    text = (
        f"{ui.many(losses.documents, 'document')} with {ui.many(losses.chunks, 'chunk')}. From "
        f"the graph go {entities} and {ui.many(losses.relations, 'relation')} that nothing else "
        "speaks of; what other documents say as well stays."
    )
    if losses.spent.calls:
        text += (
            f"\n\nThe model has worked {ui.span(losses.spent.model_s)} on their chunks, in "
            f"{ui.many(losses.spent.calls, 'call')}. Its answers stay in the journal: who adds "
            "the same files again pays for no chunk again."
        )
    return text


def removed_list(librarian: Librarian) -> None:
    """What was deleted lately, to be put back or removed for good."""
    gone = librarian.shelf.removed()
    if not gone:
        return
    with st.expander(f"Deleted lately: {len(gone):,}", icon=":material/delete_history:"):
        st.caption(f"Originals are kept for {KEPT_DAYS} days. Putting one back asks no model.")
        for each in gone[:50]:
            doc = each.document.id
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"{ui.plain(each.document.name)} · {ui.ago(each.removed_at)}")
                back, drop = f"back-{doc}", f"drop-{doc}"
                st.button("Put back", key=back, on_click=put_back, args=(librarian, [doc]))
                with st.popover("For good", type="tertiary"):
                    st.markdown("Its original cannot be brought back then.")
                    st.button("Remove it", key=drop, on_click=_drop, args=(librarian, doc))
        if len(gone) > 50:
            st.caption(f"and {len(gone) - 50:,} more")


def put_back(librarian: Librarian, docs: Sequence[str]) -> None:
    """Puts deleted documents back into the queue."""
    with ui.told():
        for doc in docs:
            librarian.shelf.put_back(doc)
    st.session_state.pop("shelf-gone", None)
    st.session_state.pop("shelf-said", None)


def _drop(librarian: Librarian, doc: str) -> None:
    with ui.told():
        librarian.shelf.drop(doc)


def _listed(views: Views) -> None:
    names = ", ".join(f"**{ui.plain(view.document.name)}**" for view in views[:NAMED])
    more = len(views) - NAMED
    st.markdown(names + (f" and {more:,} more" if more > 0 else ""))
