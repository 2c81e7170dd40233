"""Parts of the Graph page: the graph it shows, the frame that hears clicks, the search field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import streamlit as st

from librarian import ui
from librarian.app import Librarian
from librarian.knowledge import Graph
from librarian.names import mention

AROUND = 350  # characters of a passage on each side of a name
LONGEST = 4000  # characters of a name that the frame may say


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """What was clicked in the picture; the names are the frame's word and have to be looked up."""

    kind: str  #: select, edge or open
    names: tuple[str, ...]


def graph_with(names: Iterable[str], librarian: Librarian) -> Graph:
    """What there is of the graph at once, with these entities if they are in the library at all.

    Where it is from before the last document, the page says so, and when a newer one is there.
    """
    with ui.reading_graph():
        shown = librarian.shown_graph()
        if shown.current:
            return shown.graph
        if None in map(shown.graph.entity, names):
            return librarian.graph()
    _read_anew(shown.reading)
    return shown.graph


@st.fragment(run_every=ui.CALM)
def _read_anew(reading: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if ui.get_librarian().graph_readings == reading:
            st.caption(
                ":material/hourglass_top: The library has changed since this graph was read. It is "
                "being read anew."
            )
        else:
            st.caption(":material/update: The graph was read anew.", width="content")
            if st.button("Show it as it is now", icon=":material/refresh:"):
                st.rerun()


def frame(address: str, *, height: int, selected: str, heard: Callable[[Click], None]) -> None:
    """The picture at an address of this server; `heard` is called before the page runs again.

    A `selected` entity is marked in it without loading it anew.
    """

    def on_click() -> None:
        if click := _click(st.session_state.picture.get("clicked")):
            heard(click)

    mount = st.components.v2.component(
        "librarian_picture",
        html='<iframe title="Picture of the graph"></iframe>'
        '<p role="status" hidden>Drawing the graph…</p>\n',
        css=_static("frame.css"),
        js=_static("frame.js"),
    )
    mount(
        key="picture",
        data={"address": address, "selected": selected, "height": height},
        height=height,
        on_clicked_change=on_click,
    )


def finder(
    label: str,
    *,
    key: str,
    search: Callable[[str], Sequence[str]],
    chosen: Callable[[str], None],
    placeholder: str = "",
) -> None:
    """A field that shows what it finds while somebody types; run it in a fragment."""

    def on_choice() -> None:
        name = st.session_state[key].get("chosen")
        if isinstance(name, str) and len(name) <= LONGEST:
            chosen(name)

    typed = st.session_state.get(key, {}).get("typed") or ""
    text = typed[:LONGEST] if isinstance(typed, str) else ""
    mount = st.components.v2.component(
        "librarian_finder",
        html='<label><span></span><input type="text" autocomplete="off" spellcheck="false" '
        'role="combobox" aria-expanded="false"></label><ul role="listbox" hidden></ul>\n',
        css=_static("finder.css"),
        js=_static("finder.js"),
    )
    mount(
        key=key,
        data={
            "label": label,
            "placeholder": placeholder,
            "text": text,
            "found": list(search(text)) if text.strip() else [],
        },
        on_typed_change=lambda: None,
        on_chosen_change=on_choice,
    )


def marked(text: str, names: Sequence[str]) -> str:
    """A passage as Markdown that shows it as it is, with the names in it marked.

    Of a long one it is what is around the first name.
    """
    found = sorted(match.span() for name in names for match in mention(name).finditer(text))
    first = max(0, found[0][0] - AROUND) if found else 0
    last = min(len(text), first + 2 * AROUND)
    pieces, at = ["… " if first else ""], first
    for start, end in found:
        if at <= start and end <= last:
            pieces += [_flat(text[at:start]), f":orange-background[{_flat(text[start:end])}]"]
            at = end
    return "".join([*pieces, _flat(text[at:last]), " …" if last < len(text) else ""])


def _flat(text: str) -> str:
    """On one line nothing is a heading, a list or code."""
    return ui.plain(re.sub(r"\s+", " ", text))


def _click(value: Any) -> Click | None:
    """What the frame said, if it has the shape of a click."""
    if not isinstance(value, dict) or value.get("kind") not in ("select", "edge", "open"):
        return None
    names = value.get("names")
    if not isinstance(names, list) or len(names) != (2 if value["kind"] == "edge" else 1):
        return None
    if not all(isinstance(name, str) and len(name) <= LONGEST for name in names):
        return None
    return Click(kind=value["kind"], names=tuple(names))


def _static(name: str) -> str:
    return (resources.files("librarian") / "static" / name).read_text(encoding="utf-8")
