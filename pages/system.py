"""System: is everything there, what is set, which versions run."""

import streamlit as st

from librarian import ui
from librarian.health import Severity

librarian = ui.get_librarian()
st.title("System")
ui.banners(librarian.snapshot(), whole=True)

st.subheader("Checks")
icons = {
    Severity.OK: ":green[:material/check_circle:]",
    Severity.WARN: ":orange[:material/warning:]",
    Severity.FAIL: ":red[:material/error:]",
}
with st.spinner("Looking…"), ui.told(), st.container(border=True):
    for check in librarian.doctor():
        st.markdown(f"{icons[check.severity]} **{ui.plain(check.name)}** {ui.plain(check.message)}")
        if check.remedy:
            st.caption(ui.plain(check.remedy).replace("\\`", "`"))
st.button("Check again", icon=":material/refresh:")

st.subheader("Success table")
with ui.told():
    st.dataframe(
        [
            {
                "": "✓" if row.passed else "✗",
                "what": row.name,
                "now": row.value,
                "target": row.target,
            }
            for row in librarian.verify()
        ],
        hide_index=True,
        key="success",
    )

st.subheader("Settings in force")
settings = librarian.settings
st.table(
    {
        "Library": ui.plain(str(settings.home)),
        "Backend": settings.backend,
        "Ollama": ui.plain(settings.ollama_host),
        "Language model": ui.plain(settings.llm_model),
        "Embedding model": ui.plain(settings.embed_model),
        "Calls at once": str(settings.llm_max_async),
        "Gleaning rounds": str(settings.gleaning),
        "Context": f"{settings.num_ctx:,} tokens",
        "Texts per embedding request": str(settings.embed_batch),
        "Language of descriptions": settings.language or "the document's own",
    },
    border="horizontal",
    width="content",
)
st.caption("Set by environment variables; README.md lists them.")

st.subheader("Answers of the model")
st.markdown("LightRAG keeps every answer, so that a document indexed again costs nothing.")
if st.checkbox("I want to empty that cache; indexing again will then ask the model again."):
    if st.button("Empty the cache of answers", icon=":material/delete_sweep:"):
        with ui.told():
            librarian.clear_cache()
            st.toast("The cache of answers is empty.")
