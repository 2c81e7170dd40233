"""Graph: the entities of the library, how they hang together, and the text they came from."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from librarian import ui, ui_graph
from librarian.exports import to_csv, to_graphml, to_html
from librarian.knowledge import Entity, Graph, Relation
from librarian.ui_many import offered
from librarian.views import COLOURS, GraphRequest, without_choices

HEIGHT = 680
PASSAGES = 20
NEIGHBOURS = 24
LIKE = 5  # entities that are offered for an unknown one
LIMITS = [50, 100, 200, 300, 500, 1000, 2000, 5000]
MARKED = ("selected", "edge")

librarian = ui.get_librarian()
snapshot = librarian.snapshot()
params = st.query_params
view = GraphRequest.read((key, value) for key in params for value in params.get_all(key))
edge = tuple(params.get_all("edge"))
selected = "" if edge else params.get("selected", params.get("find", ""))


def go(request: GraphRequest, **mark: str | list[str]) -> None:
    """Writes a view into the address, which is all that the page knows."""
    kept = {key: params.get_all(key) for key in MARKED if key in params}
    params.from_dict(replace(request, dark=False).address() | (mark or kept))


def hear(click: ui_graph.Click) -> None:
    if click.kind == "select":
        go(view, selected=click.names[0])
    elif click.kind == "edge":
        go(view, edge=list(click.names))
    else:
        go(replace(view, opened=view.opened | set(click.names)))


def centre_on(name: str) -> None:
    look = without_choices(view)
    go(replace(look, centre=name, depth=1, limit=view.limit), selected=name)


def way_to(name: str) -> None:
    go(replace(without_choices(view), ends=(selected, name)), selected=selected)


def changed(field: str, key: str, cast: Callable[[Any], Any]) -> None:
    go(replace(view, **{field: cast(st.session_state[key])}))


def control(make: Callable[..., Any], label: str, field: str, *args: Any, **more: Any) -> None:
    """A widget over a field of the view; another value in the address makes it another widget."""
    cast = more.pop("cast", lambda value: value)
    key = f"{field}-{hash(getattr(view, field))}"
    make(label, *args, key=key, on_change=changed, args=(field, key, cast), **more)


def controls(graph: Graph) -> None:
    types = sorted({entity.type for entity in graph.entities} | view.types)
    documents = sorted({one.document.name for one in snapshot.documents})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if view.centre:
            control(st.slider, "Depth", "depth", 1, 6, view.depth)
        limits = sorted({*LIMITS, view.limit})
        control(st.select_slider, "Most nodes", "limit", limits, view.limit)
        control(
            st.segmented_control, "Colour by", "colour_by", list(COLOURS),
            cast=lambda value: value or "",
            default=view.colour_by or ("community" if mapped(graph) else "type"),
        )  # fmt: skip
        with st.popover("Filters", icon=":material/filter_alt:"):
            control(st.multiselect, "Types", "types", types, sorted(view.types), cast=frozenset)
            control(
                st.multiselect, "Documents", "documents",
                offered({name: name for name in documents}, "find", sorted(view.documents)),
                sorted(view.documents), cast=frozenset,
            )  # fmt: skip
            known = {tag for one in snapshot.documents for tag in one.document.tags}
            if tags := sorted(known | view.tags):
                control(st.multiselect, "Tags", "tags", tags, sorted(view.tags), cast=frozenset)
            control(st.number_input, "Least degree", "least_degree", 0, 10_000, view.least_degree)
            control(
                st.number_input, "Least weight", "least_weight", 0.0, 1e6, float(view.least_weight)
            )
            control(st.toggle, "The best-connected core, not the map", "core", view.core)
        for name in sorted(view.hidden):
            st.button(
                f"Show {short(name)} again", icon=":material/undo:", key=f"show-{name}",
                on_click=go, args=(replace(view, hidden=view.hidden - {name}),),
            )  # fmt: skip
        if view.opened:
            shut = replace(view, opened=frozenset())
            st.button("Close the communities", on_click=go, args=(shut,))
        if (
            not view.whole
            or view.hidden
            or view.expanded
            or view.types
            or view.documents
            or view.tags
        ):
            st.button(
                "Whole graph", icon=":material/public:", on_click=go, args=(without_choices(view),)
            )


def mapped(graph: Graph) -> bool:
    return view.whole and len(graph.entities) > view.limit


def short(name: str) -> str:
    return ui.plain(name if len(name) <= 50 else f"{name[:49]}…") or "(no name)"


def entity_panel(entity: Entity, graph: Graph) -> None:
    name = entity.name
    links = [one for one in graph.relations if name in (one.source, one.target)]
    links.sort(key=lambda one: -one.weight)
    st.subheader(short(name))
    st.caption(
        f"{ui.plain(entity.type or 'unknown')} · {ui.many(len(links), 'relation')} · "
        f"{ui.plain(', '.join(entity.documents))}"
    )
    with st.container(horizontal=True):
        st.button("Centre", icon=":material/center_focus_strong:", on_click=centre_on, args=(name,))
        more = replace(view, expanded=view.expanded | {name})
        st.button("Expand", icon=":material/open_in_full:", on_click=go, args=(more,))
        less = replace(
            view,
            hidden=view.hidden | {name},
            expanded=view.expanded - {name},
            centre=None if view.centre == name else view.centre,
        )
        st.button(
            "Hide", icon=":material/visibility_off:", on_click=go, args=(less,),
            kwargs={"selected": []},
        )  # fmt: skip
        if st.button("Ask", icon=":material/forum:"):
            st.switch_page("ask.py", query_params={"about": name})
        if st.button("Mend", icon=":material/healing:"):
            st.switch_page("mend.py", query_params={"entity": name})
    st.markdown(ui_graph.marked(entity.description, [name]))
    if links:
        st.caption("Related")
        with st.container(horizontal=True, gap="small"):
            for at, link in enumerate(links[:NEIGHBOURS]):
                other = link.target if link.source == name else link.source
                st.button(
                    short(other), key=f"near-{at}", on_click=go, args=(view,),
                    kwargs={"selected": other},
                )  # fmt: skip
        if len(links) > NEIGHBOURS:
            st.caption(f"and {len(links) - NEIGHBOURS:,} more: centre on it to see them")
    searcher("Path to", "path-end", way_to)
    passages(entity.chunks, [name])


def edge_panel(link: Relation) -> None:
    st.subheader(f"{short(link.source)} — {short(link.target)}")
    st.caption(
        f"weight {link.weight:g} · {ui.plain(link.keywords or 'no keywords')} · "
        f"{ui.plain(', '.join(link.documents))}"
    )
    with st.container(horizontal=True):
        for at, end in enumerate((link.source, link.target)):
            st.button(
                short(end), key=f"end-{at}", on_click=go, args=(view,), kwargs={"selected": end}
            )
    st.markdown(ui_graph.marked(link.description, [link.source, link.target]))
    passages(link.chunks, [link.source, link.target])


def passages(chunks: tuple[str, ...], names: list[str]) -> None:
    shown = librarian.passages(chunks[:PASSAGES])
    st.caption(f"Found in {ui.many(len(chunks), 'passage')}")
    for chunk, text in shown.items():
        with st.container(border=True):
            st.markdown(ui_graph.marked(text, names))
            st.page_link(
                "document.py", label="In its document", icon=":material/article:",
                query_params={"chunk": chunk},
            )  # fmt: skip
    if len(chunks) > PASSAGES:
        st.caption(f"and {len(chunks) - PASSAGES:,} more passages")


@st.fragment
def searcher(label: str, key: str, chosen: Callable[[str], None]) -> None:
    def choose(name: str) -> None:
        chosen(name)
        st.session_state["chosen-anew"] = True

    ui_graph.finder(
        label, key=key, search=lambda text: librarian.find_entities(text, 12), chosen=choose,
        placeholder="Part of a name, in any case",
    )  # fmt: skip
    if st.session_state.pop("chosen-anew", False):
        st.rerun()


def downloads() -> None:
    with st.popover("Export", icon=":material/download:"):
        whole = st.toggle("The whole graph, not only what is shown")

        def chosen() -> Graph:
            return librarian.graph() if whole else librarian.graph_part(view)

        as_seen = partial(
            to_html, colour_by=COLOURS.get(view.colour_by), dark=st.context.theme.type == "dark"
        )
        for label, made, name in (
            ("HTML, one file", lambda: as_seen(chosen()), "graph.html"),
            ("GraphML", lambda: to_graphml(chosen()), "graph.graphml"),
            ("Entities, CSV", lambda: to_csv(chosen())[0], "entities.csv"),
            ("Relations, CSV", lambda: to_csv(chosen())[1], "relations.csv"),
        ):
            # A run of the page would take away what the browser is about to ask for.
            st.download_button(label, made, name, on_click="ignore")
        st.caption("PNG: the button with the arrow in the picture saves what it shows.")


def unknown(name: str) -> None:
    """Says that the address names nothing, and what is like it."""
    st.warning(
        f"There is no entity “{short(name)}”: it may have been renamed, merged or deleted. "
        "Search for another above.",
        icon=":material/search_off:",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if like := librarian.find_entities(name, LIKE):
            st.caption("Perhaps one of these:", width="content")
        for at, other in enumerate(like):
            st.button(short(other), key=f"like-{at}", on_click=centre_on, args=(other,))
        st.button(
            "Whole graph", icon=":material/public:", on_click=go, args=(without_choices(view),),
            kwargs={"selected": []},
        )  # fmt: skip


def panel(graph: Graph) -> None:
    entity = graph.entity(selected) if selected else None
    link = graph.relation(*edge) if len(edge) == 2 else None
    if link:
        edge_panel(link)
    elif entity:
        entity_panel(entity, graph)
    else:
        st.caption(
            "Click a node or a line to read about it and see the passages it was found in. "
            "A large circle is a community: a click opens it."
        )


st.title("Graph")
ui.banners(snapshot)
if not snapshot.ready:
    st.stop()
with ui.told():
    named = filter(None, (view.centre, selected, *edge))
    graph = ui_graph.graph_with(named, librarian)
    if not graph.entities:
        st.info(
            "No entities yet. They appear as soon as the first document is processed.",
            icon=":material/hub:",
        )
        st.stop()
    searcher("Find an entity", "finder", centre_on)
    if view.centre and graph.entity(view.centre) is None:
        unknown(view.centre)
        st.stop()
    controls(graph)
    picture, beside = st.columns([13, 7])
    with picture:
        dark = replace(view, dark=st.context.theme.type == "dark")
        address = urlencode(dark.address() | {"v": graph.version}, doseq=True)
        ui_graph.frame(f"/graph-view?{address}", height=HEIGHT, selected=selected, heard=hear)
    with beside, st.container(height=HEIGHT, border=False):
        panel(graph)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"{len(graph.entities):,} entities and {len(graph.relations):,} relations in the "
            "library. The address of this page is this view: copy it to share it."
        )
        downloads()
