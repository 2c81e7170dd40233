"""The script behind every page: the frame and the way between the pages."""

from pathlib import Path

import streamlit as st

from librarian import ui_homes

# A file of our own: Streamlit would fetch its own icons from the internet.
ICON = Path(__file__).parents[1] / "docs" / "icon.png"

st.set_page_config(page_title="AI Librarian", page_icon=str(ICON), layout="wide")
ui_homes.one_library()
page = st.navigation(
    [
        st.Page("library.py", title="Library", icon=":material/local_library:", default=True),
        st.Page("shelf.py", title="Shelf", icon=":material/shelves:"),
        st.Page("document.py", title="Document", icon=":material/article:"),
        st.Page("indexing.py", title="Indexing", icon=":material/monitoring:"),
        st.Page("graph.py", title="Graph", icon=":material/hub:"),
        st.Page("mend.py", title="Mend", icon=":material/healing:"),
        st.Page("ask.py", title="Ask", icon=":material/forum:"),
        st.Page("system.py", title="System", icon=":material/build:"),
        st.Page("libraries.py", title="Libraries", icon=":material/collections_bookmark:"),
    ]
)
ui_homes.sidebar()
page.run()
