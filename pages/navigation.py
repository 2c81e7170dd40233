"""The script behind every page: the frame and the way between the pages."""

import streamlit as st

st.set_page_config(page_title="AI Librarian", page_icon=":material/local_library:", layout="wide")
page = st.navigation(
    [
        st.Page("library.py", title="Library", icon=":material/local_library:", default=True),
        st.Page("indexing.py", title="Indexing", icon=":material/monitoring:"),
        st.Page("graph.py", title="Graph", icon=":material/hub:"),
        st.Page("ask.py", title="Ask", icon=":material/forum:"),
        st.Page("system.py", title="System", icon=":material/build:"),
    ]
)
page.run()
