"""Ask: a question, the answer as it is written, and the passages behind it."""

import streamlit as st

from librarian import ui
from librarian.answers import Answer
from librarian.evidence import Passage

MODES = {
    "mix": "Passages and graph together; the best start.",
    "hybrid": "Through the graph: entities and the themes that join them.",
    "local": "Through the entities that the question names.",
    "global": "Through themes and relations across the whole library.",
    "naive": "Only passages that are near in meaning; the graph is not used.",
}
librarian = ui.get_librarian()
snapshot = librarian.snapshot()
turns: list[Answer] = st.session_state.setdefault("turns", [])


def sources(answer: Answer) -> None:
    grouped: dict[int, list[Passage]] = {}
    for passage in answer.sources:
        grouped.setdefault(passage.number, []).append(passage)
    if grouped:
        words = f"{ui.many(len(answer.sources), 'passage')} · {answer.mode}"
        st.caption(f"{words} · {ui.span(answer.seconds)}")
    for number, passages in grouped.items():
        icon = ":material/format_quote:" if number in answer.cited else ":material/notes:"
        name = ui.plain(passages[0].document)
        label = f"\\[{number}\\] {name} · {ui.many(len(passages), 'passage')}"
        with st.expander(label, icon=icon):
            for passage in passages:
                with st.container(border=True):
                    st.text(passage.text)


st.title("Ask")
ui.banners(snapshot)
with st.container(horizontal=True, vertical_alignment="bottom"):
    mode = st.selectbox("Mode", list(MODES), key="mode", width=160)
    st.caption(MODES[mode])
    if turns and st.button("New conversation", icon=":material/restart_alt:", type="tertiary"):
        turns.clear()
        st.rerun()

hint = st.empty()
if not turns:
    ready = any(view.document.entities for view in snapshot.documents)
    hint.info(
        "Ask in your own words, in any language of your books."
        if ready
        else "Answers come from the documents of the library; none is processed yet.",
        icon=":material/lightbulb:",
    )
for turn in turns:
    st.chat_message("user").text(turn.question)
    with st.chat_message("assistant"):
        st.markdown(ui.answer_markdown(turn.text))
        sources(turn)

if question := st.chat_input("Ask the library", disabled=not snapshot.ready):
    hint.empty()
    st.chat_message("user").text(question)
    with st.chat_message("assistant"), ui.told():
        stream = librarian.ask(question, mode)
        try:
            with st.spinner("Looking through the library…"):
                pieces = iter(stream)
                opening = next(pieces, "")
            place, written = st.empty(), opening
            place.markdown(ui.answer_markdown(written))
            for piece in pieces:
                written += piece
                place.markdown(ui.answer_markdown(written))
            answer = stream.answer
        finally:
            stream.stop()  # a closed tab must not keep the model busy
        place.markdown(ui.answer_markdown(answer.text))
        turns.append(answer)
        sources(answer)
