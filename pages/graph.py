"""Graph: the entities of the library and how they hang together."""

from urllib.parse import urlencode

import streamlit as st

from librarian import ui

librarian = ui.get_librarian()
snapshot = librarian.snapshot()
st.title("Graph")
ui.banners(snapshot)
if not snapshot.ready:
    st.stop()
with ui.told():
    graph = librarian.graph()
    if not graph.entities:
        st.info(
            "No entities yet. They appear as soon as the first document is processed.",
            icon=":material/hub:",
        )
        st.stop()

    def find(text: str) -> list[str]:
        return list(librarian.find_entities(text, 30)) if text else []

    with st.container(horizontal=True, vertical_alignment="bottom"):
        looked_for = st.text_input(
            "Find an entity", placeholder="Part of a name", key="find", bind="query-params"
        )
        found = find(looked_for)
        centre = st.selectbox(
            "Centre",
            found,
            index=0 if found else None,
            placeholder="The best-connected entities" if not looked_for else "Nothing like that",
            disabled=not found,
        )
        depth = st.slider("Depth", 1, 4, 1, disabled=centre is None)
        limit = st.select_slider("Most nodes", [50, 100, 200, 300, 500, 1000], 200)
        colour = st.segmented_control("Colour by", ["type", "community"], default="type")
    params = {
        "limit": limit,
        "depth": depth,
        "colour": colour or "type",
        "v": snapshot.graph_version,
    }
    if centre:
        params["centre"] = centre
    if st.context.theme.type == "dark":
        params["dark"] = "1"
    st.caption(
        f"{len(graph.entities):,} entities and {len(graph.relations):,} relations in the library"
        + (f"; shown: the neighbourhood of {ui.plain(centre)}" if centre else "")
        + ". Drag to move, scroll to zoom, point at a node to read about it."
    )
    st.iframe(f"/graph-view?{urlencode(params)}", height=680)
