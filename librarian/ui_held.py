"""Documents that wait for a person's start: what each would cost, and which are to be left out."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from librarian import ui
from librarian.app import Librarian
from librarian.documents import Document
from librarian.estimates import between
from librarian.held import UNKNOWN_S, Weighed, When

WORDS = {
    When.LONG: "those over ten minutes",
    When.ALWAYS: "all",
    When.NEVER: "none",
}


def held_area(librarian: Librarian, waiting: Sequence[Document]) -> None:
    """The table of what waits, with the choice, and which uploads wait at all."""
    if waiting:
        with st.container(border=True):
            st.subheader(f"{ui.many(len(waiting), 'document')} for you to start")
            st.caption("Nothing of these was given to the model yet.")
            with ui.told():
                _choice(librarian, _weighed(librarian, waiting))


def holding(librarian: Librarian) -> None:
    """Which uploads wait for a person's start."""
    now = librarian.held.when
    st.segmented_control(
        "Uploads that wait for my start",
        list(When),
        format_func=WORDS.__getitem__,
        default=now,
        key=f"hold-{now}",
        on_change=_hold,
        args=(librarian, f"hold-{now}"),
    )


def _hold(librarian: Librarian, key: str) -> None:
    if chosen := st.session_state[key]:
        with ui.told():
            librarian.held.choose(chosen)


def _weighed(librarian: Librarian, waiting: Sequence[Document]) -> list[Weighed]:
    bar = st.progress(0.0, "Counting chunks…") if len(waiting) > 1 else None
    found = []
    for at, document in enumerate(waiting, 1):
        found.append(librarian.held.weighed(document))
        if bar is not None:
            bar.progress(at / len(waiting), f"Counting chunks… {at:,} of {len(waiting):,}")
    if bar is not None:
        bar.empty()
    return found


def _choice(librarian: Librarian, weighed: Sequence[Weighed]) -> None:
    edited = st.data_editor(
        [
            {
                "start": True,
                "name": each.document.name,
                "size": ui.size(each.document.bytes),
                "language": each.document.language,
                "chunks": each.chunks,
                "calls": each.calls,
                "about": between(*each.seconds) if each.seconds else "–",
            }
            for each in weighed
        ],
        key=f"held-{hash(tuple(each.document.id for each in weighed))}",
        hide_index=True,
        disabled=["name", "size", "language", "chunks", "calls", "about"],
        column_config={"name": st.column_config.TextColumn(width="medium")},
    )
    chosen = [each for each, row in zip(weighed, edited, strict=True) if row["start"]]
    others = [each for each in weighed if each not in chosen]
    st.markdown(_total(chosen))
    with st.container(horizontal=True):
        st.button(
            f"Start {ui.many(len(chosen), 'document')}",
            type="primary",
            icon=":material/play_arrow:",
            disabled=not chosen,
            on_click=_start,
            args=(librarian, chosen),
        )
        if others:
            st.button(
                f"Leave out {ui.many(len(others), 'document')}",
                icon=":material/delete:",
                on_click=_leave_out,
                args=(librarian, others),
            )


# Called before the page is drawn, whichever page that is: nobody has to wait for the click to be
# seen before going on to the next page.
def _start(librarian: Librarian, chosen: Sequence[Weighed]) -> None:
    with ui.told():
        for each in chosen:
            librarian.retry(each.document.id)


def _leave_out(librarian: Librarian, others: Sequence[Weighed]) -> None:
    with ui.told():
        for each in others:
            librarian.delete(each.document.id)
        st.toast("They are off the list; the Shelf has them for a while.")


def _total(chosen: Sequence[Weighed]) -> str:
    """The sum of what was chosen, in a sentence."""
    chunks, calls = sum(each.chunks for each in chosen), sum(each.calls for each in chosen)
    said = f"Chosen: {ui.many(chunks, 'chunk')}, about {ui.many(calls, 'call')}"
    known = [each.seconds for each in chosen if each.seconds]
    if known and len(known) == len(chosen):
        likely, low, high = (sum(one) for one in zip(*known, strict=True))
        return f"{said}, **{ui.plain(between(likely, low, high))}** of work."
    if not chosen:
        return f"{said}."
    hours = ui.span(calls * UNKNOWN_S)
    return (
        f"{said}. How long a call takes here is not known yet: System measures it. At "
        f"{UNKNOWN_S:.0f} s a call, one at a time, it would be {hours}."
    )
